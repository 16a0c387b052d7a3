"""The triggers, one in each file: when does the teacher take over? ← To add a trigger, add a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.method.takeover.triggers.base import Trigger
from adaswitch.registry.folder import rules_in

TRIGGERS: tuple[type[Trigger], ...] = rules_in(__name__, Trigger)  # type: ignore[type-abstract]
"""All triggers of this folder."""

if TYPE_CHECKING:
    AnyTrigger = Trigger
else:
    AnyTrigger = Annotated[Union[TRIGGERS], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any trigger. ``kind`` says which trigger they belong to."""
