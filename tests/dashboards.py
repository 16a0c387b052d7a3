"""All queries of the Grafana dashboard and of the alerts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.promql import Exposition, asked

OBSERVABILITY = Path(__file__).parents[1] / "docker" / "observability"
DASHBOARD: dict[str, Any] = json.loads(
    (OBSERVABILITY / "grafana" / "adaswitch.json").read_text(encoding="utf-8")
)
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel["panels"] if panel["type"] == "row" else ()


def dashboard_queries() -> Iterator[tuple[str, str, str]]:
    """Title, query and legend of all that the dashboard asks."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


QUERIES = list(dashboard_queries())


def complaints(query: str, exposition: Exposition, names: str = ".*") -> list[str]:
    """What ``query`` does not find in ``exposition``, of the metrics whose names match ``names``."""
    return [
        complaint
        for one in asked(query)
        if re.fullmatch(names, one.name) and (complaint := one.complaint(exposition)) is not None
    ]


def complaints_of_all(exposition: Exposition, names: str) -> list[str]:
    """The same of all queries, which must ask for at least one such metric."""
    queries = [query for _, query, _ in QUERIES] + [rule["expr"] for rule in RULES]
    assert any(re.fullmatch(names, one.name) for query in queries for one in asked(query))
    return [complaint for query in queries for complaint in complaints(query, exposition, names)]
