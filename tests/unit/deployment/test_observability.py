"""Dashboard, alerts and Prometheus' configuration: every query finds something in what the parts really serve."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaswitch.config.run import RunConfig
from adaswitch.runs.config_files import load_config
from adaswitch.runs.exported import COUNTER, FAMILIES, RUN, SOURCE
from tests.dashboards import DASHBOARD, OBSERVABILITY, QUERIES, RULES, complaints, panels
from tests.exposition import runs_exposition, teacher_exposition
from tests.promql import TARGET_LABELS, Asked, Exposition, asked, exposed
from tests.teacher_metrics import rows as teacher_rows

ROOT = Path(__file__).parents[3]
PROMETHEUS = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text(encoding="utf-8"))
MONITORING = ROOT / "deploy" / "monitoring"
JOBS = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
OWN = r"(?!vllm:|ray_).*"
"""All but the metrics of vLLM and of Ray, which the integration tests look for in their own processes."""
OF_PROMETHEUS: Exposition = {
    "up": [{"job": name, "instance": "x"} for name in JOBS],
    "ALERTS": [{"alertstate": "firing"}],
}
"""What Prometheus says itself."""


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> Exposition:
    runs = runs_exposition(tmp_path_factory.mktemp("runs"), "one", "two")
    teacher = asyncio.run(teacher_exposition())
    return {**exposed(runs), **exposed(teacher), **OF_PROMETHEUS}


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_every_query_of_the_dashboard_finds_something(
    title: str, query: str, legend: str, exposition: Exposition
) -> None:
    assert complaints(query, exposition, OWN) == []
    shown = set(re.findall(r"{{(\w+)}}", legend))
    for one in asked(query):
        own = {label for labels in exposition.get(one.name, ()) for label in labels}
        if re.fullmatch(OWN, one.name):
            # A title such as "Alerts firing" stands for all series, and names none.
            assert shown <= (set(one.groups) or own | TARGET_LABELS), one.name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_finds_something(rule: dict[str, Any], exposition: Exposition) -> None:
    assert complaints(rule["expr"], exposition, OWN) == []


def test_the_dashboards_variable_is_the_run(exposition: Exposition) -> None:
    [variable] = DASHBOARD["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
    assert variable["definition"] == variable["query"]["query"]
    assert {labels[label] for labels in exposition[metric]} == {"one", "two"}
    assert (variable["name"], variable["multi"], variable["includeAll"]) == ("run", True, True)


def test_what_is_of_a_run_is_asked_and_shown_by_run() -> None:
    for title, query, legend in QUERIES:
        for one in asked(query):
            if one.name in FAMILIES:
                assert (RUN, "=~", ".*") in one.matchers, title
                assert RUN in one.groups, title
                assert "{{run}}" in legend, title


def test_counters_are_asked_by_their_rate_and_gauges_as_they_are() -> None:
    for query in [query for _, query, _ in QUERIES] + [rule["expr"] for rule in RULES]:
        for one in asked(query):
            if one.name in FAMILIES:
                is_rate = f"rate({one.name}" in query
                assert is_rate == (FAMILIES[one.name].kind == COUNTER), query


def test_every_metric_is_served_with_its_labels_and_follows_prometheus_conventions(
    exposition: Exposition,
) -> None:
    for name, family in FAMILIES.items():
        assert re.fullmatch(r"adaswitch_(trainer|queue|student)_[a-z_]+", name)
        assert name.endswith("_total") == (family.kind == COUNTER), name
        assert not re.search(r"_(s|ms|secs|bytes_total_bytes)(_|$)", name), name
        assert family.meaning.endswith("."), name
        for labels in exposition[name]:
            assert labels.keys() == {RUN, SOURCE, *family.labels}, name


def test_what_cannot_be_found_is_said() -> None:
    served = {"a_total": [{"run": "x", "kind": "y"}]}
    assert complaints("sum by (run) (rate(a_total{kind='y'}[5m]))", served) == []
    assert complaints("b_total", served) == ["b_total does not exist"]
    assert complaints("a_total{sort='y'}", served) == ["a_total has no label sort"]
    assert complaints("sum by (sort) (a_total)", served) == ["a_total has no label sort"]
    assert "never has" in complaints("1 - a_total{kind='z'}", served)[0]
    assert [one.name for one in asked("max_over_time(sum(x{a!='b'})[30m:15s]) or vector(0)")] == ["x"]
    assert next(asked("x{a!~'b'}")) == Asked("x", (("a", "!~", "b"),))


def test_no_panel_covers_another_and_ids_are_used_once() -> None:
    seen: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & seen, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        seen |= cells


def compose_config(file: str) -> RunConfig:
    command = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["services"]["trainer"]["command"]
    return load_config(ROOT / "configs/demo.yaml", command[2:])


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.ranks.yml"])
def test_prometheus_finds_the_runs_of_the_compose_files(file: str) -> None:
    config = compose_config(file)
    [where] = JOBS["runs"]["static_configs"]
    assert where["targets"] == [f"ray-head:{config.ray.metrics_port}"]
    assert config.ray.metrics_host == "0.0.0.0"


def monitors() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each PodMonitor's selector, and each of its endpoints."""
    for document in yaml.safe_load_all((MONITORING / "podmonitors.yaml").read_text(encoding="utf-8")):
        for endpoint in document["spec"]["podMetricsEndpoints"]:
            yield document["spec"]["selector"]["matchLabels"], endpoint


def test_on_kubernetes_the_same_jobs_are_found_at_ports_that_pods_have() -> None:
    [cluster] = yaml.safe_load_all((ROOT / "deploy/raycluster.yaml").read_text(encoding="utf-8"))
    [worker] = cluster["spec"]["workerGroupSpecs"]
    [teacher, *_] = yaml.safe_load_all((ROOT / "deploy/teacher.yaml").read_text(encoding="utf-8"))
    pods = {
        "teacher": teacher["spec"]["template"]["spec"],
        "ray-head": cluster["spec"]["headGroupSpec"]["template"]["spec"],
        "runs": cluster["spec"]["headGroupSpec"]["template"]["spec"],
        "student": worker["template"]["spec"],
    }
    found = {}
    for selector, endpoint in monitors():
        [relabeling] = endpoint["relabelings"]
        assert relabeling["targetLabel"] == "job"
        found[relabeling["replacement"]] = (selector, endpoint["port"])
    assert found.keys() == JOBS.keys() == pods.keys()
    ports = {}
    for job, (_, port) in found.items():
        named = {p["name"]: p["containerPort"] for p in pods[job]["containers"][0]["ports"]}
        ports[job] = named[port]
    config = load_config(ROOT / "deploy/run.yaml")
    assert ports["runs"] == config.ray.metrics_port
    assert config.ray.metrics_host == "0.0.0.0"
    assert found["teacher"][0] == teacher["spec"]["selector"]["matchLabels"]
    of_cluster = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert all(found[job][0].items() >= of_cluster.items() for job in ("ray-head", "runs", "student"))
    allowed = [
        port["port"]
        for document in yaml.safe_load_all((MONITORING / "networkpolicy.yaml").read_text(encoding="utf-8"))
        for rule in document["spec"]["ingress"]
        for port in rule["ports"]
    ]
    assert allowed == [ports["ray-head"], ports["runs"], found["teacher"][1]]


def test_the_variant_with_monitoring_is_all_that_lies_there() -> None:
    variant = yaml.safe_load((MONITORING / "kustomization.yaml").read_text(encoding="utf-8"))
    lying = {path.name for path in MONITORING.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(variant["resources"]) == {"..", *lying}


def test_the_docs_list_every_metric_as_it_is() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `adaswitch_")]
    of_teacher = [row for row in rows if row.startswith("| `adaswitch_teacher_")]
    assert of_teacher == teacher_rows(asyncio.run(teacher_exposition()))
    rows = rows[len(of_teacher) :]
    for row, (name, family) in zip(rows, FAMILIES.items(), strict=True):
        labels = ", ".join(f"`{label}`" for label in family.labels)
        assert row == f"| `{name}` | {family.kind} | {labels} | {family.meaning} |"
