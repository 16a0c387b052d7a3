"""What every group of settings shares: strict types, no unknown keys, never changed after loading."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all settings. Each field's docstring is its documentation."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
