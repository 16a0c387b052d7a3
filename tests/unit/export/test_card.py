"""The model card says what a model is, how good it is and how it was made, and leaves the licences open."""

from pathlib import Path

import pytest
import yaml

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.export.card import FILL_IN, model_card
from adaswitch.export.card_settings import shown_settings
from adaswitch.export.results import results_of
from adaswitch.runs.directory import append_record
from adaswitch.tasks.scores import wilson
from tests.finished_runs import finished


def test_all_that_a_reader_wants_to_know_is_there(tmp_path: Path) -> None:
    run = finished(tmp_path, "policy.factor=2.5", "trainer.prompts_per_step=16")
    card = model_card(run, run.settings(), 8, run.checkpoint(8))
    low, high = wilson(404, 500).low, wilson(404, 500).high
    for words in (
        "# run",
        "| trained from | models/chain-student |",
        "| teacher | models/chain-teacher |",
        "task `chain`",
        "policy `adaswitch`, loss `forward_kl`",
        "| updates | 8, of 16 rollouts each |",
        " in F32 |",
        f"| exact match | 500 | 24.0% (20.5% to 27.9%) | 80.8% ({low:.1%} to {high:.1%}) |",
        "| written by the teacher | 16 |",
        "factor: 2.5",
        "prompts_per_step: 16",
        "adaswitch chat",
    ):
        assert words in card, words
    assert card.count(FILL_IN) == 4
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "unknown"
    assert head["library_name"] == "transformers"
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.808
    assert "base_model" not in head


def test_a_card_of_an_earlier_checkpoint_knows_nothing_of_what_came_later(tmp_path: Path) -> None:
    run = finished(tmp_path)
    card = model_card(run, run.settings(), 4, run.checkpoint(4))
    assert "after 4 updates" in card
    assert "| 24.0% (" in card
    assert "| 50.0% (" in card
    assert "80.8%" not in card
    assert "tokens of all 4 steps" in card


def test_hub_names_stand_in_the_head(tmp_path: Path) -> None:
    run = finished(tmp_path)
    document = run.settings().model_dump(mode="json")
    document["student"]["model"] = "Qwen/Qwen2.5-0.5B"
    document["task"] = {"kind": "gsm8k", "train": {"hub": "openai/gsm8k", "subset": "main"}}
    head = yaml.safe_load(model_card(run, parse_config(document), 8, run.checkpoint(8)).split("---\n")[1])
    assert head["base_model"] == "Qwen/Qwen2.5-0.5B"
    assert head["datasets"] == ["openai/gsm8k"]


def test_damaged_records_are_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.metrics.write_text('{"step": 0}\n{"step": 1}\n')
    append_record(run.evals, {"step": 8, "split": 3})
    card = model_card(run, run.settings(), 8, run.checkpoint(8))
    assert f'The run\'s records could not be read: {run.evals}, line 4: field "split" is 3' in card
    assert f"The run's records could not be read: {run.metrics}, line 1" in card
    assert "| teacher | models/chain-teacher |" in card


def test_a_run_without_evaluations_says_so(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.evals.unlink()
    assert "The run was not evaluated." in model_card(run, run.settings(), 8, run.checkpoint(8))


def test_bounds_on_record_are_taken_and_others_are_not_made_up(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.evals.unlink()
    mark = {"step": 8, "split": "eval", "n": 10, "unmarked": 0, "eval_s": 1.0}
    append_record(
        run.evals, {**mark, "metric": "rouge_l", "value": 0.3, "interval": {"low": 0.2, "high": 0.4}}
    )
    append_record(run.evals, {**mark, "metric": "rouge_1", "value": 0.5})
    first, second = results_of(run, 8)
    assert first.after.words == "30.0% (20.0% to 40.0%)"
    assert second.after.words == "50.0%"
    assert first.before is None


def config(**changes: object) -> RunConfig:
    document: dict[str, object] = {
        "name": "run",
        "task": {"kind": "jsonl", "train": {"path": "/home/me/train.jsonl"}, "system_prompt": "/no_think"},
        "teacher": {"url": "http://10.0.0.7:8000", "serve": {"model": "/models/big/", "host": "10.0.0.7"}},
        "student": {"model": "/models/small"},
    }
    document["task"]["chat_template"] = True
    return parse_config(document | changes)


def test_addresses_and_the_folders_of_ones_machine_are_nobody_elses_business() -> None:
    shown = shown_settings(config(runs_dir="/secret", ray={"address": "ray://10.0.0.7:1"}))
    assert "10.0.0.7" not in str(shown)
    assert "/home/me" not in str(shown)
    assert "secret" not in str(shown)
    assert shown["student"]["model"] == "small"
    assert shown["teacher"]["serve"]["model"] == "big"
    assert shown["task"]["train"]["path"] == "train.jsonl"
    assert shown["task"]["system_prompt"] == "/no_think"


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"kind": "adaswitch"}, None),
        ({"kind": "adaswitch", "factor": 2.0}, {"kind": "adaswitch", "factor": 2.0}),
        ({"kind": "on_policy"}, {"kind": "on_policy"}),
    ],
)
def test_a_rule_is_shown_with_its_kind_if_anything_of_it_is_not_the_default(policy, shown) -> None:
    assert shown_settings(config(policy=policy)).get("policy") == shown


def test_the_shown_settings_make_the_same_run_again() -> None:
    again = config(policy={"kind": "skd"}, trainer={"loss": {"kind": "jsd"}})
    made = parse_config(shown_settings(again))
    assert (made.policy, made.trainer, made.task.kind) == (again.policy, again.trainer, again.task.kind)
