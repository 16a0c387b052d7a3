"""Evaluation on the shipped tiny models: greedy against a plain loop, sampling, marking, divergences."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from adaswitch.data.datasets import encode_prompt, load_examples
from adaswitch.data.models import load_tokenizer
from adaswitch.errors import NonFiniteError, UnmarkedError
from adaswitch.evaluation.divergence import MAX_LOGITS, Text, mean_divergences
from adaswitch.evaluation.evaluation import EvalPrompts, Evaluation, Sampling, evaluate
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.tasks.base import Example, Marks
from adaswitch.tasks.chain import ChainTask

STUDENT, TEACHER = "models/chain-student", "models/chain-teacher"
EOS = 2


@pytest.fixture(scope="module")
def student():
    return AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def teacher():
    return AutoModelForCausalLM.from_pretrained(TEACHER, dtype=torch.float32).eval()


def prompts(
    num: int = 10, batch_size: int = 4, max_new_tokens: int = 40, fewest: int = 1, task=None
) -> EvalPrompts:
    settings = ChainTask(num_eval=num, min_operations=fewest, max_operations=6)
    examples = load_examples(settings, "eval")
    tokenizer = load_tokenizer(STUDENT)
    task = task or ChainTask()
    return EvalPrompts(
        task=task,
        examples=examples,
        prompt_token_ids=[encode_prompt(tokenizer, task, example) for example in examples],
        tokenizer=tokenizer,
        stop_token_ids=[EOS],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )


def done(evaluation: Evaluation | None) -> Evaluation:
    assert evaluation is not None
    return evaluation


@torch.inference_mode()
def greedy_by_hand(model, token_ids: list[int], max_new_tokens: int) -> list[int]:
    """One forward pass over everything for each token."""
    written: list[int] = []
    while len(written) < max_new_tokens and EOS not in written:
        logits = model(torch.tensor([[*token_ids, *written]])).logits[0, -1]
        written.append(int(logits.argmax()))
    return written


def test_a_model_whose_weights_are_not_finite_is_not_marked():
    broken = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32).eval()
    with torch.no_grad():
        broken.model.norm.weight[0] = math.nan
    with pytest.raises(NonFiniteError, match=r"logits are not finite: model\.norm\.weight holds nan"):
        evaluate(TransformersWriter(broken), prompts(num=2))
    teacher = AutoModelForCausalLM.from_pretrained(TEACHER, dtype=torch.float32).eval()
    for models, whose in (((broken, teacher), "student"), ((teacher, broken), "teacher")):
        with pytest.raises(NonFiniteError, match=f"divergence is NaN: so are the {whose}'s logits"):
            mean_divergences(*models, [Text(0, [1, 5], [6, 7])], 19)


def test_greedy_is_the_most_likely_token_each_time(student):
    asked = prompts()
    evaluation = done(evaluate(TransformersWriter(student), asked))
    for completion, token_ids in zip(evaluation.completions, asked.prompt_token_ids, strict=True):
        assert completion.token_ids == greedy_by_hand(student, list(token_ids), 40)
        assert completion.stopped == (EOS in completion.token_ids)
        assert "<eos>" not in completion.text
        assert completion.marks == ChainTask().mark(completion.text, completion.example)
    assert evaluation.main.n == 10
    assert evaluation.main.value == sum(c.marks["exact_match"] for c in evaluation.completions) / 10


def test_a_teacher_that_is_always_right_scores_one(teacher):
    assert done(evaluate(TransformersWriter(teacher), prompts(30, 16, fewest=4))).main.value == 1.0


def test_a_models_own_generation_settings_do_not_count_and_are_left_alone(student):
    expected = done(evaluate(TransformersWriter(student), prompts()))
    own = student.generation_config
    student.generation_config = GenerationConfig(repetition_penalty=5.0, do_sample=True, max_length=3)
    try:
        assert [c.token_ids for c in done(evaluate(TransformersWriter(student), prompts())).completions] == [
            c.token_ids for c in expected.completions
        ]
        assert student.generation_config.repetition_penalty == 5.0
    finally:
        student.generation_config = own


@pytest.mark.parametrize("stop", [True, False])
def test_training_goes_on_as_it_was(student, stop):
    student.train()
    evaluation = evaluate(TransformersWriter(student), prompts(), should_stop=lambda: stop)
    assert (evaluation is None) == stop
    assert student.training
    student.eval()


def test_samples_depend_on_seed_record_and_sample_alone(student):
    sampling = Sampling(num_samples=3, temperature=1.0, seed=5)
    by_key = {
        (c.example.number, c.sample): c.token_ids
        for c in done(evaluate(TransformersWriter(student), prompts(6, batch_size=7), sampling)).completions
    }
    assert len(by_key) == 18
    fewer = done(
        evaluate(TransformersWriter(student), prompts(4, batch_size=1), Sampling(2, 1.0, 5))
    ).completions
    assert len(fewer) == 8
    assert all(by_key[c.example.number, c.sample] == c.token_ids for c in fewer)
    other = done(evaluate(TransformersWriter(student), prompts(6), Sampling(3, 1.0, 6))).completions
    assert any(by_key[c.example.number, c.sample] != c.token_ids for c in other)
    assert any(by_key[number, 0] != by_key[number, 1] for number in range(1, 7))


def test_samples_are_drawn_from_the_models_distribution(student):
    """The first token of 2,000 completions against the model's own probabilities."""
    one = prompts(1, batch_size=500, max_new_tokens=1)
    completions = done(evaluate(TransformersWriter(student), one, Sampling(2000, 3.0, 1))).completions
    with torch.inference_mode():
        logits = student(torch.tensor([one.prompt_token_ids[0]])).logits[0, -1]
    probabilities = (logits / 3.0).softmax(-1)
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in completions]), minlength=len(logits))
    spread = (2000 * probabilities * (1 - probabilities)).sqrt()
    assert ((counts - 2000 * probabilities).abs() <= 4 * spread + 1).all()
    assert int((counts > 0).sum()) > 3


class Grumpy:
    """Cannot mark the second record."""

    name, wraps_prompts, metrics = "grumpy", False, ("length", "shortness")

    def mark(self, completion: str, example: Example) -> Marks:
        if example.number == 2:
            raise UnmarkedError("no mood")
        return {"length": 1.0, "shortness": 0.5}


def test_what_cannot_be_marked_is_counted_with_its_record_and_cause(student):
    evaluation = done(evaluate(TransformersWriter(student), prompts(3, task=Grumpy())))
    assert [(s.metric, s.value, s.n, s.unmarked) for s in evaluation.scores] == [
        ("length", 1.0, 2, 1),
        ("shortness", 0.5, 2, 1),
    ]
    assert [c.cause for c in evaluation.completions] == [None, "no mood", None]
    assert evaluation.unmarked_lines(5) == ["unmarked: eval, record 2: no mood"]
    assert evaluation.unmarked_lines(0) == ["unmarked: 1 more"]


@torch.inference_mode()
def kl_by_hand(p_model, q_model, text: Text) -> float:
    """The sum of KL(p || q) over the completion's tokens, one prefix and one token of the vocabulary at a time."""
    total = 0.0
    for i in range(len(text.token_ids)):
        prefix = torch.tensor([[*text.prompt_token_ids, *text.token_ids[:i]]])
        p, q = (model(prefix).logits[0, -1].double().log_softmax(-1).tolist() for model in (p_model, q_model))
        total += sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    return total


TEXTS = [
    Text("a", [1, 4, 13, 5, 17], [4, 13, 5, 17, 8, 16, 18, 8, 2]),
    Text("b", [1, 9, 17], [18]),
    Text("a", [1, 4, 13, 5, 17], [18, 7]),
]


@pytest.mark.parametrize("max_logits", [1, MAX_LOGITS])
def test_divergences_are_the_definition(student, teacher, monkeypatch, max_logits):
    monkeypatch.setattr("adaswitch.evaluation.divergence.MAX_LOGITS", max_logits)
    monkeypatch.setattr("adaswitch.evaluation.divergence.MAX_ROWS", 4)
    told: list[int] = []
    forward, reverse = mean_divergences(student, teacher, TEXTS, 19, told.append)
    assert (forward.metric, reverse.metric) == ("forward_kl", "reverse_kl")
    assert forward.value == pytest.approx(sum(kl_by_hand(teacher, student, t) for t in TEXTS) / 12, rel=1e-4)
    assert reverse.value == pytest.approx(sum(kl_by_hand(student, teacher, t) for t in TEXTS) / 12, rel=1e-4)
    assert (forward.n, forward.num_tokens) == (2, 12)
    assert sum(told) == 3
    assert len(told) == (3 if max_logits == 1 else 1)


def test_a_model_does_not_diverge_from_itself(student):
    for mean in mean_divergences(student, student, TEXTS, 19):
        assert mean.value == pytest.approx(0.0, abs=1e-6)
