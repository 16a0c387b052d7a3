"""Which engine a configuration asks for. ← To add an engine, do it here."""

from adaswitch.config.teacher import TeacherServiceConfig
from services.teacher.engine import TeacherEngine


def make_engine(config: TeacherServiceConfig) -> TeacherEngine:
    """The engine, not yet started."""
    if config.engine == "vllm":
        from services.teacher.vllm_engine import VLLMEngine

        return VLLMEngine(config)
    from services.teacher.transformers_engine import TransformersEngine

    return TransformersEngine(config)
