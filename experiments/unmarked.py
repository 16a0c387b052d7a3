"""Counts each method's completions that could not be marked: a mean over the other completions must say so."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.evaluated import NONE_UNMARKED, Unmarked
from experiments.results import CellResult, Results

BySplit = Mapping[str, Unmarked]
UNMARKED = "Could not be marked"
ON_THE_WAY = "equal_teacher_tokens"
"""The table whose values lie between two evaluations."""


def unmarked_of(results: Results) -> dict[str, list[dict[str, Any]]]:
    """For each table of ``results.json``, by its name: an entry for each method and split with unmarked completions."""
    labels, has_common = results.plan.evaluations, results.common_teacher_tokens() > 0
    return {
        "rows": _entries(results, _at_end),
        ON_THE_WAY: _entries(results, _on_the_way) if has_common else [],
        "evaluations": [entry for label in labels for entry in _entries(results, _of_evaluation(label))],
    }


def unmarked_note(entries: Sequence[Mapping[str, Any]], table: str) -> str:
    """The note under a ``table``: how many completions of each method were not marked; empty if all were."""
    if not entries:
        return ""
    counts = "; ".join(
        f"{entry['method']} {entry['unmarked']:,} of {entry['of']:,} ({entry['split']})" for entry in entries
    )
    during = " in all evaluations on the way" if table == ON_THE_WAY else ""
    return f"{UNMARKED}{during}, and in no mean, neither right nor wrong: {counts}."


def _entries(results: Results, counted: Callable[[CellResult], BySplit]) -> list[dict[str, Any]]:
    """One entry for each method and split with unmarked completions, summed over seeds."""
    entries = []
    for method, by_seed in results.cells.items():
        counts = {seed: counted(cell) for seed, cell in by_seed.items()}
        for split in dict.fromkeys(split for found in counts.values() for split in found):
            of_split = {seed: found[split] for seed, found in counts.items() if split in found}
            total = _sum(of_split.values())
            if total.unmarked:
                by = {seed: count.unmarked for seed, count in of_split.items()}
                entry = {"method": method, "split": split, "unmarked": total.unmarked, "of": total.of}
                entries.append({**entry, "by_seed": by})
    return entries


def _sum(counts: Iterable[Unmarked]) -> Unmarked:
    return sum(counts, NONE_UNMARKED)


def _at_end(cell: CellResult) -> BySplit:
    return {split: by_step[max(by_step)] for split, by_step in cell.unmarked.items()}


def _on_the_way(cell: CellResult) -> BySplit:
    """The counts of all evaluations during training, as a value between two of them depends on both."""
    return {split: _sum(by_step.values()) for split, by_step in cell.unmarked.items()}


def _of_evaluation(label: str) -> Callable[[CellResult], BySplit]:
    def counted(cell: CellResult) -> BySplit:
        found = cell.evaluations.get(label)
        return {} if found is None else {f"{label}, {split}": n for split, n in found.unmarked.items()}

    return counted
