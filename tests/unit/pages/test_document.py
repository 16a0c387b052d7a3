"""What a page says of a run: all of it where all can be read, and the rest where something cannot."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from adaswitch.errors import DataError
from adaswitch.pages.document import PageSource
from adaswitch.pages.embedding import embedded
from adaswitch.pages.html import page_html
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.shards import save_rollouts
from tests.pages import PROMPT, begun_run, page_run, record_step, text_rollout


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return page_run(tmp_path)


def figures(run: RunDirectory) -> dict:
    return PageSource.open(run.path).figures()


def test_the_verdict_says_before_and_after_with_intervals(run: RunDirectory) -> None:
    found = figures(run)
    assert found["problems"] == []
    main, harder = found["verdict"]["marks"]
    assert main["label"] == "exact match on 500 held-out prompts"
    assert (main["before"], main["after"], main["words"]) == ("24.0%", "80.0%", "better")
    assert main["after_interval"] == "76.3% to 83.3%"
    assert harder["label"] == "exact match on 500 prompts: harder"
    assert ["tokens written by the teacher", "240"] in [list(row) for row in found["verdict"]["totals"]]
    assert ["time", "14.0 s"] not in found["verdict"]["totals"]
    assert found["verdict"]["health"]["unknown"] == "3 steps say too little, 10 are needed"
    assert found["verdict"]["status"][0].startswith("starting: 0 of 8 steps, attempt 1")


def test_overlapping_intervals_are_no_clear_difference(tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    for step, value in ((0, 0.5), (4, 0.52)):
        score = {"split": "eval", "metric": "exact_match", "n": 50, "unmarked": 0, "eval_s": 1.0}
        append_record(run.evals, {"step": step, "value": value, **score})
    assert [row["words"] for row in figures(run)["verdict"]["marks"]] == ["no clear difference"]


def test_the_health_of_the_switch_says_what_to_try(tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    for step in range(12):
        record_step(run, step)
        line = run.metrics.read_text().splitlines()[-1]
        record = json.loads(line) | {
            "switch_rate": 1.0,
            "mean_switch_position": 11.0,
            "mean_completion_tokens": 36.0,
            "late_switch_rate": 0.3,
            "late_switch_rate_at_random": None,
        }
        lines = run.metrics.read_text().splitlines()[:-1]
        run.metrics.write_text("\n".join([*lines, json.dumps(record)]) + "\n")
    (found,) = figures(run)["verdict"]["health"]["found"]
    assert found["name"] == "excessive switching"
    assert "raise policy.factor" in found["advice"]
    assert found["is_fault"]
    conclusion = figures(run)["verdict"]["health"]["conclusion"]
    assert conclusion[-1] == "To be looked at: excessive switching. What to try stands beside each."


def test_settings_tell_what_differs_and_the_environment_what_it_ran_on(run: RunDirectory) -> None:
    found = figures(run)
    rows = {row["path"]: row for row in found["settings"]}
    assert rows["trainer.num_steps"]["differs"]
    assert rows["trainer.num_steps"]["value"] == "8"
    assert not rows["trainer.optimizer.weight_decay"]["differs"]
    assert rows["name"]["default"] == "required"
    assert rows["policy.kind"]["value"] == "adaswitch"
    assert {"Python", "processor", "memory", "torch", "transformers"} <= set(found["environment"])


def test_rollouts_hold_all_that_is_known_of_a_token(run: RunDirectory) -> None:
    found = PageSource.open(run.path).rollouts()
    assert (found["shown"], found["kept"], found["steps"]) == (6, 6, 3)
    first = found["rollouts"][0]
    assert first["prompt"] == PROMPT
    assert "".join(first["pieces"]) == "3+5=8; so #8 at 0"
    assert first["by"] == "00000" + "1" * 12
    assert first["switch"] == 5
    assert first["divergences"][5] == 1.5
    assert first["thresholds"][:3] == [None, None, 0.4]
    tokens = found["tokens"]
    assert len(first["top"]) == 5 * len(first["ids"])
    assert tokens[first["top"][0]] == "3"
    assert first["chances"][0] > 3000
    assert first["own_chances"][:5] == [5000, 2000, 1000, 500, 100]
    assert "answers are not marked" not in str(found["problems"])


def test_a_page_stays_small_whatever_the_run_has_kept(tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    for step in range(12):
        record_step(run, step, [text_rollout(step, i, "<" * 200) for i in range(8)])
    found = PageSource.open(run.path, rollout_bytes=100_000).rollouts()
    assert 0 < found["shown"] < found["kept"] == 96
    assert len(embedded(found["rollouts"])) < 101_000
    assert {rollout["step"] for rollout in found["rollouts"]} > {0, 11}


def test_a_run_of_a_thousand_steps_is_a_page_below_five_megabytes(tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    record_step(run, 0)
    record = json.loads(run.metrics.read_text())
    values = {name: value / 3 for name, value in record.items() if isinstance(value, float)}
    lines = [json.dumps(record | values | {"step": step}) for step in range(1000)]
    run.metrics.write_text("\n".join(lines) + "\n")
    for step in range(0, 1000, 50):
        record_step(run, step, [text_rollout(step, i, "<&>" * 40, "so it ends" * 12) for i in range(32)])
    source = PageSource.open(run.path)
    parts = {"figures": source.figures(), "rollouts": source.rollouts()}
    assert parts["rollouts"]["shown"] < parts["rollouts"]["kept"]
    assert 3_000_000 < len(page_html("run", parts).encode()) < 5_000_000


def test_a_damaged_run_shows_the_rest_and_names_what_is_lost(run: RunDirectory) -> None:
    lines = run.metrics.read_text().splitlines()
    lines[1] = lines[1][:40]
    lines.append('{"step": 3, "loss": "high", "switch_rate": NaN}')
    run.metrics.write_text("\n".join(lines) + "\n")
    run.evals.write_bytes(b"\xff\xfe\n" * 5)
    run.status.write_text("{")
    (run.attempts / "1" / "environment.json").write_text("[]")
    shard = run.shards()[1]
    shard.write_bytes(shard.read_bytes()[:100])
    (run.path / "config.yaml").write_text("name: [")
    source = PageSource.open(run.path)
    found, rollouts = source.figures(), source.rollouts()
    words = "\n".join(found["problems"])
    assert "metrics.jsonl, line 2" in words
    assert "eval.jsonl, line 1: not UTF-8 text" in words
    assert "eval.jsonl: 2 more lines are damaged" in words
    assert "config.yaml" in words
    assert "environment.json: the file is damaged" in words
    assert found["verdict"]["status"][0].startswith("unknown, because of a damaged status")
    assert found["settings_text"] == "name: ["
    assert found["curves"]["points"]["step"] == [1, 3, 4]
    assert "step-000001.safetensors" in str(rollouts["problems"])
    assert {rollout["step"] for rollout in rollouts["rollouts"]} == {0, 2}
    assert "".join(rollouts["rollouts"][0]["pieces"]).startswith("3+5=8")
    page_html("run", {"figures": found, "rollouts": rollouts})


def test_a_shard_that_is_damaged_behind_its_head_hides_no_other(run: RunDirectory) -> None:
    shard = run.shards()[1]
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"adaswitch-rollouts-1", b"adaswitch-rollouts-9"))
    found = PageSource.open(run.path).rollouts()
    assert found["shown"] == 4
    assert "not rollouts of the form" in found["problems"][0]


def test_numbers_and_names_that_make_no_sense_end_nothing(run: RunDirectory) -> None:
    for line in (
        '{"step": "x", "loss": 1.0}',
        '{"step": 7, "loss": 1e999, "staleness": 1' + "0" * 400 + "}",
        '{"step": 8, "queue_depth": -Infinity, "switch_rate": true}',
    ):
        with run.metrics.open("a") as file:
            file.write(line + "\n")
    odd = {"split": "eval", "metric": "exact_match", "unmarked": 0, "eval_s": 1.0}
    with run.evals.open("a") as file:
        for value, interval in ((0.5, {"low": math.nan, "high": 1.0}), (7.5, None), (0.5, "wide")):
            file.write(json.dumps({"step": 3, "value": value, "n": 9, "interval": interval, **odd}) + "\n")
    (run.path / "notes.txt").write_bytes(b"\xff\n")
    (run.rollouts / "step-last.safetensors").write_bytes(b"")
    source = PageSource.open(run.path)
    found = source.figures()
    assert found["curves"]["points"]["step"] == [1, 2, 3, 8, 9]
    assert any("lack step" in line for line in found["problems"])
    assert source.rollouts()["shown"] == 6
    page_html("run", {"figures": found, "rollouts": source.rollouts()})


def test_ids_below_zero_are_a_damaged_shard(run: RunDirectory) -> None:
    rollout = text_rollout(0, 0, "ab")
    save_rollouts(run, 0, [replace(rollout, completion_token_ids=(-5, 3)), rollout])
    found = PageSource.open(run.path).rollouts()
    assert "a token has an id below 0" in found["problems"][0]
    assert found["shown"] == 5


def test_records_of_another_version_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    for step in range(3):
        append_record(run.metrics, {"step": step, "loss": 1.0})
    found = figures(run)
    assert "3 of 3 records lack" in found["problems"][0]
    assert [chart["key"] for chart in found["curves"]["charts"]] == ["loss"]
    assert found["verdict"]["figures"] == []


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    source = PageSource.open(begun_run(tmp_path).path)
    found = source.figures()
    assert found["problems"] == []
    assert found["verdict"]["health"]["unknown"] == "this run has not done a step yet"
    assert source.rollouts()["rollouts"] == []


def test_a_run_is_named_by_its_folder_from_wherever_it_is_looked_at(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path)
    assert PageSource.open(".").figures()["verdict"]["name"] == "run"


def test_a_run_that_is_removed_while_it_is_looked_at_is_said_to_be_unreadable(run: RunDirectory) -> None:
    source = PageSource.open(run.path)
    shutil.rmtree(run.path)
    assert "config.yaml: the run has lost its settings" in source.figures()["problems"][0]
    assert source.rollouts()["rollouts"] == []


def test_rollouts_without_a_tokenizer_show_their_ids(run: RunDirectory) -> None:
    shutil.rmtree(run.path / "tokenizer")
    (run.path / "config.yaml").unlink()
    found = PageSource.open(run.path).rollouts()
    assert found["rollouts"][0]["pieces"][0].startswith("⟨")
    assert "no folder" in " ".join(found["problems"])


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match="no run is here"):
            PageSource.open(path)
