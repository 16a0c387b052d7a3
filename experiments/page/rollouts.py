"""Rollouts of the same prompt by different methods: of one seed, in the same steps."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaswitch.pages.document import PageSource
from adaswitch.pages.reading import Problems
from adaswitch.pages.rollouts import TOP
from adaswitch.pages.sampling import MAX_STEPS, coarse_to_fine
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import shards_by_step
from experiments.page.found import Found, FoundCell

PER_STEP = 2
"""The number of prompts that each visit to a step adds."""
MAX_CELLS_NAMED = 3

Content = dict[str, Any]


@dataclass(frozen=True)
class _Kept:
    """The rollouts that one method keeps."""

    cell: FoundCell
    source: PageSource
    shards: Mapping[int, Path]


def rollouts_by_method(found: Found, budget: int, say: Callable[[str], None]) -> Content:
    """Rollouts of the same prompts by as many methods as keep them, as many as take ``budget`` bytes.

    They are of the seed that most methods keep rollouts of. ``say`` is told what is being done, for people.
    """
    problems = Problems()
    seed, kept = _of_best_seed(found, problems)
    groups = _Groups(kept, say)
    shown = groups.within(budget)
    for source, lines in groups.problems.items():
        for line in lines:
            problems.add(f"{source}: {line}")
    tokens, places = _vocabularies(shown, kept)
    return {
        "rollouts": [
            {**content, "method": method, "vocabulary": places[method]}
            for group in shown
            for method, content in group.items()
        ],
        "tokens": tokens,
        "prompts": len(shown),
        "seed": seed,
        "methods": list(kept),
        "top": TOP,
        "problems": problems.lines,
    }


def _of_best_seed(found: Found, problems: Problems) -> tuple[int | None, dict[str, _Kept]]:
    """The seed that most methods keep rollouts of, and what they keep of it. The first such seed."""
    best: tuple[int | None, dict[str, _Kept]] = (None, {})
    for seed in found.plan.seeds:
        kept = {}
        for cell in found.cells:
            run, none = RunDirectory(cell.folder), dict[int, Path]()
            if cell.seed == seed and (shards := problems.without(lambda r=run: shards_by_step(r), none)):  # type: ignore[misc]
                kept[cell.method] = _Kept(cell, PageSource(run), shards)
        if len(kept) > len(best[1]):
            best = seed, kept
    return best


class _Groups:
    """Chooses prompts, and collects the rollouts of each by method."""

    def __init__(self, kept: Mapping[str, _Kept], say: Callable[[str], None]) -> None:
        self._kept = kept
        self._problems = {method: Problems() for method in kept}
        self._records: dict[tuple[str, int], Sequence[int]] = {}
        for method, each in kept.items():
            say(f"reading rollouts of {method}")
            # Opened here, since that takes seconds for each.
            assert each.source.gallery is not None

    @property
    def problems(self) -> dict[str, list[str]]:
        """What could not be read, by the names of the methods that it happened to."""
        by_line: dict[str, list[str]] = defaultdict(list)
        for method, each in self._kept.items():
            for line in (*each.source.lasting.lines, *self._problems[method].lines):
                by_line[line].append(method)
        found: dict[str, list[str]] = defaultdict(list)
        for line, methods in by_line.items():
            more = len(methods) - MAX_CELLS_NAMED
            names = ", ".join(methods[:MAX_CELLS_NAMED]) + (f" and {more} more" if more > 0 else "")
            found[names].append(line)
        return found

    def within(self, budget: int) -> list[dict[str, Content]]:
        """The groups that fit in ``budget``, by step: the content of each method's rollout of one prompt."""
        order = list(self._order())
        wanted: dict[tuple[str, int], list[int]] = defaultdict(list)
        for step, indices in order:
            for method, index in indices.items():
                wanted[method, step].append(index)
        found, left = list[tuple[int, dict[str, Content]]](), budget
        for step, indices in order:
            group = {}
            for method, index in indices.items():
                shown = self._one(method, step, index, wanted[method, step])
                if shown is not None:
                    group[method], size = shown
                    left -= size
            if left < 0:
                break
            if group:
                found.append((step, group))
        return [group for _, group in sorted(found, key=lambda pair: pair[0])]

    def _one(self, method: str, step: int, index: int, wanted: Sequence[int]) -> tuple[Content, int] | None:
        each = self._kept[method]
        return self._problems[method].without(
            lambda: each.source.gallery.shown(each.shards[step], index, wanted), None
        )

    def _order(self) -> Iterator[tuple[int, dict[str, int]]]:
        """Steps with the index of one prompt's rollout by method, by falling importance."""
        count = Counter(step for each in self._kept.values() for step in each.shards)
        most = max(count.values(), default=0)
        # The steps that most methods have come first; among them, such as lie far apart.
        common = list(coarse_to_fine(sorted(step for step in count if count[step] == most)))
        others = list(coarse_to_fine(sorted(step for step in count if count[step] < most)))
        prompts = {step: list(self._prompts(step)) for step in (*common, *others)[:MAX_STEPS]}
        longest = max(map(len, prompts.values()), default=0)
        for start in range(0, longest, PER_STEP):
            for step, of_step in prompts.items():
                yield from ((step, indices) for indices in of_step[start : start + PER_STEP])

    def _prompts(self, step: int) -> Iterator[dict[str, int]]:
        """The index of each prompt's first rollout in ``step``, by method; those of most methods come first."""
        by_record: dict[int, dict[str, int]] = defaultdict(dict)
        for method, each in self._kept.items():
            if step in each.shards:
                for index, record in enumerate(
                    each.source.gallery.records_of(each.shards[step], self._problems[method])
                ):
                    by_record[record].setdefault(method, index)
        yield from sorted(by_record.values(), key=len, reverse=True)


def _vocabularies(
    groups: Sequence[Mapping[str, Content]], kept: Mapping[str, _Kept]
) -> tuple[list[dict[int, str]], dict[str, int]]:
    """Names of tokens by id, and which of these each method's rollouts have. Equal vocabularies are kept once."""
    tables: list[dict[int, str]] = []
    places: dict[str, int] = {}
    for method, each in kept.items():
        names = each.source.gallery.named([group[method] for group in groups if method in group])
        for place, table in enumerate(tables):
            if all(table.get(token_id, name) == name for token_id, name in names.items()):
                places[method] = place
                table.update(names)
                break
        else:
            places[method] = len(tables)
            tables.append(names)
    return tables, places
