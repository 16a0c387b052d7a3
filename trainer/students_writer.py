"""``StudentsWriter``: the ``Writer`` that lets the students write an evaluation's completions.

They are written with the weights that were published last, beside the trainer's device. Every prompt is offered at
once, and the completions are taken batch after batch.
"""

from collections.abc import Callable, Generator, Sequence

from adaswitch.errors import QueueError
from adaswitch.evaluation.writer import Rules, Unwritten, Written
from adaswitch.method.prompt import EVALUATION, Prompt
from trainer.source import RolloutSource

FIRST_ID = 2**62
"""The ids of evaluations begin here, which no training reaches."""


class StudentsWriter:
    """A ``Writer`` for greedy decoding, with the students' own stop tokens and ``student.max_new_tokens``."""

    def __init__(self, source: RolloutSource, should_stop: Callable[[], bool]) -> None:
        self._source = source
        self._should_stop = should_stop

    def write(self, texts: Sequence[Unwritten], rules: Rules) -> Generator[Written, None, None]:
        """See ``Writer``. Raises ``ValueError`` if tokens are to be drawn, which students do for training only."""
        if rules.temperature:
            raise ValueError(f"students evaluate greedily, and not at temperature {rules.temperature:g}")
        prompts = self._prompts(texts)
        self._source.offer(prompts)
        for start in range(0, len(prompts), rules.batch_size):
            part = prompts[start : start + rules.batch_size]
            written = self._source.take_unaided(part, self._should_stop)
            if written is None:
                yield []
                return
            if others := sorted({one.weights_version for one in written} - {part[0].min_version}):
                raise QueueError(
                    f"the evaluation of version {part[0].min_version} was written with version {others[0]}"
                )
            yield [(start + i, list(one.token_ids)) for i, one in enumerate(written)]

    def _prompts(self, texts: Sequence[Unwritten]) -> list[Prompt]:
        """A prompt for each text. Its id is used once: a student that lags behind may still answer an earlier one."""
        version = self._source.version
        first = FIRST_ID + version * len(texts)
        return [
            Prompt(first + i, tuple(text.prompt_token_ids), step=EVALUATION, min_version=version, greedy=True)
            for i, text in enumerate(texts)
        ]
