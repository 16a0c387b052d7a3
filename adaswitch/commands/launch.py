"""``LocalRun``: teacher, Ray, students and trainer on this machine, each as a process of its own.

This module imports none of the services. It starts them as a user would, and reads the run directory for progress.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from adaswitch.config.run import RunConfig, check_rules
from adaswitch.data.model_folder import check_model_folder
from adaswitch.errors import AdaSwitchError
from adaswitch.method.policies.replay import Replay
from adaswitch.processes.managed import ManagedProcess, require_free_port, wait_for_file
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import resolve_config
from adaswitch.teachers.readiness import is_ready

POLL_S = 0.25
RAY_START_TIMEOUT_S = 120.0
SAVE_GRACE_S = 60.0
"""The number of seconds that the trainer has to finish its step and save."""
STOP_GRACE_S = 15.0
ROOT_CAUSE_WAIT_S = 3.0
"""The number of seconds, after the trainer failed, in which another process may fail as the root cause."""


class LocalRun:
    """One run on this machine. ``say`` is called with a line for people whenever something happens."""

    def __init__(self, config: RunConfig, say: Callable[[str], None]) -> None:
        check_rules(config)
        self.config = resolve_config(config)
        self.run = RunDirectory.create(self.config)
        self.seconds: dict[str, float] = {}
        """The seconds that each start took, by name."""
        self._say = say
        self._logs = self.run.path / "logs"
        # Ray's ports cannot be bound to loopback alone, so a token keeps others out.
        self._ray_environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._address_file = self._logs / "ray-address"
        self._started: list[ManagedProcess] = []
        self._started_s = time.monotonic()

    def execute(self, should_stop: Callable[[], bool], on_poll: Callable[[], None]) -> bool:
        """Run to the end. Returns whether the end was reached. ``on_poll`` is called a few times a second.

        Raises ``AdaSwitchError`` with the error message of the process that failed.
        """
        watched: list[ManagedProcess] = []
        environment: dict[str, str] = {}
        with self._all_stopped_at_the_end():
            if isinstance(self.config.policy, Replay):
                self._say(f"rollouts: those of {self.config.policy.run}; no teacher, no students")
            else:
                watched, environment = self._start_services(should_stop)
            trainer = self._start("trainer", "trainer", self._arguments(), environment)
            self._watch(trainer, watched, should_stop, on_poll)
        return trainer.exit_code == 0

    def _start_services(self, should_stop: Callable[[], bool]) -> tuple[list[ManagedProcess], dict[str, str]]:
        """Start teacher, Ray and students, as the trainer needs them.

        Returns the processes that must not end before the trainer, and the environment by which it finds Ray.
        """
        check_model_folder(self.config.student.model, "student.model")
        teacher = self._start_teacher()
        head = self._start_ray()
        # The data is checked while teacher and Ray get ready, so that a mistake in it is reported early. The import
        # is here because transformers takes seconds to import.
        from adaswitch.data.preflight import load_run_data

        for note in load_run_data(self.config).notes:
            self._say(f"note: {note}")
        environment = {"RAY_ADDRESS": self._ray_address(head, should_stop), **self._ray_environment}
        students = self._start("students", "services.student", self._arguments(), environment)
        return [students] if teacher is None else [teacher, students], environment

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
            on_poll()
            for process in others:
                if process.exit_code not in (None, 0) or (
                    process.name == "teacher" and process.exit_code == 0
                ):
                    raise _Failed(process)
            time.sleep(POLL_S)
        on_poll()
        if trainer.exit_code not in (None, 0):
            raise _Failed(_root_cause(trainer, others))

    def _start_teacher(self) -> ManagedProcess | None:
        serve = self.config.teacher.serve
        if serve is None:
            self._say(f"teacher: the one at {self.config.teacher.url}")
            return None
        require_free_port(serve.port, "teacher.serve.port", serve.host)
        check_model_folder(serve.model, "teacher.serve.model")
        self._say(f"teacher: {serve.model} on {serve.engine}, port {serve.port}")
        return self._start("teacher", "services.teacher", self._arguments(), {})

    def _look_for_teacher(self) -> None:
        """When the teacher answers for the first time, say so."""
        starts_none = self.config.teacher.serve is None or isinstance(self.config.policy, Replay)
        if "teacher" in self.seconds or starts_none:
            return
        if is_ready(self._teacher_url()):
            self._note_ready("teacher")

    def _start_ray(self) -> ManagedProcess:
        self._address_file.unlink(missing_ok=True)
        students = self.config.student
        num_cpus = max(os.cpu_count() or 1, students.num_actors * students.num_threads)
        arguments = ["--address-file", str(self._address_file), "--num-cpus", str(num_cpus)]
        arguments += ["--object-store-mib", str(_object_store_mib())]
        return self._start("ray", "adaswitch.cluster.head", arguments, self._ray_environment)

    def _ray_address(self, head: ManagedProcess, should_stop: Callable[[], bool]) -> str:
        address = wait_for_file(self._address_file, head, RAY_START_TIMEOUT_S, should_stop)
        self._note_ready("ray")
        return address

    def _note_ready(self, name: str) -> None:
        self.seconds[name] = time.monotonic() - self._started_s
        self._say(f"{name}: ready after {self.seconds[name]:.0f} s")

    def _teacher_url(self) -> str:
        serve = self.config.teacher.serve
        return self.config.teacher.url if serve is None else f"http://{serve.host}:{serve.port}"

    def _arguments(self) -> list[str]:
        return ["--config", str(self._resolved_config())]

    def _resolved_config(self) -> Path:
        """The config file for the services, in which the teacher's address is that of the teacher started here."""
        teacher = self.config.teacher.model_copy(update={"url": self._teacher_url()})
        resolved = self.config.model_copy(update={"teacher": teacher})
        path = self._logs / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_config(resolved, path)
        return path

    def _start(
        self, name: str, module: str, arguments: list[str], environment: dict[str, str]
    ) -> ManagedProcess:
        log = self._logs / f"{name}.log"
        log.unlink(missing_ok=True)
        process = ManagedProcess(name, module, arguments, log, environment)
        self._started.append(process)
        return process

    @contextmanager
    def _all_stopped_at_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            # The trainer was started last and is stopped first, so that it saves while the others still answer.
            for process in reversed(self._started):
                process.stop(SAVE_GRACE_S if process.name == "trainer" else STOP_GRACE_S)


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


class _Failed(AdaSwitchError):
    """A process of the run ended with an error. Its own message and exit code are passed on."""

    def __init__(self, process: ManagedProcess) -> None:
        super().__init__(f"{process.name}: {process.last_error()}")
        self.exit_code = process.exit_code or 1


def unused_name(config: RunConfig) -> str:
    """The config's name, or the first of ``name-2``, ``name-3``, .. that no run has."""
    taken = Path(config.runs_dir)
    number = 1
    name = config.name
    while (taken / name).exists():
        number += 1
        name = f"{config.name}-{number}"
    return name
