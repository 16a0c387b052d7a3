"""A user's own policy, named by its import path. ``docs/extending.md`` has a complete example."""

import inspect
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import PrivateAttr

from adaswitch.errors import ConfigError, OwnCodeError
from adaswitch.method.policies.base import ChunksAhead, Policy
from adaswitch.method.takeover.marks import Texts
from adaswitch.registry.facts import (
    Check,
    fact,
    is_bool,
    is_count,
    is_count_or_none,
    is_text_or_none,
    run_own_check,
)
from adaswitch.registry.own_code import OwnCode, require_parameters, running

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


WHERE = "policy"
BOTH = frozenset({"student", "other"})


def _are_writers(value: object) -> bool:
    return isinstance(value, set | frozenset | tuple | list) and bool(value) and set(value) <= BOTH


FACTS: dict[str, tuple[object, Check, str]] = {
    "needs_reference": (False, is_bool, "true or false"),
    "hands_back": (True, is_bool, "true or false"),
    "accepted_candidates": (None, is_count_or_none, "a whole number from 1 on, or None"),
    "writers": (BOTH, _are_writers, "a set of student and other"),
    "threshold_settings": (None, is_text_or_none, "text, or None"),
    "first_place": (0, lambda value: is_count(value, 0), "a whole number from 0 on"),
    "scale_steps": (None, is_count_or_none, "a whole number from 1 on, or None"),
}
"""What a policy says of itself: what holds without a word of it, and what it may be."""


class CustomPolicy(OwnCode, Policy):
    """A user's own policy: a class with ``async def roll_out(self, stages)``."""

    kind: Literal["custom"] = "custom"
    write_ahead: ChunksAhead = "auto"
    """The number of chunks that the student writes ahead while the teacher scores one. It changes the cost, but never
    the result: after a switch they are thrown away, and count as wasted. ``auto`` is 0 in lockstep, else 1."""
    _texts: Texts | None = PrivateAttr(default=None)

    def load(self) -> Policy:
        """The policy that ``path`` names. Raises ``ConfigError`` with the path, what is wrong, and what to do."""
        loaded = self.build("policy", ["roll_out"])
        if not inspect.iscoroutinefunction(loaded.roll_out):
            raise ConfigError(
                f"policy.path: {self.path}.roll_out must be an async def: write async before def"
            )
        require_parameters(loaded.roll_out, 1, self.path, "policy.path")
        policy: Policy = loaded
        return policy

    def bound(self, texts: Texts) -> Self:
        """See ``Policy``. The loaded policy is bound to the same tokenizer, if it names tokens."""
        self._ready(texts)
        copy = self.model_copy()
        copy._texts = texts
        return copy

    def _ready(self, texts: Texts | None) -> Policy:
        policy = self.load()
        if texts is None or getattr(policy, "needs_texts", False) is not True:
            return policy
        return policy.bound(texts)

    def check(self) -> None:
        """See ``Policy``. What the class says of itself is looked at here, and its own ``check`` is called."""
        loaded = self.load()
        kind, from_run = getattr(loaded, "kind", ""), getattr(loaded, "from_run", None)
        if isinstance(loaded, CustomPolicy) or kind == "replay" or (kind == "random_switch" and from_run):
            raise ConfigError(
                f"{WHERE}.path: {self.path} is a policy with a kind of its own: set policy.kind to that"
            )
        run_own_check(loaded, self.path, WHERE)
        for name in FACTS:
            getattr(self, name)

    async def roll_out(self, stages: "Stages") -> None:
        """Run the loaded policy. Raises ``OwnCodeError`` if the policy fails, or stops before the completion's end."""
        policy = self._ready(self._texts)
        with running(f"{self.path}.roll_out", "policy.path"):
            await policy.roll_out(stages)
        if len(stages.draft.token_ids) != stages.draft.num_recorded:
            raise OwnCodeError(
                f"{WHERE}.path: {self.path}.roll_out changed stages.draft itself: write with explore, guide and recite"
            )
        if not stages.draft.complete:
            raise OwnCodeError(
                f"policy.path: {self.path}.roll_out left prompt {stages.prompt.id} unfinished after "
                f"{len(stages.draft.token_ids)} tokens: explore or guide until stages.ended"
            )

    @property
    def window_setting(self) -> str:
        """See ``Policy``: the class says it of itself."""
        return "policy.path: first_place"

    @property
    def name(self) -> str:
        """See ``Policy``."""
        return self.path

    @property
    def needs_reference(self) -> bool:
        """See ``Policy``; that of the loaded policy, as all that follows."""
        return bool(self._said("needs_reference"))

    @property
    def hands_back(self) -> bool:
        """See ``Policy``. A class that does not say so is taken to hand back, which is right for either."""
        said = getattr(type(self.load()), "hands_back", Policy.hands_back) is not Policy.hands_back
        return bool(self._said("hands_back")) if said else True

    @property
    def accepted_candidates(self) -> int | None:
        """See ``Policy``."""
        found: int | None = self._said("accepted_candidates")
        return found

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset(self._said("writers"))

    @property
    def threshold_settings(self) -> str | None:
        """See ``Policy``."""
        found: str | None = self._said("threshold_settings")
        return found

    @property
    def first_place(self) -> int:
        """See ``Policy``."""
        return int(self._said("first_place"))

    @property
    def scale_steps(self) -> int | None:
        """See ``Policy``."""
        found: int | None = self._said("scale_steps")
        return found

    def _said(self, name: str) -> Any:  # noqa: ANN401 - as FACTS say
        default, check, what = FACTS[name]
        return fact(self.load(), name, default, check, what, self.path, WHERE)
