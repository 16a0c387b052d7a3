"""How a teacher is served from its folder, by its settings: the number type, and the longest sequence.

The service asks when it starts, and a run that serves its teacher before it starts anything.
"""

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.data.architecture import longest_sequence
from adaswitch.data.model_config import ModelConfig, check_teacher_model, read_model_config
from adaswitch.data.second_head import refuse_second_head
from adaswitch.errors import ModelError

DTYPES = ("float32", "bfloat16", "float16")
IN_RUN = "teacher.serve."
"""What stands before the service's settings in a run's."""


def check_served_model(serve: TeacherServiceConfig) -> None:
    """Raises ``ModelError`` unless the service of a run can serve its model, as far as the folder says."""
    check_teacher_model(serve.model, serve.engine, f"{IN_RUN}model")
    model = read_model_config(serve.model, f"{IN_RUN}model")
    served_length(serve, model, IN_RUN)
    served_dtype(serve, model, IN_RUN)
    refuse_second_head(model, f"{IN_RUN}model")


def served_length(serve: TeacherServiceConfig, model: ModelConfig, prefix: str = "") -> int:
    """``max_model_len``, or else the most that the model takes. Raises ``ModelError`` if that is less, or not known.

    ``prefix`` is what stands before the settings' names in messages.
    """
    asked_for, longest = serve.max_model_len, longest_sequence(model.config)
    if longest is None and asked_for is None:
        raise ModelError(
            f"{prefix}max_model_len: {serve.model!r} does not say how long a sequence may be: set it"
        )
    if longest is not None and asked_for is not None and asked_for > longest:
        raise ModelError(f"{prefix}max_model_len: {asked_for} is more than the {longest} of {serve.model!r}")
    return asked_for or longest or 0


def served_dtype(serve: TeacherServiceConfig, model: ModelConfig, prefix: str = "") -> str:
    """The number type of the weights in memory. A folder that names no type was saved in float32.

    Raises ``ModelError`` if the folder names a type that nothing computes with here, and the settings name none.
    """
    if serve.dtype != "auto":
        return serve.dtype
    if model.stored_dtype not in (None, *DTYPES):
        raise ModelError(
            f"{prefix}model: {serve.model!r} names the number type {model.stored_dtype!r} in its config.json, which is "
            f"not computed with here: set {prefix}dtype to one of {', '.join(DTYPES)}"
        )
    return model.stored_dtype or "float32"
