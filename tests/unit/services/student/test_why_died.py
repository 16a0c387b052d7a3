"""Why a student's actor died, in one line, from Ray's errors."""

from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, RayTaskError

from services.student.service import why_died

TRACE = """ray::StudentActor.__init__() (pid=7, ip=10.0.0.2)
Traceback (most recent call last):
  File "x.py", line 3, in __init__
    import my_rules
ModuleNotFoundError: No module named 'my_rules'"""


def test_the_exception_of_its_start_is_told() -> None:
    cause = ModuleNotFoundError("No module named 'my_rules'")
    error = ActorDiedError(RayTaskError("StudentActor.__init__", TRACE, cause, pid=7, ip="10.0.0.2"))
    assert why_died(error) == "ModuleNotFoundError: No module named 'my_rules'"
    assert error.actor_init_failed


def test_how_its_process_ended_is_told() -> None:
    detail = "Worker unexpectedly exits with a connection error code 2. End of file."
    context = ActorDiedErrorContext(
        error_message=f"The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
        f"Worker exit detail: {detail}",
        actor_id=bytes(16),
        class_name="StudentActor",
    )
    assert why_died(ActorDiedError(context)) == detail


def test_if_ray_does_not_know_its_first_line_is_told() -> None:
    assert why_died(ActorDiedError()) == "The actor died unexpectedly before finishing this task."
