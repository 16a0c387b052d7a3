"""Writing for an evaluation with an engine that batches by itself: pieces, order, ends, what is given up."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch

from adaswitch.errors import NonFiniteError, StudentLostError
from adaswitch.evaluation.writer import Rules, Unwritten
from adaswitch.method.roles import Chunk
from services.evaluation import vllm_writer
from services.evaluation.vllm_writer import VLLMWriter
from services.student.engines.engine import WriteRequest
from services.student.engines.vllm.kept import BoundedRows, Memory

STOP = 9
RULES = Rules(0.0, 0, (STOP,), max_new_tokens=12, vocab_size=20, batch_size=4)
TEXTS = [Unwritten((5,) * (1 + i), 2**64 - 1 - i) for i in range(10)]
"""Text i is the tokens i, i + 1, .. up to the stop token, or up to the largest number of tokens."""


def completion(first: int) -> list[int]:
    return list(range(first, STOP + 1))


class PlayedEngine:
    """Continues each text by at most ``most`` tokens, as soon as it is asked, or never."""

    def __init__(self, most: int = 100, answers: Callable[[int], bool] = lambda first: True) -> None:
        self.most, self.answers = most, answers
        self.memory = Memory(10**6)
        self.state = 0.0
        self.error: Exception | None = None
        self.forgotten: list[int] = []
        self.under_way: set[int] = set()
        self.most_under_way = 0

    def submit(self, request: WriteRequest) -> Future[Chunk]:
        future: Future[Chunk] = Future()
        first = len(request.prompt.token_ids) - 1 + len(request.completion)
        self.under_way.add(request.prompt.id)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        if self.error is not None:
            future.set_exception(self.error)
        elif self.answers(first):
            token_ids = self.rest(first)[: min(self.most, request.num_tokens)]
            states = torch.full((len(token_ids), 2), self.state)
            self.memory.take(len(token_ids))
            future.set_result(Chunk(token_ids, BoundedRows(states, self.memory, self.no_projection)))
        return future

    def rest(self, first: int) -> list[int]:
        return completion(first)

    def no_projection(self, states: torch.Tensor, ids: torch.Tensor) -> Future[torch.Tensor]:
        raise AssertionError("an evaluation asks for no distributions")

    def forget(self, prompt_ids: Sequence[int]) -> None:
        self.under_way -= set(prompt_ids)
        self.forgotten += prompt_ids


def written(engine: PlayedEngine, rules: Rules = RULES) -> dict[int, list[int]]:
    writer = VLLMWriter(engine, rules, lambda: "model.norm.weight holds nan")
    return dict(one for some in writer.write(TEXTS, rules) for one in some)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_every_text_is_written_to_its_end_in_whatever_pieces(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(vllm_writer, "MAX_SEQUENCES", 3)
    engine = PlayedEngine(most)
    assert written(engine) == {i: completion(i) for i in range(10)}
    assert engine.most_under_way == 3
    assert engine.under_way == set()
    assert set(engine.forgotten) == {text.noise_id for text in TEXTS}
    assert engine.memory.num_rows == 0


@pytest.mark.parametrize("most", [2, 100])
def test_no_text_is_longer_than_asked_for(most: int) -> None:
    rules = replace(RULES, max_new_tokens=5)
    assert written(PlayedEngine(most), rules) == {i: completion(i)[:5] for i in range(10)}


def test_who_waits_may_look_whether_to_go_on_and_gives_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_writer, "POLL_S", 0.001)
    engine = PlayedEngine(answers=lambda first: False)
    writing = VLLMWriter(engine, RULES, lambda: None).write(TEXTS, RULES)
    assert [next(writing), next(writing)] == [[], []]
    assert len(engine.under_way) == 10
    writing.close()
    assert engine.under_way == set()


def test_what_is_not_finite_is_an_error_with_the_weight_that_explains_it() -> None:
    engine = PlayedEngine()
    engine.state = torch.nan
    with pytest.raises(
        NonFiniteError, match=r"^the model's logits are not finite: model\.norm\.weight holds nan"
    ):
        written(engine)
    assert engine.under_way == set()


def test_an_engine_that_dies_ends_the_evaluation() -> None:
    engine = PlayedEngine()
    engine.error = StudentLostError("the student's engine has died: why")
    with pytest.raises(StudentLostError, match="died: why"):
        written(engine)
    assert engine.under_way == set()


def test_other_rules_than_the_engine_was_started_for_are_a_mistake() -> None:
    writer = VLLMWriter(PlayedEngine(), RULES, lambda: None)
    with pytest.raises(ValueError, match="was started for"):
        next(writer.write(TEXTS, replace(RULES, seed=1)))
