"""Students write an evaluation: what they are asked, in which order answers are taken, and what is refused."""

from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from adaswitch.contract.completion_codec import Unaided
from adaswitch.errors import QueueError
from adaswitch.evaluation.writer import Rules, Unwritten
from adaswitch.method.prompt import EVALUATION, Prompt
from adaswitch.method.rollout import Rollout
from trainer.students_writer import FIRST_ID, StudentsWriter

TEXTS = [Unwritten((i, i), 7) for i in range(5)]


class PlayedSource:
    """Students that answer each prompt with its own tokens."""

    def __init__(self, version: int = 3, written_with: int | None = None) -> None:
        self.version = version
        self._written_with = version if written_with is None else written_with
        self.offered: list[Prompt] = []
        self.taken: list[list[int]] = []

    def publish(self, version: int, weights: dict[str, Tensor]) -> None:
        raise AssertionError

    def offer(self, prompts: Sequence[Prompt]) -> None:
        self.offered += prompts

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        raise AssertionError

    def take_unaided(
        self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]
    ) -> list[Unaided] | None:
        if should_stop():
            return None
        self.taken.append([prompt.id for prompt in prompts])
        return [Unaided(prompt.token_ids, self._written_with) for prompt in prompts]

    def depth(self) -> int:
        return 0

    def close(self, reason: str) -> None:
        raise AssertionError


def rules(temperature: float = 0.0) -> Rules:
    return Rules(temperature, 0, (1,), 8, 19, batch_size=2)


def test_all_is_offered_at_once_and_taken_in_batches_by_ids_of_this_version_alone() -> None:
    source = PlayedSource()
    written = list(StudentsWriter(source, lambda: False).write(TEXTS, rules()))
    assert written == [[(0, [0, 0]), (1, [1, 1])], [(2, [2, 2]), (3, [3, 3])], [(4, [4, 4])]]
    assert {(p.step, p.min_version, p.greedy) for p in source.offered} == {(EVALUATION, 3, True)}
    ids = [prompt.id for prompt in source.offered]
    assert [i for batch in source.taken for i in batch] == ids
    later = PlayedSource(version=4)
    list(StudentsWriter(later, lambda: False).write(TEXTS, rules()))
    assert not {prompt.id for prompt in later.offered} & set(ids)
    assert min(ids) >= FIRST_ID


def test_who_is_stopped_is_handed_nothing() -> None:
    assert list(StudentsWriter(PlayedSource(), lambda: True).write(TEXTS, rules())) == [[]]


def test_another_version_and_a_temperature_are_refused() -> None:
    with pytest.raises(QueueError, match="of version 3 was written with version 2"):
        list(StudentsWriter(PlayedSource(written_with=2), lambda: False).write(TEXTS, rules()))
    with pytest.raises(ValueError, match="at temperature 0\\.5"):
        list(StudentsWriter(PlayedSource(), lambda: False).write(TEXTS, rules(0.5)))
