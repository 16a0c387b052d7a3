"""The engines that can run a teacher. ← To add an engine, write its module here and name it in ``make_engine``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaswitch.config.teacher import TeacherServiceConfig
    from services.teacher.engines.engine import TeacherEngine


def make_engine(config: "TeacherServiceConfig") -> "TeacherEngine":
    """The engine that ``config`` names, not yet started. Only that engine's own libraries are imported."""
    if config.engine == "vllm":
        from services.teacher.engines.vllm.engine import VLLMEngine

        return VLLMEngine(config)
    from services.teacher.engines.transformers_engine import TransformersEngine

    return TransformersEngine(config)
