"""``VLLMWriter``: the ``Writer`` that writes with the student's engine on vLLM, which batches by itself."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

from adaswitch.errors import NonFiniteError
from adaswitch.evaluation.writer import Rules, Unwritten, Written
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk
from services.student.engines.engine import WriteRequest
from services.student.engines.vllm.kept import BoundedRows
from services.student.engines.vllm.start import MAX_SEQUENCES

POLL_S = 0.2
"""The number of seconds after which whoever waits for completions gets to look whether to go on."""


class Engine(Protocol):
    """The student's engine on vLLM, as the writer needs it."""

    def submit(self, request: WriteRequest) -> "Future[Chunk]":
        """See ``VLLMEngine.submit``."""

    def forget(self, prompt_ids: Sequence[int]) -> None:
        """See ``ContinuousEngine.forget``."""


@dataclass
class _Text:
    """A completion that is being written."""

    place: int
    prompt: Prompt
    token_ids: list[int] = field(default_factory=list)


class VLLMWriter:
    """A ``Writer`` over an engine that was started for certain rules."""

    def __init__(self, engine: Engine, rules: Rules, non_finite_weight: Callable[[], str | None]) -> None:
        """``non_finite_weight`` looks for a weight that explains why logits are not finite."""
        self._engine = engine
        self._rules = rules
        self._non_finite_weight = non_finite_weight

    def write(self, texts: Sequence[Unwritten], rules: Rules) -> Generator[Written, None, None]:
        """See ``Writer``. Raises ``ValueError`` for other rules than those of the engine."""
        if rules != self._rules:
            raise ValueError(f"the engine was started for {self._rules}, and not for {rules}")
        waiting = deque(
            _Text(place, Prompt(text.noise_id, tuple(text.prompt_token_ids)))
            for place, text in enumerate(texts)
        )
        under_way: dict[Future[Chunk], _Text] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < MAX_SEQUENCES:
                    text = waiting.popleft()
                    under_way[self._submit(text)] = text
                done, _ = wait(under_way, POLL_S, FIRST_COMPLETED)
                ended: Written = []
                for text, chunk in [(under_way.pop(future), future.result()) for future in done]:
                    if self._has_ended(text, chunk):
                        ended.append((text.place, text.token_ids))
                    else:
                        # What is kept of all texts is bounded, so a chunk may be shorter than what was asked for.
                        waiting.appendleft(text)
                    self._engine.forget([text.prompt.id])
                yield ended
        finally:
            self._engine.forget([text.noise_id for text in texts])

    def _submit(self, text: _Text) -> "Future[Chunk]":
        num_left = self._rules.max_new_tokens - len(text.token_ids)
        return self._engine.submit(WriteRequest(text.prompt, tuple(text.token_ids), num_left))

    def _has_ended(self, text: _Text, chunk: Chunk) -> bool:
        """Add ``chunk`` to ``text``. Returns whether that ends it."""
        if not (isinstance(chunk.rows, BoundedRows) and chunk.rows.are_finite()):
            found = self._non_finite_weight() or "its weights are finite, but too large"
            raise NonFiniteError(f"the model's logits are not finite: {found}")
        text.token_ids += chunk.token_ids
        return (
            text.token_ids[-1] in self._rules.stop_token_ids
            or len(text.token_ids) >= self._rules.max_new_tokens
        )
