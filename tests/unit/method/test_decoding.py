"""The decoder on tiny random models: whatever the batch, each row is what a plain forward pass says."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from adaswitch.errors import ModelError
from adaswitch.method.decoding import Decoder, Draft, Written
from adaswitch.method.sampling import Place, draw

V = 29
PADDING_ROWS = 3
SHAPE = {
    "vocab_size": V + PADDING_ROWS,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
# Every window is shorter than the sequences below.
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama-grouped": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "mistral-sliding": lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=4)),
    "qwen2-half-sliding": lambda: Qwen2ForCausalLM(
        Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "gemma2-capped": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=1.0, attn_implementation="eager"
        )
    ),
    "gemma3-alternating": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **GROUPED, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
        )
    ),
    "gemma2-alternating": lambda: Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8, sliding_window=4)),
}
each_model = pytest.mark.parametrize("name", MODELS)


@cache
def model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    made = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                # As it starts, every next token would be about as likely, whatever came before.
                parameter.mul_(4)
        made.get_output_embeddings().weight[V:] += 100 * made.get_output_embeddings().weight[:1]
    return made


def decoder(name: str) -> Decoder:
    return Decoder(model(name), DynamicCache, V)


@torch.inference_mode()
def plain_logprobs(name: str, token_ids: Sequence[int]) -> Tensor:
    """``[n, V]``: the distribution after each token, from one forward pass without cache or padding."""
    logits = model(name)(input_ids=torch.tensor([list(token_ids)]), use_cache=False).logits
    return logits[0, :, :V].log_softmax(-1)


def prompts(*lengths: int) -> list[Draft]:
    rng = np.random.default_rng(0)
    return [Draft(rng.integers(0, V, length).tolist()) for length in lengths]


def by_position(seeds: Sequence[int], start: Sequence[int] | None = None) -> Callable[[Tensor, int], Tensor]:
    """Draws row i's j-th token with the noise of its own stream at ``start[i] + j``."""
    starts = start or [0] * len(seeds)

    def choose(logits: Tensor, j: int) -> Tensor:
        return draw(logits, [Place(1, seed, at + j) for seed, at in zip(seeds, starts, strict=True)])

    return choose


def write_and_check(
    name: str,
    drafts: list[Draft],
    num_tokens: list[int],
    stops: Sequence[Sequence[int]] | None = None,
    choose: Callable[[Tensor, int], Tensor] | None = None,
) -> list[Written]:
    """Write, and compare every row with a plain forward pass."""
    before = [list(draft.token_ids) for draft in drafts]
    written = decoder(name).write(
        drafts, num_tokens, stops or [[]] * len(drafts), choose or by_position(range(len(drafts)))
    )
    for draft, old, new in zip(drafts, before, written, strict=True):
        assert draft.token_ids == old + new.token_ids
        assert draft.num_cached == len(draft.token_ids) - 1
        assert max(new.token_ids) < V
        expected = plain_logprobs(name, draft.token_ids)[len(old) - 1 : -1]
        torch.testing.assert_close(new.logprobs, expected, rtol=0, atol=1e-5)
    return written


@each_model
def test_left_padded_batches(name: str) -> None:
    written = write_and_check(name, prompts(3, 11, 1, 7), [9, 9, 9, 9])
    assert [len(new.token_ids) for new in written] == [9] * 4


@each_model
def test_chunk_after_chunk_in_batches_of_changing_rows(name: str) -> None:
    drafts = prompts(3, 9, 1, 12)
    write_and_check(name, drafts[:3], [5, 2, 7])
    drafts[1].token_ids += [4, 5, 6, 7, 8, 9]  # somebody else wrote these
    write_and_check(name, drafts, [5, 6, 3, 9])
    write_and_check(name, [drafts[3], drafts[0]], [8, 10])
    drafts.append(Draft([1] * 20))
    write_and_check(name, drafts[::-1], [3, 1, 4, 1, 5])


@each_model
def test_the_batch_and_its_chunks_change_nothing(name: str) -> None:
    together = prompts(2, 6, 10)
    write_and_check(name, together, [12, 12, 12], choose=by_position([5, 6, 7]))
    for i, draft in enumerate(prompts(2, 6, 10)):
        for start, size in [(0, 1), (1, 4), (5, 7)]:
            write_and_check(name, [draft], [size], choose=by_position([5 + i], [start]))
        assert draft.token_ids == together[i].token_ids
        assert draft.cache is not None
        assert together[i].cache is not None
        torch.testing.assert_close(draft.cache, together[i].cache, rtol=0, atol=1e-4)


@each_model
def test_foreign_tokens_in_place_of_the_last_one(name: str) -> None:
    (draft,) = prompts(5)
    write_and_check(name, [draft], [6])
    draft.token_ids[len(draft.token_ids) - 1 :] = [3, 8]
    write_and_check(name, [draft, *prompts(4)], [4, 4])


@each_model
def test_a_draft_that_is_cached_to_its_end_feeds_its_last_token_again(name: str) -> None:
    drafts = prompts(5, 7)
    write_and_check(name, drafts, [6, 3])
    del drafts[0].token_ids[len(drafts[0].token_ids) - 1 :]
    assert drafts[0].num_cached == len(drafts[0].token_ids)
    write_and_check(name, drafts, [4, 4])
    del drafts[1].token_ids[len(drafts[1].token_ids) - 4 :]
    write_and_check(name, drafts[1:], [4])


@each_model
def test_rows_that_stop_early_leave_the_others_alone(name: str) -> None:
    free = prompts(3, 8, 5)
    expected = [new.token_ids for new in write_and_check(name, free, [10, 10, 10])]
    drafts = prompts(3, 8, 5)
    stops = [[expected[0][2]], [], [expected[2][0], V + 1]]
    written = write_and_check(name, drafts, [10, 6, 10], stops)
    first = expected[0].index(expected[0][2])
    assert [new.token_ids for new in written] == [expected[0][: first + 1], expected[1][:6], expected[2][:1]]
    write_and_check(name, drafts, [5, 5, 5])


def test_writing_ends_with_the_last_row() -> None:
    calls = []

    def choose(logits: Tensor, j: int) -> Tensor:
        calls.append((j, len(logits)))
        return torch.tensor([7, 7, 7])

    decoder("llama").write(prompts(2, 2, 2), [9, 2, 4], [[7], [], []], choose)
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_padding_rows_of_the_vocabulary_are_never_drawn() -> None:
    token_ids = prompts(6)[0].token_ids
    with torch.inference_mode():
        logits = model("llama")(input_ids=torch.tensor([token_ids])).logits[0, -1]
    assert logits[V:].abs().max() > 5 * logits[:V].abs().max(), "they would dominate"
    for _ in range(3):
        (new,) = write_and_check("llama", prompts(6), [20])
        assert new.logprobs.shape == (20, V)
        torch.testing.assert_close(new.logprobs.exp().sum(-1), torch.ones(20))


def test_drawn_from_the_rows_that_are_returned() -> None:
    seen: list[Tensor] = []
    inner = by_position([0, 1])

    def choose(logits: Tensor, j: int) -> Tensor:
        seen.append(logits)
        return inner(logits, j)

    written = decoder("llama").write(prompts(4, 2), [5, 5], [[], []], choose)
    for i, new in enumerate(written):
        assert torch.equal(new.logits, torch.stack([row[i] for row in seen]))


def test_what_is_kept_of_a_draft_takes_its_own_memory_alone() -> None:
    """So that the rollouts of a batch free theirs one by one, and padding and unwritten tokens take none."""
    (first,) = write_and_check("llama", prompts(3), [9])
    written = write_and_check("llama", prompts(3, 8), [9, 5], [[first.token_ids[2]], []])
    for new in written:
        assert len(new.token_ids) < 9
        assert new.logits.untyped_storage().nbytes() == len(new.token_ids) * V * 4


def test_a_model_in_half_precision_keeps_its_logits_so_and_says_log_probabilities_in_single() -> None:
    torch.manual_seed(0)
    half = LlamaForCausalLM(LlamaConfig(**SHAPE)).bfloat16().eval()
    drafts = prompts(4, 2)
    written = Decoder(half, DynamicCache, V).write(drafts, [3, 3], [[], []], by_position([0, 1]))
    assert all(new.logits.dtype == torch.bfloat16 for new in written)
    assert all(new.logprobs.dtype == torch.float32 for new in written)
    assert all(draft.cache is not None and draft.cache.dtype == torch.bfloat16 for draft in drafts)


@pytest.mark.parametrize(("token_ids", "num_tokens"), [([], 3), ([1, 2], 0)])
def test_nothing_to_go_on_from_or_nothing_to_write_is_refused(token_ids: list[int], num_tokens: int) -> None:
    with pytest.raises(ValueError, match="every draft needs a token"):
        decoder("llama").write([Draft(token_ids), Draft([1])], [num_tokens, 1], [[], []], by_position([0, 1]))


def test_a_model_that_keeps_more_than_keys_and_values_is_refused() -> None:
    config = Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"])
    with pytest.raises(ModelError, match="Lfm2ForCausalLM keeps more than keys and values"):
        Decoder(Lfm2ForCausalLM(config).eval(), DynamicCache, V)


def test_a_model_without_a_cache_is_refused() -> None:
    def forward(**inputs: Tensor) -> object:
        return object()

    with pytest.raises(ModelError, match="cannot be decoded here"):
        Decoder(forward, DynamicCache, V)
