"""Which of a run's rollouts a page shows: some prompts through all of training, and steps from all over the run."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

FOLLOWED = 8
"""The number of prompts that are followed through training."""
FOLLOWED_PLACES = 8
"""The largest number of rollouts of one followed prompt."""
PER_STEP = 4
"""The number of rollouts that each visit to a step adds."""
MAX_STEPS = 64
"""The largest number of steps whose rollouts are read, because a shard may hold megabytes."""

Choice = tuple[int, int]
"""A step, and the index of one of its rollouts."""


def choices(records: Mapping[int, Sequence[int]]) -> list[Choice]:
    """The rollouts to show, each once, by falling importance, so that a page may stop anywhere.

    ``records`` holds, for each step, the number of each rollout's example in the data set. Rollouts of the followed
    prompts take turns with rollouts of steps that lie ever closer together.
    """
    steps = list(coarse_to_fine(sorted(records)))[:MAX_STEPS]
    turns = zip_longest(_followed(records), _by_rounds({step: records[step] for step in steps}))
    return list(dict.fromkeys(choice for turn in turns for choice in turn if choice is not None))


def coarse_to_fine(items: Sequence[int]) -> Iterator[int]:
    """All ``items``, each once: the last, the first, the middle, then the middles of what lies between."""
    if not items:
        return
    seen = {len(items) - 1, 0}
    yield items[len(items) - 1]
    if len(items) > 1:
        yield items[0]
    spans = [(0, len(items) - 1)]
    while spans:
        halves = []
        for low, high in spans:
            middle = (low + high) // 2
            if middle not in seen:
                seen.add(middle)
                yield items[middle]
            halves += [(low, middle), (middle, high)] if high - low > 1 else []
        spans = halves


def _followed(records: Mapping[int, Sequence[int]]) -> Iterator[Choice]:
    """Rollouts of the prompts that come in the most steps, evenly from first to last."""
    places: dict[int, list[Choice]] = defaultdict(list)
    for step in sorted(records):
        for index, record in enumerate(records[step]):
            places[record].append((step, index))
    steps_of = {record: len({step for step, _ in found}) for record, found in places.items()}
    several = sorted((record for record in places if steps_of[record] > 1), key=lambda r: (-steps_of[r], r))
    for record in several[:FOLLOWED]:
        found = places[record]
        count = min(FOLLOWED_PLACES, len(found))
        yield from (found[round(i * (len(found) - 1) / (count - 1))] for i in range(count))


def _by_rounds(records: Mapping[int, Sequence[int]]) -> Iterator[Choice]:
    """Some rollouts of each step, then the next ones of each, until there are no more."""
    longest = max((len(found) for found in records.values()), default=0)
    for start in range(0, longest, PER_STEP):
        for step, found in records.items():
            yield from ((step, index) for index in range(start, min(start + PER_STEP, len(found))))
