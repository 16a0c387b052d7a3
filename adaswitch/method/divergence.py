"""Divergences between two next-token distributions, one for each position and in nats.

Both sides are log-probabilities ``[n, m]`` over the same outcomes: the k + 1 outcomes of a ``TopK`` (see
``distribution``) or the full vocabulary. p is the teacher, q the student. All divergences are differentiable in q.
An outcome of probability 0 (-inf) contributes nothing, as 0 log 0 = 0 demands, and never a NaN to the gradient.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from adaswitch.errors import NonFiniteError

if TYPE_CHECKING:  # settings name losses, but are also read by programs without torch
    from torch import Tensor

    from adaswitch.method.distribution import TopK

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd"]
"""A divergence that a setting may name; see ``DIVERGENCES``."""
Divergence: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""``(p_logprobs [n, m], q_logprobs [n, m]) -> [n]``."""


def forward_kl(p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
    """KL(p || q) = sum p (log p - log q), the default divergence of AdaSwitch (arXiv 2510.07842).

    It is infinite if an outcome has probability 0 under q but not under p.
    """
    # Where p is 0, the difference of the logarithms is infinite or NaN, and 0 times it would be NaN.
    ratio = (p_logprobs - q_logprobs).masked_fill_(p_logprobs.isneginf(), 0.0)
    return (p_logprobs.exp() * ratio).sum(-1)


def reverse_kl(p_logprobs: "Tensor", q_logprobs: "Tensor") -> "Tensor":
    """KL(q || p) = sum q (log q - log p), as in MiniLLM (arXiv 2306.08543)."""
    return forward_kl(q_logprobs, p_logprobs)


def jsd(p_logprobs: "Tensor", q_logprobs: "Tensor", beta: float = 0.5) -> "Tensor":
    """Generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649), 0 < beta < 1.

    beta KL(p || m) + (1 - beta) KL(q || m), with the mixture m = beta p + (1 - beta) q. Divided by beta it
    tends to forward KL as beta -> 0; divided by 1 - beta, to reverse KL as beta -> 1.
    """
    m_logprobs = mixture(p_logprobs, q_logprobs, beta)
    return beta * forward_kl(p_logprobs, m_logprobs) + (1 - beta) * forward_kl(q_logprobs, m_logprobs)


def mixture(p_logprobs: "Tensor", q_logprobs: "Tensor", share: float) -> "Tensor":
    """log(share p + (1 - share) q). If p and q are both 0, the result is near -1e4 in place of -inf."""
    impossible = p_logprobs.isneginf() & q_logprobs.isneginf()
    # The gradient of logaddexp is NaN where both sides are -inf.
    p_logprobs, q_logprobs = (side.masked_fill(impossible, -1e4) for side in (p_logprobs, q_logprobs))
    return (p_logprobs + math.log(share)).logaddexp(q_logprobs + math.log1p(-share))


LARGEST_JSD = math.log(2)
"""In nats. No Jensen-Shannon divergence is larger."""


def why_unreachable(setting: str, tau: float, metric: str) -> str | None:
    """Why no divergence of ``metric`` ever exceeds ``tau``, the value of ``setting``, in nats; None if one may."""
    if metric != "jsd" or tau < LARGEST_JSD:
        return None
    return f"{setting} {tau:g} with metric jsd: no divergence is above {LARGEST_JSD:.3g} nats"


DIVERGENCES: dict[str, Divergence] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "jsd": jsd}
"""The divergences that a switch rule can use, by their name in a config."""


def divergences(metric: str, teacher: "TopK", q_logprobs: "Tensor") -> list[float]:
    """d_1 .. d_n of n positions, from the teacher's rows and the student's log-probabilities ``[n, k + 1]``.

    ``q_logprobs`` has the outcomes of ``teacher``, the tail last. Raises ``ValueError`` for another shape, and
    ``NonFiniteError`` if a divergence is not a number, because a rollout must never go on after such a divergence.
    """
    p_logprobs = teacher.outcome_logprobs()
    if p_logprobs.shape != q_logprobs.shape:
        raise ValueError(
            f"outcomes {tuple(p_logprobs.shape)} of the teacher and {tuple(q_logprobs.shape)} of the student differ"
        )
    values: list[float] = DIVERGENCES[metric](p_logprobs, q_logprobs).tolist()
    for value, logprobs in zip(values, q_logprobs, strict=True):
        if not math.isfinite(value):
            raise NonFiniteError(_why_not_finite(metric, value, logprobs))
    return values


def _why_not_finite(metric: str, value: float, student_logprobs: "Tensor") -> str:
    if bool(student_logprobs.isnan().any()):
        return (
            "the student's log-probabilities are not numbers (NaN): lower trainer.optimizer.learning_rate, or "
            "compute in float32 (student.dtype)"
        )
    return f"a {metric} divergence is {value}: one model takes a token for impossible that the other does not"
