"""Real kills in the middle of a run: every prompt is still trained on, exactly once."""

import psutil
import pytest

from adaswitch.io.run_directory import RunDirectory
from tests.service_fixtures import Cluster, ConfigWriter, ids_trained_on, students, trainer, wait_for_records

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
        actors = [p for p in psutil.process_iter(["name"]) if p.info["name"].startswith("ray::StudentAct")]
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
        killed = 0
        for process in psutil.process_iter(["name"]):
            if process.info["name"].startswith(("ray::RolloutQueu", "ray::WeightBoard")):
                process.kill()
                killed += 1
        assert killed >= 2
        assert training.wait(200) == 0, training.last_error()
        assert service.wait(60) == 0, service.last_error()
    assert ids_trained_on(run) == list(range(96))
