"""What is wrong with a run is found before anything is started, and named."""

import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.data.models import load_tokenizer
from adaswitch.data.preflight import load_run_data
from adaswitch.data.token_texts import token_texts
from adaswitch.errors import ConfigError, DataError, ModelError
from tests.model_folders import NUM_IDS, change_config, make_folder, make_tokenizer, write_records


def config(**settings: object) -> RunConfig:
    document = {
        "name": "run",
        "task": {"kind": "chain", "num_train": 12, "num_eval": 8},
        "teacher": {"serve": {"model": "models/chain-teacher", "max_model_len": 128}},
        "student": {"model": "models/chain-student", "max_new_tokens": 64},
    }
    return parse_config(with_overrides(document, list(settings.items())))


def test_a_run_that_fits() -> None:
    data = load_run_data(config(**{"trainer.eval_prompts": 5}))
    assert len(data.train_prompts) == 12
    assert len(data.eval_examples) == len(data.eval_prompts) == 5
    assert not set(data.train_prompts) & set(data.eval_prompts)
    assert data.tokenizer.decode(list(data.train_prompts[0])).endswith("=")


def test_without_evaluation_no_held_out_data_is_read() -> None:
    assert load_run_data(config(**{"trainer.eval_every": 0})).eval_examples == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student.model": "models/nobody"}, "student.model: there is no folder 'models/nobody'"),
        (
            {"student.model": "nobody/nowhere"},
            "student.model: cannot load 'nobody/nowhere': there is no such",
        ),
        (
            {"student.max_new_tokens": 120},
            "student.max_new_tokens 120 that is more than the 128 that the student",
        ),
        ({"teacher.serve.max_model_len": 70}, "more than the 70 that the teacher"),
    ],
)
def test_models_and_lengths_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_run_data(config(**settings))


def test_kinds_of_models_that_cannot_be_had_are_named_before_their_weights_are_looked_for(
    tmp_path: Path,
) -> None:
    mamba, t5 = tmp_path / "mamba", tmp_path / "t5"
    AutoConfig.for_model("mamba").save_pretrained(mamba)
    AutoConfig.for_model("t5").save_pretrained(t5)
    for settings, message in (
        ({"student.model": str(mamba)}, "^student.model: .*mamba.* keeps a state of another kind"),
        ({"teacher.serve.model": str(t5)}, "^teacher.serve.model: .* is an encoder with a decoder"),
        (
            {"teacher.serve.model": str(mamba), "teacher.serve.engine": "transformers"},
            "^teacher.serve.model: .* keeps a state of another kind",
        ),
    ):
        with pytest.raises(ModelError, match=message):
            load_run_data(config(**settings))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no records"),
        ('{"question": "1+1?", "answer": "#### 2"}\n{"question": \n', "line 2: "),
        ('{"question": "1+1?"}\n', "line 1: .*answer"),
        (None, "gone.jsonl"),
    ],
)
def test_data_that_cannot_be_used(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "gone.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_run_data(config(task={"kind": "gsm8k", "train": {"path": str(path)}, "chat_template": False}))


@pytest.mark.parametrize("policy", [{"kind": "dataset"}, {"kind": "mixed", "other": "dataset"}])
def test_references_are_there_where_the_policy_trains_on_them(policy: dict[str, object]) -> None:
    data = load_run_data(config(policy=policy))
    assert len(data.train_references) == len(data.train_prompts) == 12
    for prompt, reference in zip(data.train_prompts, data.train_references, strict=True):
        asked, answer = (data.tokenizer.decode(list(ids)) for ids in (prompt, reference))
        # The first step of the answer begins as the prompt does: 3+5*7= and 3+5=8;..
        assert answer.replace(" ", "")[:3] in asked.replace(" ", "")
        assert reference[len(reference) - 1] == data.tokenizer.eos_token_id


@pytest.mark.parametrize("policy", [{"kind": "adaswitch"}, {"kind": "mixed", "other": "teacher"}])
def test_other_policies_carry_no_references(policy: dict[str, object]) -> None:
    assert load_run_data(config(policy=policy)).train_references == []


def test_a_record_without_a_reference_is_named_where_one_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt": "1+1=", "reference": "#2"}\n\n{"prompt": "1+2=", "reference": " "}\n')
    task = {"kind": "jsonl", "train": {"path": str(path)}}
    assert len(load_run_data(config(task=task)).train_prompts) == 2
    with pytest.raises(
        DataError, match=r"train\.jsonl, line 3: no reference answer, which policy\.kind dataset"
    ):
        load_run_data(config(task=task, policy={"kind": "dataset"}))


def test_accepting_every_token_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"policy\.accept_top_k 25 accepts each of the tokenizer's 19 tokens"
    ):
        load_run_data(config(policy={"kind": "skd"}))
    load_run_data(config(policy={"kind": "skd", "accept_top_k": 4}))


def test_tokens_that_a_policy_names_and_the_tokenizer_lacks_are_refused() -> None:
    steps = {"kind": "take_over", "hold": {"kind": "sentence", "ends": [";"]}}
    load_run_data(config(policy=steps))
    steps["hold"]["ends"] = ["."]
    with pytest.raises(
        ConfigError, match=r"^policy\.hold\.ends: the tokenizer has no token that ends with any of them"
    ):
        load_run_data(config(policy=steps))
    with pytest.raises(
        ConfigError, match=r"^policy\.words: the tokenizer has no token that reads like one of them"
    ):
        load_run_data(config(policy={"kind": "relay_opd"}))


def test_each_token_has_its_text_and_special_ones_have_none() -> None:
    tokenizer = load_tokenizer("models/chain-student")
    texts = token_texts(tokenizer, 19)
    assert texts[tokenizer.convert_tokens_to_ids(";")] == ";"
    assert texts[tokenizer.eos_token_id] == ""
    assert token_texts(tokenizer, 21)[19:] == ["", ""]


def test_a_prompt_that_is_too_long_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        f'{{"prompt": "1=", "reference": "1"}}\n\n{{"prompt": "{"1+" * 60}1=", "reference": "1"}}\n'
    )
    source = {"path": str(path)}
    for task in ({"train": source}, {"train": {**source, "limit": 1}, "eval": source}):
        with pytest.raises(ModelError, match=r"train\.jsonl, line 3: the prompt has 12[0-9] tokens; with"):
            load_run_data(config(task={"kind": "jsonl", **task}))


def test_a_prompt_that_cannot_be_spelt_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt": "1=", "reference": "1"}\n\n{"prompt": "why?", "reference": "1"}\n')
    with pytest.raises(ModelError, match=r"train\.jsonl, line 3: the tokenizer cannot spell 'why\?'"):
        load_run_data(config(task={"kind": "jsonl", "train": {"path": str(path)}}))


def test_what_is_too_long_is_left_out_for_both_models(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(f'{{"prompt": "{"1+" * num}1=", "reference": "1"}}\n' for num in (3, 10, 60)),
        encoding="utf-8",
    )
    source = {"path": str(path)}
    task = {"kind": "jsonl", "too_long": "skip", "train": source, "eval": source}
    short = {"teacher.serve.max_model_len": 80}
    data = load_run_data(config(task=task, **short))
    assert [len(prompts) for prompts in (data.train_prompts, data.eval_prompts)] == [1, 2]
    # Students have room for sequences that both models take.
    assert len(load_run_data(config(task=task, **short, **{"trainer.eval_by": "students"})).eval_prompts) == 1
    assert data.notes == [
        "training prompts: 2 left out of 3, as too long",
        "held-out prompts: 1 left out of 3, as too long",
    ]
    cut = load_run_data(config(task={**task, "too_long": "truncate"}))
    assert max(map(len, cut.train_prompts)) <= 64
    assert cut.notes[0] == "training prompts: 1 cut of 3, as too long"


def test_the_longest_sequence_of_a_local_teacher_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree("models/chain-teacher", folder)
    text = Path("models/chain-teacher/config.json").read_text()
    (folder / "config.json").write_text(re.sub(r'("max_position_embeddings": )\d+', r"\g<1>70", text))
    settings = {"teacher.serve.model": str(folder), "teacher.serve.max_model_len": None}
    with pytest.raises(ModelError, match=r"that is more than the 70 that the teacher takes"):
        load_run_data(config(**settings))
    elsewhere = load_run_data(config(**{**settings, "teacher.serve.model": "somewhere/else"}))
    assert len(elsewhere.train_prompts) == 12


def test_references_that_are_cut_are_said(tmp_path: Path) -> None:
    records = [{"prompt": "1+1=", "reference": "#2" * times} for times in (1, 8, 40, 1)]
    source = {"path": write_records(tmp_path / "data.jsonl", records)}
    settings = {"task": {"kind": "jsonl", "train": source}, "student.max_new_tokens": 16}
    data = load_run_data(config(**settings, policy={"kind": "dataset"}))
    assert data.notes == [
        "training references: 2 of 4 have more than student.max_new_tokens 16 tokens and are cut there, without the "
        "token that ends them: the longest has 81"
    ]
    assert load_run_data(config(**settings)).notes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            r"teacher\.serve\.model: .* is quantized",
        ),
        ({"dtype": "float64"}, r"teacher\.serve\.model: .*'float64'.* set teacher\.serve\.dtype to one of"),
        (
            {"model_type": "bloom", "max_position_embeddings": None},
            r"teacher\.serve\.max_model_len: .* does not say how long a sequence may be: set it",
        ),
    ],
)
def test_a_teacher_that_cannot_be_served_is_refused_before_the_start(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    teacher = make_folder(tmp_path / "teacher")
    change_config(tmp_path / "teacher", changes)
    source = {"path": write_records(tmp_path / "data.jsonl", [{"prompt": "1+1=", "reference": "2"}])}
    settings = {
        "task": {"kind": "jsonl", "train": source},
        "student": {"model": make_folder(tmp_path / "student"), "max_new_tokens": 8},
        "teacher": {"serve": {"model": teacher, "engine": "transformers"}},
    }
    with pytest.raises(ModelError, match=f"^{message}"):
        load_run_data(config(**settings))


def test_text_that_the_tokenizer_cannot_spell_is_said(tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"<unk>": NUM_IDS})
    tokenizer.backend_tokenizer.model.unk_token = "<unk>"
    tokenizer.unk_token = "<unk>"
    model = make_folder(tmp_path / "model", tokenizer)
    records = [{"prompt": "1+1=", "reference": "2"}, {"prompt": "\u00bd+1=", "reference": "2"}]
    source = {"path": write_records(tmp_path / "data.jsonl", records)}
    settings = {
        "task": {"kind": "jsonl", "train": source},
        "student": {"model": model, "max_new_tokens": 8},
        "teacher": {"serve": {"model": model, "engine": "transformers"}},
    }
    assert load_run_data(config(**settings, policy={"kind": "dataset"})).notes == [
        "training prompts: 1 of 2 hold text that the tokenizer has no token for, and '<unk>' stands for it, as in "
        f"{source['path']}, line 2"
    ]
