"""The parts of ``bench.methods`` that need no teacher: rows, prompts, what the kernel counts, a step in a process."""

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from adaswitch.contract.rollout_codec import encode_rollouts
from adaswitch.data.models import load_tokenizer
from adaswitch.method.prompt import Prompt
from adaswitch.runs.directory import RunDirectory
from bench.methods.idle import STUDENT, TEACHER, BusyWatch, Sample, take
from bench.methods.pairs import PROMPT_TOKENS, large
from bench.methods.rows import compared
from bench.methods.waits import OneStep
from bench.models import Shape, make_model
from tests.fakes import random_rollout

TINY = Shape(vocab_size=300, hidden_size=32, num_layers=1, num_heads=1)


def test_a_row_has_medians_and_the_spread_of_the_rounds() -> None:
    row = compared("a row", [1.0, 4.0, 2.0], [2.0, 2.0, 2.0], "s", 1.5, at_least=False)
    assert json.loads(row.line()) == {
        "row": "a row",
        "ours": 2.0,
        "peer": 2.0,
        "unit": "s",
        "ratio": 1.0,
        "target": "<= 1.5",
        "pass": True,
        "rounds": 3,
        "spread": [0.5, 2.0],
    }


def test_the_prompts_have_the_length_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER", "STUDENT"):
        monkeypatch.setattr(f"bench.methods.pairs.{name}", TINY)
    config = large(tmp_path, "policy.kind=skd")
    assert config.policy.kind == "skd"
    tokenizer = load_tokenizer(config.student.model)
    lines = (tmp_path / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    lengths = {len(tokenizer.encode(json.loads(line)["prompt"])) for line in lines}
    assert lengths == {PROMPT_TOKENS}


def test_special_tokens_are_not_found_within_words(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(make_model(tmp_path, TINY)))
    assert tokenizer.encode("w10 w213 w3") == [10, 213, 3]


def test_a_thread_that_computes_is_busy_and_one_that_waits_is_not() -> None:
    wake, names = threading.Event(), {}

    def wait() -> None:
        names["waits"] = str(threading.get_native_id())
        wake.wait()

    waiting = threading.Thread(target=wait)
    waiting.start()
    names["computes"] = str(threading.get_native_id())
    first = take({os.getpid(): STUDENT})
    last = first
    while last.at_s - first.at_s < 0.2:
        last = take({os.getpid(): STUDENT})
    wake.set()
    waiting.join()
    share = {
        name: (last.busy_ns[os.getpid(), thread] - first.busy_ns[os.getpid(), thread])
        / (1e9 * (last.at_s - first.at_s))
        for name, thread in names.items()
    }
    assert share["computes"] > 0.8
    assert share["waits"] < 0.2


def test_the_slower_part_is_the_one_that_is_idle_least(tmp_path: Path) -> None:
    watch = BusyWatch(RunDirectory(tmp_path), 0)
    watch._roles = {1: STUDENT, 2: STUDENT, 3: TEACHER}
    watch._first = Sample(10.0, {(1, "1"): 0, (1, "7"): 0, (2, "2"): 0, (3, "3"): 0})
    watch._last = Sample(
        12.0, {(1, "1"): 1_800_000_000, (1, "7"): 5, (2, "2"): 1_600_000_000, (3, "3"): 600_000_000}
    )
    assert watch.idle_share() == pytest.approx(0.15)


async def test_a_step_is_leased_in_groups_and_ends_with_its_last_rollout() -> None:
    source = OneStep({})
    prompts = [Prompt(number, (1, 2), min_version=5) for number in range(5)]
    step = asyncio.create_task(source.tokens_of(prompts))
    num_tokens = 0
    for size in (3, 2):
        lease = await source.lease(3, 0.0)
        assert lease is not None
        assert len(lease.prompts) == size
        assert {prompt.min_version for prompt in lease.prompts} == {0}
        assert not step.done()
        rollouts = {prompt.id: random_rollout(prompt.id) for prompt in lease.prompts}
        num_tokens += sum(rollout.num_tokens for rollout in rollouts.values())
        await source.put(lease.attempt, {key: encode_rollouts([each]) for key, each in rollouts.items()})
    assert await step == num_tokens
