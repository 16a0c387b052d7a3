"""Divergences between two next-token distributions, per position and in nats.

Both sides come as log-probabilities over the same outcomes ``[n, m]``: the k + 1 of a ``TopK`` (see
``distribution``) or the full vocabulary. p is the teacher, q the student. All are differentiable in q.
An outcome of probability 0 (-inf) contributes nothing where 0 log 0 = 0 says so, and no NaN to the gradient.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from adaswitch.errors import NonFiniteError, TeacherProtocolError
from adaswitch.method.distribution import TopK, outcome_logprobs_of

Divergence = Callable[[Tensor, Tensor], Tensor]
"""``(p_logprobs [n, m], q_logprobs [n, m]) -> [n]``."""


def forward_kl(p_logprobs: Tensor, q_logprobs: Tensor) -> Tensor:
    """KL(p || q) = sum p (log p - log q), the divergence of AdaSwitch (arXiv 2510.07842) by default.

    Infinite where q rules out what p does not.
    """
    # Where p is 0 the logarithms' difference is infinite or NaN, and 0 times that would be NaN.
    ratio = (p_logprobs - q_logprobs).masked_fill_(torch.isneginf(p_logprobs), 0.0)
    return (p_logprobs.exp() * ratio).sum(-1)


def reverse_kl(p_logprobs: Tensor, q_logprobs: Tensor) -> Tensor:
    """KL(q || p) = sum q (log q - log p), as in MiniLLM (arXiv 2306.08543)."""
    return forward_kl(q_logprobs, p_logprobs)


def jsd(p_logprobs: Tensor, q_logprobs: Tensor, beta: float = 0.5) -> Tensor:
    """Generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649), 0 < beta < 1.

    beta KL(p || m) + (1 - beta) KL(q || m), with the mixture m = beta p + (1 - beta) q. Divided by beta it
    tends to forward KL as beta -> 0; divided by 1 - beta, to reverse KL as beta -> 1.
    """
    m_logprobs = _mixture(p_logprobs, q_logprobs, beta)
    return beta * forward_kl(p_logprobs, m_logprobs) + (1 - beta) * forward_kl(q_logprobs, m_logprobs)


def skewed_kl(p_logprobs: Tensor, q_logprobs: Tensor, alpha: float = 0.1) -> Tensor:
    """KL(p || alpha p + (1 - alpha) q) of DistiLLM (arXiv 2402.03898), 0 < alpha < 1.

    Never above -log alpha, and forward KL as alpha -> 0.
    """
    return forward_kl(p_logprobs, _mixture(p_logprobs, q_logprobs, alpha))


def skewed_reverse_kl(p_logprobs: Tensor, q_logprobs: Tensor, alpha: float = 0.1) -> Tensor:
    """KL(q || (1 - alpha) p + alpha q) of DistiLLM (arXiv 2402.03898), 0 < alpha < 1.

    Never above -log alpha, and reverse KL as alpha -> 0.
    """
    return skewed_kl(q_logprobs, p_logprobs, alpha)


def total_variation(p_logprobs: Tensor, q_logprobs: Tensor) -> Tensor:
    """Half the sum of abs(p - q): from 0 to 1, and no nats. By Pinsker, its square is at most KL(p || q) / 2."""
    return 0.5 * (p_logprobs.exp() - q_logprobs.exp()).abs().sum(-1)


def _mixture(p_logprobs: Tensor, q_logprobs: Tensor, share: float) -> Tensor:
    """log(share p + (1 - share) q); near e^-1e4 where both are 0."""
    impossible = torch.isneginf(p_logprobs) & torch.isneginf(q_logprobs)
    # The gradient of logaddexp is NaN where both sides are -inf.
    p_logprobs, q_logprobs = (side.masked_fill(impossible, -1e4) for side in (p_logprobs, q_logprobs))
    return torch.logaddexp(p_logprobs + math.log(share), q_logprobs + math.log1p(-share))


DIVERGENCES: dict[str, Divergence] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "jsd": jsd}
"""Those that a rollout can be switched by, by the name that a config gives."""


def divergences(metric: str, teacher: TopK, student_logprobs: Tensor) -> list[float]:
    """d_1 .. d_n of n positions, from the teacher's rows and the student's full ``[n, V]``.

    Raises ``TeacherProtocolError`` where the rows are not as many, ``NonFiniteError`` where a divergence
    is not a number: a rollout must never go on from that.
    """
    if len(teacher) != len(student_logprobs):
        raise TeacherProtocolError(
            f"{len(student_logprobs)} tokens were to be scored, the teacher gave {len(teacher)} rows"
        )
    q_logprobs = outcome_logprobs_of(student_logprobs, teacher.ids, teacher.vocab_size)
    values: list[float] = DIVERGENCES[metric](teacher.outcome_logprobs(), q_logprobs).tolist()
    if not all(math.isfinite(value) for value in values):
        raise NonFiniteError(f"a {metric} divergence is not finite: {values}")
    return values
