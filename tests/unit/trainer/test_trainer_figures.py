"""The trainer's figures for Prometheus are those of its records, whatever was begun again in between."""

from pathlib import Path

from adaswitch.evaluation.evaluation import Evaluation
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.exported import FAMILIES, TRAINER
from adaswitch.tasks.scores import Interval, Score
from trainer.figures import STEP_GAUGES, TrainerFigures
from trainer.recorder import Recorder
from trainer.update import Update

UPDATE = Update(1.0, 0.5, None, 0.25, 1e-3, 100, 1.0)
METRICS = {
    "switch_rate": 0.5,
    "mean_switch_position": None,
    "mean_divergence": 0.2,
    "student_tokens": 10,
    "wasted_tokens": 1,
    "scored_tokens": 9,
    "teacher_tokens": 4,
}
SECONDS = {"wait_s": 0.0, "update_s": 0.0, "publish_s": 0.0}
MARKS = Evaluation("chain", [Score("eval", "exact_match", 0.5, Interval(0.4, 0.6, "Wilson"), 8, 0)], [])


def recorder(folder: Path, start: int) -> Recorder:
    config = load_config("configs/demo.yaml", [f"runs_dir={folder}", "trackers=[]", "trainer.num_steps=60"])
    return Recorder(RunDirectory.create(config), config, start)


def step(found: Recorder, number: int) -> None:
    found.step(number, UPDATE, METRICS, SECONDS, queue_depth=0)


def values(figures: TrainerFigures) -> dict[str, float]:
    return {
        "".join((s.name.removeprefix("adaswitch_trainer_"), *s.labels.values())): s.value
        for s in figures.samples()
    }


def test_before_the_first_step_counters_are_there_and_gauges_are_not(tmp_path: Path) -> None:
    found = values(recorder(tmp_path, 0).figures)
    assert found["step"] == 0
    assert found["steps_planned"] == 60
    assert found["updates_total"] == found["tokens_totalteacher"] == found["seconds_totalwaiting"] == 0
    assert "loss_natsall" not in found


def test_what_is_unknown_in_a_step_has_no_value(tmp_path: Path) -> None:
    first = recorder(tmp_path, 0)
    step(first, 0)
    found = values(first.figures)
    assert found["loss_natsall"] == 1.0
    assert found["loss_natsstudent"] == 0.5
    assert found["switched_ratio"] == 0.5
    assert not {"loss_natsteacher", "switch_position_tokens"} & found.keys()


def test_a_run_that_goes_on_counts_what_is_on_record_and_nothing_twice(tmp_path: Path) -> None:
    first = recorder(tmp_path, 0)
    for number in range(5):
        step(first, number)
    first.evaluation(2, MARKS, 3.0)
    assert values(first.figures)["updates_total"] == 5
    # From the checkpoint after three steps: two of five happen again.
    second = recorder(tmp_path, 3)
    found = values(second.figures)
    assert (found["updates_total"], found["step"], found["tokens_totalteacher"]) == (3, 3, 12)
    assert found["seconds_totalevaluating"] == 3.0
    assert (found["evaluation_scoreevalexact_match"], found["evaluated_step"]) == (0.5, 2)
    for number in range(3, 6):
        step(second, number)
    found = values(second.figures)
    assert (found["updates_total"], found["step"], found["tokens_totalteacher"]) == (6, 6, 24)
    assert found["trained_tokens_total"] == 600


def test_the_newest_evaluation_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    first = recorder(tmp_path, 0)
    first.evaluation(0, MARKS, 3.0)
    unmarked = Score("longer", "exact_match", None, None, 0, 8)
    first.evaluation(10, Evaluation("chain", [unmarked], []), 1.0)
    found = values(first.figures)
    assert found["evaluated_step"] == 10
    assert found["seconds_totalevaluating"] == 4.0
    assert not [name for name in found if name.startswith("evaluation_score")]


def test_odd_values_in_old_records_are_no_reason_to_end_a_run(tmp_path: Path) -> None:
    first = recorder(tmp_path, 0)
    step(first, 0)
    run = first._run
    append_record(run.metrics, {"step": 1, "step_s": 1.0, "loss": "x", "teacher_tokens": None})
    mark = {"step": 1, "split": "all", "metric": "exact_match", "value": None, "n": 2, "eval_s": 0.5}
    append_record(run.evals, mark | {"interval": "x"})
    found = values(recorder(tmp_path, 2).figures)
    assert (found["updates_total"], found["step"], found["tokens_totalteacher"]) == (2, 2, 4)


def test_every_gauge_of_a_step_is_one_of_the_metrics() -> None:
    for name, labels in STEP_GAUGES.values():
        assert set(FAMILIES[name].labels) == set(labels)
        assert name in TRAINER
