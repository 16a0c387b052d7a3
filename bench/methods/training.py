"""Rows named ``training``: completion tokens a second of whole runs, with our defaults, beside TRL's trainer.

Each side is started anew in every round. Its first steps, in which caches fill, do not count.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.entry import program
from adaswitch.runs.config_files import write_config
from adaswitch.runs.directory import RunDirectory, read_records
from adaswitch.runs.words import run_of
from bench.methods.idle import BusyWatch
from bench.methods.pairs import COMPLETION_TOKENS, ROOT, large
from bench.methods.rows import SpreadRow, compared
from bench.rounds import Row
from bench.servers import say

WARM_UP_STEPS = 2
NUM_STEPS = 7
PROGRAM = Path(__file__).with_name("trl_program.py")
SCRIPT = Path(__file__).with_name("make_trl.sh")


def measure(folder: Path, num_rounds: int, trl: Path | None) -> None:
    """Print the rows. Without ``trl``, the folder of TRL's environment, there is no peer to compare with."""
    if trl is None:
        raise EnvironmentProblem("the rows of training need --trl FOLDER, where TRL is or is to be installed")
    python = trl_python(trl)
    sides: dict[str, list[float]] = {"synchronous": [], "max_staleness: 1": [], "TRL": []}
    idle: list[float] = []
    for number in range(num_rounds):
        say(f"training: round {number + 1} of {num_rounds}")
        place = folder / f"training-{number}"
        place.mkdir()
        sides["synchronous"].append(tokens_per_s(train(large(place, "name=synchronous"), place)))
        ahead = large(place, "name=ahead", "trainer.max_staleness=1")
        sides["max_staleness: 1"].append(tokens_per_s(train(ahead, place)))
        sides["TRL"].append(run_trl(python, place)["tokens_per_s"])
        two = large(
            place, "name=two", "trainer.max_staleness=1", "student.num_actors=2", "student.group_size=4"
        )
        watch = BusyWatch(run_of(two), WARM_UP_STEPS)
        train(two, place, watch)
        idle.append(watch.idle_share())
    for name, target in (("synchronous", 2.0), ("max_staleness: 1", 2.6)):
        title = f"training, on-policy, V = 49,152, {name}: against TRL's DistillationTrainer"
        print(compared(title, sides[name], sides["TRL"], "tokens/s", target).line(), flush=True)
    print(_idle_row(idle).line(), flush=True)


def _idle_row(idle: Sequence[float]) -> SpreadRow:
    middle = sorted(idle)[len(idle) // 2]
    row = Row(
        "training, two students, V = 49,152: idle share of the slower of student and teacher",
        *(middle, None, "of the time", middle, 0.1),
        at_least=False,
        rounds=len(idle),
    )
    return SpreadRow(row, (min(idle), max(idle)))


def train(
    config: RunConfig, folder: Path, watch: BusyWatch | None = None, num_steps: int = NUM_STEPS
) -> RunDirectory:
    """One whole run by ``adaswitch run``. ``watch`` looks at its processes while it trains."""
    steps = {"num_steps": num_steps, "checkpoint_every": 0}
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update=steps)})
    path = folder / f"{config.name}.yaml"
    write_config(config, path)
    command = program("adaswitch", ["run", "--config", str(path)])
    log = folder / f"{config.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        if watch is not None:
            watch.follow(process)
        code = process.wait()
    if code:
        raise EnvironmentProblem(f"the run {config.name} failed: {log.read_text(encoding='utf-8')[-2000:]}")
    return run_of(config)


def tokens_per_s(run: RunDirectory) -> float:
    """The completion tokens a second of a run's steps after the first ones."""
    steps = list(read_records(run.metrics))[WARM_UP_STEPS:]
    return float(sum(step["num_tokens"] for step in steps) / sum(step["step_s"] for step in steps))


def trl_python(folder: Path) -> Path:
    """The interpreter of TRL's own environment, which is made if it is not there."""
    python = folder / "bin/python"
    if not python.exists():
        say(f"installing TRL into {folder} ...")
        subprocess.run(["bash", str(SCRIPT), str(folder.absolute())], check=True, cwd=ROOT)
    return python.absolute()


def run_trl(python: Path, folder: Path, **environment: str) -> dict[str, float]:
    """The figures of TRL's trainer, with the same models, prompts and lengths."""
    names = [str(folder / name) for name in ("student", "teacher", "prompts.jsonl")]
    numbers = [str(COMPLETION_TOKENS), str(NUM_STEPS), str(WARM_UP_STEPS)]
    command = [str(python), str(PROGRAM), *names, *numbers]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise EnvironmentProblem(f"TRL's trainer failed: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
