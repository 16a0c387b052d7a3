"""A user's own switch rule, named by its import path. ``docs/extending.md`` has a complete example."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adaswitch.errors import ConfigError, OwnCodeError
from adaswitch.method.switching import SwitchRule, TokenRule
from adaswitch.registry.own_code import OwnCode, load_class, make, require_parameters, running

if TYPE_CHECKING:
    from adaswitch.method.distribution import TopK

WHERE = "policy.rule"


class OwnRule(OwnCode):
    """A user's own rule: a class with ``threshold(self, earlier)``, or with ``accepts(self, token_ids, scores)``.

    The first makes the class a ``SwitchRule``, the second a ``TokenRule``.
    """

    kind: Literal["custom"] = "custom"

    def load(self, where: str = WHERE) -> SwitchRule | TokenRule:
        """The rule that ``path`` names. ``where`` is the group of its settings, for messages.

        Raises ``ConfigError`` with the path, what is wrong, and what to do.
        """
        setting = f"{where}.path"
        cls = load_class(self.path, setting, [])
        methods = [name for name in ("threshold", "accepts") if callable(getattr(cls, name, None))]
        if len(methods) != 1:
            found = "neither" if not methods else "both"
            raise ConfigError(
                f"{setting}: the class {self.path} has {found} of the methods threshold and accepts: give it one, "
                "see docs/extending.md"
            )
        rule = make(load_class(self.path, setting, methods), self.path, self.settings, where)
        if methods == ["threshold"]:
            require_parameters(rule.threshold, 1, self.path, setting)
            return _CheckedSwitchRule(rule, self.path, setting)
        require_parameters(rule.accepts, 2, self.path, setting)
        return _CheckedTokenRule(rule, self.path, setting)


@dataclass(frozen=True)
class _CheckedSwitchRule:
    """A user's own ``SwitchRule``, whose results are checked before they are used."""

    rule: Any
    path: str
    setting: str

    def threshold(self, earlier: Sequence[float]) -> float:
        """See ``SwitchRule``. Raises ``OwnCodeError`` if the user's rule gives no number."""
        with running(f"{self.path}.threshold", self.setting):
            value = self.rule.threshold(earlier)
            number = float(value)
        if math.isnan(number):
            raise OwnCodeError(
                f"{self.setting}: {self.path}.threshold gave {value!r}, which is no number of nats"
            )
        return number


@dataclass(frozen=True)
class _CheckedTokenRule:
    """A user's own ``TokenRule``, whose results are checked before they are used."""

    rule: Any
    path: str
    setting: str

    def accepts(self, token_ids: Sequence[int], scores: "TopK") -> list[bool]:
        """See ``TokenRule``. Raises ``OwnCodeError`` unless there is one verdict for each token."""
        with running(f"{self.path}.accepts", self.setting):
            verdicts = [bool(verdict) for verdict in self.rule.accepts(token_ids, scores)]
        if len(verdicts) != len(token_ids):
            raise OwnCodeError(
                f"{self.setting}: {self.path}.accepts gave {len(verdicts)} verdicts on {len(token_ids)} tokens"
            )
        return verdicts
