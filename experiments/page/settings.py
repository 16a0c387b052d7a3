"""The settings of a comparison: what differs between its methods, and what they have in common."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adaswitch.config.described import Setting, settings_of, written
from adaswitch.config.run import RunConfig
from adaswitch.pages.settings import leaves, settings_table
from experiments.page.found import Found, FoundCell

Values = Mapping[str, str]
"""Settings in words, by path."""
NOT_THERE = "-"


def settings_by_method(found: Found) -> dict[str, Any]:
    """Which settings each method has other than the reference, and the settings that all cells have.

    Cells are compared seed by seed, so that what belongs to a seed differs between no methods. Such settings are
    listed by themselves.
    """
    known = [cell for cell in found.cells if cell.config is not None]
    groups = {setting.path: setting for setting in settings_of(RunConfig)}
    values = {(cell.method, cell.seed): _values(cell, groups) for cell in known}
    reference = found.plan.reference
    differing = [row for method in found.plan.methods for row in _other(found, values, method, reference)]
    taken = {row["path"] for row in differing} | _not_in_all(values)
    by_seed = _by_seed(known, values, taken)
    config = next((cell.config for cell in (*found.of_method(reference), *known) if cell.config), None)
    common = [] if config is None else settings_table(config)
    return {
        "differing": differing,
        "by_seed": by_seed,
        "common": [row for row in common if row["path"] not in {*taken, *by_seed}],
        "plan": found.plan_text,
    }


def _values(cell: FoundCell, groups: Mapping[str, Setting]) -> Values:
    assert cell.config is not None
    document = cell.config.model_dump(mode="json")
    return {path: written(value) for path, value in leaves(document, groups)}


def _other(
    found: Found, values: Mapping[tuple[str, int], Values], method: str, reference: str
) -> Iterator[dict[str, str]]:
    """The settings of ``method`` that are others than the reference's, in the first seed that has both."""
    if method == reference:
        return
    for seed in found.plan.seeds:
        own, theirs = values.get((method, seed)), values.get((reference, seed))
        if own is None or theirs is None:
            continue
        # A setting that only the reference has belongs to a kind that this method does not have.
        for path, value in own.items():
            if path != "name" and value != theirs.get(path):
                pair = {"value": value, "reference": theirs.get(path, NOT_THERE)}
                yield {"method": method, "path": path, **pair}
        return


def _not_in_all(values: Mapping[tuple[str, int], Values]) -> set[str]:
    """The settings that some cells have and others have not."""
    sets: list[set[str]] = [set(paths) for paths in values.values()]
    return sets[0].union(*sets) - sets[0].intersection(*sets) if sets else set()


def _by_seed(
    cells: Sequence[FoundCell], values: Mapping[tuple[str, int], Values], taken: set[str]
) -> dict[str, list[str]]:
    """By path, the values of settings that differ between the seeds of a method: each with its seed."""
    found: dict[str, list[str]] = {}
    by_method: dict[str, list[FoundCell]] = {}
    for cell in cells:
        by_method.setdefault(cell.method, []).append(cell)
    for of_method in by_method.values():
        for path in values[of_method[0].method, of_method[0].seed]:
            each = {cell.seed: values[cell.method, cell.seed].get(path, NOT_THERE) for cell in of_method}
            if path not in {*taken, *found} and len(set(each.values())) > 1:
                found[path] = [f"{seed}: {value}" for seed, value in each.items()]
    return found
