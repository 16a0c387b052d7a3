"""A user's own task, named by its import path. ``docs/extending.md`` has complete examples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from adaswitch.errors import AdaSwitchError, ConfigError, DataError, OwnCodeError, UnmarkedError
from adaswitch.registry.facts import Check, are_names, fact, is_bool, is_count
from adaswitch.registry.own_code import (
    OwnCode,
    line_of,
    load_class,
    make,
    reason,
    require_parameters,
    running,
)
from adaswitch.tasks.base import Example, GeneratedTask, Marks, RecordTask, Split, Task
from adaswitch.tasks.chat import Chat, Day
from adaswitch.tasks.functions import as_mark

WHERE = "task"
FACTS: dict[str, tuple[Check, str]] = {
    "name": (lambda value: isinstance(value, str) and bool(value), "text"),
    "metrics": (are_names, "a tuple of different names, with at least one"),
    "wraps_prompts": (is_bool, "true or false"),
    "default_new_tokens": (is_count, "a whole number from 1 on"),
    "has_held_out": (is_bool, "true or false"),
    "chat": (lambda value: isinstance(value, Chat), "an adaswitch.tasks.chat.Chat"),
}
"""What a task says of itself, and what that may be."""


class CustomTask(OwnCode, Task):
    """A user's own task: a class with ``mark`` and either ``examples`` or ``example``."""

    kind: Literal["custom"] = "custom"
    date: Day | None = None
    """The day that a chat template takes for today, as in ``2026-11-30``. By default it is the day of the run's first
    attempt."""

    def ready(self) -> GeneratedTask | RecordTask:
        """The task that ``path`` names. Raises ``ConfigError`` with the path, what is wrong, and what to do."""
        cls = load_class(self.path, f"{WHERE}.path", ["mark"])
        if not issubclass(cls, GeneratedTask | RecordTask):
            raise ConfigError(
                f"{WHERE}.path: the class {self.path} must be derived from adaswitch.GeneratedTask, with a method "
                "examples, or from adaswitch.RecordTask, with a method example: see docs/extending.md"
            )
        method, num_parameters = ("examples", 1) if issubclass(cls, GeneratedTask) else ("example", 3)
        load_class(self.path, f"{WHERE}.path", [method])
        own = make(cls, self.path, self.settings, WHERE)
        require_parameters(getattr(own, method), num_parameters, self.path, f"{WHERE}.path")
        require_parameters(own.mark, 2, self.path, f"{WHERE}.path")
        if isinstance(own, GeneratedTask):
            return _OwnGeneratedTask(own=own, path=self.path, day=self.date)
        return _OwnRecordTask(
            own=own,
            path=self.path,
            day=self.date,
            train=own.train,
            eval=own.eval,
            too_long=own.too_long,
            max_prompt_tokens=own.max_prompt_tokens,
        )

    def check(self, max_new_tokens: int | None = None) -> None:
        """See ``Task``."""
        self.ready().check(max_new_tokens)

    @property
    def name(self) -> str:
        """See ``Task``."""
        return self.ready().name

    @property
    def has_held_out(self) -> bool:
        """See ``Task``."""
        return self.ready().has_held_out

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``."""
        return self.ready().default_new_tokens

    def mark(self, completion: str, example: Example) -> Marks:
        """See ``Task``."""
        return self.ready().mark(completion, example)


class _OwnTask(Task):
    """A user's own task, whose results are checked before they are used."""

    own: Any
    """The user's own task."""
    path: str
    """The import path of the user's own task, for messages."""
    day: Day | None = None
    """The run's day, unless the user's own task names one."""

    @property
    def name(self) -> str:
        """See ``Task``."""
        return str(self._said("name"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """See ``Task``."""
        return tuple(self._said("metrics"))

    @property
    def wraps_prompts(self) -> bool:
        """See ``Task``."""
        return bool(self._said("wraps_prompts"))

    @property
    def default_new_tokens(self) -> int:
        """See ``Task``."""
        return int(self._said("default_new_tokens"))

    @property
    def has_held_out(self) -> bool:
        """See ``Task``."""
        return bool(self._said("has_held_out"))

    @property
    def chat(self) -> Chat:
        """See ``Task``."""
        chat: Chat = self._said("chat")
        return chat if chat.date is not None else replace(chat, date=self.day)

    def _said(self, name: str) -> Any:  # noqa: ANN401 - as FACTS say
        check, what = FACTS[name]
        return fact(self.own, name, None, check, what, self.path, WHERE)

    def check(self, max_new_tokens: int | None = None) -> None:
        """See ``Task``."""
        for name in FACTS:
            self._said(name)
        require_parameters(self.own.check, 1, self.path, f"{WHERE}.path")
        with running(f"{self.path}.check", f"{WHERE}.path"):
            self.own.check(max_new_tokens)

    def asking(self, text: str) -> str:
        """See ``Task``."""
        with running(f"{self.path}.asking", f"{WHERE}.path"):
            return str(self.own.asking(text))

    def mark(self, completion: str, example: Example) -> Marks:
        """Raises ``UnmarkedError`` if the user's own ``mark`` fails, or gives no mark for one of its metrics."""
        try:
            marks = self.own.mark(completion, example)
        except AdaSwitchError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises concerns this record alone
            place = f"{self.path}.mark{line_of(error, self.path)}"
            raise UnmarkedError(f"the task raised {reason(error)} in {place}") from error
        if not isinstance(marks, Mapping) or set(marks) != set(self.metrics):
            raise UnmarkedError(
                f"the task gave {marks!r:.60}, and not a mark for each of {', '.join(self.metrics)}"
            )
        return {name: as_mark(marks[name], "the task") for name in self.metrics}


class _OwnGeneratedTask(_OwnTask, GeneratedTask):
    """A user's own task that makes its own prompts."""

    def examples(self, split: Split) -> list[Example]:
        """See ``Task``."""
        with running(f"{self.path}.examples", f"{WHERE}.path"):
            examples = list(self.own.examples(split))
        _require_examples(examples, f"{self.path}.examples")
        if not examples:
            raise OwnCodeError(
                f"{WHERE}.path: {self.path}.examples({split!r}) gave no example: give at least one"
            )
        return examples


class _OwnRecordTask(_OwnTask, RecordTask):
    """A user's own task whose examples are records."""

    def example(self, record: Mapping[str, object], number: int, source: str) -> Example:
        """See ``Task``."""
        try:
            example = self.own.example(record, number, source)
        except AdaSwitchError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{self.path}.example raised {reason(error)}{line_of(error, self.path)}",
                source=source,
                line=number,
            ) from error
        _require_examples([example], f"{self.path}.example")
        checked: Example = example
        return checked


def _require_examples(examples: Sequence[object], path: str) -> None:
    """Raises ``OwnCodeError`` for the first of ``examples`` that cannot be worked with, or that is there twice."""
    seen: set[tuple[str, int]] = set()
    for example in examples:
        if not isinstance(example, Example):
            raise OwnCodeError(
                f"{WHERE}.path: {path} gave {example!r:.60}, a {type(example).__name__}: give an adaswitch.Example"
            )
        for field, kind in (("prompt", str), ("reference", str), ("split", str), ("number", int)):
            value = getattr(example, field)
            if not isinstance(value, kind) or (field in ("prompt", "split", "number") and not value):
                raise OwnCodeError(f"{WHERE}.path: {path} gave an example whose {field} is {value!r:.60}")
        place = (example.split, example.number)
        if place in seen:
            raise OwnCodeError(
                f"{WHERE}.path: {path} gave two examples with the number {example.number} in the split "
                f"{example.split!r}: count each split from 1"
            )
        seen.add(place)
