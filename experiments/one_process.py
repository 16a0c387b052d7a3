"""What a run needs so that teacher and student can share a process. Light: it is asked before anything is loaded."""

from adaswitch.config import ReplayPolicyConfig, RunConfig, TeacherServiceConfig
from adaswitch.errors import ConfigError
from experiments.engines import LocalEngine


def require_one_process(config: RunConfig) -> None:
    """Raises ``ConfigError`` for a run that needs processes of its own, or does not say what the teacher is."""
    if config.trainer.max_staleness:
        raise ConfigError(
            "trainer.max_staleness: in one process nothing runs ahead; set it to 0, or leave out --local"
        )
    if not isinstance(config.policy, ReplayPolicyConfig):
        _serve(config)


def local_teacher(config: RunConfig, engine: LocalEngine) -> TeacherServiceConfig:
    """The teacher's settings, on ``engine``. Raises ``ConfigError`` where there are none."""
    return _serve(config).model_copy(update={"engine": engine})


def _serve(config: RunConfig) -> TeacherServiceConfig:
    if config.teacher.serve is None:
        raise ConfigError(
            "teacher.serve: needed to run without services: say which model the teacher is, "
            "or leave out --local"
        )
    return config.teacher.serve
