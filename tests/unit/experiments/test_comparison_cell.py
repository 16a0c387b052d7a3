"""A cell's process: what its attempts took, its children's processor time, and that it has its directory alone."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF
from types import SimpleNamespace
from typing import ClassVar

import pytest

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.entry import StopRequest
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import read_records
from experiments import cell as cell_process
from experiments import cpu, local
from experiments.cpu import CpuMeter
from experiments.lock import LOCK_FILE, held
from experiments.plan import Cell, Plan, cells
from experiments.results import read_results
from experiments.work import ATTEMPTS_FILE, CELL_FILE, FINISHED_FILE
from tests.comparison import PLAN, complete

BUSY_S = 0.3
BURN = f"""
import time
while time.process_time() < {BUSY_S}: pass
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.model_validate({**PLAN, "runs_dir": str(tmp_path), "seeds": [3]})


@pytest.fixture
def begun(plan: Plan) -> Cell:
    """The plan's first cell, with its settings in its folder."""
    cell = cells(plan)[0]
    cell.folder.mkdir(parents=True)
    write_config(cell.config, cell.folder / CELL_FILE)
    return cell


def run(cell: Cell) -> None:
    cell_process.main(cell.folder / CELL_FILE, "transformers")


def test_all_attempts_are_in_the_cells_seconds(plan, begun, monkeypatch):
    ends = iter([False, RuntimeError("it broke"), True])

    def train(*args: object, before_close: object) -> bool:
        end = next(ends)
        if isinstance(end, RuntimeError):
            raise end
        return end

    monkeypatch.setattr(StopRequest, "install", lambda self: self)
    monkeypatch.setattr(local, "train_locally", train)
    monkeypatch.setattr(CpuMeter, "total_s", lambda self: 10.0)
    with pytest.raises(SystemExit):
        run(begun)
    with pytest.raises(SystemExit):
        run(begun)
    assert not (begun.folder / FINISHED_FILE).exists()
    run(begun)
    attempts = list(read_records(begun.folder / ATTEMPTS_FILE))
    found = json.loads((begun.folder / FINISHED_FILE).read_text())
    assert [attempt["cpu_s"] for attempt in attempts] == [10.0] * 3
    assert found == {"wall_s": pytest.approx(sum(a["wall_s"] for a in attempts)), "cpu_s": 30.0}
    assert found["wall_s"] > max(attempt["wall_s"] for attempt in attempts)
    complete(begun, [0.5])
    (begun.folder / FINISHED_FILE).write_text(json.dumps({"wall_s": 70.0, "cpu_s": 30.0}))
    result = read_results(plan, cells(plan)).cells["adaswitch"][3]
    assert (result.wall_s, result.cpu_s) == (70.0, 30.0)


def test_a_child_that_is_killed_and_not_waited_for_is_counted():
    meter = CpuMeter()
    before_s = meter.total_s()
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        child.kill()
        # The system counts in hundredths of a second.
        assert meter.total_s() - before_s > BUSY_S - 0.05


def test_what_was_seen_of_a_child_that_has_gone_without_a_trace_stays(monkeypatch):
    waited_for, there = [5.0], [3.0, 4.0]
    monkeypatch.setattr(cpu, "_user_and_system", lambda whose: waited_for[0] if whose != RUSAGE_SELF else 1.0)
    monkeypatch.setattr(cpu, "_descendants_s", lambda: iter(there))
    meter = CpuMeter()
    meter.look()
    there.clear()
    assert meter.total_s() == 13.0
    # One that was waited for is counted by the system, and not twice.
    waited_for[0] = 15.0
    assert meter.total_s() == 16.0


def test_the_teachers_engine_is_looked_at_before_it_is_closed(plan, monkeypatch):
    class Teacher:
        """Has nothing to serve."""

        info = None
        done: ClassVar[list[str]] = []

        async def start(self) -> None:
            self.done.append("start")

        async def close(self) -> None:
            self.done.append("close")

    data = SimpleNamespace(models=SimpleNamespace(named_in=lambda config: config))

    def prepare(config, connect, should_stop, data, num_threads):
        connect()
        return SimpleNamespace(recorder=SimpleNamespace(close=lambda: None)), 0

    monkeypatch.setattr(local, "check_run", lambda config, starts, say: data)
    monkeypatch.setattr(local, "make_engine", lambda settings: Teacher())
    monkeypatch.setattr(local, "LocalSource", lambda *args: None)
    monkeypatch.setattr(local, "prepare", prepare)
    monkeypatch.setattr(local, "train", lambda job, start: 0)
    monkeypatch.setattr(local, "is_complete", lambda job, step: True)
    config = cells(plan)[0].config
    assert local.train_locally(config, lambda: False, before_close=lambda: Teacher.done.append("look"))
    assert Teacher.done == ["start", "look", "close"]


def test_a_cell_that_another_process_is_at_is_refused(begun, capsys):
    with (begun.folder / LOCK_FILE).open("w") as lock:
        lock.write("1234\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit) as refused:
            run(begun)
        assert refused.value.code == 2
    error = f"error: {begun.folder}: process 1234 is at work on this cell"
    assert capsys.readouterr().err.startswith(error)
    assert not (begun.folder / ATTEMPTS_FILE).exists()


def test_a_lock_ends_with_its_holder(tmp_path):
    with held(tmp_path), pytest.raises(EnvironmentProblem, match="at work on this cell"), held(tmp_path):
        pass
    with held(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().strip().isdigit()
