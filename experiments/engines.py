"""Which engines a teacher may have in the student's process. Imports nothing, for the sake of ``--help``."""

from typing import Literal

LocalEngine = Literal["transformers", "vllm"]
