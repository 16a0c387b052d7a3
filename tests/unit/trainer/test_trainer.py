"""The trainer on real tiny models: resuming, micro-batches, checkpoints, records, stopping."""

import json
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.errors import DataError, ModelError, NonFiniteError
from adaswitch.evaluation.command import run_eval
from adaswitch.evaluation.request import EvalRequest, choose_prompts
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.shards import read_shard
from adaswitch.runs.summary import print_summary, summarise
from tests.local_source import LocalSource, LocalTeacher
from trainer import loop
from trainer.job import prepare
from trainer.learner import Learner
from trainer.loop import Job, is_complete, train


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def config(folder: Path, **settings: object) -> RunConfig:
    document = {
        "name": "run",
        "runs_dir": str(folder),
        "seed": 3,
        "task": {"kind": "chain", "num_train": 20, "num_eval": 8},
        "teacher": {"top_k": 19},
        "student": {"model": "models/chain-student", "max_new_tokens": 24, "group_size": 4},
        "policy": {"kind": "adaswitch", "window": 4, "chunk_size": 8},
        "trainer": {
            "num_steps": 4,
            "prompts_per_step": 4,
            "eval_every": 2,
            "checkpoint_every": 1,
            "keep_checkpoints": 2,
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
        },
    }
    return parse_config(with_overrides(document, list(settings.items())))


class StopAfter:
    """Says stop once so many steps are on record."""

    def __init__(self, run: RunDirectory, num_steps: int) -> None:
        self._run, self._num_steps = run, num_steps

    def __call__(self) -> bool:
        return len(list(read_records(self._run.metrics))) >= self._num_steps


def run_training(settings: RunConfig, teacher: LocalTeacher, should_stop=lambda: False) -> int:
    job, start = prepare(settings, lambda: LocalSource(settings, teacher), should_stop)
    done = train(job, start)
    job.recorder.close()
    return done


def weights_of(run: RunDirectory) -> dict[str, torch.Tensor]:
    steps = run.checkpoint_steps()
    model = AutoModelForCausalLM.from_pretrained(run.checkpoint(steps[len(steps) - 1]), dtype=torch.float32)
    return model.state_dict()


@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_a_resumed_run_ends_with_the_same_weights_bit_for_bit(
    tmp_path: Path, teacher: LocalTeacher, interrupted_after: int
) -> None:
    whole, parts = config(tmp_path / "whole"), config(tmp_path / "parts")
    assert run_training(whole, teacher) == 4
    run = RunDirectory(tmp_path / "parts" / "run")
    assert run_training(parts, teacher, StopAfter(run, interrupted_after)) == interrupted_after
    assert run_training(parts, teacher) == 4
    expected = weights_of(RunDirectory(tmp_path / "whole" / "run"))
    actual = weights_of(run)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    losses = [record["loss"] for record in read_records(run.metrics)]
    assert losses == [
        record["loss"] for record in read_records(RunDirectory(tmp_path / "whole" / "run").metrics)
    ]
    assert [record["step"] for record in read_records(run.evals)] == [0, 2, 4]


def test_training_changes_the_weights_and_writes_everything(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path)
    run_training(settings, teacher)
    run = RunDirectory(tmp_path / "run")
    assert run.checkpoint_steps() == [3, 4]
    tokenizer = AutoTokenizer.from_pretrained(run.checkpoint(4))
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained("models/chain-student").get_vocab()
    before = AutoModelForCausalLM.from_pretrained("models/chain-student", dtype=torch.float32).state_dict()
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights_of(run).items())
    steps = list(read_records(run.metrics))
    assert [record["step"] for record in steps] == [0, 1, 2, 3]
    expected_names = {"loss", "switch_rate", "mean_switch_position", "student_tokens", "teacher_tokens"}
    expected_names |= {"scored_tokens", "wasted_tokens", "staleness", "queue_depth", "wait_s", "update_s"}
    assert expected_names <= steps[0].keys()
    assert all(record["staleness"] == 0 for record in steps)
    shard = read_shard(run.shards()[2])
    assert [rollout.prompt.id for rollout in shard] == [8, 9, 10, 11]
    assert {rollout.weights_version for rollout in shard} == {2}
    assert list(run.tensorboard.glob("events*"))
    assert parse_config(json.loads(json.dumps(settings.model_dump()))) == settings


def test_students_evaluate_to_the_trainers_own_marks_and_change_nothing_else(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    records, runs = {}, {}
    for who in ("trainer", "students"):
        run_training(
            config(tmp_path / who, **{"trainer.eval_by": who, "trainer.eval_batch_size": 3}), teacher
        )
        runs[who] = RunDirectory(tmp_path / who / "run")
        marks = [
            (r["step"], r["split"], r["metric"], r["n"], r["value"]) for r in read_records(runs[who].evals)
        ]
        records[who] = marks
    assert records["students"] == records["trainer"]
    assert [step for step, *_ in records["students"]] == [0, 2, 4]
    expected, actual = (weights_of(run) for run in runs.values())
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_a_run_trains_on_the_selected_share_of_its_tokens_and_records_it(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    losses, shares = {}, {}
    for name, select in (("all", {}), ("half", {"by": "teacher_entropy", "share": 0.5})):
        settings = config(
            tmp_path / name,
            **{"trainer.num_steps": 1, "trainer.eval_every": 0},
            **{"trainer.loss": {"kind": "forward_kl", "select": select}},
        )
        run_training(settings, teacher)
        (record,) = read_records(RunDirectory(tmp_path / name / "run").metrics)
        losses[name], shares[name] = record["loss"], (record["counted_share"], record["num_tokens"])
    assert shares["all"][0] == 1
    num_tokens = shares["half"][1]
    assert shares["half"][0] == pytest.approx(math.ceil(num_tokens / 2) / num_tokens)
    assert losses["half"] > losses["all"]


def test_every_split_is_on_record(tmp_path: Path, teacher: LocalTeacher) -> None:
    extra = {
        "task.extra_splits": ["longer", "multiply"],
        "student.max_new_tokens": 63,
        "trainer.num_steps": 1,
    }
    run_training(config(tmp_path, **extra), teacher)
    records = list(read_records(RunDirectory(tmp_path / "run").evals))
    assert [(r["step"], r["split"], r["metric"], r["n"], r["unmarked"]) for r in records] == [
        (step, split, "exact_match", 8, 0) for step in (0, 1) for split in ("eval", "multiply", "longer")
    ]
    assert all(0 <= record["value"] <= 1 for record in records)


def test_a_score_of_zero_and_what_was_left_out_are_remarked_on_once(
    tmp_path: Path, teacher: LocalTeacher, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.jsonl"
    long = {"prompt": "1+" * 60 + "1=", "reference": "1"}
    lines = [{"prompt": f"{digit}+1=", "reference": f"{digit}+1=x;#x"} for digit in range(9)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, long]))
    task = {"kind": "jsonl", "too_long": "skip", "train": {"path": str(path)}, "eval": {"path": str(path)}}
    run_training(config(tmp_path, task=task), teacher)
    said = capsys.readouterr().out
    run = RunDirectory(tmp_path / "run")
    left_out = [f"{which} prompts: 1 left out of 10, as too long" for which in ("training", "held-out")]
    assert run.notes == left_out
    for note in left_out:
        assert said.count(f"note: {note}\n") == 1
    assert (
        said.count("was compared with the whole reference '0+1=x;#x'; if they hold the working as well") == 1
    )
    [hint] = next(iter(read_records(run.evals)))["hints"]
    assert hint.startswith("exact match is 0.0%: of eval, record 1, the whole completion '")
    assert "set task.answer_regex" in hint
    assert sum("hints" in record for record in read_records(run.evals)) == 1
    console = Console(file=StringIO(), width=200)
    print_summary(run, summarise(run), {}, console)
    assert f"note: {left_out[0]}\n" in console.file.getvalue()


def test_the_command_agrees_with_the_trainer(tmp_path: Path, teacher: LocalTeacher) -> None:
    run_training(config(tmp_path), teacher)
    run = RunDirectory(tmp_path / "run")
    for record in list(read_records(run.evals))[1:]:
        if record["step"] in run.checkpoint_steps():
            prompts = choose_prompts(run.path / "config.yaml", None, None, [])
            model = str(run.checkpoint(record["step"]))
            request = EvalRequest(model, prompts.task, prompts.limit, prompts.max_new_tokens, batch_size=3)
            console = Console(file=StringIO(), width=120)
            assert run_eval(request, console)
            assert f"{record['value']:.1%}" in console.file.getvalue()


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path)
    rollouts = LocalSource(settings, teacher).take(_first_step(settings, teacher), lambda: False)
    assert rollouts is not None
    updates = []
    for size in (1, 3, 4):
        small = config(tmp_path, **{"trainer.micro_batch_size": size})
        learner = Learner.from_folder("models/chain-student", small.trainer, "cpu")
        updates.append((learner.update(rollouts, 3), learner.weights()))
    for update, weights in updates[1:]:
        assert update.loss == pytest.approx(updates[0][0].loss, rel=1e-5)
        assert update.grad_norm == pytest.approx(updates[0][0].grad_norm, rel=1e-4)
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, updates[0][1][name], rtol=1e-4, atol=1e-5)


def _first_step(settings: RunConfig, teacher: LocalTeacher):
    job, _ = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    job.recorder.close()
    return job.schedule.step(0)


def test_a_run_whose_time_is_up_is_complete_with_an_evaluation(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path, **{"trainer.time_limit_s": 1e-6})
    job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    assert not is_complete(job, start)
    assert train(job, start) == 1
    job.recorder.close()
    assert is_complete(job, 1)
    assert [record["step"] for record in read_records(job.run.evals)] == [0, 1]
    assert job.run.checkpoint_steps() == [1]
    # Handed in again, it finds the time of the first attempt on record.
    assert run_training(settings, teacher) == 1
    assert len(list(read_records(job.run.metrics))) == 1


def test_time_enough_changes_nothing(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path, **{"trainer.time_limit_s": 1e6, "trainer.eval_every": 0})
    assert run_training(settings, teacher) == settings.trainer.num_steps


def test_staleness_is_admitted_up_to_the_bound(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path, **{"trainer.max_staleness": 2, "trainer.eval_every": 0})
    offered_at_take: list[int] = []

    class Watched(LocalSource):
        def take(self, prompts, should_stop):
            offered_at_take.append(len(self.offered) // 4)
            return super().take(prompts, should_stop)

    job, start = prepare(settings, lambda: Watched(settings, teacher), lambda: False)
    train(job, start)
    job.recorder.close()
    assert offered_at_take == [3, 4, 4, 4]


@pytest.mark.parametrize(("staleness", "num_ahead"), [(0, 0), (1, 2), (2, 3)])
def test_the_next_prompts_are_offered_before_evaluation_and_checkpoint_unless_it_is_synchronous(
    tmp_path: Path,
    teacher: LocalTeacher,
    monkeypatch: pytest.MonkeyPatch,
    staleness: int,
    num_ahead: int,
) -> None:
    settings = config(tmp_path, **{"trainer.max_staleness": staleness, "trainer.num_steps": 5})
    job, start = prepare(settings, lambda: LocalSource(settings, teacher), lambda: False)
    ahead: list[tuple[str, int]] = []

    def noted(what: str, work: Callable[[Job, int], None]) -> Callable[[Job, int], None]:
        def do(job: Job, step: int) -> None:
            ahead.append((what, len(job.source.offered) // 4 - step))
            work(job, step)

        return do

    monkeypatch.setattr(loop, "evaluate_if_due", noted("evaluation", loop.evaluate_if_due))
    monkeypatch.setattr(loop, "checkpoint", noted("checkpoint", loop.checkpoint))
    train(job, start)
    job.recorder.close()
    # Towards the end fewer steps are left to offer; the last two calls come after the last step.
    steps = [
        ("evaluation", 0),
        *((what, step) for step in range(1, 5) for what in ("checkpoint", "evaluation")),
    ]
    assert ahead[: len(steps)] == [(what, min(num_ahead, 5 - step)) for what, step in steps]
    assert {num for _, num in ahead[len(steps) :]} == {0}


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(
    tmp_path: Path, teacher: LocalTeacher
) -> None:
    settings = config(tmp_path)
    rollouts = LocalSource(settings, teacher).take(_first_step(settings, teacher), lambda: False)
    learner = Learner.from_folder("models/chain-student", settings.trainer, "cpu")
    before = {name: tensor.clone() for name, tensor in learner.weights().items()}
    for name, parameter in learner.model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(float("nan"))
            before[name] = parameter.detach().clone()
    with pytest.raises(NonFiniteError, match="step 0"):
        learner.update(rollouts, 0)
    for name, tensor in learner.weights().items():
        assert torch.equal(tensor.nan_to_num(7.0), before[name].nan_to_num(7.0))


def test_a_broken_checkpoint_is_named(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path, **{"trainer.num_steps": 1, "trainer.optimizer.warmup_steps": 0})
    run_training(settings, teacher)
    state = RunDirectory(tmp_path / "run").checkpoint(1) / "trainer_state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"no checkpoint here is whole.*step-1: trainer_state\.pt is not what was"
    ):
        run_training(settings, teacher)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    tmp_path: Path, teacher: LocalTeacher, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(tmp_path, **{"trainer.num_steps": 2, "trainer.eval_every": 1})
    run_training(settings, teacher)
    run = RunDirectory(tmp_path / "run")
    # Copied, because the weights are in the very file that is damaged next.
    expected = {name: weight.clone() for name, weight in weights_of(run).items()}
    losses = [record["loss"] for record in read_records(run.metrics)]
    (run.checkpoint(2) / "model.safetensors").write_bytes(b"")
    for path in (run.metrics, run.evals):
        with path.open("ab") as file:
            file.write(b'{"step": 2, "lo')
    assert run_training(settings, teacher) == 2
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [("is damaged" in line, "was not written to its end" in line) for line in warnings] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert all(torch.equal(expected[name], weight) for name, weight in weights_of(run).items())
    assert [record["loss"] for record in read_records(run.metrics)] == losses
    assert [record["step"] for record in read_records(run.evals)] == [0, 1, 2]
    assert {path.name for path in run.checkpoints.iterdir()} == {"step-1", "step-2", "step-2.damaged"}


def test_a_budget_that_does_not_fit_is_named(tmp_path: Path, teacher: LocalTeacher) -> None:
    with pytest.raises(ModelError, match="max_new_tokens 4000"):
        run_training(config(tmp_path, **{"student.max_new_tokens": 4000}), teacher)


def test_a_model_that_is_not_there_is_named(tmp_path: Path, teacher: LocalTeacher) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        run_training(config(tmp_path, **{"student.model": "models/nobody"}), teacher)
