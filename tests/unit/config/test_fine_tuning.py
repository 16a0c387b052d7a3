"""The run that makes a student: its settings follow from the run that the student is for."""

import pytest

from adaswitch.config.fine_tuning import fine_tuning
from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError

DOCUMENT = {
    "name": "run",
    "seed": 7,
    "task": {"kind": "chain", "num_train": 20},
    "teacher": {"serve": {"model": "models/chain-teacher"}},
    "student": {
        "model": "models/warm",
        "max_new_tokens": 40,
        "num_gpus_per_actor": 0.5,
        "stop_token_ids": [1],
    },
    "warm_start": {"model": "models/chain-student", "num_steps": 5, "optimizer": {"learning_rate": 1e-3}},
    "trainer": {
        "num_steps": 100,
        "prompts_per_step": 64,
        "micro_batch_tokens": 512,
        "max_staleness": 1,
        "eval_by": "students",
        "eval_every": 3,
        "optimizer": {"learning_rate": 1e-5},
    },
    "teacher_budget": {"tokens_per_step": 100},
}
SFT = {"policy": {"kind": "sft"}, "teacher_budget": {}, "trainer": {"loss": {"kind": "cross_entropy"}}}


def parse(*overrides: tuple[str, object]) -> RunConfig:
    return parse_config(with_overrides(DOCUMENT, overrides))


def refusal(*overrides: tuple[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        fine_tuning(parse(*overrides))
    return str(caught.value)


def test_it_trains_the_named_model_with_what_the_run_says_otherwise() -> None:
    run = fine_tuning(parse())
    assert (run.name, run.seed, run.task) == ("run-sft", 7, parse().task)
    assert (run.student.model, run.student.max_new_tokens) == ("models/chain-student", 40)
    assert (run.student.num_gpus_per_actor, run.student.stop_token_ids) == (0, [1])
    assert (run.policy.name, run.trainer.loss.kind) == ("sft", "cross_entropy")
    assert (run.trainer.num_steps, run.trainer.prompts_per_step) == (5, 32)
    assert (run.trainer.micro_batch_tokens, run.trainer.eval_every) == (512, 3)
    assert (run.trainer.max_staleness, run.trainer.eval_by) == (0, "trainer")
    assert run.trainer.optimizer.learning_rate == 1e-3
    assert (run.warm_start, run.teacher.serve, run.teacher_budget.tokens_per_step) == (None, None, None)


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    assert refusal(("warm_start", None)).startswith("warm_start: nothing says which model is fine-tuned")
    ranks = [("trainer.num_ranks", 2), ("trainer.eval_by", "students")]
    assert "fine-tuning is done in one process, and 2 ranks" in refusal(*ranks)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([("warm_start.model", "models/warm")], "warm_start.model: 'models/warm' is student.model itself"),
        ([("warm_start.num_steps", 0)], "warm_start.num_steps"),
        ([("warm_start.optimiser", {})], "warm_start.optimiser: unknown setting"),
        ([("policy", {"kind": "sft"})], "trainer.loss: policy sft has no teacher to compare with"),
        ([*SFT.items(), ("trainer.eval_by", "students")], "with policy sft there are no students"),
        ([*SFT.items(), ("trainer.num_ranks", 2)], "a run with policy sft trains in one process"),
        (
            [*SFT.items(), ("teacher_budget.tokens_per_step", 99)],
            "with policy sft the teacher writes nothing",
        ),
        (
            [*SFT.items(), ("trainer.loss.select", {"by": "teacher_entropy", "share": 0.5})],
            "trainer.loss.select.by teacher_entropy: policy sft has no teacher",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(overrides: list[tuple[str, object]], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(*overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
