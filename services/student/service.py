"""Keeps a run's student actors going: an actor that dies is replaced, and the prompts that it had leased go back."""

import contextlib
import re
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    GetTimeoutError,
    RayActorError,
    RayError,
)

from adaswitch.cluster.actors import num_nodes
from adaswitch.config.run import RunConfig
from adaswitch.errors import AdaSwitchError, EnvironmentProblem, StudentLostError, cause_of
from adaswitch.last_words import exceptions_in, first_line, num_memory_kills, one_line
from services.student.actor import RaySource, start_actor
from services.student.place import Place

OVER = "the run is over"
POLL_S = 0.5
ANSWER_WAIT_S = 10.0
"""The number of seconds to wait for a run's queue in calls whose answer changes nothing."""
MAX_REPLACEMENTS = 20
"""The largest number of replaced actors. If actors keep dying, starting new ones does not mend the fault."""


_EXIT_DETAIL = re.compile(r"Worker exit detail: (.+)")


def why_died(error: ActorDiedError) -> str:
    """Why an actor died, in one line, as far as Ray knows: the exception of its start, or how its process ended."""
    text = str(error)
    raised = list(exceptions_in(text.splitlines()))
    if raised:
        return raised[-1]
    detail = _EXIT_DETAIL.search(text)
    return detail[1].strip() if detail else first_line(text) or type(error).__name__


class StudentService:
    """Runs ``student.num_actors`` actors of one run, in the process that connected to Ray."""

    def __init__(
        self,
        config: RunConfig,
        queue: Any,  # noqa: ANN401 - Ray's handles have no static type
        board: Any,  # noqa: ANN401
        should_stop: Callable[[], bool],
        node: str | None = None,
        terms: str | None = None,
        working_dir: str = "",
    ) -> None:
        """``node`` is Ray's id of the only node for actors; None spreads the actors over the cluster.

        ``terms`` are the run's terms (``OpenRun.terms``) if the run was found by its queue. Actors take no prompts of
        a run with other terms. ``working_dir`` is where actors find a user's own policy, if this process's own path
        does not have it.
        """
        self._config = config
        self._queue = queue
        self._board = board
        self._should_stop = should_stop
        self._node = node
        self._terms = terms
        self._working_dir = working_dir
        self._num_started = 0
        self._num_memory_kills = num_memory_kills()
        self._names: dict[Any, str] = {}  # by the actor's pending call
        self._actors: dict[str, Any] = {}

    def run(self) -> str:
        """Work until the run is over, or until a stop is asked for. Returns why the work ended.

        If an actor raised an error on purpose, the error is told to the trainer and raised here.
        """
        for _ in range(self._config.student.num_actors):
            self._start()
        reason = "stopped"
        while self._names and not self._should_stop():
            done, _ = ray.wait(list(self._names), timeout=POLL_S)
            for call in done:
                name = self._names.pop(call)
                reason = self._settle(call, name) or reason
        self._end_actors()
        return reason

    def _start(self) -> None:
        # A name stands for one student's life, so no name is ever used again, even by the next service of this run.
        name = f"{self._config.name}-{uuid.uuid4().hex[:8]}"
        self._num_started += 1
        source = RaySource(self._queue, self._board, name, self._terms)
        num_actors = self._config.student.num_actors
        place = Place.among(num_actors, num_nodes(), one_node=self._node is not None)
        actor = start_actor(self._config, source, place, self._node, self._working_dir)
        self._actors[name] = actor
        self._names[actor.run.remote()] = name

    def _settle(self, call: Any, name: str) -> str | None:  # noqa: ANN401 - Ray's reference
        """Why the actor's work ended; None if the actor died and another actor took its place."""
        try:
            reason: str = ray.get(call)
            return reason
        except ActorDiedError as error:
            return self._replace(name, why_died(error), could_start=not error.actor_init_failed)
        except ActorUnschedulableError as error:
            self._end_actors()
            # Students on other nodes may still roll out, so this is no reason to end the run.
            raise EnvironmentProblem(f"the node takes no student: {one_line(error)}") from None
        except RayError as error:
            cause = cause_of(error)
            if isinstance(cause, StudentLostError):
                # What is wrong may be no more than that one process. A new one begins afresh.
                ray.kill(self._actors[name])
                return self._replace(name, one_line(cause))
            self._fail(one_line(cause), cause)
            raise

    def _replace(self, name: str, why: str, *, could_start: bool = True) -> str | None:
        """Give back the prompts of an actor that has died, and start another. Returns why not, if the run is over."""
        del self._actors[name]
        num_returned = self._release(name)
        if num_returned is None:
            return OVER
        if num_memory_kills() > self._num_memory_kills:
            why += " The kernel of this machine has ended a process because the memory ran out."
        print(f"student {name} died ({why}); {num_returned} prompts go to others", flush=True)
        if not could_start:
            self._fail(f"it could not start: {why}")
        if self._num_started >= self._config.student.num_actors + MAX_REPLACEMENTS:
            self._fail(f"students died {MAX_REPLACEMENTS} times, the last of this cause: {why}")
        self._start()
        return None

    def _fail(self, message: str, cause: BaseException | None = None) -> None:
        """Tell the trainer why no more rollouts will come, and end."""
        with contextlib.suppress(ActorDiedError):
            ray.get(self._queue.fail.remote(f"a student failed: {message}"))
        self._end_actors()
        if isinstance(cause, AdaSwitchError):
            raise cause
        raise AdaSwitchError(message)

    def _end_actors(self) -> None:
        for name, actor in self._actors.items():
            ray.kill(actor)
            # If the queue does not answer, it takes the prompts back later, when the student has been silent for long.
            with contextlib.suppress(RayActorError, GetTimeoutError):
                # The call is made only once, because the queue of a run that is over never comes back.
                release = self._queue.release.options(max_task_retries=0)
                ray.get(release.remote(name), timeout=ANSWER_WAIT_S)
        self._actors.clear()

    def _release(self, name: str) -> int | None:
        """Give back the prompts that the student had leased. Returns how many; None if the queue is gone.

        The queue ends with the run. A student that is just starting then dies, as Ray cannot give it the handle.
        """
        try:
            return int(ray.get(self._queue.release.remote(name)))
        except ActorDiedError:
            return None
