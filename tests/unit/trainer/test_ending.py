"""However an attempt ends, what was trained is saved, and a run that failed goes on as if it had not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.errors import (
    AdaSwitchError,
    ConfigError,
    EnvironmentProblem,
    NonFiniteError,
    OwnCodeError,
    QueueClosedError,
)
from adaswitch.runs.attempts import complete_after
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.status import Phase, Status, read_status
from tests.local_source import LocalSource, LocalTeacher
from trainer import __main__ as program
from trainer import ending, loop
from trainer.job import prepare
from trainer.loop import Job, train

NUM_STEPS = 4


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def config(folder: Path, **settings: object) -> RunConfig:
    document = {
        "name": "run",
        "runs_dir": str(folder),
        "task": {"kind": "chain", "num_train": 12, "num_eval": 4},
        "teacher": {"top_k": 19},
        "student": {"model": "models/chain-student", "max_new_tokens": 8, "group_size": 4},
        "policy": {"kind": "on_policy"},
        "trainer": {
            "num_steps": NUM_STEPS,
            "prompts_per_step": 2,
            "eval_every": 0,
            "checkpoint_every": 0,
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
        },
    }
    return parse_config(with_overrides(document, list(settings.items())))


def prepared(settings: RunConfig, teacher: LocalTeacher, source: type[LocalSource] = LocalSource) -> Job:
    return prepare(settings, lambda: source(settings, teacher), lambda: False)[0]


def run_of(folder: Path) -> RunDirectory:
    return RunDirectory(folder / "run")


def status_of(folder: Path) -> Status:
    status = read_status(run_of(folder))
    assert status is not None
    return status


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(run_of(folder).checkpoint(step)).state_dict()


def failing(error: Exception, *, at: int, method: str) -> type[LocalSource]:
    """A source whose ``method`` raises when it is called for the ``at``-th time, counted from 0."""

    class Failing(LocalSource):
        num_calls = 0

    def call(self, *arguments):
        Failing.num_calls += 1
        if Failing.num_calls > at:
            raise error
        return getattr(LocalSource, method)(self, *arguments)

    setattr(Failing, method, call)
    return Failing


def lost() -> QueueClosedError:
    return QueueClosedError("a student failed: no teacher answers")


@pytest.mark.parametrize(
    ("method", "at", "saved"),
    [
        ("take", 2, 2),
        ("depth", 2, 2),
        ("offer", 3, 3),
        # The first time is that of the first weights, before any step: these are the weights after 3 updates.
        ("publish", 3, 3),
    ],
)
def test_a_run_whose_students_are_lost_is_saved_and_goes_on_as_if_they_had_not_been(
    tmp_path: Path, teacher: LocalTeacher, method: str, at: int, saved: int
) -> None:
    train(prepared(config(tmp_path / "whole"), teacher), 0)
    settings = config(tmp_path / "parts")
    with pytest.raises(QueueClosedError) as raised:
        train(prepared(settings, teacher, failing(lost(), at=at, method=method)), 0)
    run = run_of(tmp_path / "parts")
    assert raised.value.__notes__ == [
        f"what was trained is saved in {run.checkpoint(saved)} ({saved} steps)",
        f"go on with: adaswitch run --config {run.path}/config.yaml",
    ]
    status = status_of(tmp_path / "parts")
    assert (status.phase, status.during, status.step) == (Phase.FAILED, Phase.TRAINING, saved)
    assert status.why == "a student failed: no teacher answers"
    assert len(list(read_records(run.metrics))) == saved

    job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    assert start == saved
    assert train(job, start) == NUM_STEPS
    found = [weights(tmp_path / name, NUM_STEPS) for name in ("whole", "parts")]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
    assert len(run.shards()) == NUM_STEPS
    assert status_of(tmp_path / "parts").phase is Phase.COMPLETE
    assert complete_after(settings) == NUM_STEPS


def failing_at(job: Job, monkeypatch: pytest.MonkeyPatch, step: int, break_it: Callable[[], None]) -> None:
    """Call ``break_it`` before the update of ``step``."""
    update = job.learner.update

    def broken(rollouts, now):
        if now == step:
            break_it()
        return update(rollouts, now)

    monkeypatch.setattr(job.learner, "update", broken)


def test_a_loss_that_is_not_finite_leaves_the_weights_of_the_last_good_update(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared(config(tmp_path), teacher)
    good: dict[str, torch.Tensor] = {}

    def spoil() -> None:
        good.update({name: tensor.clone() for name, tensor in job.learner.weights().items()})
        job.learner.model.model.norm.register_forward_hook(lambda _, __, hidden: hidden * torch.nan)

    failing_at(job, monkeypatch, 3, spoil)
    with pytest.raises(NonFiniteError, match="loss of step 3"):
        train(job, 0)
    found = weights(tmp_path, 3)
    assert all(torch.equal(found[name], tensor) for name, tensor in good.items())
    assert (status_of(tmp_path).during, status_of(tmp_path).step) == (Phase.TRAINING, 3)


def test_weights_that_are_not_finite_take_no_checkpoints_place(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared(config(tmp_path, **{"trainer.checkpoint_every": 2}), teacher)

    def spoil() -> None:
        job.learner.model.lm_head.weight.data[0, 0] = torch.inf

    failing_at(job, monkeypatch, 3, spoil)
    with pytest.raises(NonFiniteError, match="after step 3") as raised:
        train(job, 0)
    assert job.run.checkpoint_steps() == [2]
    unsaved, rest = raised.value.__notes__[:2]
    assert unsaved.startswith(
        "what was trained could not be saved: the student's weights are not finite after step 3"
    )
    assert rest == (f"what was trained is saved in {job.run.checkpoint(2)} (2 steps); lost after it: 1 step")


@pytest.mark.parametrize(("every", "saved"), [(1, [2]), (NUM_STEPS, [NUM_STEPS])])
def test_an_evaluation_that_fails_costs_no_step(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch, every: int, saved: list[int]
) -> None:
    real = loop.evaluate

    def fail_later(model, prompts, **rest):
        if job.status.status.step >= 2:
            raise OwnCodeError("task.path: my_task:Task.mark raised KeyError: 'answer'")
        return real(model, prompts, **rest)

    monkeypatch.setattr(loop, "evaluate", fail_later)
    job = prepared(config(tmp_path, **{"trainer.eval_every": every}), teacher)
    with pytest.raises(OwnCodeError):
        train(job, 0)
    assert job.run.checkpoint_steps() == saved
    assert status_of(tmp_path).during is Phase.EVALUATING


def test_an_error_that_is_none_of_ours_is_named_with_its_type(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared(config(tmp_path), teacher)

    def fail() -> None:
        raise MemoryError("no more\nof it")

    failing_at(job, monkeypatch, 1, fail)
    with pytest.raises(MemoryError):
        train(job, 0)
    assert status_of(tmp_path).why == "MemoryError: no more"
    assert job.run.checkpoint_steps() == [1]


def test_weights_amid_an_update_are_not_saved(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared(config(tmp_path, **{"trainer.checkpoint_every": 1}), teacher)

    def fail() -> None:
        raise MemoryError

    failing_at(job, monkeypatch, 2, lambda: monkeypatch.setattr(job.learner.optimizer, "step", fail))
    with pytest.raises(MemoryError) as raised:
        train(job, 0)
    assert job.run.checkpoint_steps() == [1, 2]
    assert "the last update was broken off" in raised.value.__notes__[0]


def test_a_run_that_is_stopped_in_its_last_evaluation_is_not_complete(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    settings = config(tmp_path, **{"trainer.eval_every": NUM_STEPS})

    def should_stop() -> bool:
        return job.status.status.step == NUM_STEPS

    job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: should_stop())
    assert train(job, start) == NUM_STEPS
    assert status_of(tmp_path).phase is Phase.STOPPED
    assert status_of(tmp_path).during is Phase.EVALUATING
    assert not loop.is_complete(job, NUM_STEPS)
    assert complete_after(settings) is None
    again, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    assert train(again, start) == NUM_STEPS
    assert loop.is_complete(again, NUM_STEPS)
    assert complete_after(settings) == NUM_STEPS


def test_where_saving_fails_too_both_causes_are_said(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise EnvironmentProblem("the disk is full")

    monkeypatch.setattr(ending, "save_checkpoint", full)
    job = prepared(config(tmp_path), teacher, failing(lost(), at=2, method="take"))
    with pytest.raises(QueueClosedError) as raised:
        train(job, 0)
    assert raised.value.__notes__[:2] == [
        "what was trained could not be saved: the disk is full",
        f"nothing is saved, because there was no checkpoint in {job.run.path} yet; lost: 2 steps",
    ]
    assert status_of(tmp_path).why == str(lost())


def test_a_checkpoint_that_fails_is_not_tried_again(
    tmp_path: Path, teacher: LocalTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(run: RunDirectory, step: int, *rest: object) -> None:
        tried.append(step)
        raise EnvironmentProblem("the disk is full")

    monkeypatch.setattr(ending, "save_checkpoint", full)
    job = prepared(config(tmp_path, **{"trainer.checkpoint_every": 3}), teacher)
    with pytest.raises(EnvironmentProblem):
        train(job, 0)
    assert tried == [3]
    assert status_of(tmp_path).during is Phase.SAVING


@pytest.mark.parametrize("is_stopped", [True, False])
def test_before_the_first_step_nothing_is_saved(
    tmp_path: Path, teacher: LocalTeacher, is_stopped: bool
) -> None:
    settings = config(tmp_path)
    if is_stopped:
        job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: True)
        assert train(job, start) == 0
        assert status_of(tmp_path).phase is Phase.STOPPED
    else:
        job = prepared(settings, teacher, failing(lost(), at=0, method="take"))
        with pytest.raises(QueueClosedError) as raised:
            train(job, 0)
        assert raised.value.__notes__[0].startswith("nothing was trained, so nothing is saved")
    assert job.run.checkpoint_steps() == []


def test_what_fails_before_the_training_is_in_the_status(tmp_path: Path, teacher: LocalTeacher) -> None:
    def nobody() -> LocalSource:
        raise EnvironmentProblem("no Ray cluster")

    with pytest.raises(EnvironmentProblem):
        prepare(config(tmp_path), nobody, lambda: False)
    status = status_of(tmp_path)
    assert (status.phase, status.during, status.why) == (Phase.FAILED, Phase.STARTING, "no Ray cluster")


def test_data_that_does_not_fit_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(AdaSwitchError):
        prepared(config(tmp_path, **{"student.max_new_tokens": 4000}), None)
    assert not run_of(tmp_path).path.exists()


def test_what_cannot_be_closed_does_not_take_the_place_of_the_cause(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    job = prepared(config(tmp_path), teacher, failing(ConnectionError("gone"), at=0, method="close"))
    error = QueueClosedError("the cause")
    program._close_after(job, error)
    assert error.__notes__ == ["the rollout queue could not be closed: ConnectionError: gone"]


def test_the_trainer_starts_nothing_for_a_run_that_is_complete_or_has_other_settings(
    tmp_path: Path, teacher: LocalTeacher, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(tmp_path)
    train(prepared(settings, teacher), 0)
    capsys.readouterr()
    # It would look for a Ray cluster otherwise.
    program.run_job(settings)
    said = capsys.readouterr().out
    assert f"{tmp_path}/run is complete after {NUM_STEPS} steps" in said
    assert f"adaswitch run --config {tmp_path}/run/config.yaml trainer.num_steps=8" in said
    with pytest.raises(ConfigError, match=r"seed \(was 0, now 1\)"):
        program.run_job(config(tmp_path, seed=1))
