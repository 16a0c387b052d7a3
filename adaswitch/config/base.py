"""What every group of settings shares: strict types, no unknown keys, and no change after loading."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """The base class of all settings. The docstring of a field is the documentation of that setting."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        # The settings of a user's own class may be infinite, and stay so on their way to other processes.
        ser_json_inf_nan="constants",
    )
