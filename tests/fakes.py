"""Random 'models' that are a hash of what came before, the two roles of a rollout over them, random rollouts."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from adaswitch.method.distribution import TopK, top_k
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Chunk, Continuation
from adaswitch.method.rollout import Costs, Ending, Rollout
from adaswitch.method.sampling import Place, draw, teacher_seed

Model = Callable[[Sequence[int]], Tensor]
"""From all tokens so far to the log-probabilities ``[V]`` of the next one."""
MOST_MODELS, MOST_REMEMBERED = 32, 4096
"""How many models, and distributions of each, are remembered."""


def noise(seed: int, token_ids: Sequence[int], size: int) -> np.ndarray:
    """``size`` normal numbers that belong to this seed and these tokens."""
    digest = hashlib.sha256(f"{seed} {list(token_ids)}".encode()).digest()
    return np.random.default_rng(list(digest)).normal(size=size)


@lru_cache(maxsize=MOST_MODELS)
def hash_model(seed: int, vocab_size: int, sharpness: float = 1.0) -> Model:
    """Every prefix has a distribution of its own, the more peaked the larger ``sharpness``."""

    def model(token_ids: Sequence[int]) -> Tensor:
        return torch.from_numpy(sharpness * noise(seed, token_ids, vocab_size)).log_softmax(-1).float()

    return _remembered(model)


def _remembered(model: Model) -> Model:
    """The same model, which computes each distribution once: a reference asks for those of the code again."""

    @lru_cache(maxsize=MOST_REMEMBERED)
    def of(token_ids: tuple[int, ...]) -> Tensor:
        return model(token_ids)

    return lambda token_ids: of(tuple(token_ids))


@lru_cache(maxsize=MOST_MODELS)
def neighbour(model: Model, seed: int, gap: float) -> Model:
    """A model that is near ``model`` after some prefixes and up to ``gap`` away after others."""

    def other(token_ids: Sequence[int]) -> Tensor:
        own = model(token_ids).double()
        draws = noise(seed, token_ids, len(own) + 1)
        share = abs(float(draws[len(own)])) ** 3
        return (own + gap * share * torch.from_numpy(draws[: len(own)])).log_softmax(-1).float()

    return _remembered(other)


@dataclass
class FakeStudent:
    """Draws from ``model`` by the noise of seed, prompt and position."""

    model: Model
    seed: int
    stop_token_ids: Collection[int] = ()
    calls: list[tuple[int, int]] = field(default_factory=list)
    """``(tokens so far, tokens asked for)`` of every call."""

    async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
        self.calls.append((len(completion), num_tokens))
        places = [Place(self.seed, prompt.id, len(completion) + j) for j in range(num_tokens)]
        written, rows = _write(self.model, [*prompt.token_ids, *completion], places, self.stop_token_ids)
        return Chunk(written, KeptLogits(rows))


@dataclass
class FakeTeacher:
    """Scores and generates with ``model``; answers are its top ``k``."""

    model: Model
    k: int
    seed: int
    stop_token_ids: Collection[int] = ()
    calls: list[tuple[str, int, int]] = field(default_factory=list)
    """``("score", start, rows)`` or ``("generate", tokens so far, tokens asked for)`` of every call."""

    async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
        self.calls.append(("score", start, len(completion) - start))
        prefixes = [[*prompt.token_ids, *completion[:i]] for i in range(start, len(completion))]
        return top_k(torch.stack([self.model(prefix) for prefix in prefixes]), self.k)

    async def generate(
        self, prompt: Prompt, completion: Sequence[int], num_tokens: int, end_token_ids: Collection[int] = ()
    ) -> Continuation:
        self.calls.append(("generate", len(completion), num_tokens))
        seed = teacher_seed(self.seed, prompt.id, len(completion))
        places = [Place(seed, 0, j) for j in range(num_tokens)]
        stops = {*self.stop_token_ids, *end_token_ids}
        written, rows = _write(self.model, [*prompt.token_ids, *completion], places, stops)
        return Continuation(written, top_k(rows, self.k))


def _write(
    model: Model, token_ids: list[int], places: Sequence[Place], stop_token_ids: Collection[int]
) -> tuple[list[int], Tensor]:
    written: list[int] = []
    rows: list[Tensor] = []
    for place in places:
        rows.append(model([*token_ids, *written]))
        written.append(int(draw(rows[len(rows) - 1][None], [place])))
        if written[len(written) - 1] in stop_token_ids:
            break
    return written, torch.stack(rows)


def random_rollout(
    seed: int,
    *,
    num_prompt: int = 3,
    num_student: int = 4,
    num_teacher: int = 3,
    k: int = 4,
    vocab_size: int = 11,
    window: int = 2,
    num_reference: int = 2,
) -> Rollout:
    """A rollout that is random throughout; thresholds are infinite for the first ``window`` steps."""
    rng = np.random.default_rng(seed)
    num_tokens = num_student + num_teacher
    num_watched = num_student + (1 if num_student and num_teacher else 0)
    rows = torch.from_numpy(rng.normal(size=(num_tokens, vocab_size))).log_softmax(-1)
    thresholds = [float("inf") if i < window else float(rng.random()) for i in range(num_watched)]
    return Rollout(
        prompt=Prompt(
            seed,
            tuple(rng.integers(0, vocab_size, num_prompt).tolist()),
            record=seed + 1,
            step=seed + 2,
            min_version=seed,
            reference_token_ids=tuple(range(num_reference)),
            max_teacher_tokens=seed % 3 or None,
            coin=seed % 5 / 5 if seed % 2 else None,
            divergence_scale=seed % 11 / 7 if seed % 3 else None,
        ),
        completion_token_ids=tuple(rng.integers(0, vocab_size, num_tokens).tolist()),
        by_teacher=np.arange(num_tokens) >= num_student,
        teacher=top_k(rows, k),
        divergences=tuple(rng.random(num_watched).tolist()),
        thresholds=tuple(thresholds),
        ending=list(Ending)[seed % 3],
        weights_version=seed % 7,
        costs=Costs(num_student, 0, num_student, num_teacher, *rng.random(3).tolist()),
    )
