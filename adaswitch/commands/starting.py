"""What is known of the parts of a run from outside: what they are said to need to start, and whether they answer."""

import time
from collections.abc import Callable
from pathlib import Path

USUAL = {
    "teacher on vllm": "20 to 70 s",
    "teacher on transformers": "5 to 15 s",
    "ray": "5 to 35 s",
    "students": "10 to 30 s",
    "students on vllm": "20 to 60 s",
    "trainer": "10 to 30 s",
}
"""How long each part takes to be ready with a small model on a few cores; a large model takes longer to load."""

ASK_EVERY_S = 2.0


def starting_words(name: str, what: str, log: Path, engine: str = "") -> str:
    """The line on a part that starts now."""
    usual = USUAL.get(f"{name} on {engine}") or USUAL[name]
    return f"{name}: {what}; usually ready in {usual}; log: {log}"


class TeacherWatch:
    """Asks now and then whether the teacher answers, and knows for how long it has not."""

    def __init__(self, answers: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._answers, self._clock = answers, clock
        self._asked_s = -ASK_EVERY_S
        self._last_answer_s = clock()
        self._misses = 0
        self.away_s = 0.0
        """The seconds since its last answer; 0 unless it has given none twice in a row."""

    def answered(self) -> None:
        """Note that the teacher is there, from something else than an answer."""
        self._last_answer_s, self.away_s, self._misses = self._clock(), 0.0, 0

    def look(self) -> None:
        """Ask, unless that was just done."""
        now_s = self._clock()
        if now_s - self._asked_s < ASK_EVERY_S:
            return
        self._asked_s = now_s
        if self._answers():
            self.answered()
            return
        self._misses += 1
        if self._misses > 1:  # a busy teacher may miss one question
            self.away_s = self._clock() - self._last_answer_s
