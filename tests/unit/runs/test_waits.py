"""What ``adaswitch doctor RUN`` says of who waited for whom, by hand for each kind of run."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from adaswitch.commands.runs import show_health
from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError
from adaswitch.method.health import MIN_STEPS, Signature
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.run_health import HEALTH_FIELDS, check_run
from adaswitch.runs.waits import WAIT_FIELDS, who_waited


def config(*settings: str) -> RunConfig:
    return load_config("configs/demo.yaml", list(settings))


def steps(
    wait: float, update: float, rollout: tuple[float, float, float]
) -> list[dict[str, float | int | None]]:
    """Steps of 10 s, of which 0.5 s go into publishing."""
    write, score, generate = rollout
    step: dict[str, float | int | None] = {
        "wait_s": wait,
        "update_s": update,
        "publish_s": 0.5,
        "step_s": 10.0,
    }
    return [{**step, "write_s": write, "score_s": score, "generate_s": generate}] * MIN_STEPS


def said(found: Signature | None) -> Signature:
    assert found is not None
    return found


def test_the_shares_by_hand() -> None:
    found = said(who_waited(config(), steps(6.0, 3.0, (1.0, 1.0, 2.0))))
    assert "waited for rollouts 60% of the time" in found.evidence
    assert "updates 30%, publishing 5%, evaluations, checkpoints and records 5%" in found.evidence
    assert (
        "4 s, 25% in the student's writing, 25% in the teacher's scores, 50% in the teacher's writing"
        in found.evidence
    )


@pytest.mark.parametrize(
    ("staleness", "wait", "update", "rollout", "advice"),
    [
        (0, 6.0, 3.0, (1.0, 1.0, 2.0), "trainer.max_staleness: 1"),
        (0, 9.4, 0.1, (1.0, 1.0, 2.0), "teacher.replicas"),
        (0, 9.4, 0.1, (3.0, 1.0, 1.0), "student.num_actors"),
        (1, 6.0, 3.0, (1.0, 1.0, 2.0), "teacher.replicas"),
        (1, 3.0, 6.0, (1.0, 1.0, 2.0), "neither side"),
        (1, 0.2, 9.0, (1.0, 1.0, 2.0), "students wait for the trainer"),
        (1, 6.0, 3.0, (0.0, 0.0, 0.0), "student.num_actors"),
    ],
)
def test_each_kind_of_wait_has_its_advice(
    staleness: int, wait: float, update: float, rollout: tuple[float, float, float], advice: str
) -> None:
    found = said(who_waited(config(f"trainer.max_staleness={staleness}"), steps(wait, update, rollout)))
    assert advice in found.advice


def test_nothing_is_said_of_few_steps_of_old_records_and_of_replayed_rollouts() -> None:
    known = steps(6.0, 3.0, (1.0, 1.0, 2.0))
    assert who_waited(config(), known[1:]) is None
    assert who_waited(config(), [{**step, "score_s": None} for step in known]) is None
    assert who_waited(config("policy={kind: replay, run: runs/demo}"), known) is None
    assert who_waited(config(), [{**step, "step_s": 0.0} for step in known]) is None


def test_the_doctor_says_it_and_names_a_damaged_record(tmp_path: Path) -> None:
    run = RunDirectory.create(config(f"runs_dir={tmp_path}", "name=run"))
    for number, step in enumerate(steps(6.0, 3.0, (1.0, 1.0, 2.0))):
        append_record(run.metrics, {"step": number, **dict.fromkeys(HEALTH_FIELDS, 0.5), **step})
    out = StringIO()
    show_health(run.path, Console(file=out, width=400))
    assert "who waited for whom" in out.getvalue()
    append_record(run.metrics, {"step": 99, **dict.fromkeys(WAIT_FIELDS, "long")})
    with pytest.raises(DataError, match="where a number or null is expected"):
        check_run(run.path)
