"""The holds, one in each file: how long does the teacher keep the pen? ← To add a hold, add a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.method.takeover.holds.base import Hold
from adaswitch.registry.folder import rules_in

HOLDS: tuple[type[Hold], ...] = rules_in(__name__, Hold)  # type: ignore[type-abstract]
"""All holds of this folder."""

if TYPE_CHECKING:
    AnyHold = Hold
else:
    AnyHold = Annotated[Union[HOLDS], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any hold. ``kind`` says which hold they belong to."""
