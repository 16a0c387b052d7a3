"""A user's own policy, named by its import path. ``docs/extending.md`` has a complete example."""

import inspect
from typing import TYPE_CHECKING, Literal

from adaswitch.errors import ConfigError, OwnCodeError
from adaswitch.method.policies.base import Policy
from adaswitch.registry.own_code import OwnCode, require_parameters, running

if TYPE_CHECKING:
    from adaswitch.method.stages import Stages


class CustomPolicy(OwnCode, Policy):
    """A user's own policy: a class with ``async def roll_out(self, stages)``."""

    kind: Literal["custom"] = "custom"

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

    def check(self) -> None:
        """See ``Policy``."""
        self.load()

    async def roll_out(self, stages: "Stages") -> None:
        """Run the loaded policy. Raises ``OwnCodeError`` if the policy fails, or stops before the completion's end."""
        policy = self.load()
        with running(f"{self.path}.roll_out", "policy.path"):
            await policy.roll_out(stages)
        if not stages.draft.complete:
            raise OwnCodeError(
                f"policy.path: {self.path}.roll_out left prompt {stages.prompt.id} unfinished after "
                f"{len(stages.draft.token_ids)} tokens: explore or guide until stages.ended"
            )

    @property
    def name(self) -> str:
        """See ``Policy``."""
        return self.path

    @property
    def needs_reference(self) -> bool:
        """See ``Policy``. This property and those below are the properties of the loaded policy."""
        return bool(getattr(self.load(), "needs_reference", False))

    @property
    def hands_back(self) -> bool:
        """See ``Policy``. A class that does not say so is taken to hand back, which is right for either."""
        loaded = self.load()
        said = getattr(type(loaded), "hands_back", Policy.hands_back) is not Policy.hands_back
        return bool(loaded.hands_back) if said else True

    @property
    def accepted_candidates(self) -> int | None:
        """See ``Policy``."""
        found: int | None = getattr(self.load(), "accepted_candidates", None)
        return found

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        """See ``Policy``."""
        return frozenset(getattr(self.load(), "writers", ("student", "other")))

    @property
    def threshold_settings(self) -> str | None:
        """See ``Policy``."""
        found: str | None = getattr(self.load(), "threshold_settings", None)
        return found

    @property
    def first_place(self) -> int:
        """See ``Policy``."""
        return int(getattr(self.load(), "first_place", 0))

    @property
    def scale_steps(self) -> int | None:
        """See ``Policy``."""
        found: int | None = getattr(self.load(), "scale_steps", None)
        return found
