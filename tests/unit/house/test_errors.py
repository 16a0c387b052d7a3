"""The exception tree: all of it crosses processes, by pickle and in Ray's own form."""

import pickle

import pytest
from ray.exceptions import RayTaskError

from adaswitch.errors import (
    AdaSwitchError,
    ConfigError,
    DataError,
    QueueClosedError,
    StudentLostError,
    TeacherRejectedError,
    TeacherUnavailableError,
)

ERRORS = [
    ConfigError("a: b"),
    DataError("no prompt", source="train.jsonl", line=3),
    TeacherUnavailableError("nobody", retry_after_s=2.0),
    TeacherRejectedError("refused: 401", status=401, code="unauthorized", field=None),
    QueueClosedError("over"),
    StudentLostError("the student's engine has died: RuntimeError: no kernel"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_in_another_process(error: AdaSwitchError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_ray_can_carry_it(error: AdaSwitchError) -> None:
    carried = RayTaskError.from_bytes(RayTaskError("run", "a trace", error).to_bytes())
    as_raised = carried.as_instanceof_cause()
    assert isinstance(as_raised, type(error))
    assert str(as_raised.cause) == str(error)
    again = pickle.loads(pickle.dumps(as_raised.cause))
    assert str(again) == str(error)
