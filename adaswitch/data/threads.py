"""How many CPU threads each part of a run has, where its ``num_threads`` is ``auto``.

The parts of a synchronous run take turns, so each has all cores. If rollouts may be stale, the parts work at the same
time and share the cores. Students always work at the same time, and share.

A small model has fewer threads than there are cores: its operations are over before several threads have begun.
"""

import os
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.config.threads import NumThreads
from adaswitch.data.hub import cached_folder

BYTES_PER_THREAD = 16 * 2**20
"""A thread more for each so many bytes of weights. See docs/performance.md for what was measured."""
WEIGHT_FILES = (".safetensors", ".bin")


def on_one_machine(config: RunConfig, cores: int) -> RunConfig:
    """``config`` with a number in each place of ``auto``, for a run whose parts are all on a machine of ``cores``."""
    students = config.student.num_actors
    student = config.student.model_copy(
        update={"num_threads": student_threads(config, cores, students, alone=False)}
    )
    teacher = config.teacher
    if teacher.serve is not None:
        number = teacher_threads(teacher.serve, cores // _num_at_work(config, students, alone=False))
        serve = teacher.serve.model_copy(update={"num_threads": number})
        teacher = teacher.model_copy(update={"serve": serve})
    trainer = config.trainer.model_copy(update={"num_threads": trainer_threads(config, cores, alone=False)})
    return config.model_copy(update={"student": student, "teacher": teacher, "trainer": trainer})


def trainer_threads(config: RunConfig, cores: int, *, alone: bool) -> int:
    """The threads of a trainer on a machine of ``cores``, or of each of its ranks, if all are there.

    ``alone`` says that the other parts are on other machines.
    """
    share = cores if alone else cores // _num_at_work(config, config.student.num_actors, alone=False)
    return number_of_threads(
        config.trainer.num_threads, share // config.trainer.num_ranks, config.student.model
    )


def threads_of_one_process(config: RunConfig, cores: int) -> int:
    """The threads of a run whose parts are all in this process, where ``trainer.num_threads`` holds for all of them.

    They take turns, and with ``auto`` the larger model decides.
    """
    serve = config.teacher.serve if config.policy.needs_students else None
    models = [config.student.model] if serve is None else [config.student.model, serve.model]
    return number_of_threads(config.trainer.num_threads, cores, *models)


def one_thread_each(config: RunConfig) -> RunConfig:
    """``config`` with 1 in each place of ``auto``, for runs beside each other whose numbers shall not depend on it."""
    return on_one_machine(config, 1)


def student_threads(config: RunConfig, cores: int, num_students: int, *, alone: bool) -> int:
    """The threads of each of ``num_students`` on a machine of ``cores``.

    ``alone`` says that trainer and teacher are on other machines.
    """
    num_at_work = max(num_students, _num_at_work(config, num_students, alone=alone))
    return number_of_threads(config.student.num_threads, cores // num_at_work, config.student.model)


def teacher_threads(serve: TeacherServiceConfig, cores: int) -> int:
    """The threads of a teacher service that may use ``cores``."""
    return number_of_threads(serve.num_threads, cores, serve.model)


def describe_threads(config: RunConfig, cores: int) -> str:
    """What a run on one machine has, in a line for people."""
    numbers: dict[str, NumThreads] = {"trainer": config.trainer.num_threads}
    if config.policy.needs_students:
        numbers["student"] = config.student.num_threads
        if config.teacher.serve is not None:
            numbers["teacher"] = config.teacher.serve.num_threads
    told = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return f"threads: {told} of {cores} {'core' if cores == 1 else 'cores'}"


def _num_at_work(config: RunConfig, num_students: int, *, alone: bool) -> int:
    """How many processes of the run compute on this machine at the same time, apart from students among themselves."""
    if config.trainer.max_staleness == 0 or not config.policy.needs_students:
        return 1
    num_others = 0 if alone else 1 if config.teacher.serve is None else 2
    return max(1, num_students + num_others)


def number_of_threads(setting: int | str, cores: int, *models: str) -> int:
    """``setting``, or in the place of ``auto`` the threads that the largest of ``models`` is worth, of ``cores``."""
    if setting != "auto":
        return int(setting)
    sizes = [weight_bytes(model) for model in models]
    worth = [cores if size is None else size // BYTES_PER_THREAD for size in sizes]
    return max(1, min(cores, max(worth)))


def weight_bytes(model: str) -> int | None:
    """The bytes of a model's weights. None for a model that is not on this machine, which is taken to be large."""
    folder = model if os.path.isdir(model) else cached_folder(model)
    if folder is None:
        return None
    files = [path for path in Path(folder).iterdir() if path.suffix in WEIGHT_FILES]
    return sum(path.stat().st_size for path in files)
