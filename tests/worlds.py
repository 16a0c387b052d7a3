"""Worlds of two random models, and the slow, plain parts that references of the policies are made of."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from adaswitch.method.coins import prompt_coin
from adaswitch.method.distribution import TAIL_FLOOR
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Rollout
from adaswitch.method.sampling import Place, gumbel_noise
from tests.fakes import FakeStudent, FakeTeacher, Model, hash_model, neighbour


@dataclass(frozen=True)
class World:
    """Two models and all that a rollout depends on beside its policy."""

    seed: int
    vocab_size: int
    k: int
    max_new_tokens: int
    stop_token_ids: frozenset[int] = frozenset()
    gap: float = 1.0
    max_teacher_tokens: int | None = None
    reference: tuple[int, ...] = ()

    @property
    def prompt(self) -> Prompt:
        return Prompt(
            self.seed % 97,
            (1, 0, self.seed % self.vocab_size),
            reference_token_ids=self.reference,
            max_teacher_tokens=self.max_teacher_tokens,
            coin=prompt_coin(self.seed, self.seed % 97),
        )

    @property
    def student(self) -> Model:
        return hash_model(self.seed, self.vocab_size)

    @property
    def teacher(self) -> Model:
        return neighbour(self.student, self.seed + 1, self.gap)

    @property
    def budget(self) -> Budget:
        return Budget(self.max_new_tokens, self.stop_token_ids)

    def roll_out(self, policy: Policy) -> tuple[Rollout, FakeStudent, FakeTeacher]:
        student = FakeStudent(self.student, self.seed, self.stop_token_ids)
        teacher = FakeTeacher(self.teacher, self.k, self.seed, self.stop_token_ids)
        rollout = asyncio.run(roll_out(policy, self.prompt, student, teacher, self.budget))
        return rollout, student, teacher


Kind = TypeVar("Kind", bound=World)


def worlds(kind: type[Kind]) -> st.SearchStrategy[Kind]:
    """Small worlds of ``kind``, with and without ends and limits."""
    return st.builds(
        kind,
        seed=st.integers(0, 10**6),
        vocab_size=st.just(7),
        k=st.integers(3, 7),
        max_new_tokens=st.integers(1, 24),
        stop_token_ids=st.sampled_from([frozenset(), frozenset({0}), frozenset({2, 5})]),
        gap=st.sampled_from([0.3, 1.0, 3.0]),
        max_teacher_tokens=st.sampled_from([None, None, 1, 2, 5, 30]),
    )


def over(tokens: Sequence[int], world: World) -> bool:
    stopped = len(tokens) > 0 and tokens[len(tokens) - 1] in world.stop_token_ids
    return stopped or len(tokens) == world.max_new_tokens


def drawn(probabilities: list[float], seed: int, prompt_id: int, position: int) -> int:
    """The token with the largest sum of log-probability and Gumbel noise, in plain Python floats."""
    noise = gumbel_noise([Place(seed, prompt_id, position)], len(probabilities))[0].tolist()
    sums = [math.log(p) + g if p > 0 else -math.inf for p, g in zip(probabilities, noise, strict=True)]
    return sums.index(max(sums))


def slow_divergence(metric: str, p: list[float], q: list[float], k: int) -> float:
    """Over the teacher's k most likely tokens and one outcome for all others, in plain Python floats."""
    top = sorted(range(len(p)), key=lambda token: -p[token])[:k]
    coarse_p, coarse_q = [p[i] for i in top], [q[i] for i in top]
    if k < len(p):
        coarse_p.append(max(1 - math.fsum(coarse_p), TAIL_FLOOR))
        coarse_q.append(math.fsum(q[i] for i in range(len(q)) if i not in top))
    m = [(a + b) / 2 for a, b in zip(coarse_p, coarse_q, strict=True)]
    if metric == "forward_kl":
        return kl(coarse_p, coarse_q)
    if metric == "reverse_kl":
        return kl(coarse_q, coarse_p)
    return kl(coarse_p, m) / 2 + kl(coarse_q, m) / 2


def kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
