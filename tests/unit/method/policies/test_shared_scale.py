"""The switch on a scale that all sequences share: the rule, where the scale comes from, and whole and resumed runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.policies.shared_scale import SharedScale
from adaswitch.method.prompt import Prompt
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.sampling import teacher_seed
from adaswitch.method.schedule import PromptSchedule, divergence_scale
from adaswitch.runs.directory import RunDirectory, append_record, read_records
from adaswitch.runs.shards import read_shard
from tests.local_source import LocalSource, LocalTeacher
from tests.worlds import World, drawn, over, slow_divergence
from trainer.job import prepare
from trainer.loop import train
from trainer.recorder import Recorder

INF = math.inf


@dataclass(frozen=True)
class ScaledWorld(World):
    """A world whose prompt comes with a scale, or with none yet."""

    scale: float | None = None

    @property
    def prompt(self) -> Prompt:
        return replace(super().prompt, divergence_scale=self.scale)


@dataclass
class Slow:
    """What the reference wrote and saw."""

    tokens: list[int] = field(default_factory=list)
    by_teacher: list[bool] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    threshold: float = INF


def token_by_token(world: ScaledWorld, policy: SharedScale) -> Slow:
    """Both models are asked before every token; the first divergence above the threshold is the switch."""
    slow, prompt = Slow(), list(world.prompt.token_ids)
    if world.scale is not None:
        slow.threshold = max(policy.factor * world.scale, policy.floor)
    draws, start = (world.seed, world.prompt.id), 0
    while not over(slow.tokens, world):
        p = world.teacher(prompt + slow.tokens).double().exp().tolist()
        if not any(slow.by_teacher):
            q = world.student(prompt + slow.tokens).double().exp().tolist()
            slow.divergences.append(slow_divergence(policy.metric, p, q, world.k))
            # float32 and float64 may see it on different sides of a threshold that it all but equals.
            assume(abs(slow.divergences[-1] - slow.threshold) > 1e-4)
            if slow.divergences[-1] <= slow.threshold:
                slow.tokens.append(drawn(q, *draws, len(slow.tokens)))
                slow.by_teacher.append(False)
                continue
            start = len(slow.tokens)
            draws = teacher_seed(world.seed, world.prompt.id, start), 0
        slow.tokens.append(drawn(p, *draws, len(slow.tokens) - start))
        slow.by_teacher.append(True)
    return slow


WORLDS = st.builds(
    ScaledWorld,
    seed=st.integers(0, 10**6),
    vocab_size=st.just(7),
    k=st.integers(2, 7),
    max_new_tokens=st.integers(1, 24),
    stop_token_ids=st.sampled_from([frozenset(), frozenset({0}), frozenset({2, 5})]),
    gap=st.sampled_from([0.3, 1.0, 3.0]),
    scale=st.sampled_from([None, 0.0, 0.03, 0.1, 0.4, 1.0]),
)
POLICIES = st.builds(
    SharedScale,
    factor=st.sampled_from([0.5, 3.0, 10.0]),
    floor=st.sampled_from([0.0, 0.0, 0.2]),
    metric=st.sampled_from(["forward_kl", "reverse_kl", "jsd"]),
    chunk_size=st.integers(1, 30),
)


@settings(max_examples=200)
@given(WORLDS, POLICIES)
def test_in_chunks_equals_asking_after_every_token(world: ScaledWorld, policy: SharedScale) -> None:
    slow = token_by_token(world, policy)
    rollout, _, _ = world.roll_out(policy)
    assert list(rollout.completion_token_ids) == slow.tokens
    assert rollout.by_teacher.tolist() == slow.by_teacher
    assert list(rollout.divergences) == pytest.approx(slow.divergences, rel=1e-4, abs=2e-6)
    # Exactly, and the same at every token: it does not depend on the sequence.
    assert set(rollout.thresholds) == {slow.threshold}
    stopped = slow.tokens[-1] in world.stop_token_ids
    assert rollout.ending is (Ending.STOP if stopped else Ending.LENGTH)
    assert rollout.prompt.divergence_scale == world.scale


@given(WORLDS, POLICIES, st.integers(1, 30))
def test_the_chunk_size_changes_the_costs_alone(
    world: ScaledWorld, policy: SharedScale, other_size: int
) -> None:
    token_by_token(world, policy)  # which leaves out ties
    one, _, _ = world.roll_out(policy)
    two, _, _ = world.roll_out(policy.model_copy(update={"chunk_size": other_size}))
    assert one.completion_token_ids == two.completion_token_ids
    assert one.by_teacher.tolist() == two.by_teacher.tolist()
    assert one.thresholds == two.thresholds
    assert torch.equal(one.teacher.logprobs, two.teacher.logprobs)


def test_the_worlds_switch_early_late_and_never() -> None:
    """So that the properties above have seen what they are about."""
    policy = SharedScale(factor=3.0, chunk_size=5)
    worlds = [ScaledWorld(seed, 7, 4, 24, frozenset({0}), scale=0.4) for seed in range(120)]
    positions = [world.roll_out(policy)[0].switch_position for world in worlds]
    places = [position for position in positions if position is not None]
    assert 20 <= len(places) <= 100
    assert min(places) == 0
    assert max(places) > 8


@given(WORLDS)
def test_before_there_is_a_scale_the_student_writes_on(world: ScaledWorld) -> None:
    world = replace(world, scale=None)
    rollout, _, teacher = world.roll_out(SharedScale(factor=1e-9, floor=1e-9))
    same, _, _ = world.roll_out(OnPolicy())
    assert rollout.completion_token_ids == same.completion_token_ids
    assert set(rollout.thresholds) == {INF}
    assert {call[0] for call in teacher.calls} == {"score"}


@pytest.mark.parametrize("scale", [-0.1, math.nan, INF])
def test_a_scale_that_cannot_be_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"prompt 4: divergence_scale is .*, must be finite, 0 or more"):
        Prompt(4, (1,), divergence_scale=scale)


# Where the scale comes from: the records of earlier steps.


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 5)), max_size=14),
    st.integers(0, 16),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_the_scale_is_the_mean_of_the_last_steps(
    means: Sequence[float | None], step: int, window_steps: int, max_staleness: int
) -> None:
    total, number = 0.0, 0
    for earlier, mean in enumerate(means):
        age = step - max_staleness - earlier
        if mean is not None and 1 <= age <= window_steps:
            total, number = total + mean, number + 1
    scale = divergence_scale(dict(enumerate(means)), step, window_steps, max_staleness)
    if number == 0:
        assert scale is None
    else:
        assert scale == pytest.approx(total / number)


def test_a_scale_by_hand() -> None:
    means = {0: 0.8, 1: 0.4, 2: None, 3: 0.2}
    assert [divergence_scale(means, step, 2, 0) for step in range(5)] == [
        None,
        0.8,
        pytest.approx(0.6),
        0.4,
        0.2,
    ]
    assert divergence_scale(means, 3, 2, 1) == pytest.approx(0.6)
    assert divergence_scale({0: -1e-9}, 1, 8, 0) == 0.0


def test_the_scale_goes_with_each_prompt_of_its_step() -> None:
    schedule = PromptSchedule([(1,), (2,)], 2, 0, seed=0)
    assert [prompt.divergence_scale for prompt in schedule.step(3, 0.25)] == [0.25, 0.25]
    assert schedule.step(3) == [replace(prompt, divergence_scale=None) for prompt in schedule.step(3, 0.25)]


# Whole runs.


@pytest.fixture(scope="module")
def teacher() -> LocalTeacher:
    return LocalTeacher("models/chain-teacher")


def config(folder: Path, **trainer: object) -> RunConfig:
    return parse_config(
        {
            "name": "run",
            "runs_dir": str(folder),
            "seed": 3,
            "task": {"kind": "chain", "num_train": 20, "num_eval": 8},
            "teacher": {"top_k": 19},
            "student": {"model": "models/chain-student", "max_new_tokens": 12, "group_size": 4},
            "policy": {"kind": "shared_scale", "factor": 2.0, "window_steps": 2, "chunk_size": 4},
            "trainer": {
                "num_steps": 5,
                "prompts_per_step": 4,
                "eval_every": 0,
                "checkpoint_every": 1,
                "optimizer": {"learning_rate": 1e-3, "warmup_steps": 0},
                **trainer,
            },
        }
    )


class Watched(LocalSource):
    """Checks that a prompt is the same when it is taken as when it was offered."""

    def __init__(self, config: RunConfig, teacher: LocalTeacher) -> None:
        super().__init__(config, teacher)
        self._prompts: dict[int, Prompt] = {}

    def offer(self, prompts):
        self._prompts.update({prompt.id: prompt for prompt in prompts})

    def take(self, prompts, should_stop):
        assert [self._prompts[prompt.id] for prompt in prompts] == list(prompts)
        return super().take(prompts, should_stop)


def run_training(settings: RunConfig, teacher: LocalTeacher, last_step: int | None = None) -> RunDirectory:
    """Train, up to where ``last_step`` is on record or to the end."""
    run = RunDirectory(Path(settings.runs_dir) / settings.name)
    job, start = prepare(
        settings,
        lambda: Watched(settings, teacher),
        lambda: any(record["step"] == last_step for record in read_records(run.metrics)),
    )
    train(job, start)
    job.recorder.close()
    return run


def rollouts_of(run: RunDirectory) -> list[list[Rollout]]:
    return [read_shard(shard) for shard in run.shards()]


def scales_of(run: RunDirectory) -> list[float | None]:
    """One a step, the same for all of its prompts."""
    scales = []
    for rollouts in rollouts_of(run):
        (scale,) = {rollout.prompt.divergence_scale for rollout in rollouts}
        scales.append(scale)
    return scales


def test_a_run_switches_on_what_it_has_on_record(tmp_path: Path, teacher: LocalTeacher) -> None:
    run = run_training(config(tmp_path), teacher)
    means = [record["mean_divergence"] for record in read_records(run.metrics)]
    by_hand = [
        None,
        means[0],
        (means[0] + means[1]) / 2,
        (means[1] + means[2]) / 2,
        (means[2] + means[3]) / 2,
    ]
    assert scales_of(run) == [None if mean is None else pytest.approx(mean) for mean in by_hand]
    for rollouts, scale in zip(rollouts_of(run), scales_of(run), strict=True):
        expected = INF if scale is None else 2.0 * scale
        assert {tau for rollout in rollouts for tau in rollout.thresholds} == {expected}
    rates = [record["switch_rate"] for record in read_records(run.metrics)]
    assert rates[0] == 0
    assert max(rates) > 0


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_a_resumed_run_has_the_scales_of_the_whole_one(
    tmp_path: Path, teacher: LocalTeacher, max_staleness: int
) -> None:
    whole = run_training(config(tmp_path / "whole", max_staleness=max_staleness), teacher)
    parts = config(tmp_path / "parts", max_staleness=max_staleness)
    run = run_training(parts, teacher, last_step=2)
    assert len(run.shards()) == 3
    # As after a kill: a step on record that there is no checkpoint of. Its record must not count.
    append_record(run.metrics, {"step": 3, "step_s": 0.1, "mean_divergence": 1e6})
    run_training(parts, teacher)
    assert scales_of(run) == scales_of(whole)
    assert scales_of(run)[: max_staleness + 2].count(None) == max_staleness + 1
    losses = [[record["loss"] for record in read_records(one.metrics)] for one in (run, whole)]
    assert losses[0] == losses[1]


def test_no_other_policy_has_a_scale(tmp_path: Path, teacher: LocalTeacher) -> None:
    settings = config(tmp_path, num_steps=2).model_copy(update={"policy": OnPolicy()})
    assert scales_of(run_training(settings, teacher)) == [None, None]


def test_records_of_other_versions_may_lack_the_mean(tmp_path: Path) -> None:
    settings = config(tmp_path)
    run = RunDirectory.create(settings)
    append_record(run.metrics, {"step": 0, "step_s": 0.1})
    append_record(run.metrics, {"step": 1, "step_s": 0.1, "mean_divergence": 0.5})
    recorder = Recorder(run, settings, 2)
    recorder.close()
    assert recorder.mean_divergences == {0: None, 1: 0.5}
