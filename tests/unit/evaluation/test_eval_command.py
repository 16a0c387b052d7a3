"""``adaswitch eval``: what is asked for, what is refused, what is shown and kept."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adaswitch.config.threads import number_or_auto
from adaswitch.errors import ConfigError, DataError, EnvironmentProblem, ModelError
from adaswitch.evaluation import command
from adaswitch.evaluation.command import load_prompts, reference_texts, run_eval
from adaswitch.evaluation.request import EvalRequest, choose_prompts
from adaswitch.tasks.chain import ChainTask
from adaswitch.tasks.jsonl import JsonlTask
from services.evaluation.__main__ import app

STUDENT, TEACHER = "models/chain-student", "models/chain-teacher"


def request(**changes: object) -> EvalRequest:
    settings = {"model": STUDENT, "task": ChainTask(), "limit": 6, "max_new_tokens": 64, **changes}
    return EvalRequest(**settings)  # type: ignore[arg-type]


def carried_out(asked: EvalRequest) -> str:
    console = Console(file=StringIO(), width=140)
    assert run_eval(asked, console)
    return console.file.getvalue()


def records(folder: Path, lines: list[dict[str, object]]) -> str:
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def own_task(path: str, **settings: object) -> JsonlTask:
    source = {"path": path}
    return JsonlTask.model_validate({"train": source, "eval": source, **settings})


def test_a_runs_config_says_which_prompts_and_how_long() -> None:
    chosen = choose_prompts(Path("configs/demo.yaml"), None, None, ["trainer.eval_prompts=7"])
    assert (chosen.task.kind, chosen.limit, chosen.max_new_tokens) == ("chain", 7, 64)
    gsm8k = choose_prompts(Path("configs/gsm8k-smollm2-cpu.yaml"), None, "mine.jsonl", [])
    assert gsm8k.task.eval.path == "mine.jsonl"


def test_the_threads_are_those_of_the_option_of_the_runs_trainer_or_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []
    monkeypatch.setattr(command, "compute_with", used.append)
    monkeypatch.setattr(command, "num_cores", lambda: 3)
    assert choose_prompts(Path("configs/demo.yaml"), None, None, []).num_threads == "auto"
    chosen = choose_prompts(Path("configs/demo.yaml"), None, None, ["trainer.num_threads=2"])
    for threads, size in ((chosen.num_threads, 1), ("auto", 1), ("auto", 2**30)):
        monkeypatch.setattr("adaswitch.data.threads.BYTES_PER_THREAD", size)
        assert f"computing with {(2, 3, 1)[len(used)]} thread" in carried_out(
            request(limit=1, num_threads=threads)
        )
    assert used == [2, 3, 1]


@pytest.mark.parametrize("given", ["0", "-1", "all", "1.5"])
def test_a_number_of_threads_that_is_none_is_answered_in_one_line(given: str) -> None:
    with pytest.raises(ConfigError, match=rf"--num-threads {given}: write auto, or a whole number from 1 on"):
        request(num_threads=number_or_auto(given))


def test_a_task_and_its_file_will_do() -> None:
    chosen = choose_prompts(None, "jsonl", "mine.jsonl", ["prompt_field=ask", "metric=rouge"])
    assert chosen.task == own_task("mine.jsonl", prompt_field="ask", metric="rouge")
    assert choose_prompts(None, "chain", None, []).max_new_tokens == 45
    assert choose_prompts(None, "chain", None, ["extra_splits=[longer]"]).max_new_tokens == 63


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((None, None, None, []), "exactly one of --config"),
        ((Path("configs/demo.yaml"), "chain", None, []), "exactly one of --config"),
        ((None, "chain", "mine.jsonl", []), "--data: prompts of the task chain are generated"),
        ((None, "gsm8k", None, []), "--data: the task gsm8k needs a file"),
        ((None, "gsm9k", None, []), "task.kind: 'gsm9k' is not one of"),
        ((None, "jsonl", "a", ["promt_field=ask"]), "task.promt_field: unknown setting; did you mean"),
        ((None, "jsonl", "a", ["metric=best"]), "task.metric: "),
        ((None, "jsonl", "a", ["metric=rouge", "answer_regex=x"]), "answer_regex is for the metric"),
        ((Path("configs/gsm8k-smollm2-cpu.yaml"), None, None, ["task.eval=null"]), "names no held-out data"),
    ],
)
def test_what_cannot_be_asked_for(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        choose_prompts(*arguments)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_samples": 2}, "--num-samples 2: at temperature 0"),
        ({"temperature": float("inf")}, "--temperature inf: must be a number"),
        ({"dtype": "int8"}, "--dtype int8: must be one of float32"),
        ({"device": "tpu"}, "--device tpu: must be one of auto"),
    ],
)
def test_options_that_do_not_fit(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        request(**changes)


def test_results_are_shown_and_kept(tmp_path: Path) -> None:
    asked = request(
        output=tmp_path / "out",
        teacher=TEACHER,
        num_samples=2,
        temperature=1.0,
        task=ChainTask(extra_splits=["longer"]),
    )
    shown = carried_out(asked)
    for words in ("exact_match, mean of 2", "longer", "completions", "references", "reverse_kl", "cut off"):
        assert words in shown
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["prompts"] == 12
    assert results["task"]["kind"] == "chain"
    assert [score["split"] for score in results["scores"]] == ["eval", "longer"]
    assert [(mean["over"], mean["metric"], mean["n"]) for mean in results["divergences"]] == [
        ("completions", "forward_kl", 12),
        ("completions", "reverse_kl", 12),
        ("references", "forward_kl", 12),
        ("references", "reverse_kl", 12),
    ]
    rows = [json.loads(line) for line in (tmp_path / "out" / "completions.jsonl").read_text().splitlines()]
    assert [(row["split"], row["record"], row["sample"]) for row in rows[:3]] == [
        ("eval", 1, 0),
        ("eval", 1, 1),
        ("eval", 2, 0),
    ]
    nats, tokens = (
        sum(part) for part in zip(*((row["nats"]["reverse_kl"], row["tokens"]) for row in rows), strict=True)
    )
    assert nats / tokens == pytest.approx(results["divergences"][1]["value"])
    means = [sum(row["marks"]["exact_match"] for row in rows if row["split"] == "eval") / 12]
    assert means == [pytest.approx(results["scores"][0]["value"])]
    with pytest.raises(EnvironmentProblem, match=r"--output: .* already holds results\.json"):
        run_eval(asked, Console(file=StringIO()))


def test_a_file_with_an_empty_reference_and_a_failing_metric(tmp_path: Path) -> None:
    path = records(
        tmp_path, [{"prompt": "1+1=", "reference": "1+1=2;#2"}, {"prompt": "2+1=", "reference": ""}]
    )
    shown = carried_out(request(task=own_task(path), output=tmp_path / "out"))
    assert "unmarked: eval, record 2: the reference is empty" in shown
    [unmarked] = json.loads((tmp_path / "out" / "results.json").read_text())["unmarked"]
    assert unmarked == {"record": 2, "split": "eval", "sample": 0, "cause": "the reference is empty"}
    assert [text.prompt for text in reference_texts(load_prompts(request(task=own_task(path))))] == [
        ("eval", 1)
    ]


def test_what_is_said_of_a_record_of_several_files_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    folders = {tmp_path: "", tmp_path / "b": "x"}
    paths = [records(folder, [{"prompt": "1+1=", "reference": gold}]) for folder, gold in folders.items()]
    source = {"path": paths}
    task = JsonlTask.model_validate({"train": source, "eval": source})
    shown = carried_out(request(task=task))
    assert "unmarked: eval, record 1: the reference is empty" in shown
    assert f"note: exact match is 0.0%: of eval, record 2 ({paths[1]}, line 1), the whole" in shown


def test_a_score_of_zero_says_what_was_compared_with_what(tmp_path: Path) -> None:
    path = records(
        tmp_path, [{"prompt": "1+1=", "reference": "so x"}, {"prompt": "2+1=", "reference": "so y"}]
    )
    shown = carried_out(request(task=own_task(path)))
    assert "note: exact match is 0.0%: of eval, record 1, the whole completion '" in shown
    assert "was compared with the whole reference 'so x'" in shown
    assert "set task.answer_regex to what finds the answer" in shown
    shown = carried_out(request(task=own_task(path, answer_regex=r"so (\w)")))
    assert "record 1, task.answer_regex found no answer in the completion '" in shown
    assert "and the reference's answer is 'x'" in shown
    assert "note:" not in carried_out(request(task=own_task(path, metric="rouge")))


def test_a_prompt_that_is_too_long_is_left_out_or_cut(tmp_path: Path) -> None:
    path = records(
        tmp_path, [{"prompt": "1+1=", "reference": "x"}, {"prompt": "1+" * 60 + "1=", "reference": "x"}]
    )
    with pytest.raises(
        ModelError, match=r"line 2: the prompt has 12\d tokens; with --max-new-tokens 64 that is more"
    ):
        carried_out(request(task=own_task(path)))
    shown = carried_out(request(task=own_task(path, too_long="skip"), output=tmp_path / "out"))
    assert "note: held-out prompts: 1 left out of 2, as too long" in shown
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (kept["prompts"], kept["notes"]) == (1, ["held-out prompts: 1 left out of 2, as too long"])
    assert "1 cut of 2" in carried_out(request(task=own_task(path, too_long="truncate")))


def test_no_mark_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sour_metrics.py").write_text("def sour(completion, record):\n    return record['sugar']\n")
    monkeypatch.syspath_prepend(tmp_path)
    task = own_task(records(tmp_path, [{"prompt": "1+1="}]), metric="sour_metrics:sour")
    with pytest.raises(
        DataError, match=r"line 1: none of the 1 completions could be marked: .*KeyError: 'sugar'"
    ):
        carried_out(request(task=task))


@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({"model": "models/nobody"}, ModelError, "--model: there is no folder 'models/nobody'"),
        ({"teacher": "models/nobody"}, ModelError, "--teacher: there is no folder 'models/nobody'"),
        (
            {"max_new_tokens": 120},
            ModelError,
            r"record 1 \(eval\): the prompt has \d+ tokens; with --max-new-tok",
        ),
        (
            {"max_new_tokens": 50, "task": ChainTask(extra_splits=["longer"])},
            ConfigError,
            "an answer of 10 operations takes 63 tokens",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_answered(
    changes: dict[str, object], kind: type[Exception], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint):
        carried_out(request(**changes))


def test_a_teacher_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes(Path(TEACHER, name).read_bytes())
    tokenizer = Path(TEACHER, "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(tokenizer.replace('"#"', '"@"'))
    with pytest.raises(ModelError, match="have different tokenizers"):
        carried_out(request(teacher=str(tmp_path)))


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_answered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"--output: cannot write to .*: Not a directory"):
        carried_out(request(output=tmp_path / "file" / "out", model="models/nobody"))


def test_half_of_a_surrogate_pair_is_named_with_its_record(tmp_path: Path) -> None:
    path = records(tmp_path, [{"prompt": "1+1=", "reference": "1+1=2;#2 \ud83d"}])
    with pytest.raises(DataError, match=r'line 1: field "reference" holds half of a surrogate pair'):
        carried_out(request(task=own_task(path)))


def test_an_interrupted_evaluation_keeps_nothing(tmp_path: Path) -> None:
    asked = request(output=tmp_path / "out")
    assert not run_eval(asked, Console(file=StringIO()), should_stop=lambda: True)
    assert not list((tmp_path / "out").iterdir())


def test_the_command_line_says_what_is_wrong_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["--model", STUDENT])
    assert result.exit_code == 2
    assert "error: give exactly one of --config" in result.output
