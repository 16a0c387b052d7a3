"""Whole runs in this process on model folders as people have them: ids with gaps, rows that differ, odd settings."""

import json
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from adaswitch.commands.inspect import show_rollouts
from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.data.causal_lm import load_model
from adaswitch.errors import DataError, ModelError
from adaswitch.evaluation.command import load_prompts, run_eval
from adaswitch.evaluation.evaluation import evaluate
from adaswitch.evaluation.request import EvalRequest, choose_prompts
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.shards import read_shard
from experiments.local import train_locally
from tests.model_folders import CHAT, CHAT_TOKENS, EOS, NUM_IDS, make_folder, make_tokenizer, write_records

FAR_END = {"<end>": 70}
"""A token far behind the others: the ids between are gaps."""


def config(place: Path, student: str, teacher: str, **settings: object) -> RunConfig:
    records = [{"prompt": f"{i}+{i}=", "reference": str(2 * i)} for i in range(5)]
    source = {"path": write_records(place / "data.jsonl", records)}
    document = {
        "name": "run",
        "runs_dir": str(place / "runs"),
        "task": {"kind": "jsonl", "train": source, "eval": source},
        "teacher": {"top_k": 8, "serve": {"model": teacher, "engine": "transformers"}},
        "student": {"model": student, "max_new_tokens": 12, "group_size": 4},
        "policy": {"kind": "adaswitch", "window": 2, "chunk_size": 4},
        "trainer": {
            "num_steps": 2,
            "prompts_per_step": 4,
            "eval_every": 1,
            "checkpoint_every": 1,
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 0},
        },
    }
    return parse_config(with_overrides(document, list(settings.items())))


def trained(run: RunConfig) -> RunDirectory:
    assert train_locally(run, lambda: False)
    return RunDirectory.open(Path(run.runs_dir) / run.name)


def evaluated(run: RunDirectory, **settings: object) -> str:
    chosen = choose_prompts(run.path / "config.yaml", None, None, [])
    model = str(run.checkpoint(run.checkpoint_steps()[-1]))
    request = EvalRequest(model, chosen.task, 5, 12, stop_token_ids=chosen.stop_token_ids, **settings)
    console = Console(file=StringIO(), width=200)
    assert run_eval(request, console)
    return console.file.getvalue()


def test_ids_with_gaps_are_drawn_evaluated_replayed_and_shown(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(FAR_END, eos="<end>")
    student, teacher = (
        make_folder(tmp_path / name, tokenizer, num_rows=80, seed=i) for i, name in enumerate("st")
    )
    run = trained(config(tmp_path, student, teacher, **{"teacher.top_k": 100}))
    [*_, shard] = run.shards()
    assert {(rollout.teacher.vocab_size, rollout.teacher.k) for rollout in read_shard(shard)} == {(71, 71)}
    assert "a completion ends with 70 '<end>' (student.stop_token_ids)" in evaluated(run)
    again = config(tmp_path, student, teacher, name="again", policy={"kind": "replay", "run": str(run.path)})
    trained(again)
    console = Console(file=StringIO(), width=80)
    show_rollouts(run.path, None, 2, False, console)
    assert "divergence" in console.file.getvalue()


def test_an_evaluation_can_draw_the_far_end(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", make_tokenizer(FAR_END, eos="<end>"), num_rows=80)
    prompts = load_prompts(EvalRequest(folder, config(tmp_path, folder, folder).task, 5, 6))
    model = load_model(folder, "model", "float32")
    head = model.get_output_embeddings()
    with torch.no_grad():
        # Every hidden state has a positive part in the direction of ones, once it is made positive.
        model.get_submodule("model.norm").register_forward_hook(lambda module, inputs, output: output.abs())
        head.weight.zero_()
        head.weight[70] = 1.0
    evaluation = evaluate(TransformersWriter(model), prompts)
    assert evaluation is not None
    assert {tuple(done.token_ids) for done in evaluation.completions} == {(70,)}
    assert all(done.stopped for done in evaluation.completions)


@pytest.mark.parametrize(
    ("student_rows", "teacher_rows", "vocab_size"),
    [(NUM_IDS, 64, NUM_IDS), (64, NUM_IDS, NUM_IDS), (64, 72, NUM_IDS + 1)],
)
def test_models_whose_rows_differ_share_the_tokens_that_both_have(
    tmp_path: Path, student_rows: int, teacher_rows: int, vocab_size: int
) -> None:
    tokenizer = make_tokenizer({"[PAD]": NUM_IDS})
    student = make_folder(tmp_path / "student", tokenizer, num_rows=student_rows)
    teacher = make_folder(tmp_path / "teacher", tokenizer, num_rows=teacher_rows, seed=1)
    run = trained(config(tmp_path, student, teacher, **{"teacher.top_k": 100}))
    for shard in run.shards():
        for rollout in read_shard(shard):
            assert rollout.teacher.vocab_size == rollout.teacher.k == vocab_size
            assert max(rollout.completion_token_ids) < vocab_size
            assert rollout.teacher.logprobs.exp().sum(-1).sub(1).abs().max() < 1e-5
    evaluated(run, teacher=teacher)
    replayed = config(
        tmp_path, student, teacher, name="again", policy={"kind": "replay", "run": str(run.path)}
    )
    trained(replayed)


def test_a_recording_over_more_tokens_than_the_student_has_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"[PAD]": NUM_IDS})
    student = make_folder(tmp_path / "student", tokenizer, num_rows=64)
    small = make_folder(tmp_path / "small", tokenizer, num_rows=NUM_IDS)
    run = trained(config(tmp_path, student, student))
    again = config(tmp_path, small, student, name="again", policy={"kind": "replay", "run": str(run.path)})
    with pytest.raises(DataError, match=f"over {NUM_IDS + 1} tokens cannot train a student of {NUM_IDS}"):
        trained(again)


GREEDY = '{\n "do_sample": false, "temperature": 0.3, "top_p": 0.9,\n "eos_token_id": [2]}'


@pytest.mark.parametrize("generation", [GREEDY, None])
def test_generation_settings_are_kept_byte_for_byte(
    tmp_path: Path, generation: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"attention_dropout": 0.2, "use_cache": False, "eos_token_id": 7}
    student = make_folder(tmp_path / "student", generation=generation, config=changes)
    run = trained(config(tmp_path, student, student, **{"trainer.num_steps": 1}))
    said = capsys.readouterr().out
    assert said.count("a completion ends with ") == 1
    assert said.count("attention_dropout 0.2: computed without") >= 1
    goes_on = config(tmp_path, student, student)
    trained(goes_on)
    for step in (1, 2):
        kept = run.checkpoint(step) / "generation_config.json"
        assert (kept.read_text() if kept.exists() else None) == generation
        AutoModelForCausalLM.from_pretrained(run.checkpoint(step))
    assert load_config(run.path / "config.yaml").student.stop_token_ids == (
        [EOS, 7] if generation else [7, EOS]
    )
    evaluated(run, teacher=str(run.checkpoint(1)))
    if generation is not None:
        assert GenerationConfig.from_pretrained(run.checkpoint(2)).temperature == 0.3


def test_tokenizer_files_are_kept_byte_for_byte(tmp_path: Path) -> None:
    student = make_folder(tmp_path / "student", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    own = {
        path.name: path.read_bytes()
        for path in Path(student).iterdir()
        if "token" in path.name or "chat" in path.name
    }
    run = trained(config(tmp_path, student, student, **{"trainer.num_steps": 1}))
    kept = run.checkpoint(1)
    assert {name: (kept / name).read_bytes() for name in own} == own
    assert AutoTokenizer.from_pretrained(kept).chat_template == CHAT


def test_a_base_student_under_a_chat_teacher_learns_to_stop_where_a_turn_ends(tmp_path: Path) -> None:
    student = make_folder(tmp_path / "student", make_tokenizer(CHAT_TOKENS), generation={"eos_token_id": EOS})
    teacher = make_folder(tmp_path / "teacher", make_tokenizer(CHAT_TOKENS, chat_template=CHAT), seed=1)
    run = trained(config(tmp_path, student, teacher, **{"task.chat_template": False}))
    ends = load_config(run.path / "config.yaml").student.stop_token_ids
    assert ends == [EOS, CHAT_TOKENS["<turn>"]]
    for rollout in (rollout for shard in run.shards() for rollout in read_shard(shard)):
        assert not set(ends) & set(rollout.completion_token_ids[:-1])


def test_a_student_of_another_shape_is_refused_before_the_first_step(tmp_path: Path) -> None:
    student = make_folder(tmp_path / "student")
    path = tmp_path / "student" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"lacks the weight model\.layers\.2"):
        trained(config(tmp_path, student, student))
