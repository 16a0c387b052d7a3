"""What the page of a comparison says: all of it where all can be read, and the rest where something cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from adaswitch.commands import cli
from adaswitch.commands.page import watch_run
from adaswitch.errors import DataError
from adaswitch.pages.embedding import embedded
from adaswitch.pages.html import COMPARISON, page_html
from adaswitch.pages.reading import Problems
from experiments.page.__main__ import main
from experiments.page.content import comparison_parts
from experiments.page.found import find
from experiments.page.writing import write_comparison_page
from experiments.plan import Plan, cells, load_plan
from experiments.report import write_report
from experiments.results import read_results
from tests.comparison import looked_at
from tests.service_fixtures import inside

app = typer.Typer()
app.command()(main)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return looked_at(tmp_path)


def figures(folder: Path) -> dict[str, Any]:
    return comparison_parts(folder)["figures"]


def lines_of(found: dict[str, Any], key: str) -> dict[str, Any]:
    (chart,) = [chart for chart in found["curves"]["charts"] if chart["key"] == key]
    return {line["method"]: line for line in chart["lines"]}


def test_tables_hold_means_and_paired_differences(folder: Path) -> None:
    found = figures(folder)
    assert found["problems"] == []
    assert (found["title"], found["num_complete"], found["num_cells"]) == ("Two methods", 4, 4)
    table = found["tables"][0]
    assert (table["head"], table["columns"]) == ("After the last step", ["exact match"])
    reference, other = (row["cells"][0] for row in table["rows"])
    assert reference["mean"] == "0.480 ± 0.254"
    assert reference["by_seed"] == "3: 0.460, 5: 0.500"
    assert reference["difference"] is None
    assert other["difference"]["text"] == "+0.100 ± 0.000"
    assert other["difference"]["clear"]
    assert other["difference"]["low"] == pytest.approx(0.1)
    assert found["costs"]["rows"][1]["cells"][0] == "2"
    assert found["quality"]["points"][1]["costs"]["wall_s"] == 7.0
    assert found["quality"]["points"][1]["marks"][0]["mean"] == pytest.approx(0.58)
    assert "over seeds; strong where the paired difference from adaswitch" in found["meaning"]


def test_curves_have_bands_over_seeds(folder: Path) -> None:
    found = figures(folder)
    line = lines_of(found, "score eval exact_match")["off_policy"]
    assert line["step"] == [0, 1, 2]
    assert line["teacher_tokens"] == [0, 100, 200]
    assert line["train_s"] == [0.0, 0.25, 0.5]
    assert line["mean"] == pytest.approx([0.2, 0.48, 0.58])
    assert line["low"][2] == pytest.approx(0.58 - 0.2541, abs=1e-4)
    assert line["high"][0] == 0.2
    assert lines_of(found, "switch_rate")["adaswitch"]["mean"] == [0.5, 0.5]
    assert lines_of(found, "mean_switch_position")["adaswitch"]["step"] == [2]
    assert "bands are their 95% intervals" in found["curves"]["note"]


def test_with_one_seed_bands_are_over_prompts(tmp_path: Path) -> None:
    found = figures(looked_at(tmp_path, seeds=[3]))
    line = lines_of(found, "score eval exact_match")["adaswitch"]
    assert line["low"][0] == pytest.approx(0.0567, abs=1e-4)  # Wilson's of 2 in 10
    assert lines_of(found, "switch_rate")["adaswitch"]["low"] == [None, None]
    assert found["curves"]["note"].startswith("One seed")
    assert found["tables"][0]["rows"][0]["cells"][0]["mean"] == "0.460"


def test_a_band_of_a_mark_stays_within_what_a_share_can_be(tmp_path: Path) -> None:
    folder = looked_at(tmp_path)
    path = folder / "adaswitch-seed3" / "eval.jsonl"
    path.write_text(path.read_text().replace('"value": 0.46', '"value": 1.0'))
    line = lines_of(figures(folder), "score eval exact_match")["adaswitch"]
    assert (line["low"][2], line["high"][2]) == (0.0, 1.0)


def test_rollouts_of_the_same_prompt_stand_together(folder: Path) -> None:
    found = comparison_parts(folder)["rollouts"]
    assert (found["seed"], found["methods"], found["prompts"]) == (3, ["adaswitch", "off_policy"], 4)
    keys = [(rollout["step"], rollout["record"], rollout["method"]) for rollout in found["rollouts"]]
    assert keys[:2] == [(0, 1, "adaswitch"), (0, 1, "off_policy")]
    assert len(keys) == 8
    texts = ["".join(rollout["pieces"]) for rollout in found["rollouts"][:2]]
    assert texts == ["3+5=8; adaswitch at 0", "3+5=8; off_policy at 0"]
    # Both have one vocabulary, which is there once.
    assert len(found["tokens"]) == 1
    assert {rollout["vocabulary"] for rollout in found["rollouts"]} == {0}
    assert found["problems"] == []


def test_the_rollouts_are_of_the_seed_that_most_methods_keep_them_of(folder: Path) -> None:
    shutil.rmtree(folder / "off_policy-seed3" / "rollouts")
    found = comparison_parts(folder)["rollouts"]
    assert (found["seed"], found["methods"]) == (5, ["adaswitch", "off_policy"])


def test_a_page_stays_small_whatever_the_runs_have_kept(folder: Path) -> None:
    whole = comparison_parts(folder)["rollouts"]["rollouts"]
    size = len(embedded(whole).encode())
    found = comparison_parts(folder, rollout_bytes=size // 2)["rollouts"]
    assert 0 < found["prompts"] < 4
    assert len(embedded(found["rollouts"]).encode()) <= size // 2 + 500


def test_settings_tell_what_differs_by_method_and_by_seed(folder: Path) -> None:
    found = figures(folder)["settings"]
    rows = {row["path"]: row for row in found["differing"]}
    assert rows["policy.kind"] == {
        "method": "off_policy",
        "path": "policy.kind",
        "value": "off_policy",
        "reference": "adaswitch",
    }
    assert "policy.factor" not in rows
    assert found["by_seed"]["task.seed"] == ["3: 3", "5: 5"]
    assert "name" not in rows
    common = {row["path"] for row in found["common"]}
    assert "trainer.num_steps" in common
    assert not common & {*rows, *found["by_seed"], "policy.factor"}
    assert "off_policy" in found["plan"]


def test_the_environment_names_the_cells_that_differ(folder: Path) -> None:
    path = folder / "off_policy-seed5" / "attempts" / "1" / "environment.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "memory": "1 GiB"}))
    found = figures(folder)["environment"]
    assert found["Python"] == document["Python"]
    assert found["memory"] == f"{document['memory']}; 1 GiB (off_policy-seed5)"


def test_a_comparison_under_way_shows_where_each_run_stands(folder: Path) -> None:
    shutil.rmtree(folder / "off_policy-seed5")
    (folder / "off_policy-seed3" / "finished.json").unlink()
    found = figures(folder)
    states = {(cell["method"], cell["seed"]): cell["state"] for cell in found["cells"]}
    assert (
        states
        == {
            ("adaswitch", 3): "complete",
            ("off_policy", 3): "?",
            ("adaswitch", 5): "complete",
            ("off_policy", 5): "not begun",
        }
        or states[("off_policy", 5)] == "not begun"
    )
    assert found["num_complete"] == 2
    assert [row["method"] for row in found["tables"][0]["rows"]] == ["adaswitch"]
    assert found["problems"] == []


def test_what_is_damaged_is_named_and_the_rest_shown(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    write_report(read_results(plan, cells(plan)), folder, "a machine")
    (folder / "plan.yaml").write_text("name: [")
    (folder / "results.json").write_text("[]")
    (folder / "adaswitch-seed5" / "metrics.jsonl").write_text('{"step": 0}\n')
    (folder / "off_policy-seed5" / "finished.json").write_text("{")
    (folder / "off_policy-seed3" / "cell.yaml").write_text("policy: 7\n")
    (folder / "off_policy-seed3" / "attempts" / "1" / "environment.json").write_text("[]")
    shard = folder / "adaswitch-seed3" / "rollouts" / "step-000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    parts = comparison_parts(folder)
    words = "\n".join(parts["figures"]["problems"])
    for told in (
        "plan.yaml",
        "results.json: damaged",
        "read off the names of folders",
        'adaswitch-seed5/metrics.jsonl, line 1: no field "student_tokens"',
        "off_policy-seed5/finished.json: damaged",
        "off_policy-seed3/cell.yaml",
        "environment.json: the file is damaged",
    ):
        assert told in words
    rows = parts["figures"]["tables"][0]["rows"]
    assert [(row["method"], row["cells"][0]["by_seed"]) for row in rows] == [
        ("adaswitch", "3: 0.460"),
        ("off_policy", "3: 0.560"),
    ]
    assert "step-000001.safetensors" in str(parts["rollouts"]["problems"])
    assert {rollout["step"] for rollout in parts["rollouts"]["rollouts"]} == {0, 1}
    page_html("two", parts, kind=COMPARISON)


def test_a_comparison_of_an_older_version_goes_by_its_folders(folder: Path) -> None:
    (folder / "plan.yaml").unlink()
    found = figures(folder)
    assert (found["reference"], found["seeds"]) == ("adaswitch", [3, 5])
    assert found["methods"] == ["adaswitch", "off_policy"]
    assert len(found["tables"]) == 2
    assert any("as in comparisons of older versions" in line for line in found["problems"])


def test_without_cells_the_tables_are_those_that_were_written(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    write_report(read_results(plan, cells(plan)), folder, "a machine")
    whole = figures(folder)
    (folder / "plan.yaml").unlink()
    for cell in folder.glob("*-seed*"):
        shutil.rmtree(cell)
    found = figures(folder)
    assert found["tables"] == whole["tables"]
    assert found["seeds"] == [3, 5]
    assert found["environment"] == {"machine of the report": "a machine"}
    assert any("the tables are those of" in line for line in found["problems"])
    document = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**document, "rows": [7]}))
    found = figures(folder)
    assert found["tables"] == []
    assert any("of another version" in line for line in found["problems"])


def test_a_comparison_that_has_only_begun_has_a_page(folder: Path) -> None:
    for cell in folder.glob("*-seed*"):
        shutil.rmtree(cell)
    parts = comparison_parts(folder)
    assert parts["figures"]["problems"] == []
    assert {cell["state"] for cell in parts["figures"]["cells"]} == {"not begun"}
    assert parts["rollouts"]["rollouts"] == []
    page_html("two", parts, kind=COMPARISON)


def test_folders_that_are_of_no_method_are_named(folder: Path) -> None:
    shutil.copytree(folder / "adaswitch-seed3", folder / "skd-seed3")
    assert any("skd-seed3: of no method and seed of the plan" in line for line in figures(folder)["problems"])


@pytest.mark.parametrize(
    "records", ["", '{"step": 9, "split": "eval", "metric": "m", "value": 1.0, "n": 1}\n']
)
def test_evaluations_and_steps_that_do_not_fit_are_damage(folder: Path, records: str) -> None:
    name = "eval.jsonl" if records else "metrics.jsonl"
    (folder / "adaswitch-seed3" / name).write_text(records)
    (line,) = figures(folder)["problems"]
    assert "adaswitch-seed3: its records are damaged" in line


def test_numbers_that_are_none_end_nothing(folder: Path) -> None:
    path = folder / "adaswitch-seed3" / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    odd = [{**record, "loss": float("nan"), "mean_divergence": "x"} for record in records]
    path.write_text("".join(json.dumps(record) + "\n" for record in odd))
    page_html("two", comparison_parts(folder), kind=COMPARISON)


def test_the_page_is_written_into_the_folder_or_elsewhere(folder: Path, tmp_path: Path) -> None:
    done = inside(app, str(folder))
    assert done.returncode == 0, done.stdout
    assert "page.html" in done.stdout
    other = write_comparison_page(folder, tmp_path / "other.html")
    assert other.file.read_bytes() == (folder / "page.html").read_bytes()
    done = inside(app, str(folder), "--out", str(tmp_path / "gone" / "page.html"))
    assert done.returncode == 2
    assert "--out:" in done.stdout


def test_what_could_not_be_read_is_said(folder: Path) -> None:
    (folder / "plan.yaml").unlink()
    assert "note: " in inside(app, str(folder)).stdout


def test_a_folder_without_a_comparison_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no comparison is here"):
        comparison_parts(tmp_path)
    assert inside(app, str(tmp_path)).returncode == 2


def test_the_command_for_a_page_knows_a_comparison(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []

    def become(module: str, arguments: list[str]) -> None:
        became.append((module, arguments))
        raise SystemExit(0)

    monkeypatch.setattr(cli, "_become", become)
    assert inside(cli.app, "page", str(folder), "--out", "x.html").returncode == 0
    assert became == [("experiments.page", [str(folder), "--out", "x.html"])]
    inside(cli.app, "page", str(folder / "adaswitch-seed3"), "--out", str(folder / "run.html"))
    assert len(became) == 1


def test_a_comparison_is_not_followed_as_one_run(folder: Path) -> None:
    with pytest.raises(DataError, match="adaswitch page"):
        watch_run(folder, 8090, console=None)  # type: ignore[arg-type]


def test_the_plan_that_is_kept_is_read_again_as_it_was(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    assert isinstance(plan, Plan)
    assert find(folder, Problems()).plan == plan
