"""Page, terminal, dashboard, trackers and docs call the same figures by the same words, those of one table."""

import json
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from adaswitch.config.run import RunConfig
from adaswitch.method.metrics import rollout_metrics
from adaswitch.pages import curves, verdict
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.exported import FAMILIES, ROLLOUT_PARTS, TOKEN_KINDS
from adaswitch.runs.figures import CHARTS, DASHBOARD, FIGURES
from adaswitch.runs.summary import print_summary, summarise
from adaswitch.runs.waits import who_waited
from tests.fakes import random_rollout
from tests.promql import asked
from tests.tracking import Told
from trainer import trackers
from trainer.figures import STEP_GAUGES
from trainer.recorder import Recorder
from trainer.trackers.base import Table
from trainer.update import Update

ROOT = Path(__file__).parents[3]
GRAFANA = json.loads((ROOT / "docker/observability/grafana/adaswitch.json").read_text(encoding="utf-8"))
SEEING = (ROOT / "docs" / "seeing.md").read_text(encoding="utf-8")
SECONDS = {"wait_s": 0.5, "update_s": 0.25, "publish_s": 0.125}
UPDATE = Update(1.0, 0.5, 2.0, 0.5, 1e-3, 28, 1.0)
ACTIVITIES = {
    "waiting": "waiting for rollouts",
    "updating": "forward, backward, optimizer",
    "publishing": "publishing weights",
    "evaluating": "evaluating",
    "other": "all else",
}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load_config("configs/demo.yaml", [f"runs_dir={tmp_path}", "trainer.num_steps=20"])


def trained(config: RunConfig, num_steps: int) -> RunDirectory:
    """A run with ``num_steps`` steps on record."""
    run = RunDirectory.create(config)
    recorder = Recorder(run, config, 0)
    metrics = rollout_metrics([random_rollout(seed) for seed in range(4)], 7)
    for step in range(num_steps):
        recorder.step(step, UPDATE, metrics, SECONDS, queue_depth=3)
    recorder.close()
    return run


def records(run: RunDirectory) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]


def test_every_figure_on_record_has_words_a_unit_and_one_sentence(config: RunConfig) -> None:
    [record] = records(trained(config, 1))
    assert record.keys() - {"step"} == FIGURES.keys() - {"eval_s"}
    assert {field.name for field in fields(Update)} <= FIGURES.keys()
    words = [figure.words for figure in FIGURES.values()]
    assert len(set(words)) == len(words)
    for figure in FIGURES.values():
        assert figure.meaning.endswith(".")
        assert ". " not in figure.meaning
        assert figure.words[0].islower()


def test_the_page_has_them() -> None:
    assert [chart.key for chart in curves.CHARTS] == list(CHARTS)
    for chart in curves.CHARTS:
        words = CHARTS[chart.key]
        assert (chart.title, chart.unit, chart.meaning) == (words.title, words.unit, words.meaning)
        for line in chart.lines:
            assert line.label == FIGURES[line.name].words


def test_the_top_of_the_page_and_the_terminal_have_them(
    config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(config, 2)
    line = capsys.readouterr().out.splitlines()[-1]
    assert f"  {FIGURES['loss'].brief} 1.0000  {FIGURES['switch_rate'].brief} 100%  " in line
    summary = summarise(run)
    assert summary is not None
    said = Console(file=StringIO(), width=200)
    print_summary(run, summary, {}, said)
    printed = said.file.getvalue()
    page = [row[0] for row in (*verdict._figures(summary), *verdict._totals(summary))]
    for name in ("loss", "switch_rate", "mean_switch_position"):
        assert FIGURES[name].label in page
        assert FIGURES[name].label in printed
    for name in ("wait_s", "update_s", "publish_s", "eval_s", *TOKEN_KINDS.values()):
        assert any(label.strip().endswith(FIGURES[name].words) for label in page), name
        assert FIGURES[name].words in printed
    for name in ROLLOUT_PARTS.values():
        assert f"a rollout: {FIGURES[name].words}" in printed


def test_the_doctor_has_them(config: RunConfig) -> None:
    waits = who_waited(config, records(trained(config, 10)))
    assert waits is not None
    for name in ROLLOUT_PARTS.values():
        assert f"in {FIGURES[name].words}" in waits.evidence
    assert FIGURES["wait_s"].words.removeprefix("waiting ") in waits.evidence


def test_trackers_have_their_names_and_explain_them(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(trackers, "_make", lambda name, place: told)
    trained(config, 1)
    [scalars] = [call[1] for call in told.calls if call[0] == "scalars"]
    [table] = [call[1] for call in told.calls if call[0] == "table"]
    assert isinstance(scalars, dict)
    assert isinstance(table, Table)
    rows = {f"train/{name}": (each.words, each.unit, each.meaning) for name, each in FIGURES.items()}
    assert {row[0]: row[1:] for row in table.rows} == {
        n: row for n, row in rows.items() if n != "train/eval_s"
    }
    assert scalars.keys() <= rows.keys()


def figure_words() -> dict[tuple[str, tuple[tuple[str, str], ...]], str]:
    """For each metric and its labels the words that its curve has."""
    found = {
        (name, tuple(labels.items())): FIGURES[figure].words for figure, (name, labels) in STEP_GAUGES.items()
    }
    for kind, figure in TOKEN_KINDS.items():
        found["adaswitch_student_tokens_total", (("kind", kind),)] = FIGURES[figure].words
    for activity, words in ACTIVITIES.items():
        found["adaswitch_trainer_seconds_total", (("activity", activity),)] = words
    found["adaswitch_queue_rollouts", ()] = FIGURES["queue_depth"].words
    return found


def test_the_dashboard_has_them() -> None:
    titles = {words.title: words.meaning for words in (*CHARTS.values(), *DASHBOARD.values())}
    known, seen = figure_words(), set()
    for panel in GRAFANA["panels"]:
        for target in panel.get("targets", ()):
            found = [one for one in asked(target["expr"]) if one.name in FAMILIES]
            if not found:
                continue
            assert panel["title"] in titles
            told = panel["description"]
            assert told.startswith(titles[panel["title"]]) or panel["title"] == CHARTS["queue"].title
            labels = tuple((name, value) for name, operator, value in found[0].matchers if operator == "=")
            if len(found) == 1 and (found[0].name, labels) in known:
                assert target["legendFormat"] == f"{{{{run}}}}: {known[found[0].name, labels]}"
                seen.add((found[0].name, labels))
    assert known.keys() - seen <= {
        ("adaswitch_trainer_queue_rollouts", ()),
        ("adaswitch_trainer_step_seconds", ()),
    }


def test_the_activities_on_the_dashboard_are_those_of_the_trainer() -> None:
    for name, activity in (("wait_s", "waiting"), ("update_s", "updating"), ("publish_s", "publishing")):
        assert ACTIVITIES[activity] == FIGURES[name].words
    assert ACTIVITIES["evaluating"] == FIGURES["eval_s"].words


def test_the_docs_explain_each_in_a_sentence() -> None:
    rows = SEEING.splitlines()
    for name, figure in FIGURES.items():
        assert f"| {figure.words} | {figure.unit or '-'} | `{name}` | {figure.meaning} |" in rows
    for chart in (*CHARTS.values(), *DASHBOARD.values()):
        assert f"| {chart.title} | {chart.meaning} |" in rows
    result = SEEING[SEEING.index("## The result") : SEEING.index("## The curves")]
    for name in ("loss", "switch_rate", "mean_switch_position"):
        assert f"| {FIGURES[name].label} |" in result
    for name in ("wait_s", "update_s", "publish_s", "eval_s", *TOKEN_KINDS.values()):
        assert FIGURES[name].words in result
