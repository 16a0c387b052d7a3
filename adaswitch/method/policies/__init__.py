"""The rollout policies, one in each file. A policy says who writes a completion. ← To add a policy, add a file.

A policy's settings and its ``roll_out`` stand together in one class; ``base.py`` says what else a policy has. Every
file in this folder is found automatically, and a config can choose its class by its ``kind``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from adaswitch.method.policies.base import Policy
from adaswitch.registry.folder import rules_in

POLICIES: tuple[type[Policy], ...] = rules_in(__name__, Policy)  # type: ignore[type-abstract]
"""All policies of this folder."""

if TYPE_CHECKING:
    AnyPolicy = Policy
else:
    AnyPolicy = Annotated[Union[POLICIES], Field(discriminator="kind")]  # noqa: UP007 - the members are a tuple
"""The settings of any policy. ``kind`` says which policy they belong to."""
