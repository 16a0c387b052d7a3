"""Checks whether a run's teacher and student can share a process. The check imports nothing slow, as it comes first."""

from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ConfigError
from experiments.engines import LocalEngine


def require_one_process(config: RunConfig) -> None:
    """Raises ``ConfigError`` for a run that needs several processes, or does not say which model the teacher is."""
    if config.trainer.max_staleness:
        raise ConfigError(
            "trainer.max_staleness: in one process nothing runs ahead; set it to 0, or run it served"
        )
    if not config.policy.needs_students:
        return
    if config.student.engine == "vllm":
        raise ConfigError(
            "student.engine: vllm changes the process that it runs in: set it to transformers, or run it served"
        )
    _serve(config)


def with_student_here(config: RunConfig) -> RunConfig:
    """``config`` with the engine that the student has in the trainer's process, which is transformers."""
    student = config.student.model_copy(update={"engine": "transformers"})
    return config.model_copy(update={"student": student})


def local_teacher(config: RunConfig, engine: LocalEngine, num_threads: int) -> TeacherServiceConfig:
    """The teacher's settings, with ``engine`` as its engine, and with ``num_threads`` if it shares this process.

    Raises ``ConfigError`` if the run has no such settings.
    """
    update: dict[str, object] = {"engine": engine}
    if engine == "transformers":  # vLLM has a process of its own
        update["num_threads"] = num_threads
    return _serve(config).model_copy(update=update)


def with_teacher_on(config: RunConfig, engine: LocalEngine) -> RunConfig:
    """``config`` with ``engine`` as its teacher's engine, for checks; ``config`` itself if it has no such teacher."""
    serve = config.teacher.serve
    if serve is None:
        return config
    changed = serve.model_copy(update={"engine": engine})
    return config.model_copy(update={"teacher": config.teacher.model_copy(update={"serve": changed})})


def _serve(config: RunConfig) -> TeacherServiceConfig:
    if config.teacher.serve is None:
        raise ConfigError(
            "teacher.serve: needed to run without services: say which model the teacher is, or run it served"
        )
    return config.teacher.serve
