"""A local run from its launcher's side: what is noted and said however it ends, with processes that do nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from adaswitch.commands import launch
from adaswitch.commands.cli import app
from adaswitch.commands.launch import LocalRun
from adaswitch.data import threads
from adaswitch.errors import AdaSwitchError
from adaswitch.processes.entry import StopRequest
from adaswitch.runs.attempts import join_attempt
from adaswitch.runs.config_files import load_config, write_config
from adaswitch.runs.directory import append_record
from adaswitch.runs.status import Phase, Status, read_status
from tests.runs import NUM_STEPS, begun, save_something, settings
from tests.service_fixtures import inside

Arguments = list[str]


class FakeProcess:
    """In place of a child process. What each does is in ``BEHAVIOUR`` by its name; it runs until it is stopped."""

    BEHAVIOUR: ClassVar[dict[str, Callable[["FakeProcess"], int | None]]] = {}
    started: ClassVar[list["FakeProcess"]] = []

    def __init__(self, name: str, module: str, arguments: Arguments, log: Path, environment: object) -> None:
        self.name, self.arguments, self.log, self.pid = name, arguments, log, 1
        self.is_impatient = lambda: False
        self.exit_code: int | None = None
        self.exit_code = self.BEHAVIOUR.get(name, lambda process: None)(self)
        self.started.append(self)
        log.touch()
        if name == "ray":
            Path(arguments[1]).write_text("127.0.0.1:6379")

    def new_warnings(self) -> list[str]:
        return []

    def last_error(self) -> str:
        return f"the {self.name}'s own words (log: {self.log})"

    def stop(self, grace_s: float) -> None:
        if self.exit_code is None:
            self.exit_code = 130 if self.name == "trainer" else 0


CHECKED = SimpleNamespace(lines=list, models=SimpleNamespace(named_in=lambda config: config))
"""The data of a run in which nothing is to be said."""


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    monkeypatch.setattr(launch, "ManagedProcess", FakeProcess)
    monkeypatch.setattr(launch, "POLL_S", 0.0)
    monkeypatch.setattr(launch, "ROOT_CAUSE_WAIT_S", 0.01)
    monkeypatch.setattr(launch, "is_ready", lambda url: False)
    monkeypatch.setattr(launch, "check_run", lambda config, starts, say: CHECKED)
    monkeypatch.setattr(FakeProcess, "BEHAVIOUR", {})
    monkeypatch.setattr(FakeProcess, "started", [])
    return FakeProcess.started


def local(folder: Path, *overrides: str) -> LocalRun:
    return LocalRun(settings(folder, *overrides), lambda line: None)


def status_of(run: LocalRun) -> Status:
    status = read_status(run.run)
    assert status is not None
    return status


def trains(
    process: FakeProcess, num_steps: int = 3, saved: int | None = 3, phase: Phase = Phase.TRAINING
) -> None:
    """What a trainer does: it joins the attempt, and leaves records and a checkpoint."""
    config = load_config(process.arguments[1])
    attempt = join_attempt(config, int(process.arguments[3]))
    for step in range(num_steps):
        append_record(attempt.run.metrics, {"step": step, "step_s": 1.0})
    attempt.status.enter(phase, num_steps)
    if saved is not None:
        save_something(attempt.run.checkpoint(saved))


def test_a_lost_teacher_is_the_cause_and_what_was_trained_is_named(tmp_path: Path) -> None:
    FakeProcess.BEHAVIOUR["trainer"] = trains
    run = local(tmp_path)

    def teacher_dies() -> None:
        teacher = next(process for process in FakeProcess.started if process.name == "teacher")
        teacher.exit_code = 1

    with pytest.raises(AdaSwitchError, match="teacher: the teacher's own words") as raised:
        run.execute(lambda: False, teacher_dies)
    assert raised.value.exit_code == 1
    assert raised.value.__notes__ == [
        f"what was trained is saved in {run.run.checkpoint(3)} (3 steps)",
        f"go on with: adaswitch run --config {run.run.path}/config.yaml",
    ]
    status = status_of(run)
    assert (status.phase, status.during, status.step) == (Phase.FAILED, Phase.TRAINING, 3)
    assert status.why == str(raised.value)


@pytest.mark.parametrize("code", [0, -9])
def test_a_lost_ray_head_is_the_cause_and_the_trainer_saves(tmp_path: Path, code: int) -> None:
    FakeProcess.BEHAVIOUR["trainer"] = trains
    run = local(tmp_path)

    def head_dies() -> None:
        next(process for process in FakeProcess.started if process.name == "ray").exit_code = code

    with pytest.raises(AdaSwitchError, match="ray: the ray's own words"):
        run.execute(lambda: False, head_dies)
    assert [process.exit_code for process in FakeProcess.started if process.name == "trainer"] == [130]


def test_a_trainer_that_could_not_save_is_quoted_beside_the_cause(tmp_path: Path) -> None:
    def trains_and_cannot_save(process: FakeProcess) -> int:
        trains(process, saved=None)
        return 2

    FakeProcess.BEHAVIOUR["trainer"] = trains_and_cannot_save
    FakeProcess.BEHAVIOUR["students"] = lambda process: 1
    with pytest.raises(AdaSwitchError, match="students: the students's own words") as raised:
        local(tmp_path).execute(lambda: False, lambda: None)
    assert raised.value.__notes__[0].startswith("trainer: the trainer's own words")
    assert "lost: 3 steps" in raised.value.__notes__[1]


def test_both_causes_of_a_trainer_that_fails_and_cannot_save_are_said(tmp_path: Path) -> None:
    def fails_twice(process: FakeProcess) -> int:
        process.log.write_text("noise\nwhat was trained could not be saved: the disk is full\nerror: lost\n")
        return 1

    FakeProcess.BEHAVIOUR["trainer"] = fails_twice
    with pytest.raises(AdaSwitchError, match="trainer: the trainer's own words") as raised:
        local(tmp_path).execute(lambda: False, lambda: None)
    assert raised.value.__notes__[0] == "what was trained could not be saved: the disk is full"


def test_a_service_that_does_not_start_fails_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> str:
        raise AdaSwitchError("ray is not ready")

    monkeypatch.setattr(launch, "wait_for_file", never)
    run = local(tmp_path)
    with pytest.raises(AdaSwitchError) as raised:
        run.execute(lambda: False, lambda: None)
    assert raised.value.__notes__[0] == f"nothing was trained, so nothing is saved in {run.run.path}"
    status = status_of(run)
    assert (status.phase, status.during, status.why) == (Phase.FAILED, Phase.STARTING, "ray is not ready")


def test_after_a_stop_nothing_is_started(tmp_path: Path, processes: list[FakeProcess]) -> None:
    stop = StopRequest(patient=True)
    stop.request()
    run = local(tmp_path)
    assert not run.execute(stop, lambda: None)
    assert processes == []
    assert (status_of(run).phase, status_of(run).during) == (Phase.STOPPED, Phase.STARTING)


def test_a_stop_while_the_services_start_starts_no_trainer(
    tmp_path: Path, processes: list[FakeProcess]
) -> None:
    stop, run = StopRequest(patient=True), local(tmp_path)

    def asked_meanwhile(process: FakeProcess) -> None:
        stop.request()

    FakeProcess.BEHAVIOUR["ray"] = asked_meanwhile
    assert not run.execute(stop, lambda: None)
    assert [process.name for process in processes] == ["teacher", "ray"]
    assert all(process.exit_code == 0 for process in processes)
    assert status_of(run).phase is Phase.STOPPED


def test_a_stop_while_it_trains_is_noted_with_what_the_trainer_had_noted(tmp_path: Path) -> None:
    FakeProcess.BEHAVIOUR["trainer"] = trains
    stop, run = StopRequest(patient=True), local(tmp_path)
    assert not run.execute(stop, stop.request)
    status = status_of(run)
    assert (status.phase, status.during, status.step) == (Phase.STOPPED, Phase.TRAINING, 3)


def test_a_trainer_that_fails_to_save_when_it_is_stopped_is_an_error(tmp_path: Path) -> None:
    stop, run = StopRequest(patient=True), local(tmp_path)

    def stop_and_fail() -> None:
        stop.request()
        FakeProcess.started[-1].stop = lambda grace_s: setattr(FakeProcess.started[-1], "exit_code", 2)

    with pytest.raises(AdaSwitchError, match="trainer: the trainer's own words"):
        run.execute(stop, stop_and_fail)
    assert status_of(run).phase is Phase.FAILED


def test_logs_and_settings_of_earlier_attempts_are_kept(tmp_path: Path, processes: list[FakeProcess]) -> None:
    FakeProcess.BEHAVIOUR["trainer"] = lambda process: 0
    for _ in range(2):
        assert local(tmp_path).execute(lambda: False, lambda: None)
    folders = [process.log.parent for process in processes if process.name == "trainer"]
    assert folders == [tmp_path / "run" / "attempts" / number for number in ("1", "2")]
    assert all(load_config(folder / "config.yaml").teacher.url.endswith(":8000") for folder in folders)


def run_command(folder: Path, *overrides: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    write_config(settings(folder), folder / "config.yaml")
    done = inside(app, "run", "--config", str(folder / "config.yaml"), *options, *overrides)
    return done.returncode, done.stdout


def test_a_run_that_is_complete_starts_nothing(tmp_path: Path, processes: list[FakeProcess]) -> None:
    run = begun(settings(tmp_path), num_steps=0, saved=NUM_STEPS, scores=NUM_STEPS).run
    code, said = run_command(tmp_path)
    assert code == 0, said
    assert f"{run.path} is complete after {NUM_STEPS} steps" in said
    assert "trainer.num_steps=16" in said
    assert "--new-name" in said
    assert processes == []
    assert not (run.attempts / "2").exists()


def test_other_settings_start_nothing_and_are_one_line(tmp_path: Path, processes: list[FakeProcess]) -> None:
    begun(settings(tmp_path), num_steps=0, saved=4)
    code, said = run_command(tmp_path, "seed=1", "policy={kind: skd}")
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    assert 'seed (was 0, now 1), policy.kind (was "adaswitch", now "skd")' in line
    assert processes == []


def test_a_new_name_begins_another_run(tmp_path: Path) -> None:
    FakeProcess.BEHAVIOUR["trainer"] = lambda process: 0
    begun(settings(tmp_path), num_steps=0, saved=4)
    code, said = run_command(tmp_path, "seed=1", options=("--new-name",))
    assert code == 0, said
    assert load_config(tmp_path / "run-2" / "config.yaml").seed == 1
    assert load_config(tmp_path / "run" / "config.yaml").seed == 0


def test_a_stopped_run_says_what_is_saved_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopRequest, "__call__", lambda self: True)
    code, said = run_command(tmp_path)
    assert code == 130
    assert f"stopped; nothing was trained, so nothing is saved in {tmp_path}/run" in said
    assert f"go on with: adaswitch run --config {tmp_path}/run/config.yaml" in said


def test_the_parts_are_told_their_threads_and_the_runs_own_settings_keep_auto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "num_cores", lambda: 6)
    monkeypatch.setattr(threads, "BYTES_PER_THREAD", 1)
    FakeProcess.BEHAVIOUR["trainer"] = lambda process: 0
    said: list[str] = []
    for overrides in ((), ("trainer.num_threads=5",), ()):
        run = LocalRun(settings(tmp_path, *overrides), said.append)
        assert run.execute(lambda: False, lambda: None)
        told = load_config(FakeProcess.started[-1].arguments[1])
        assert (told.student.num_threads, told.trainer.num_threads) == (6, 5 if overrides else 6)
        kept = load_config(run.run.path / "config.yaml")
        assert kept.student.num_threads == "auto"
    assert [line for line in said if "threads" in line] == [
        "threads: trainer 6, student 6, teacher 6 of 6 cores",
        "threads: trainer 5, student 6, teacher 6 of 6 cores",
        "threads: trainer 6, student 6, teacher 6 of 6 cores",
    ]


def test_each_part_that_starts_is_named_with_its_usual_time_and_its_log(tmp_path: Path) -> None:
    def trains_until_it_is_stopped(process: FakeProcess) -> None:
        trains(process)

    FakeProcess.BEHAVIOUR["trainer"] = trains_until_it_is_stopped
    said: list[str] = []
    stop, run = StopRequest(patient=True), LocalRun(settings(tmp_path), said.append)
    names: list[list[str]] = []

    def look() -> None:
        names.append(run.starting)
        stop.request()

    assert not run.execute(stop, look)
    log = run.run.path / "attempts" / "1"
    starts = [line for line in said if "usually ready in" in line]
    assert [line.partition(":")[0] for line in starts] == ["teacher", "ray", "students", "trainer"]
    assert all(line.endswith(f"log: {log / line.partition(':')[0]}.log") for line in starts)
    # The trainer has done a step, so all parts are ready.
    assert "trainer: ready after 0 s" in said
    assert names[0] == []
