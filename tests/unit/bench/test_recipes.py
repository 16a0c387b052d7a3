"""The estimates of the paper's recipes: what the docs state is what the model says, and the settings follow from it."""

import re
from pathlib import Path

import pytest
from transformers import GemmaConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from adaswitch.data.causal_lm import outline
from adaswitch.data.model_config import ModelConfig
from adaswitch.errors import ConfigError
from adaswitch.method.policies.replay import Replay
from adaswitch.runs.config_files import load_config
from bench.recipes.memory import memory_of, served_gib
from bench.recipes.shapes import SHAPES, Shape, pair_of
from bench.recipes.tables import plan_of, recipes, tables
from bench.recipes.tokens import LENGTHS, work_of
from experiments.plan import cells, load_plan

ROOT = Path(__file__).parents[3]
GPU_GIB = 80e9 / 2**30
NUM_WEIGHTS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "google/gemma-2b-it": 2_506_172_416,
    "google/gemma-7b-it": 8_537_680_896,
}
"""As the models' pages state them."""


def test_the_page_states_what_the_command_prints() -> None:
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    for table in tables().strip().split("\n\n"):
        assert table in page, "put what `python -m bench.recipes` prints into docs/paper.md"


def test_the_sizes_are_those_of_the_published_models() -> None:
    assert {name: shape.num_weights for name, shape in SHAPES.items()} == NUM_WEIGHTS


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, GemmaConfig])
def test_weights_are_counted_as_transformers_has_them(kind: type[PreTrainedConfig]) -> None:
    shape = Shape(64, 2, 4, 2, 16, 96, 100, has_attention_bias=kind is Qwen2Config)
    config = kind(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=96,
        vocab_size=100,
        tie_word_embeddings=True,
    )
    made = outline(ModelConfig("", config, ()))
    assert shape.num_weights == sum(parameter.numel() for parameter in made.parameters())
    assert shape.cache_bytes == 2 * 2 * 2 * 16 * 2


def test_by_hand() -> None:
    shape = Shape(64, 2, 4, 2, 16, 96, 100)
    assert served_gib(shape, 10) == pytest.approx((2 * shape.num_weights + 2560) / 2**30 + 3)
    config = load_config(ROOT / "configs/paper/gsm8k-qwen2.5.yaml")
    work = work_of(config.policy, LENGTHS["gsm8k"])
    assert (work.teacher_tokens, work.trained_tokens) == (135, 290)
    assert work.student_tokens == pytest.approx(49.5)


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: path.stem)
def test_a_recipe_fits_the_gpus_that_it_names(recipe: Path) -> None:
    config, text = load_config(recipe), recipe.read_text(encoding="utf-8")
    serve = config.teacher.serve
    assert serve is not None
    memory = memory_of(config, LENGTHS[config.task.name])
    shares = (serve.gpu_memory_utilization, config.student.gpu_memory_utilization)
    assert shares[0] * GPU_GIB >= memory.teacher
    assert shares[1] * GPU_GIB >= memory.student
    beside_trainer = shares[1] if "For two GPUs of 80 GB" in text else sum(shares)
    assert beside_trainer * GPU_GIB + memory.trainer <= 0.95 * GPU_GIB


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: path.stem)
def test_a_recipe_names_commands_and_files_that_are_there(recipe: Path) -> None:
    for file in (recipe, plan_of(recipe)):
        text = file.read_text(encoding="utf-8")
        named = re.findall(r"(?:configs|experiments|docs)/[\w./-]+\w", text)
        assert str(recipe.relative_to(ROOT)) in named
        assert all((ROOT / name).exists() for name in named)


def test_recipes_differ_in_nothing_but_task_and_pair() -> None:
    same = ("policy", "trainer.loss", "trainer.optimizer", "trainer.prompts_per_step", "teacher.top_k")
    found: dict[str, set[str]] = {name: set() for name in same}
    plans = set[str]()
    for recipe in recipes():
        document = load_config(recipe).model_dump(mode="json")
        for path in same:
            value = document
            for part in path.split("."):
                value = value[part]
            found[path].add(str(value))
        plan = load_plan(plan_of(recipe))
        plans.add(str((plan.methods, plan.seeds)).replace(plan.name, "NAME"))
    assert len(recipes()) == 9
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(same, 1)
    assert len(plans) == 1


def test_what_is_not_known_is_named() -> None:
    recipe = recipes()[0]
    with pytest.raises(ConfigError, match="the sizes of models/chain-teacher are not known"):
        pair_of(load_config(recipe, ["teacher.serve.model=models/chain-teacher"]))
    with pytest.raises(ValueError, match="nothing is assumed of the policy replay"):
        work_of(Replay(run="runs/x"), LENGTHS["gsm8k"])
    assert {cell.config.policy.name for cell in cells(load_plan(plan_of(recipe)))} >= {"sft", "skd", "mixed"}
