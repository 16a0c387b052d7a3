"""``adaswitch chat``: lines in, answers out; beside another model the divergence at each token."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

from adaswitch.chat.manner import DEFAULT_NEW_TOKENS
from adaswitch.commands.cli import app
from adaswitch.data.models import load_tokenizer
from adaswitch.evaluation.divergence import Text, mean_divergences, token_divergences
from tests.finished_runs import finished
from tests.model_folders import CHAT, CHAT_TOKENS, make_folder, make_tokenizer, tiny_llama

TEACHER, STUDENT = "models/chain-teacher", "models/chain-student"


def chat(model: str | Path, lines: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["chat", str(model), *options], input=lines)


def answers(done: Result) -> list[str]:
    """What was printed after the introduction."""
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("write a line;")) + 1 :]


def greedy(folder: str, prompt: str) -> str:
    """What transformers' own greedy decoding answers to a plain prompt."""
    tokenizer, model = (
        load_tokenizer(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    ids = torch.tensor([tokenizer.encode(prompt)])
    written = model.generate(ids, do_sample=False, max_new_tokens=64)[0, ids.shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True))


def test_each_line_is_answered_greedily_as_transformers_would() -> None:
    done = chat(TEACHER, "3+5*7-2=\n\n9*9=\n")
    assert answers(done) == [greedy(TEACHER, "3+5*7-2="), greedy(TEACHER, "9*9=")]
    assert "asked as plain text, since it has no chat template" in done.stdout
    assert "a completion ends with" in done.stdout


def test_a_run_is_asked_and_stopped_as_it_was_trained(tmp_path: Path) -> None:
    run = finished(tmp_path, "student.max_new_tokens=5", student=Path(TEACHER))
    text, cut = answers(chat(run.path, "3+5*7-2=\n"))
    assert text == greedy(TEACHER, "3+5*7-2=")[:5]
    assert cut == "(cut after 5 tokens)"
    assert answers(chat(run.path, "3+5*7-2=\n", "--max-new-tokens", "3"))[0] == text[:3]


def test_drawing_follows_the_seed() -> None:
    said = [
        answers(chat(STUDENT, "3+5*7-2=\n", "--temperature", "1.5", "--seed", seed, "--max-new-tokens", "40"))
        for seed in ("1", "1", "2")
    ]
    assert said[0] == said[1] != said[2]


def test_a_conversation_goes_on_until_it_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "model", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    seen: list[str] = []
    tokenizer_class = type(load_tokenizer(folder))
    encode = tokenizer_class.encode

    def noted(self, text, **options):
        seen.append(text)
        return encode(self, text, **options)

    monkeypatch.setattr(tokenizer_class, "encode", noted)
    done = chat(folder, "abc\nde\n/new\nf\n", "--max-new-tokens", "3")
    first, _, _ = [line for line in answers(done) if not line.startswith(("(cut", "what was said"))]
    assert "what was said is forgotten" in done.stdout
    asked = [text for text in seen if text.startswith("<su>") and text.endswith("<sa>")]
    assert asked[-3:] == [
        "<su>abc<turn><sa>",
        f"<su>abc<turn><sa>{first}<turn><su>de<turn><sa>",
        "<su>f<turn><sa>",
    ]


def test_what_is_too_long_is_refused_and_the_talk_goes_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", generation={"eos_token_id": 2})
    said = answers(chat(folder, f"{'1' * 100}\n12\n", "--max-new-tokens", "2"))
    assert said[0] == "error: what was said comes to 100 tokens, and the model takes 96: /new begins anew"
    assert len(said) > 1
    assert len(answers(chat(folder, f"{'1' * 95}\n"))[0]) <= 1
    assert DEFAULT_NEW_TOKENS > 96


def test_two_models_answer_with_their_divergence_at_each_token(tmp_path: Path) -> None:
    said = answers(chat(STUDENT, "3+5*7-2=\n", "--beside", TEACHER))
    texts = {name: greedy(name, "3+5*7-2=") for name in (STUDENT, TEACHER)}
    assert said[:4] == [f"{STUDENT}:", texts[STUDENT], f"{TEACHER}:", texts[TEACHER]]
    summaries = [line for line in said if line.startswith("over what ")]
    assert len(summaries) == 2
    tokenizer = load_tokenizer(STUDENT)
    models = [AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32) for name in (STUDENT, TEACHER)]
    prompt = tokenizer.encode("3+5*7-2=")
    for name, summary in zip((STUDENT, TEACHER), summaries, strict=True):
        assert summary.startswith(f"over what {name} wrote, KL({TEACHER} || {STUDENT}) is ")
        ids = [*tokenizer.encode(texts[name], add_special_tokens=False), tokenizer.eos_token_id]
        [mean, _] = mean_divergences(*models, [Text(0, prompt, ids)], 19)
        assert f" is {mean.value:.3f} nats a token; the largest is" in summary
    rows = [line.split() for line in said if line.split()[:1] == ["0"]]
    assert len(rows) == 2
    assert rows[0][1] == repr(texts[STUDENT][0])


def test_divergences_of_tokens_add_up_to_the_mean() -> None:
    models = [AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32) for name in (STUDENT, TEACHER)]
    text = Text(0, [1, 6, 13, 8], list(range(2, 14)))
    found = token_divergences(*models, text, 19)
    [mean, _] = mean_divergences(*models, [text], 19)
    assert sum(token.value for token in found) / len(found) == pytest.approx(mean.value, rel=1e-5)
    with torch.inference_mode():
        logits = models[1](torch.tensor([[1, 6, 13, 8]])).logits[0, -1, :19]
    assert found[0].others_likeliest == int(logits.argmax())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((STUDENT, "--beside", "models/none"), "--beside: there is no folder 'models/none'"),
        (("models/none",), "MODEL: there is no folder 'models/none'"),
        ((STUDENT, "--dtype", "int8"), "--dtype int8: must be one of float32"),
        ((STUDENT, "--device", "tpu"), "--device tpu: must be one of auto"),
        ((STUDENT, "--config", "none.yaml"), "config file none.yaml: No such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["chat", *arguments], input="1+1=\n")
    assert done.exit_code == 2
    assert said in done.stderr.splitlines()[-1]


def test_models_of_two_families_are_not_compared(tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", generation={"eos_token_id": 2})
    done = chat(STUDENT, "1+1=\n", "--beside", other)
    assert done.exit_code == 2
    assert "have different tokenizers" in done.stderr.splitlines()[-1]


def test_weights_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    folder = make_folder(tmp_path / "model", generation={"eos_token_id": 2}, model=model)
    done = chat(folder, "1+1=\n")
    assert done.exit_code == 1
    assert "the model's logits are not finite" in done.stderr
