"""What a PromQL query asks for: which metrics, with which labels. And an exposition, by metric and label sets."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

TARGET_LABELS = frozenset({"job", "instance"})
"""The labels that Prometheus gives every series that it scrapes."""
Exposition = Mapping[str, list[dict[str, str]]]
"""The label sets of each metric by its name."""


@dataclass(frozen=True)
class Asked:
    """One metric that a query selects, its matchers, and the labels by which it is grouped."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    """Label, operator, value."""
    groups: tuple[str, ...] = field(default=())

    def complaint(self, exposition: Exposition) -> str | None:
        """Why this finds nothing in ``exposition``; None if it finds something."""
        found = exposition.get(self.name)
        if not found:
            return f"{self.name} does not exist"
        for label in [label for label, _, _ in self.matchers] + list(self.groups):
            if label not in TARGET_LABELS and not any(label in labels for labels in found):
                return f"{self.name} has no label {label}"
        if not any(self._fits(labels) for labels in found):
            return f"{self.name} never has {self.matchers}"
        return None

    def _fits(self, labels: Mapping[str, str]) -> bool:
        return all(
            label in TARGET_LABELS or _matches(labels.get(label, ""), operator, value)
            for label, operator, value in self.matchers
        )


def _matches(present: str, operator: str, value: str) -> bool:
    match operator:
        case "=":
            return present == value
        case "!=":
            return present != value
        case "=~":
            return re.fullmatch(value, present) is not None
        case _:
            return re.fullmatch(value, present) is None


def asked(query: str) -> Iterator[Asked]:
    """All that ``query`` selects. Raises ``ValueError`` for what is no PromQL."""
    for variable, value in (("$__rate_interval", "5m"), ("$run", ".*")):
        query = query.replace(variable, value)
    yield from _asked(promql.parse(query), ())


def _asked(expression: promql.Expr, groups: tuple[str, ...]) -> Iterator[Asked]:
    match expression:
        case promql.VectorSelector():
            yield _selected(expression, groups)
        case promql.MatrixSelector():
            yield _selected(expression.vector_selector, groups)
        case promql.AggregateExpr():
            modifier = expression.modifier
            yield from _asked(expression.expr, groups + tuple(modifier.labels if modifier else ()))
        case promql.BinaryExpr():
            yield from _asked(expression.lhs, groups)
            yield from _asked(expression.rhs, groups)
        case promql.Call():
            for argument in expression.args:
                yield from _asked(argument, groups)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _asked(expression.expr, groups)
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise ValueError(f"{type(expression).__name__} is not known here")


OPERATORS = (
    (promql.MatchOp.Equal, "="),
    (promql.MatchOp.NotEqual, "!="),
    (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
)


def _selected(selector: promql.VectorSelector, groups: tuple[str, ...]) -> Asked:
    matchers = tuple(
        (matcher.name, next(text for op, text in OPERATORS if op == matcher.op), matcher.value)
        for matcher in selector.matchers.matchers
    )
    return Asked(selector.name, matchers, groups)


def exposed(text: str) -> dict[str, list[dict[str, str]]]:
    """The label sets of all samples in an exposition in Prometheus' text format."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found
