"""Real kills in the middle of a run: every prompt is still trained on, exactly once."""

import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from adaswitch.runs.directory import RunDirectory, read_records
from tests.service_fixtures import (
    Cluster,
    ConfigWriter,
    ids_trained_on,
    students,
    trainer,
    wait_for_line,
    wait_for_records,
)
from tests.teacher_process import TeacherProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def test_a_killed_student_costs_no_prompt(short_config: ConfigWriter, cluster: Cluster) -> None:
    config = short_config(
        name="killed",
        **{
            "teacher.url": cluster.teacher_url,
            "trainer.num_steps": 12,
            "trainer.eval_every": 0,
            "trainer.max_staleness": 1,
            "student.num_actors": 2,
        },
    )
    run = RunDirectory(config.parent / "runs" / "killed")
    with students(config, cluster) as service:
        training = trainer(config, cluster)
        wait_for_records(run.metrics, 3, training)
        actors = cluster.workers("StudentAct")
        assert len(actors) == 2
        actors[0].kill()
        assert training.wait(120) == 0, training.last_error()
        assert service.wait(60) == 0, service.last_error()
        assert "died" in service.log.read_text()
    assert ids_trained_on(run) == list(range(96))


def test_a_killed_queue_and_weight_board_are_filled_again(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    config = short_config(
        name="lost",
        **{"teacher.url": cluster.teacher_url, "trainer.num_steps": 12, "trainer.eval_every": 0},
    )
    run = RunDirectory(config.parent / "runs" / "lost")
    with students(config, cluster) as service:
        training = trainer(config, cluster)
        wait_for_records(run.metrics, 3, training)
        killed = [*cluster.workers("RolloutQueu"), *cluster.workers("WeightBoard")]
        for process in killed:
            process.kill()
        assert len(killed) >= 2
        assert training.wait(200) == 0, training.last_error()
        assert service.wait(60) == 0, service.last_error()
    assert ids_trained_on(run) == list(range(96))


def test_rollouts_wait_for_a_killed_teacher_and_go_on_with_the_next(
    short_config: ConfigWriter, cluster: Cluster, tmp_path: Path
) -> None:
    served = ("models/chain-teacher", "--engine", "transformers")
    first = TeacherProcess(tmp_path / "first.log", *served).wait_until_ready()
    second: TeacherProcess | None = None
    settings = {"teacher.url": first.url, "trainer.num_steps": 12, "trainer.eval_every": 0}
    config = short_config(name="waiting", **settings)
    run = RunDirectory(config.parent / "runs" / "waiting")
    try:
        with students(config, cluster) as service:
            training = trainer(config, cluster)
            wait_for_records(run.metrics, 3, training)
            first.signal_and_wait(signal.SIGKILL)
            wait_for_line(service.log, f"waiting for the teacher at {first.url}", service)
            num_before = len(run.metrics.read_text().splitlines())
            assert num_before < 12
            second = TeacherProcess(tmp_path / "second.log", *served, port=first.port)
            assert training.wait(120) == 0, training.last_error()
            assert service.wait(60) == 0, service.last_error()
    finally:
        for teacher in filter(None, (first, second)):
            teacher.end()
    assert ids_trained_on(run) == list(range(96))


def test_a_killed_rank_is_named_and_the_next_attempt_ends_as_one_process_would(
    short_config: ConfigWriter, cluster: Cluster
) -> None:
    settings = {
        "teacher.url": cluster.teacher_url,
        "trainer.num_steps": 6,
        "trainer.eval_every": 6,
        "trainer.eval_by": "students",
        "trainer.checkpoint_every": 1,
        "student.num_actors": 1,
    }
    runs = {}
    for name, num_ranks, is_killed in (("one", 1, False), ("ranks", 2, True), ("ranks", 2, False)):
        config = short_config(name=name, **settings, **{"trainer.num_ranks": num_ranks})
        runs[name] = RunDirectory(config.parent / "runs" / name)
        with students(config, cluster) as service:
            training = trainer(config, cluster)
            if is_killed:
                wait_for_records(runs[name].metrics, 2, training)
                cluster.workers("Rank")[1].kill()
                assert training.wait(120) == 1
                assert (
                    "has died: hand the job in again, and it goes on from the newest" in training.last_error()
                )
                assert training.log.read_text().splitlines()[-1].startswith("error: rank ")
                assert not cluster.workers("Rank")
            else:
                assert training.wait(120) == 0, training.last_error()
                assert service.wait(60) == 0, service.last_error()
    losses = {
        name: [[record["step"], record["loss"]] for record in read_records(run.metrics)]
        for name, run in runs.items()
    }
    assert losses["ranks"] == [[step, pytest.approx(loss, rel=1e-3)] for step, loss in losses["one"]]
    assert [step for step, _ in losses["ranks"]] == list(range(6))
    evals = [[record["step"] for record in read_records(run.evals)] for run in runs.values()]
    assert evals == [[0, 6], [0, 6]]
    weights = [load_file(run.checkpoint(6) / "model.safetensors") for run in runs.values()]
    assert weights[0].keys() == weights[1].keys()
