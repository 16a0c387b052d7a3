"""The student's engine on real vLLM: its draws and its numbers against transformers, new weights, what it keeps.

One process is started once. Each model is an engine of its own in it, which takes about two seconds.
"""

import math
from collections.abc import Iterator
from multiprocessing.managers import RemoteError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from adaswitch.data.causal_lm import load_model
from adaswitch.errors import ModelError, NonFiniteError
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.evaluation.writer import Rules, Unwritten
from adaswitch.method.prompt import Prompt
from services.student.engines.engine import Sampling, WriteRequest
from services.student.engines.transformers_engine import TransformersEngine
from tests.student_contract import (
    LENGTH,
    PROMPTS,
    SEED,
    STOP,
    TEMPERATURE,
    check_any_way_of_writing,
    expected_outcomes,
    rows_of,
)
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, Reference, make_model
from tests.vllm_student import Weights, Writer, Writers, writers

pytestmark = [pytest.mark.integration, pytest.mark.needs_vllm, pytest.mark.timeout(240)]

SAMPLING = Sampling(SEED, TEMPERATURE, [STOP])
MAX_TOKENS = 128
CLOSE = 3e-4
MANY = 10**6
KINDS = ("untied", "tied", "capped", "scaled")


@pytest.fixture(scope="module")
def process() -> Iterator[Writers]:
    with writers() as started:
        yield started


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Heads that are tied to the embedding or not, also where attention and logits have soft caps and scales."""
    root = tmp_path_factory.mktemp("students")
    make_model(root / "untied", VOCAB_SIZE, num_rows=NUM_ROWS, sharpness=6.0)
    make_model(root / "tied", VOCAB_SIZE, num_rows=NUM_ROWS, tied=True)
    sizes: dict[str, Any] = {
        "vocab_size": NUM_ROWS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 256,
        "initializer_range": 0.5,
        "tie_word_embeddings": True,
    }
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    scales = {"embedding_multiplier": 3.0, "residual_multiplier": 0.7, "logits_scaling": 4.0}
    torch.manual_seed(0)
    Gemma2ForCausalLM(
        Gemma2Config(**sizes, **caps, query_pre_attn_scalar=16, sliding_window=16)
    ).save_pretrained(root / "capped")
    GraniteForCausalLM(GraniteConfig(**sizes, **scales)).save_pretrained(root / "scaled")
    return {kind: root / kind for kind in KINDS}


class Engine:
    """An engine on vLLM with its model's own distributions beside it."""

    def __init__(
        self, process: Writers, folder: Path, sampling: Sampling = SAMPLING, **changed: object
    ) -> None:
        self.folder = folder
        settings = {"model": str(folder), "kv_cache_gib": 0.125, **changed}
        self.writer: Writer = process.Writer(settings, VOCAB_SIZE, sampling, MAX_TOKENS)
        self.reference = Reference(folder, VOCAB_SIZE)

    def write(self, *prompts: Prompt, num_tokens: int = LENGTH) -> list[list[int]]:
        return self.writer.write([WriteRequest(prompt, (), num_tokens) for prompt in prompts])

    def forget_all(self) -> None:
        self.writer.forget([prompt.id for prompt in PROMPTS])

    def assert_outcomes(self, model: PreTrainedModel | None = None, k: int = 8) -> float:
        """The outcomes of all prompts are those of a plain forward pass. Returns the smallest tail, in nats.

        They are looked up in logits that were kept, and computed from states.
        """
        reference = self.reference if model is None else Reference(model, VOCAB_SIZE)
        return min(self._smallest_tail(reference, k, num_logits) for num_logits in (0, MANY))

    def _smallest_tail(self, reference: Reference, k: int, num_logits: int) -> float:
        self.forget_all()
        self.writer.make_room_for_logits(num_logits)
        rows = [rows_of(reference, p, [], new) for p, new in zip(PROMPTS, self.write(*PROMPTS), strict=True)]
        ids = [own.topk(k).indices for own in rows]
        smallest = math.inf
        for own, asked, found in zip(rows, ids, self.writer.outcomes([i.numpy() for i in ids]), strict=True):
            expected = expected_outcomes(own, asked)
            torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=0, atol=CLOSE)
            smallest = min(smallest, float(expected[:, -1].min()))
        return smallest


@pytest.fixture(scope="module")
def engines(process: Writers, folders: dict[str, Path]) -> Iterator[dict[str, Engine]]:
    started = {kind: Engine(process, folders[kind]) for kind in KINDS}
    yield started
    for engine in started.values():
        engine.writer.close()


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Engine:
    return engines[request.param]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunks_companions_order_and_foreign_tokens_change_no_token(
    engine: Engine, data: st.DataObject
) -> None:
    engine.forget_all()
    check_any_way_of_writing(engine.writer.write, engine.reference, data)


def test_both_engines_write_the_same_tokens(engine: Engine) -> None:
    other = TransformersEngine.from_folder(str(engine.folder), "float32", VOCAB_SIZE, SAMPLING, "cpu")
    prompts = [Prompt(i, (4 + i % 50,) * (1 + i % 9)) for i in range(24)]
    requests = [WriteRequest(prompt, (), 60) for prompt in prompts]
    assert engine.writer.write(requests) == [chunk.token_ids for chunk in other.write(requests)]
    engine.writer.forget([prompt.id for prompt in prompts])


TEXTS = [Unwritten((4 + i % 50,) * (1 + i % 9), 2**64 - 1 - i) for i in range(24)]


def transformers_writes(model: PreTrainedModel, rules: Rules) -> list[list[int]]:
    return [ids for some in TransformersWriter(model).write(TEXTS, rules) for _, ids in some]


def test_evaluations_on_both_engines_draw_the_same_completions(engine: Engine) -> None:
    rules = Rules(TEMPERATURE, SEED, (STOP,), 60, VOCAB_SIZE, batch_size=7)
    model = load_model(str(engine.folder), "--model", "float32")
    assert engine.writer.evaluated(TEXTS, rules) == transformers_writes(model, rules)
    assert engine.writer.num_kept() == 0


@pytest.mark.parametrize("k", [1, 8, VOCAB_SIZE - 1])
def test_outcomes_are_those_of_a_plain_forward_pass(engine: Engine, k: int) -> None:
    engine.assert_outcomes(k=k)


def test_a_small_tail_is_exact(engines: dict[str, Engine]) -> None:
    assert engines["untied"].assert_outcomes(k=VOCAB_SIZE // 2) < math.log(1e-5)


def weights_of(model: PreTrainedModel) -> Weights:
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def changed(folder: Path) -> PreTrainedModel:
    """The same model with other weights."""
    model = load_model(str(folder), "student.model", "float32")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.std(unbiased=False) * torch.randn_like(parameter)
    return model


def test_new_weights_are_written_with_and_the_old_ones_again(engine: Engine) -> None:
    """Nothing of the old ones is left, neither in a packed head nor in the cache."""
    old = load_model(str(engine.folder), "student.model", "float32")
    new = changed(engine.folder)
    first = engine.write(*PROMPTS)
    for _ in range(2):
        engine.writer.load_weights(weights_of(new))
        engine.assert_outcomes(new)
        assert engine.write(*PROMPTS) != first
        engine.writer.load_weights(weights_of(old))
        engine.assert_outcomes(old)
        assert engine.write(*PROMPTS) == first
    found = engine.writer.extremes()
    for name, parameter in old.named_parameters():
        np.testing.assert_allclose(found[name], [parameter.min().item(), parameter.max().item()])


def test_weights_of_another_model_are_refused(engines: dict[str, Engine]) -> None:
    engine = engines["untied"]
    own = weights_of(load_model(str(engine.folder), "student.model", "float32"))
    with pytest.raises(ModelError, match="another model's: other is on one side only"):
        engine.writer.load_weights({**own, "other": np.zeros(1, np.float32)})
    with pytest.raises(ModelError, match=r"lm_head\.weight has the shape \[3\]"):
        engine.writer.load_weights({**own, "lm_head.weight": np.zeros(3, np.float32)})
    engine.assert_outcomes()


def test_nothing_is_kept_of_prompts_that_were_forgotten_or_of_chunks_that_are_gone(engine: Engine) -> None:
    engine.writer.let_go()
    assert engine.writer.num_kept() == 0
    num_tokens = [len(token_ids) for token_ids in engine.write(*PROMPTS)]
    assert engine.writer.num_kept() == sum(num_tokens)
    engine.writer.forget([PROMPTS[0].id, PROMPTS[1].id])
    assert engine.writer.num_kept() == sum(num_tokens[2:])
    ids = [np.zeros((n, 1), np.int64) for n in num_tokens]
    with pytest.raises(ValueError, match="was forgotten"):
        engine.writer.outcomes(ids)
    engine.writer.let_go()
    assert engine.writer.num_kept() == 0


def test_greedy_evaluations_on_both_engines_are_the_same_and_say_what_is_not_finite(
    process: Writers, folders: dict[str, Path]
) -> None:
    rules = Rules(0.0, SEED, (STOP,), 60, VOCAB_SIZE, batch_size=7)
    greedy = Engine(process, folders["tied"], Sampling(SEED, 0.0, [STOP]))
    try:
        model = load_model(str(greedy.folder), "--model", "float32")
        assert greedy.writer.evaluated(TEXTS, rules) == transformers_writes(model, rules)
        broken = weights_of(model)
        # Of an id that no text has: the states stay finite, and only its own logits are not.
        broken["model.embed_tokens.weight"][VOCAB_SIZE - 1, 0] = math.inf
        greedy.writer.load_weights(broken)
        with pytest.raises(NonFiniteError, match="the model's logits are not finite: somewhere"):
            greedy.writer.evaluated(TEXTS, rules)
    finally:
        greedy.writer.close()


def test_a_cache_that_is_full_changes_no_token(process: Writers, folders: dict[str, Path]) -> None:
    """vLLM then drops what some requests have computed, and computes it again later."""
    endless = Sampling(SEED, TEMPERATURE, [])
    prompts = [Prompt(i, (4 + i,) * 40) for i in range(12)]
    requests = [WriteRequest(prompt, (), 60) for prompt in prompts]
    small = Engine(process, folders["tied"], endless, kv_cache_gib=0.0003)
    other = TransformersEngine.from_folder(str(small.folder), "float32", VOCAB_SIZE, endless, "cpu")
    try:
        assert small.writer.write(requests) == [chunk.token_ids for chunk in other.write(requests)]
    finally:
        small.writer.close()


def test_a_sequence_that_does_not_fit_is_named_with_its_setting(
    process: Writers, folders: dict[str, Path]
) -> None:
    small = Engine(process, folders["tied"], kv_cache_gib=0.00005)
    try:
        with pytest.raises(
            ModelError, match=r"^student\.kv_cache_gib: a sequence of 100 tokens is more than"
        ):
            small.write(Prompt(0, (5,) * 40), num_tokens=60)
        assert len(small.write(Prompt(0, (5,) * 4), num_tokens=4)[0]) in range(1, 5)
    finally:
        small.writer.close()


def test_models_that_vllm_cannot_run_or_train_are_named(process: Writers, tmp_path: Path) -> None:
    make_model(tmp_path / "head", VOCAB_SIZE, head_dim=10)
    experts = Qwen3MoeConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        max_position_embeddings=256,
    )
    Qwen3MoeForCausalLM(experts).save_pretrained(tmp_path / "experts")
    for name, reason in (("head", ".*"), ("experts", "after new weights it is off by .* nats, .*")):
        line = (
            rf"ModelError: student\.engine: vllm cannot run '.*{name}': {reason}; set student\.engine=trans"
        )
        with pytest.raises(RemoteError, match=line):
            Engine(process, tmp_path / name)
