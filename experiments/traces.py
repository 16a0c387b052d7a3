"""Pictures of divergences inside rollouts: one rollout with its threshold, and means by position over training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from adaswitch.method.rollout import Rollout
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.recorded import shards_by_step
from adaswitch.runs.shards import read_shard
from experiments.pictures import label, save

MIN_ROLLOUTS = 8
"""A mean over fewer rollouts than this would be noise."""


@dataclass(frozen=True)
class Stage:
    """Rollouts of one part of training."""

    name: str
    rollouts: Sequence[Rollout]


def read_stages(run: RunDirectory) -> list[Stage]:
    """The rollouts of the first, the middle and the last tenth of the steps whose rollouts are kept."""
    shards = run.shards()
    kept = " of the steps kept" if shards and min(shards_by_step(run)) > 0 else ""
    tenth = max(1, len(shards) // 10)
    middle = len(shards) // 2
    parts = {
        "first": shards[:tenth],
        "middle": shards[middle : middle + tenth],
        "last": shards[len(shards) - tenth :],
    }
    return [
        Stage(f"{name} tenth{kept}", [rollout for shard in part for rollout in read_shard(shard)])
        for name, part in parts.items()
    ]


def mean_by_position(rollouts: Sequence[Rollout]) -> NDArray[np.float64]:
    """The mean divergence ``[positions]`` in nats, up to the last position that ``MIN_ROLLOUTS`` rollouts reach."""
    longest = max((len(rollout.divergences) for rollout in rollouts), default=0)
    means = []
    for position in range(longest):
        seen = [r.divergences[position] for r in rollouts if len(r.divergences) > position]
        if len(seen) < MIN_ROLLOUTS:
            break
        means.append(float(np.mean(seen)))
    return np.array(means, dtype=np.float64)


def draw_traces(stages: Sequence[Stage], path: Path) -> None:
    """Two panels: a rollout of the last stage, with a switch if any has one; and each stage's means by position."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    rollout = _example(stages[-1].rollouts)
    if rollout is not None:
        places = range(len(rollout.divergences))
        left.step(places, rollout.divergences, where="mid", color="C0", label="divergence")
        left.step(places, _finite(rollout.thresholds), where="mid", color="C3", label="threshold")
        if rollout.switch_position is not None:
            left.axvline(rollout.switch_position, color="grey", linestyle=":", label="switch")
        left.set_yscale("symlog", linthresh=1e-3)
        left.set_ylim(bottom=0)
        left.legend(frameon=False)
    for number, stage in enumerate(stages):
        right.plot(mean_by_position(stage.rollouts), color=f"C{number}", label=stage.name)
    right.legend(frameon=False)
    label(left, "token of one rollout, last tenth of training", "nats")
    label(right, "token", "mean divergence, nats")
    save(figure, path)


def _example(rollouts: Sequence[Rollout]) -> Rollout | None:
    watched = [rollout for rollout in rollouts if rollout.divergences]
    switched = [rollout for rollout in watched if rollout.switch_position is not None]
    return next(iter(switched or watched), None)


def _finite(thresholds: Sequence[float]) -> NDArray[np.float64]:
    values = np.array(thresholds, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)
