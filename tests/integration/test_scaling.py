"""The crowd of ``bench.scaling`` in small: real queue, real workers, and a pace that they keep."""

import math

import pytest

from bench.scaling_crowd import Tempo, a_cluster, hold, travel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_small_crowd_and_small_weights() -> None:
    with a_cluster(weights_mib=8):
        row = hold(2, seconds=0.5, tempo=Tempo(write_s=0.4, score_s=0.2))
        weights = travel(8, "bfloat16")
    assert math.isclose(row.bound, 40.0)
    # Little time and a busy machine: it may be slower, and never faster than its models allow.
    assert 5.0 < row.rollouts_s < 1.2 * row.bound
    assert min(row.student_cpu_s, row.queue_cpu_s, row.trainer_cpu_s) > 0
    assert min(*weights.publish_s, *weights.fetch_s) > 0
    # Nine sets of weights were published. Ray may still be dropping the last but one.
    assert 8.0 <= weights.store_mib < 17.0
