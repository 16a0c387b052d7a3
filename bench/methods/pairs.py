"""The runs that are measured: the demo's pair, and a pair of random weights with a real vocabulary."""

import json
import random
from pathlib import Path

from adaswitch.config.run import RunConfig
from adaswitch.runs.config_files import load_config
from bench.models import Shape, make_model
from bench.servers import free_port

ROOT = Path(__file__).parents[2]
TEACHER = Shape(vocab_size=49_152, hidden_size=576, num_layers=6, num_heads=9)
"""60M parameters."""
STUDENT = Shape(vocab_size=49_152, hidden_size=384, num_layers=5, num_heads=6)
"""31M parameters."""
PROMPT_TOKENS = 32
COMPLETION_TOKENS = 128
BATCH = 16
NUM_PROMPTS = 512


def demo(folder: Path, *overrides: str) -> RunConfig:
    """A run of the demo's pair."""
    path = ROOT / "configs/demo.yaml"
    models = [f"{role}.model={ROOT / 'models' / name}" for role, name in _DEMO.items()]
    return _loaded(path, folder, *models, *overrides)


_DEMO = {"teacher.serve": "chain-teacher", "student": "chain-student"}


def large(folder: Path, *overrides: str) -> RunConfig:
    """A run of the pair with V = 49,152: 16 prompts of 32 tokens a step, and completions of 128 tokens."""
    path = folder / "large.yaml"
    if not path.exists():
        make_model(folder / "teacher", TEACHER)
        make_model(folder / "student", STUDENT)
        make_prompts(folder / "prompts.jsonl")
        path.write_text(json.dumps(_large(folder)), encoding="utf-8")
    return _loaded(path, folder, *overrides)


def _large(folder: Path) -> dict[str, object]:
    return {
        "name": "large",
        "task": {
            "kind": "jsonl",
            "train": {"path": str(folder / "prompts.jsonl")},
            "prompt_field": "prompt",
            "chat_template": False,
        },
        "teacher": {
            "top_k": 64,
            "serve": {
                "model": str(folder / "teacher"),
                "dtype": "float32",
                "max_model_len": 256,
                "kv_cache_gib": 1.0,
            },
        },
        "student": {"model": str(folder / "student"), "max_new_tokens": COMPLETION_TOKENS},
        "policy": {"kind": "on_policy"},
        "trainer": {"num_steps": 8, "prompts_per_step": BATCH, "eval_every": 0},
    }


def make_prompts(path: Path) -> Path:
    """Write ``NUM_PROMPTS`` prompts of 32 random tokens each."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(NUM_PROMPTS):
            words = (f"w{draw.randrange(3, TEACHER.vocab_size)}" for _ in range(PROMPT_TOKENS))
            file.write(json.dumps({"prompt": " ".join(words), "reference": "w3"}) + "\n")
    return path


def on_free_port() -> tuple[str, str]:
    """Settings that put the run's own teacher on a port that nobody listens on."""
    port = free_port()
    return f"teacher.serve.port={port}", f"teacher.url=http://127.0.0.1:{port}"


def _loaded(path: Path, folder: Path, *overrides: str) -> RunConfig:
    return load_config(path, [f"runs_dir={folder / 'runs'}", *on_free_port(), *overrides])
