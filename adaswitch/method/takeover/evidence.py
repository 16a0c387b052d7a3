"""Evidence that adds up from place to place, so that one odd token decides nothing: a one-sided cumulative sum.

E_i = max(0, E_(i-1) + x_i), with E_0 = 0. What speaks against it (a negative x) takes from it, down to 0.
"""

from collections.abc import Iterable


def added(evidence: float, signal: float) -> float:
    """The evidence after one more ``signal``; both in nats."""
    return max(0.0, evidence + signal)


def sum_of(signals: Iterable[float]) -> float:
    """The evidence after all ``signals``, in nats."""
    evidence = 0.0
    for signal in signals:
        evidence = added(evidence, signal)
    return evidence
