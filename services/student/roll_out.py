"""The work of a student actor: it waits for the teacher, builds its worker, and works until the run is over."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from adaswitch.config.run import RunConfig
from adaswitch.config.threads import counted_threads
from adaswitch.data.threads import student_threads
from adaswitch.method.learning_rate import last_learning_rate
from adaswitch.processes.cores import compute_with, num_cores
from adaswitch.runs.exported import Sample
from adaswitch.teachers import connect_teacher
from services.student.figures import StudentFigures, WatchedClient
from services.student.parts import StudentParts, build_student
from services.student.place import Place
from services.student.worker import Source, StudentWorker


class LivingSource(Source, Protocol):
    """A ``Source`` that needs signs of life from the student."""

    async def stay_known(self, samples: Callable[[], Sequence[Sample]]) -> None:
        """Give signs of life until cancelled, or until the run is over. Figures of ``samples`` go with them."""


async def roll_out(config: RunConfig, source: LivingSource, place: Place) -> str:
    """Work until the run is over. Returns why the run is over."""
    threads = student_threads(config, num_cores(), place.num_students, alone=place.alone)
    print(f"computing with {counted_threads(threads)}", flush=True)
    compute_with(threads)
    client = connect_teacher(config, say=print)
    figures = StudentFigures()
    signs = asyncio.create_task(source.stay_known(figures.samples))
    try:
        await client.wait_until_ready(config.teacher.max_wait_s, lambda note: print(note, flush=True))
        info = await client.model_info()
        # A thread loads the model, because the event loop must go on giving signs of life.
        watched = WatchedClient(client, figures.with_teacher)
        parts = await asyncio.to_thread(build_student, config, watched, info)
        return await make_worker(config, source, parts, figures).run()
    finally:
        signs.cancel()
        await asyncio.gather(signs, return_exceptions=True)
        await client.aclose()


def make_worker(
    config: RunConfig, source: Source, parts: StudentParts, figures: StudentFigures | None = None
) -> StudentWorker:
    """The worker of a student that has ``parts``, whose work is counted in ``figures``."""
    return StudentWorker(
        source,
        parts.engine,
        parts.teacher,
        config.student,
        parts.policy,
        parts.stop_token_ids,
        parts.max_tokens,
        lambda version: last_learning_rate(config.trainer.optimizer, version, config.trainer.num_steps),
        figures,
    )
