"""The transformers engine against plain forward passes, vLLM's flat rows, and what a failed start leaves."""

import asyncio
import math
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GeneratePrompt, GenerateRequest, ScoreSequence
from adaswitch.errors import ModelError, NonFiniteError
from services.teacher.engines import transformers_engine
from services.teacher.engines.engine import EngineFaultError, in_daemon_thread, is_starting
from services.teacher.engines.model_folder import read_model_folder
from services.teacher.engines.transformers_engine import TransformersEngine
from services.teacher.engines.vllm.rows import MissingRowError, generated_answer, scored_answer
from services.vllm.environment import set_environment
from services.vllm.log import EngineLog
from tests.model_folders import NUM_IDS, change_config, make_folder, make_tokenizer
from tests.teacher_fakes import running_app
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, Reference, assert_rows, make_model


@pytest.fixture(scope="module")
def reference(model_folder: Path) -> Reference:
    return Reference(model_folder, VOCAB_SIZE)


async def test_scores_are_a_plain_forward_pass_of_each_sequence_alone(small_engine, reference):
    sequences = [
        ScoreSequence(token_ids=ids, start=start)
        for ids, start in (([5, 9, 2, 44, 17, 3], 1), ([7], 1), ([8, 8, 59], 3), ([1, 2, 3, 4], 2))
    ]
    for sequence, answer in zip(sequences, await small_engine.score(sequences, VOCAB_SIZE), strict=True):
        rows = reference.rows(sequence.token_ids)[sequence.start - 1 :]
        assert_rows(answer, rows)
        scored = sequence.token_ids[sequence.start :]
        assert answer.token_ids.tolist() == scored
        np.testing.assert_allclose(
            answer.token_logprobs, [rows[j, t] for j, t in enumerate(scored)], atol=1e-4
        )


async def test_padding_rows_of_the_vocabulary_are_no_tokens(small_engine):
    assert small_engine.info.vocab_size == VOCAB_SIZE
    (answer,) = await small_engine.score([ScoreSequence(token_ids=[1, 2], start=1)], VOCAB_SIZE)
    np.testing.assert_allclose(np.exp(answer.top_logprobs.astype(np.float64)).sum(-1), 1.0, atol=1e-5)


async def test_groups_change_no_score(small_engine, monkeypatch):
    sequences = [ScoreSequence(token_ids=[i + 1, *range(1, i + 2)], start=1) for i in range(7)]
    whole = await small_engine.score(sequences, 3)
    monkeypatch.setattr(transformers_engine, "MAX_LOGITS", 2 * 5 * NUM_ROWS)
    assert len(transformers_engine._groups(sequences, NUM_ROWS)) > 3
    for one, other in zip(whole, await small_engine.score(sequences, 3), strict=True):
        np.testing.assert_allclose(one.top_logprobs, other.top_logprobs, atol=1e-5)


def request_of(
    *prompts: tuple[list[int], int, int], stops: list[int] | None = None, **settings
) -> GenerateRequest:
    return GenerateRequest(
        prompts=[
            GeneratePrompt(token_ids=ids, max_tokens=n, seed=seed, stop_token_ids=stops or [])
            for ids, n, seed in prompts
        ],
        **{"top_k": 4, **settings},
    )


async def test_generated_rows_are_what_the_tokens_were_drawn_from(small_engine, reference):
    request = request_of(([5, 9], 6, 1), ([7], 3, 2), temperature=0.7, top_k=VOCAB_SIZE)
    for prompt, answer in zip(request.prompts, await small_engine.generate(request), strict=True):
        rows = reference.rows([*prompt.token_ids, *answer.token_ids.tolist()])[len(prompt.token_ids) - 1 : -1]
        assert (len(answer.token_ids), answer.finish_reason) == (prompt.max_tokens, "length")
        assert_rows(answer, rows)
        drawn = answer.token_ids.tolist()
        np.testing.assert_allclose(
            answer.token_logprobs, [rows[j, t] for j, t in enumerate(drawn)], atol=1e-4
        )


async def test_a_seed_fixes_what_is_drawn_and_another_one_changes_it(small_engine):
    first, again, other = await small_engine.generate(request_of(([5], 20, 1), ([5], 20, 1), ([5], 20, 2)))
    assert first.token_ids.tolist() == again.token_ids.tolist() != other.token_ids.tolist()


async def test_greedy_takes_the_likeliest_and_a_stop_token_ends_it(small_engine):
    (answer,) = await small_engine.generate(request_of(([5, 9], 8, 0), temperature=0.0))
    assert answer.token_ids.tolist() == answer.top_ids[:, 0].tolist()
    stop = int(answer.token_ids[3])
    (stopped,) = await small_engine.generate(request_of(([5, 9], 8, 0), temperature=0.0, stops=[stop]))
    expected = answer.token_ids.tolist()[: answer.token_ids.tolist().index(stop) + 1]
    assert (stopped.token_ids.tolist(), stopped.finish_reason) == (expected, "stop")


async def test_the_same_request_gets_the_same_bits_among_others(small_engine):
    request = request_of(([5, 9], 12, 1), ([7, 8, 9], 9, 2))
    alone = await small_engine.generate(request)
    among, *_ = await asyncio.gather(
        small_engine.generate(request),
        small_engine.score([ScoreSequence(token_ids=[1, 2, 3], start=1)], 4),
        small_engine.generate(request_of(([1], 12, 5))),
    )
    for one, other in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one.top_logprobs, other.top_logprobs)
        np.testing.assert_array_equal(one.token_ids, other.token_ids)


async def test_a_cancelled_request_leaves_the_engine_within_a_step(small_engine):
    task = asyncio.create_task(small_engine.generate(request_of(([5], 250, 1))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The one worker is free again, or this would wait for 250 steps.
    assert len(await asyncio.wait_for(small_engine.score([ScoreSequence(token_ids=[1], start=1)], 1), 5)) == 1


async def test_a_nan_is_refused(small_engine):
    with torch.no_grad():
        small_engine._model.model.embed_tokens.weight[7] = torch.nan
    with pytest.raises(NonFiniteError):
        await small_engine.score([ScoreSequence(token_ids=[7, 1], start=1)], 2)
    with pytest.raises(NonFiniteError):
        await small_engine.generate(request_of(([7], 2, 0), top_k=0))
    assert await small_engine.score([ScoreSequence(token_ids=[1], start=1)], 2)


async def test_the_whole_service_on_transformers(model_folder):
    config = TeacherServiceConfig(model=str(model_folder), engine="transformers")
    async with (
        running_app(TransformersEngine(config)) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://teacher") as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        info = (await client.get("/v1/model")).json()
        assert (info["vocab_size"], info["max_model_len"], info["dtype"]) == (VOCAB_SIZE, 256, "float32")
        body = {"sequences": [{"token_ids": [1, 2, 3], "start": 2}], "top_k": -1}
        document = (await client.post("/v1/score", json=body)).json()
        assert np.array(document["sequences"][0]["top_ids"]).shape == (2, VOCAB_SIZE)


def sequence(token_ids: list[int], start: int) -> ScoreSequence:
    return ScoreSequence(token_ids=token_ids, start=start)


@dataclass
class Flat:
    token_ids: list[int]
    logprobs: list[float]


PROMPT = Flat([8, 3, 1, 6, 2, 6], [-3.0, -0.5, -1.0, -0.25, -0.75, -0.25])
SAMPLED = Flat([4, 4, 0], [-0.125, -0.125, -2.0])


@pytest.mark.parametrize("start", [1, 2, 3])
def test_vllms_rows_from_every_start(start):
    answer = scored_answer(sequence([5, 8, 6], start), PROMPT, SAMPLED, 2)
    assert answer.token_ids.tolist() == [8, 6][start - 1 :]
    assert answer.token_logprobs.tolist() == [-3.0, -0.25][start - 1 :]
    assert answer.top_ids.tolist() == [[3, 1], [2, 6], [4, 0]][start - 1 :]
    assert answer.top_logprobs.tolist() == [[-0.5, -1.0], [-0.75, -0.25], [-0.125, -2.0]][start - 1 :]


@pytest.mark.parametrize(("num_cached", "start"), [(1, 1), (2, 1), (2, 2)])
def test_a_row_within_the_cached_part_is_missed(num_cached, start):
    """After n tokens the distribution comes from the n-th, which has to be computed: n > ``num_cached``."""
    with pytest.raises(MissingRowError):
        scored_answer(sequence([5, 8, 6], start), PROMPT, SAMPLED, 2, num_cached)


def test_rows_behind_the_cached_part_are_taken_and_what_is_before_is_not_looked_at():
    garbage = Flat([7, 7, 7, *PROMPT.token_ids[3:]], [math.nan] * 3 + PROMPT.logprobs[3:])
    answer = scored_answer(sequence([5, 8, 6], 2), garbage, SAMPLED, 2, num_cached=1)
    assert answer.top_ids.tolist() == [[2, 6], [4, 0]]
    # Of a request that vLLM preempted, the count may be too low: what was never computed is NaN.
    unseen = Flat([0, 0, 0, *PROMPT.token_ids[3:]], [math.nan] * 3 + PROMPT.logprobs[3:])
    with pytest.raises(MissingRowError):
        scored_answer(
            sequence([9, 5, 8, 6], 2),
            Flat([1, 1, 1, *unseen.token_ids], [-1.0] * 3 + unseen.logprobs),
            SAMPLED,
            2,
            num_cached=1,
        )


@pytest.mark.parametrize("start", [2, 3])
def test_rows_that_were_cut_before_the_start_change_nothing(start):
    cut = Flat(PROMPT.token_ids[3 * (start - 1) :], PROMPT.logprobs[3 * (start - 1) :])
    whole, found = (scored_answer(sequence([5, 8, 6], start), rows, SAMPLED, 2) for rows in (PROMPT, cut))
    assert found.token_ids.tolist() == whole.token_ids.tolist()
    assert found.top_ids.tolist() == whole.top_ids.tolist()
    assert found.top_logprobs.tolist() == whole.top_logprobs.tolist()
    with pytest.raises(EngineFaultError):
        scored_answer(sequence([5, 8, 6], start - 1), cut, SAMPLED, 2)


def test_vllms_rows_of_a_single_token_and_without_candidates():
    alone = scored_answer(sequence([5], 1), Flat([], []), SAMPLED, 2)
    assert (alone.token_ids.tolist(), alone.top_ids.tolist()) == ([], [[4, 0]])
    bare = scored_answer(sequence([5, 8], 1), Flat([8], [-3.0]), Flat([4], [-0.125]), 0)
    assert (bare.token_logprobs.tolist(), bare.top_ids.shape) == ([-3.0], (2, 0))


@pytest.mark.parametrize(
    ("token_ids", "prompt", "sampled"),
    [
        ([5, 6, 8], PROMPT, SAMPLED),
        ([5, 8], PROMPT, SAMPLED),
        ([5, 8, 6], Flat(PROMPT.token_ids[:-1], PROMPT.logprobs[:-1]), SAMPLED),
        ([5, 8, 6], PROMPT, Flat([], [])),
    ],
)
def test_rows_that_do_not_belong_to_the_tokens_are_a_fault(token_ids, prompt, sampled):
    with pytest.raises(EngineFaultError):
        scored_answer(sequence(token_ids, 1), prompt, sampled, 2)


def test_vllms_rows_of_a_continuation():
    flat = Flat([8, 8, 1, 6, 2, 6], [-0.5, -0.5, -1.0, -0.75, -0.25, -0.75])
    answer = generated_answer([8, 6], flat, 2, "stop")
    assert (answer.token_ids.tolist(), answer.top_ids.tolist()) == ([8, 6], [[8, 1], [2, 6]])
    assert answer.finish_reason == "stop"
    with pytest.raises(EngineFaultError):
        generated_answer([8, 7], flat, 2, "stop")


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_vllms_rows_that_are_not_finite_are_refused(bad):
    with pytest.raises(NonFiniteError):
        scored_answer(sequence([5], 1), Flat([], []), Flat([4, 4, 0], [-0.1, -0.1, bad]), 2)


def test_the_reason_of_a_failed_start_is_the_first_that_says_something():
    # In a process of its own: it turns its standard streams away.
    script = """
import subprocess, sys
from services.vllm.log import EngineLog
log = EngineLog()
with log.capture():
    print("INFO loading")
    child = "raise ValueError('Head size 7 is not supported')"
    subprocess.run([sys.executable, "-c", child])
    print("RuntimeError: Engine core initialization failed. See root cause above.", file=sys.stderr)
    sys.stdout.flush()
print(log.reason())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ValueError: Head size 7 is not supported\n", "")


def test_what_a_process_says_of_its_end_is_kept_long_after_its_start():
    script = """
import subprocess, sys
from services.vllm.log import EngineLog
log = EngineLog()
code = "input(); raise RuntimeError('no offset')"
with log.capture():
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
child.communicate(b"now\\n")
print(log.reason())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("RuntimeError: no offset\n", "")


def test_a_log_without_a_reason_has_none():
    assert EngineLog().reason() is None


async def test_a_daemon_thread_brings_results_and_errors():
    assert await in_daemon_thread(lambda: 3) == 3
    with pytest.raises(ModelError, match="no"):
        await in_daemon_thread(lambda: (_ for _ in ()).throw(ModelError("no")))
    for thread in threading.enumerate():
        if thread.name == "engine-start":  # lives on for a moment after its result
            thread.join(10)
    assert not is_starting()


def test_a_length_that_does_not_fit_is_named(model_folder):
    with pytest.raises(ModelError, match="257 is more than the 256"):
        read_model_folder(TeacherServiceConfig(model=str(model_folder), max_model_len=257))


def test_tokens_without_a_row_are_said(tmp_path):
    facts = read_model_folder(TeacherServiceConfig(model=str(make_model(tmp_path, 80, num_rows=60))))
    assert (facts.vocab_size, facts.num_embedding_rows) == (60, 60)
    assert facts.notes == (
        "model: 20 of the tokenizer's tokens have no row in the model, which has 60, and are never written: "
        "60 'w60', 61 'w61', 62 'w62', ..",
    )


def test_a_folder_with_a_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=os.path.basename(tmp_path)):
        read_model_folder(TeacherServiceConfig(model=str(tmp_path)))


def test_float32_is_float32_on_gpus_too_and_what_the_user_has_set_stays(monkeypatch):
    environment = {"OMP_NUM_THREADS": "7"}
    monkeypatch.setattr(os, "environ", environment)
    set_environment(2)
    assert environment["TRITON_F32_DEFAULT"] == "ieee"
    assert environment["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("num_rows", "settings", "vocab_size"),
    [(50, {}, 50), (49, {}, 49), (64, {"vocab_size": 40}, 40), (64, {}, 50)],
)
async def test_distributions_are_over_the_ids_that_tokenizer_model_and_run_have(
    tmp_path: Path, num_rows: int, settings: dict[str, int], vocab_size: int
) -> None:
    tokenizer = make_tokenizer({"[PAD]": NUM_IDS})
    folder = make_folder(tmp_path, tokenizer, num_rows=num_rows, generation={"eos_token_id": [2, 7, 99]})
    engine = TransformersEngine(TeacherServiceConfig(model=folder, engine="transformers", **settings))
    await engine.start()
    try:
        assert (engine.info.vocab_size, engine.info.max_top_k) == (vocab_size, vocab_size)
        assert engine.info.stop_token_ids == [2, 7]
        (answer,) = await engine.score([ScoreSequence(token_ids=[1, 2, 3], start=1)], vocab_size)
        np.testing.assert_allclose(np.exp(answer.top_logprobs.astype(np.float64)).sum(-1), 1.0, atol=1e-5)
        (drawn,) = await engine.generate(request_of(([5], 60, 1)))
        assert int(drawn.token_ids.max()) < vocab_size
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"dtype": "float64"},
            r"names the number type 'float64' .*: set dtype to one of float32, bfloat16, float16",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, r"is quantized .* gptq\): .* engine vllm may be"),
        ({"num_hidden_layers": 3}, r"lacks the weight model\.layers\.2"),
    ],
)
async def test_a_folder_that_this_engine_cannot_compute_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    engine = TransformersEngine(TeacherServiceConfig(model=make_folder(tmp_path), engine="transformers"))
    change_config(tmp_path, changes)
    with pytest.raises(ModelError, match=f"^model: .*{fault}"):
        await engine.start()
