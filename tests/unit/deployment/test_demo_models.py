"""The demo's pair as it is shipped, and the scripts that make models."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.data.datasets import encode_prompt, encode_reference, load_examples
from adaswitch.tasks.base import Example
from adaswitch.tasks.chain import ChainTask
from scripts import make_demo_models, make_smollm2_pair, sft

MODELS = Path(__file__).parents[3] / "models"
PAIR = ("chain-teacher", "chain-student")
EXAMPLE = Example("3+5*7-2=", "3+5=8;8*7=6;6-2=4;#4", 1)


def load(name: str):
    return AutoModelForCausalLM.from_pretrained(MODELS / name), AutoTokenizer.from_pretrained(MODELS / name)


@pytest.mark.parametrize(
    ("name", "num_prompts", "low", "high"),
    [("chain-teacher", 40, 1.0, 1.0), ("chain-student", 100, 0.05, 0.45)],
)
def test_the_teacher_makes_no_mistake_and_the_student_has_much_to_learn(name, num_prompts, low, high):
    model, tokenizer = load(name)
    held_out = load_examples(ChainTask(), "eval")[:num_prompts]
    assert low <= sft.held_out_score(model, tokenizer, ChainTask(), held_out, max_new_tokens=64) <= high


@pytest.mark.parametrize("name", PAIR)
def test_the_shipped_model_is_the_scripts(name):
    recipe = {"chain-teacher": make_demo_models.TEACHER, "chain-student": make_demo_models.STUDENT}[name]
    model, tokenizer = load(name)
    assert model.dtype == torch.float32
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert {**model.config.to_dict(), **shape_of(recipe)} == model.config.to_dict()
    shipped = json.loads((MODELS / name / "tokenizer.json").read_text())
    assert shipped == json.loads(make_demo_models.build_tokenizer().backend_tokenizer.to_str())


def shape_of(recipe: make_demo_models.Recipe) -> dict[str, object]:
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "vocab_size")
    settings = make_demo_models.model_config(recipe).to_dict()
    return {key: settings[key] for key in (*keys, "max_position_embeddings", "rope_parameters")}


def test_the_pair_shares_one_tokenizer_of_19_symbols():
    vocabularies = [AutoTokenizer.from_pretrained(MODELS / name).get_vocab() for name in PAIR]
    assert tokenizer_sha256(vocabularies[0]) == tokenizer_sha256(vocabularies[1])
    assert sorted(vocabularies[0].values()) == list(range(19))


def test_a_chain_is_a_token_a_character_and_comes_back_without_spaces():
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "chain-student")
    prompt = encode_prompt(tokenizer, ChainTask(), EXAMPLE)
    reference = encode_reference(tokenizer, EXAMPLE)
    assert prompt[0] == tokenizer.bos_token_id
    assert reference[len(reference) - 1] == tokenizer.eos_token_id
    assert (len(prompt), len(reference)) == (len(EXAMPLE.prompt) + 1, len(EXAMPLE.reference) + 1)
    assert (
        tokenizer.decode(prompt + reference, skip_special_tokens=True) == EXAMPLE.prompt + EXAMPLE.reference
    )
    assert tokenizer.decode(reference) == EXAMPLE.reference + "<eos>"
    assert list(tokenizer("1=")) == ["input_ids", "attention_mask"]


def test_a_batch_has_labels_on_the_completions_alone():
    tokenizer = make_demo_models.build_tokenizer()
    examples = [Example("1=", "#1", 1), Example("23=", "#2", 2)]
    batch = sft.make_batch(tokenizer, ChainTask(), examples, max_tokens=6)
    one, two, three, equals, mark = tokenizer.convert_tokens_to_ids(["1", "2", "3", "=", "#"])
    assert batch.input_ids_BT.tolist() == [[1, one, equals, mark, one, 2], [1, two, three, equals, mark, two]]
    assert batch.labels_BT.tolist() == [[-100, -100, -100, mark, one, 2], [-100, -100, -100, -100, mark, two]]
    short = sft.make_batch(tokenizer, ChainTask(), examples, max_tokens=5)
    assert short.input_ids_BT.shape == (2, 5)
    padded = sft.make_batch(tokenizer, ChainTask(), examples, max_tokens=7)
    assert padded.attention_mask_BT.tolist() == [[1] * 6 + [0], [1] * 7]
    assert padded.labels_BT[0, 6] == -100


def tiny_llama(num_layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=19,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=num_layers,
            num_attention_heads=2,
            initializer_range=0.5,
            tie_word_embeddings=True,
        )
    )


@pytest.fixture
def batch():
    examples = [EXAMPLE, Example("1+1=", "1+1=2;#2", 2)]
    return sft.make_batch(make_demo_models.build_tokenizer(), ChainTask(), examples, max_tokens=64)


def test_cross_entropy_is_transformers_own(batch):
    model = tiny_llama(2)
    own = model(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, labels=batch.labels_BT
    ).loss
    torch.testing.assert_close(sft.cross_entropy(model, batch), own)


def test_training_lowers_the_loss(batch):
    model = tiny_llama(1)
    before = sft.cross_entropy(model, batch).item()
    sft.train(
        model,
        [batch] * 30,
        lambda batch: sft.cross_entropy(model, batch),
        num_steps=30,
        learning_rate=1e-2,
        schedule="cosine",
        title="test",
    )
    assert sft.cross_entropy(model, batch).item() < 0.7 * before


def test_half_the_layers_are_every_second_one():
    teacher = tiny_llama(4)
    student = make_smollm2_pair.halved(teacher)
    assert student.config.num_hidden_layers == len(student.model.layers) == 2
    for own, taken in ((0, 0), (1, 2)):
        for name, weight in student.model.layers[own].state_dict().items():
            assert torch.equal(weight, teacher.model.layers[taken].state_dict()[name])
    assert torch.equal(student.lm_head.weight, teacher.lm_head.weight)
    assert student.lm_head.weight is student.model.embed_tokens.weight
    assert student.lm_head.weight is not teacher.lm_head.weight


def test_forward_kl_is_its_definition_and_zero_between_equals(batch):
    teacher, student = tiny_llama(2), tiny_llama(1)
    p = sft.completion_logits(teacher, batch).softmax(-1)
    q = sft.completion_logits(student, batch).softmax(-1)
    expected = (p * (p / q).log()).sum(-1).mean()
    assert expected > 0.1
    torch.testing.assert_close(make_smollm2_pair.forward_kl(teacher, student, batch), expected)
    assert make_smollm2_pair.forward_kl(teacher, teacher, batch).item() == pytest.approx(0.0, abs=1e-6)
