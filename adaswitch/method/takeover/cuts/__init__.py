"""The cuts, one in each file: where does the teacher begin? ← To add a cut, add a file."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.method.takeover.cuts.base import Cut
from adaswitch.registry.folder import rules_in

CUTS: tuple[type[Cut], ...] = rules_in(__name__, Cut)  # type: ignore[type-abstract]
"""All cuts of this folder."""

if TYPE_CHECKING:
    AnyCut = Cut
else:
    AnyCut = Annotated[Union[CUTS], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any cut. ``kind`` says which cut they belong to."""
