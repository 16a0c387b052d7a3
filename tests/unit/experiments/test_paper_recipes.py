"""Dry runs of the paper's recipes: warm start, run and plan, in this process, with tiny models of the same kinds."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from adaswitch.commands.sft import write_student
from adaswitch.config.fine_tuning import fine_tuning
from adaswitch.config.run import RunConfig
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import read_records
from adaswitch.runs.words import run_of
from experiments.local import train_locally
from experiments.plan import Cell, cells, load_plan
from experiments.preflight import require_data
from tests.model_folders import CHAT, CHAT_TOKENS, EOS, NUM_IDS, make_folder, make_tokenizer, write_records

RECIPES = sorted(Path("configs/paper").glob("*.yaml"))
KINDS = {
    "qwen2.5": (Qwen2Config, Qwen2ForCausalLM),
    "llama3.2": (LlamaConfig, LlamaForCausalLM),
    "gemma": (GemmaConfig, GemmaForCausalLM),
}
LONGEST = 160
QUESTION = "tom has {0} pens and buys 3. how many?"
RECORDS: dict[str, Callable[[int], dict[str, str]]] = {
    "gsm8k": lambda n: {"question": QUESTION.format(n), "answer": f"{n}+3=<<{n}+3={n + 3}>>. #### {n + 3}"},
    "gsm-plus": lambda n: {
        "question": QUESTION.format(n),
        "solution": f"{n}+3. #### {n + 3}",
        "perturbation_type": ("critical thinking", "numerical substitution")[n % 2],
    },
    "dialogsum": lambda n: {"dialogue": f"#a#: at {n}? #b#: yes.", "summary": f"they meet at {n}."},
}


def tiny(pair: str, num_layers: int) -> PreTrainedModel:
    """A random model of the pair's kind, whose head is its embedding, as theirs are."""
    config, model = KINDS[pair]
    made: PreTrainedModel = model(
        config(
            vocab_size=NUM_IDS + len(CHAT_TOKENS),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=num_layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=LONGEST,
            initializer_range=0.3,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=EOS,
        )
    )
    return made


def settings_for(recipe: Path, folder: Path) -> list[str]:
    """What a dry run of ``recipe`` sets otherwise: models, data, lengths, numbers of steps, and no GPU."""
    task, _, pair = recipe.stem.rpartition("-")
    chat = make_tokenizer(CHAT_TOKENS, chat_template=CHAT)
    teacher, student = (
        make_folder(folder / name, chat, model=tiny(pair, layers), config={"eos_token_id": EOS}, seed=layers)
        for name, layers in (("teacher", 2), ("student", 1))
    )
    data = {
        name: write_records(folder / f"{name}.jsonl", [RECORDS[kind](n) for n in range(4)])
        for name, kind in (("train", "dialogsum" if task == "dialogsum" else "gsm8k"), ("eval", task))
    }
    return [
        f"task.train={{path: {data['train']}}}",
        f"task.eval={{path: {data['eval']}}}",
        f"teacher.serve.model={teacher}",
        "teacher.serve.engine=transformers",
        f"teacher.serve.max_model_len={LONGEST}",
        f"student.model={folder / 'warm'}",
        "student.num_gpus_per_actor=0",
        "student.max_new_tokens=24",
        f"warm_start.model={student}",
        "warm_start.num_steps=1",
        "warm_start.prompts_per_step=2",
        "trainer.num_steps=1",
        "trainer.prompts_per_step=2",
        "trainer.eval_prompts=2",
        "policy.window=2",
        "trackers=[]",
    ]


def made_student(recipe: Path, folder: Path, overrides: list[str]) -> RunConfig:
    """The recipe's settings for a dry run, once its warm start has made the student."""
    config = load_config(recipe, [*overrides, f"runs_dir={folder / 'runs'}"])
    warm = fine_tuning(config)
    assert train_locally(warm, lambda: False)
    write_student(warm, Path(config.student.model))
    return config


def planned(recipe: Path, folder: Path, overrides: list[str]) -> list[Cell]:
    """The cells of the recipe's plan with one seed, after all that is checked before the first of them starts."""
    plan = load_plan(Path("experiments/plans") / f"paper-{recipe.name}", overrides)
    source = f"{folder / 'runs' / plan.name}/adaswitch-seed{{seed}}"
    drawn = {"policy": {"kind": "random_switch", "from_run": source}}
    methods = {**plan.methods, "random_switch": drawn}
    plan = plan.model_copy(update={"runs_dir": str(folder / "runs"), "seeds": [0], "methods": methods})
    require_data(plan, cells(plan), "transformers")
    return cells(plan)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_warm_start_and_run(recipe: Path, tmp_path: Path) -> None:
    overrides = settings_for(recipe, tmp_path)
    config = made_student(recipe, tmp_path, overrides)
    assert train_locally(config, lambda: False)
    marks = list(read_records(run_of(config).evals))
    assert {mark["step"] for mark in marks} == {0, 1}
    assert {mark["task"] for mark in marks} == {config.task.name}
    assert len(planned(recipe, tmp_path, overrides)) == 12


@pytest.mark.parametrize("name", ["gsm8k-qwen2.5", "gsm-plus-llama3.2", "dialogsum-gemma"])
def test_every_method_of_a_plan(name: str, tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.stem == name)
    overrides = settings_for(recipe, tmp_path)
    made_student(recipe, tmp_path, overrides)
    runs = planned(recipe, tmp_path, [*overrides, "trainer.eval_every=0"])
    for cell in runs:
        assert train_locally(cell.config, lambda: False), cell.method
    [steps] = {len(list(read_records(run_of(cell.config).metrics))) for cell in runs}
    assert steps == 1
