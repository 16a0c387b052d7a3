"""Rows named ``waits``: how long a synchronous step waits for its rollouts, by policy, for each completion token.

Teacher service and students' worker are those of a run. The queue is a list in this process, which adds nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from adaswitch.cluster.rollout_queue import Lease
from adaswitch.config.run import RunConfig
from adaswitch.contract.rollout_codec import decode_rollouts
from adaswitch.data.threads import student_threads
from adaswitch.method.policies.base import Policy
from adaswitch.method.prompt import Prompt
from adaswitch.preflight import Starts, check_run
from adaswitch.processes.cores import compute_with, num_cores
from adaswitch.teachers import connect_teacher
from bench.methods.pairs import demo, large
from bench.methods.rows import compared
from bench.methods.teacher import teacher_of
from bench.servers import say
from services.student.parts import StudentParts, build_student
from services.student.roll_out import make_worker
from trainer.job import schedule_of
from trainer.learner import Learner

ATTEMPT = "bench"
Make = Callable[..., RunConfig]
Workers = list[asyncio.Task[str]]


class OneStep:
    """A ``Source`` that gives a step's prompts at once, and whose weights never change."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights
        self._prompts: asyncio.Queue[Prompt] = asyncio.Queue()
        self._num_tokens: dict[int, int] = {}
        self._came = asyncio.Event()

    async def tokens_of(self, prompts: Sequence[Prompt]) -> int:
        """The completion tokens of all rollouts of ``prompts``, once they are there."""
        self._num_tokens.clear()
        for prompt in prompts:
            self._prompts.put_nowait(replace(prompt, min_version=0))
        while len(self._num_tokens) < len(prompts):
            self._came.clear()
            await self._came.wait()
        return sum(self._num_tokens.values())

    async def lease(self, max_prompts: int, wait_s: float) -> Lease | None:
        """See ``Source``. Waits without end, as the worker is cancelled at the end."""
        prompts = [await self._prompts.get()]
        while len(prompts) < max_prompts and not self._prompts.empty():
            prompts.append(self._prompts.get_nowait())
        return Lease(ATTEMPT, tuple(prompts))

    async def newest_weights(self, attempt: str, min_version: int) -> "Kept":
        """See ``Source``."""
        return Kept(self._weights)

    async def put(self, attempt: str, blobs: dict[int, bytes]) -> None:
        """See ``Source``."""
        for prompt_id, blob in blobs.items():
            self._num_tokens[prompt_id] = sum(rollout.num_tokens for rollout in decode_rollouts(blob))
        self._came.set()


class Kept:
    """Weights that are the student's own already."""

    version = 0

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    async def fetch(self) -> dict[str, Tensor]:
        """See ``services.student.worker.Weights``."""
        return self._weights


@dataclass(frozen=True)
class Target:
    """A policy that is compared with on-policy: its settings, and the largest ratio that is good."""

    name: str
    overrides: tuple[str, ...]
    at_most: float


def measure(folder: Path, num_rounds: int) -> None:
    """Print the rows of both pairs."""
    never = Target(
        "adaswitch that never switches", ("policy={kind: adaswitch, factor: 1e9, chunk_size: 32}",), 1.05
    )
    places = {name: folder / name for name in ("large", "demo")}
    for place in places.values():
        place.mkdir()
    asyncio.run(_compare(large, places["large"], "V = 49,152", [never], num_rounds))
    switching = [
        Target("adaswitch", ("policy={kind: adaswitch}",), 1.2),
        Target("skd", ("policy={kind: skd, accept_top_k: 4}",), 1.8),
    ]
    asyncio.run(_compare(demo, places["demo"], "the demo's pair", switching, num_rounds))


async def _compare(make: Make, folder: Path, pair: str, targets: Sequence[Target], num_rounds: int) -> None:
    """Print one row for each target. Each round has a step of every policy, with prompts that no other has had."""
    config = make(folder, "policy={kind: on_policy}")
    policies = {"on-policy": config.policy} | {t.name: make(folder, *t.overrides).policy for t in targets}
    say(f"waits, {pair}: the teacher ...")
    with teacher_of(config, folder):
        seconds = await _seconds(config, policies, num_rounds)
    for target in targets:
        row = compared(
            f"waits, {pair}: {target.name} against on-policy",
            [1000 * value for value in seconds[target.name]],
            [1000 * value for value in seconds["on-policy"]],
            "ms a token",
            target.at_most,
            at_least=False,
        )
        print(row.line(), flush=True)


async def _seconds(
    config: RunConfig, policies: Mapping[str, Policy], num_rounds: int
) -> dict[str, list[float]]:
    """For each policy and round the seconds that a step waits for rollouts, by completion token."""
    data = check_run(config, Starts.TRAINER, say)
    schedule = schedule_of(config, data.train_prompts, data.train_references)
    client = connect_teacher(config)
    compute_with(student_threads(config, num_cores(), 1, alone=False))
    seconds: dict[str, list[float]] = {name: [] for name in policies}
    try:
        parts = build_student(config, client, await client.model_info())
        weights = Learner.from_folder(config.student.model, config.trainer, "cpu").weights()
        sources = {name: OneStep(weights) for name in policies}
        async with _working(config, policies, parts, sources) as workers:
            for number in range(num_rounds + 1):
                for place, (name, source) in enumerate(sources.items()):
                    prompts = schedule.step(number * len(policies) + place)
                    started_s = perf_counter()
                    num_tokens = await _unless_failed(source.tokens_of(prompts), workers)
                    if number:  # the first round warms up
                        seconds[name].append((perf_counter() - started_s) / num_tokens)
                say(f"round {number} of {num_rounds}")
    finally:
        await client.aclose()
    return seconds


async def _unless_failed(step: Coroutine[Any, Any, int], workers: Workers) -> int:
    """The result of ``step``, or the error of a worker that ends before."""
    waiting = asyncio.create_task(step)
    await asyncio.wait([waiting, *workers], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        for worker in workers:
            if worker.done():
                worker.result()
    return await waiting


@asynccontextmanager
async def _working(
    config: RunConfig, policies: Mapping[str, Policy], parts: StudentParts, sources: Mapping[str, OneStep]
) -> AsyncIterator[Workers]:
    """A worker for each policy. All have one engine, which they use one after the other."""
    workers = [
        make_worker(config.model_copy(update={"policy": policy}), sources[name], parts)
        for name, policy in policies.items()
    ]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
