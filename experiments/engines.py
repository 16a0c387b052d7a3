"""The engines that a teacher may have in the student's process. Imports nothing slow, so that ``--help`` is fast."""

from typing import Literal

LocalEngine = Literal["transformers", "vllm"]
