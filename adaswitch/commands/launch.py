"""``LocalRun``: teacher, Ray, students and trainer on this machine, each as a process of its own.

This module imports none of the services. It starts them as a user would, and reads the run directory for progress.
"""

import math
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from adaswitch.commands.starting import TeacherWatch, starting_words
from adaswitch.config.run import RunConfig
from adaswitch.config.threads import reserved_cpus
from adaswitch.data.threads import describe_threads, on_one_machine
from adaswitch.errors import AdaSwitchError, DataError
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.replay import Replay
from adaswitch.preflight import Starts, check_run
from adaswitch.processes.cores import num_cores
from adaswitch.processes.entry import INTERRUPTED, is_impatient
from adaswitch.processes.managed import ManagedProcess, wait_for_file
from adaswitch.runs.attempts import Attempt, begin_attempt
from adaswitch.runs.attempts import unused_name as unused_name
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import CONFIG_FILE
from adaswitch.runs.opening import opened
from adaswitch.runs.status import Phase, read_status
from adaswitch.runs.words import NOT_SAVED, complete_words, run_of, what_is_saved
from adaswitch.teachers.readiness import is_ready

POLL_S = 0.25
QUIET_S = 5.0
"""The seconds without a new step after which the teacher is asked whether it is there."""
RAY_START_TIMEOUT_S = 120.0
SAVE_GRACE_S = 300.0
"""The number of seconds that the trainer has to finish its step and save. Ctrl-C a second time ends them early."""
STOP_GRACE_S = 15.0
ENDS_OF_A_STOP = (0, INTERRUPTED, -signal.SIGTERM, int(signal.SIGTERM))
"""The exit codes of a trainer that was asked to stop: complete, saved, or stopped before it could begin, by Python or
by Ray."""
ROOT_CAUSE_WAIT_S = 3.0
"""The number of seconds, after the trainer failed, in which another process may fail as the root cause."""


class LocalRun:
    """One run on this machine. ``say`` is called with a line for people whenever something happens."""

    def __init__(self, config: RunConfig, say: Callable[[str], None], command: str | None = None) -> None:
        """Raises ``UserError`` for settings with which the run cannot be begun, or not gone on with.

        ``command`` is what goes on with the run, for people; by default it is ``adaswitch run``.
        """
        self._command = command
        self.config, self._complete_after = opened(_with_its_teacher(config))
        self.run = run_of(self.config)
        if self._complete_after is None:
            data = check_run(self.config, Starts.WHOLE_RUN, say)
            for line in data.lines():
                say(line)
            self.config = data.models.named_in(self.config)
        self.seconds: dict[str, float] = {}
        """The seconds that each start took, by name."""
        self._say = say
        self._folder = self.run.path
        """Where this attempt's settings and logs go, once it has begun."""
        # Ray's ports cannot be bound to loopback alone, so a token keeps others out.
        self._ray_environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._started: list[ManagedProcess] = []
        self._started_s = time.monotonic()
        self._has_trained = False
        self._first_step = 0
        self._teacher_watch = TeacherWatch(lambda: is_ready(self.config.teacher.url))

    @property
    def starting(self) -> list[str]:
        """The names of the parts that have been started and are not ready yet, as far as can be told from here."""
        if self._has_trained:
            return []
        return [process.name for process in self._started if process.name not in self.seconds]

    @property
    def seconds_since_start(self) -> float:
        """The seconds since the first part was started."""
        return time.monotonic() - self._started_s

    @property
    def teacher_away_s(self) -> float:
        """For how many seconds the teacher has not answered; 0 while it does, and where it is not asked."""
        return self._teacher_watch.away_s

    def execute(self, should_stop: Callable[[], bool], on_poll: Callable[[], None]) -> bool:
        """Run to the end. Returns whether the end was reached. ``on_poll`` is called a few times a second.

        A run that is complete already starts nothing. Raises ``AdaSwitchError`` with the error message of the process
        that failed; notes to the error say what is saved, and how to go on.
        """
        if self._complete_after is not None:
            self._say(complete_words(self.config, self._complete_after))
            return True
        attempt = begin_attempt(self.config, self._command)
        self._folder = attempt.folder
        self._first_step = attempt.status.status.step
        for change in attempt.changes:
            self._say(f"other than in the attempt before: {change}")
        try:
            self._share_cores(attempt)
            is_complete = self._execute(attempt, should_stop, on_poll)
        except Exception as error:
            _note_end(attempt, Phase.FAILED, str(error))
            error.add_note(what_is_saved(self.run))
            error.add_note(f"go on with: {attempt.status.status.command}")
            raise
        if not is_complete:
            _note_end(attempt, Phase.STOPPED, "it was asked to stop")
        return is_complete

    def _share_cores(self, attempt: Attempt) -> None:
        """Say how many threads each part has, and write the numbers where the parts read them.

        The run's own settings keep ``auto``, so that the run may go on on another machine.
        """
        self.config = on_one_machine(self.config, num_cores())
        write_config(self.config, attempt.config)
        self._say(describe_threads(self.config, num_cores()))

    def _execute(
        self, attempt: Attempt, should_stop: Callable[[], bool], on_poll: Callable[[], None]
    ) -> bool:
        watched: list[ManagedProcess] = []
        environment: dict[str, str] = {}
        trainer: ManagedProcess | None = None
        if should_stop():
            return False
        try:
            with self._all_stopped_at_the_end(should_stop):
                if self.config.policy.needs_students:
                    watched, environment = self._start_services(should_stop)
                else:
                    self._say(_where_rollouts_are(self.config.policy))
                if not should_stop():
                    arguments = [*self._arguments(), "--attempt", str(attempt.number)]
                    what = f"{self.config.trainer.num_steps:,} steps"
                    trainer = self._start("trainer", "trainer", arguments, environment, what)
                    self._watch(trainer, watched, should_stop, on_poll)
        except KeyboardInterrupt:
            return False
        except _Failed as error:
            _add_failure_to_save(error, trainer)
            raise
        if trainer is not None and trainer.exit_code not in ENDS_OF_A_STOP and not is_impatient(should_stop):
            raise _Failed(trainer)
        return trainer is not None and trainer.exit_code == 0

    def _start_services(self, should_stop: Callable[[], bool]) -> tuple[list[ManagedProcess], dict[str, str]]:
        """Start teacher, Ray and students, as the trainer needs them.

        Returns the processes that must not end before the trainer, and the environment by which it finds Ray.
        """
        teacher = self._start_teacher()
        head = self._start_ray()
        environment = {"RAY_ADDRESS": self._ray_address(head, should_stop), **self._ray_environment}
        if should_stop():
            raise KeyboardInterrupt
        student = self.config.student
        what = f"{student.num_actors} on {student.engine}"
        students = self._start(
            "students", "services.student", self._arguments(), environment, what, student.engine
        )
        services = [head, students]
        return services if teacher is None else [teacher, *services], environment

    def _watch(
        self,
        trainer: ManagedProcess,
        others: list[ManagedProcess],
        should_stop: Callable[[], bool],
        on_poll: Callable[[], None],
    ) -> None:
        """Wait for the trainer's end, a request to stop, or the failure of another process."""
        while trainer.exit_code is None and not should_stop():
            self._look_for_teacher()
            self._look_for_trainer()
            on_poll()
            self._pass_on_warnings()
            for process in others:
                if process.exit_code is not None and (process.name != "students" or process.exit_code != 0):
                    self._say(f"{process.name}: it has ended; the trainer saves what was trained")
                    raise _Failed(process)
            time.sleep(POLL_S)
        on_poll()
        self._pass_on_warnings()
        if trainer.exit_code not in (None, 0):
            raise _Failed(_root_cause(trainer, others))

    def _pass_on_warnings(self) -> None:
        """Say what the processes warn of in their logs."""
        for process in self._started:
            for warning in process.new_warnings():
                self._say(f"warning: {process.name}: {warning}")

    def _start_teacher(self) -> ManagedProcess | None:
        serve = self.config.teacher.serve
        if serve is None:
            self._say(f"teacher: the one at {self.config.teacher.url}")
            return None
        what = f"{serve.model} on {serve.engine}, port {serve.port}"
        return self._start("teacher", "services.teacher", self._arguments(), {}, what, serve.engine)

    def _look_for_teacher(self) -> None:
        """When the teacher answers for the first time, say so. Later, ask it where no step shows that it is there."""
        starts_none = self.config.teacher.serve is None or not self.config.policy.needs_students
        if starts_none:
            return
        if "teacher" not in self.seconds:
            if is_ready(self.config.teacher.url):
                self._note_ready("teacher")
                self._teacher_watch.answered()
        elif self._seconds_since_step() < QUIET_S:
            self._teacher_watch.answered()
        else:
            self._teacher_watch.look()

    def _seconds_since_step(self) -> float:
        """The seconds since the newest step came on record; infinity before the first."""
        try:
            return time.time() - self.run.metrics.stat().st_mtime
        except OSError:
            return math.inf

    def _look_for_trainer(self) -> None:
        """When the trainer begins its work, say so; its first step shows that all parts are ready."""
        if self._has_trained:
            return
        try:
            status = read_status(self.run)
        except DataError:
            return
        if status is None or status.phase not in (Phase.EVALUATING, Phase.TRAINING):
            return
        if "trainer" not in self.seconds:
            self._note_ready("trainer")
        self._has_trained = status.phase is Phase.TRAINING and status.step > self._first_step

    def _start_ray(self) -> ManagedProcess:
        students = self.config.student
        ranks = self.config.trainer.num_ranks
        needed = students.num_actors * reserved_cpus(students.num_threads) + (ranks if ranks > 1 else 0)
        num_cpus = max(num_cores(), needed)
        arguments = ["--address-file", str(self._address_file()), "--num-cpus", str(num_cpus)]
        arguments += ["--object-store-mib", str(_object_store_mib())]
        what = f"a cluster of its own, {num_cpus} CPUs"
        return self._start("ray", "adaswitch.cluster.head", arguments, self._ray_environment, what)

    def _ray_address(self, head: ManagedProcess, should_stop: Callable[[], bool]) -> str:
        address = wait_for_file(self._address_file(), head, RAY_START_TIMEOUT_S, should_stop)
        self._note_ready("ray")
        return address

    def _note_ready(self, name: str) -> None:
        self.seconds[name] = time.monotonic() - self._started_s
        self._say(f"{name}: ready after {self.seconds[name]:.0f} s")

    def _arguments(self) -> list[str]:
        return ["--config", str(self._folder / CONFIG_FILE)]

    def _address_file(self) -> Path:
        return self._folder / "ray-address"

    def _start(
        self,
        name: str,
        module: str,
        arguments: list[str],
        environment: dict[str, str],
        what: str,
        engine: str = "",
    ) -> ManagedProcess:
        """Start a part of the run. ``what`` says for people what it is; ``engine`` is what it computes with."""
        log = self._folder / f"{name}.log"
        self._say(starting_words(name, what, log, engine))
        process = ManagedProcess(name, module, arguments, log, environment)
        self._started.append(process)
        return process

    @contextmanager
    def _all_stopped_at_the_end(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        try:
            yield
        finally:
            # The trainer was started last and is stopped first, so that it saves while the others still answer.
            for process in reversed(self._started):
                process.is_impatient = partial(is_impatient, should_stop)
                process.stop(SAVE_GRACE_S if process.name == "trainer" else STOP_GRACE_S)


def _with_its_teacher(config: RunConfig) -> RunConfig:
    """``config`` with the address of the teacher that is started here, if one is."""
    serve = config.teacher.serve
    if serve is None:
        return config
    teacher = config.teacher.model_copy(update={"url": f"http://{serve.host}:{serve.port}"})
    return config.model_copy(update={"teacher": teacher})


def _where_rollouts_are(policy: Policy) -> str:
    """Where the trainer has its rollouts from without students, for people."""
    if isinstance(policy, Replay):
        return f"rollouts: those of {policy.run}; no teacher, no students"
    return "answers: the data set's own; no teacher, no students"


def _note_end(attempt: Attempt, phase: Phase, why: str) -> None:
    """Note the end of the attempt, as it is known here, after what the trainer has noted."""
    attempt.status.read_again()
    attempt.status.end(phase, why)


def _object_store_mib() -> int:
    """An eighth of the free memory. It must hold a few copies of the weights; if they do not fit, Ray uses the disk."""
    free_mib = psutil.virtual_memory().available // 2**20
    return int(min(max(free_mib // 8, 256), 16_384))


def _root_cause(trainer: ManagedProcess, others: list[ManagedProcess]) -> ManagedProcess:
    """The process that failed first. A student that gives up tells the trainer first, and may end a little later."""
    deadline_s = time.monotonic() + ROOT_CAUSE_WAIT_S
    while time.monotonic() < deadline_s:
        for process in others:
            if process.exit_code not in (None, 0):
                return process
        time.sleep(POLL_S)
    return trainer


def _add_failure_to_save(error: "_Failed", trainer: ManagedProcess | None) -> None:
    """Note beside ``error`` why the trainer could not save, if that is so and is not the error itself."""
    if trainer is None or not trainer.log.is_file():
        return
    said = trainer.log.read_text(encoding="utf-8", errors="replace").splitlines()
    if unsaved := [line for line in said if line.startswith(NOT_SAVED)]:
        error.add_note(unsaved[-1])
    elif error.process is not trainer and trainer.exit_code not in ENDS_OF_A_STOP:
        error.add_note(f"trainer: {trainer.last_error()}")


class _Failed(AdaSwitchError):
    """A process of the run ended with an error. Its own message and exit code are passed on."""

    def __init__(self, process: ManagedProcess) -> None:
        super().__init__(f"{process.name}: {process.last_error()}")
        self.process = process
        self.exit_code = process.exit_code or 1
