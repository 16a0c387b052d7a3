"""Shows a local run on the screen: a bar in a terminal, lines elsewhere, and a line for every evaluation."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress

from adaswitch.config.run import RunConfig
from adaswitch.config.trainer import TrainerConfig
from adaswitch.errors import DataError
from adaswitch.processes.progress import in_words, left_in_words
from adaswitch.runs.directory import NUMBER, NUMBER_OR_NONE, Fields, RunDirectory, read_records
from adaswitch.runs.figures import FIGURES
from adaswitch.runs.status import Phase, read_status
from adaswitch.runs.summary import EVAL_FIELDS
from adaswitch.tasks.scores import ALL_SPLITS, MAIN_SPLIT, describe

STEP_FIELDS: Fields = {
    **dict.fromkeys(("step", "loss", "switch_rate", "step_s"), NUMBER),
    "mean_completion_tokens": NUMBER_OR_NONE,
}
PLAIN_EVERY_S = 5.0
"""The seconds between two printed lines of steps if there is no terminal."""
WAIT_EVERY_S = 30.0
"""The same of a wait."""
LONG_WAIT_S = 10.0
"""The least seconds without a step that are called a wait; a step that usually takes longer has ``LONG_STEPS`` of its
own time."""
LONG_STEPS = 3
RECENT = 20
"""The number of the newest steps that rates and the time left are read from."""

Records = Sequence[Mapping[str, Any]]


class Followed(Protocol):
    """What is known of the processes of a run."""

    run: RunDirectory

    @property
    def starting(self) -> Sequence[str]:
        """The parts that are not ready yet."""

    @property
    def seconds_since_start(self) -> float:
        """The seconds since the first part was started."""

    @property
    def teacher_away_s(self) -> float:
        """For how many seconds the teacher has not answered; 0 while it does."""


class Display:
    """Shows what a run directory records, and what the run waits for."""

    def __init__(
        self,
        followed: Followed,
        config: RunConfig,
        progress: Progress,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``progress`` is the terminal's bar, as ``bars`` makes it."""
        self._followed, self._run = followed, followed.run
        self._trainer = config.trainer
        self._may_switch = len(config.policy.writers) > 1
        self._progress, self._console, self._clock = progress, console, clock
        self._task = progress.add_task("starting", total=config.trainer.num_steps, words="")
        self._evals: Records = list(read_records(self._run.evals, EVAL_FIELDS))
        self._steps: Records = []
        self._metrics_size = -1
        self._figures = ""
        self._new_step_s = clock()
        self._printed_s = self._waited_s = clock() - WAIT_EVERY_S

    def refresh(self) -> None:
        """Show what is new since the last call."""
        self._show_evals()
        size = self._run.metrics.stat().st_size if self._run.metrics.is_file() else -1
        if size != self._metrics_size:
            self._metrics_size = size
            self._steps = list(read_records(self._run.metrics, STEP_FIELDS))
            self._new_step_s = self._clock()
            self._show_steps()
        self._show_state()

    def _show_evals(self) -> None:
        evals = list(read_records(self._run.evals, EVAL_FIELDS))
        for record in evals[len(self._evals) :]:
            self._say(f"after {record['step']} steps: {_mark(record)}")
            for hint in record.get("hints") or []:
                self._say(f"note: {hint}")
        self._evals = evals

    def _show_steps(self) -> None:
        """Take over the figures of the newest step, and print them now and then if there is no terminal."""
        if not self._steps:
            return
        newest = self._steps[len(self._steps) - 1]
        self._figures = "  ".join(part for part in self._parts(newest) if part)
        self._progress.update(self._task, completed=newest["step"] + 1)
        now_s = self._clock()
        if not self._console.is_terminal and now_s - self._printed_s >= PLAIN_EVERY_S:
            self._printed_s = now_s
            self._say(f"step {newest['step'] + 1}/{self._trainer.num_steps}  {self._figures}")

    def _parts(self, newest: Mapping[str, Any]) -> list[str]:
        rate = tokens_per_second(self._steps[-RECENT:], self._trainer.prompts_per_step)
        return [
            f"{FIGURES['loss'].brief} {newest['loss']:.3f}",
            f"{FIGURES['switch_rate'].brief} {newest['switch_rate']:.0%}" if self._may_switch else "",
            f"{newest['step_s']:.2f} s/step",
            "" if rate is None else f"{rate:,.0f} tokens/s",
            newest_evaluation(self._evals),
            left_in_words(time_left_s(self._steps, self._evals, self._trainer)),
        ]

    def _show_state(self) -> None:
        """Say what the run does, or waits for: in the bar at once, elsewhere once it takes long."""
        starting = self._followed.starting
        if starting:
            since = in_words(self._followed.seconds_since_start)
            state, words = f"starting {', '.join(starting)}", f"for {since}"
            is_wait = False
        else:
            state, is_wait = self._state()
            words = self._figures or "waiting for the first step"
        self._progress.update(self._task, description=state, words=words)
        now_s = self._clock()
        if is_wait and not self._console.is_terminal and now_s - self._waited_s >= WAIT_EVERY_S:
            self._waited_s = now_s
            self._say(state)

    def _state(self) -> tuple[str, bool]:
        """What goes on, and whether it is a wait of which to speak."""
        away_s, quiet_s = self._followed.teacher_away_s, self._clock() - self._new_step_s
        phase = self._phase()
        if phase in (Phase.EVALUATING, Phase.SAVING):
            self._new_step_s = self._clock()  # nobody waits for a step
            return phase.value, False
        if away_s > 0:
            return f"waiting: the teacher is away for {in_words(away_s)}", away_s >= LONG_WAIT_S
        usual_s = max((record["step_s"] for record in self._steps[-RECENT:]), default=0.0)
        if quiet_s >= max(LONG_WAIT_S, LONG_STEPS * usual_s):
            return f"waiting for rollouts for {in_words(quiet_s)}", True
        return "training", False

    def _phase(self) -> Phase | None:
        try:
            status = read_status(self._run)
        except DataError:
            return None
        return None if status is None else status.phase

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _mark(record: Mapping[str, Any]) -> str:
    return describe(
        record["split"], record["metric"], record.get("value"), record["n"], record.get("unmarked") or 0
    )


def newest_evaluation(evals: Records) -> str:
    """The main mark of the newest evaluation with its step, as in ``exact match 42.0% after 50``; empty without one."""
    if not evals:
        return ""
    newest = [record for record in evals if record["step"] == evals[len(evals) - 1]["step"]]
    main = next((record for record in newest if record["split"] in (MAIN_SPLIT, ALL_SPLITS)), newest[0])
    value = main.get("value")
    share = "-" if value is None else f"{value:.1%}"
    return f"{main['metric'].replace('_', ' ')} {share} after {main['step']}"


def tokens_per_second(recent: Records, rollouts_a_step: int) -> float | None:
    """The tokens of completions that were trained on in a second of the ``recent`` steps; None if it is not known."""
    known = [record for record in recent if record.get("mean_completion_tokens") is not None]
    seconds = sum(record["step_s"] for record in known)
    if seconds <= 0:
        return None
    return float(sum(record["mean_completion_tokens"] for record in known) * rollouts_a_step / seconds)


def time_left_s(steps: Records, evals: Records, trainer: TrainerConfig) -> float | None:
    """The seconds that the rest of the run will take if it goes on as it did, with its evaluations; None if unknown."""
    recent = steps[-RECENT:]
    if not recent:
        return None
    done = recent[len(recent) - 1]["step"] + 1
    left_s = sum(record["step_s"] for record in recent) / len(recent) * max(0, trainer.num_steps - done)
    if trainer.time_limit_s is not None:
        spent_s = sum(record["step_s"] for record in steps)
        left_s = min(left_s, max(0.0, trainer.time_limit_s - spent_s))
    return float(left_s + _evaluations_left(done, trainer) * (_last_seconds(evals) or 0.0))


def _evaluations_left(done: int, trainer: TrainerConfig) -> int:
    every, last = trainer.eval_every, trainer.num_steps
    if not every or done >= last:
        return 0
    return last // every - done // every + (last % every > 0)


def _last_seconds(evals: Records) -> float | None:
    return None if not evals else float(evals[len(evals) - 1]["eval_s"])
