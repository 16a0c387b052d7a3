"""The losses of a completion token, one in each file. ← To add a loss, add a file.

A loss's settings and its formula stand together; ``base.py`` says what else a loss has. Every file in this folder is
found automatically, and a config can choose its class by its ``kind``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.method.losses.base import Loss
from adaswitch.registry.folder import rules_in

LOSSES: tuple[type[Loss], ...] = rules_in(__name__, Loss)  # type: ignore[type-abstract]
"""All losses of this folder."""

if TYPE_CHECKING:
    AnyLoss = Loss
else:
    AnyLoss = Annotated[Union[LOSSES], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any loss. ``kind`` says which loss they belong to."""
