"""What vLLM is started with."""

import pytest

from adaswitch.config.teacher import TeacherServiceConfig
from services.teacher.engines.vllm.engine import kv_block_size


@pytest.mark.parametrize(
    ("given", "on_cpu", "expected"),
    [(None, True, 32), (None, False, None), (128, True, 128), (64, False, 64)],
)
def test_the_caches_blocks_are_small_on_cpu_unless_said_otherwise(
    given: int | None, on_cpu: bool, expected: int | None
) -> None:
    config = TeacherServiceConfig(model="-", kv_block_size=given)
    assert kv_block_size(config, on_cpu=on_cpu) == expected
