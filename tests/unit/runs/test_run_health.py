"""What ``adaswitch doctor RUN`` says of sizes that do not fit each other."""

from pathlib import Path

import pytest

from adaswitch.method.health import MIN_STEPS
from adaswitch.runs import run_health
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record
from adaswitch.runs.run_health import HEALTH_FIELDS, check_run, chunks_without_prefix
from services.teacher.engines.vllm import engine

BLOCK, CHUNK, LONGEST = (
    "teacher.serve.kv_block_size=",
    "policy.chunk_size=",
    "student.max_new_tokens=",
)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (
            [CHUNK + "32", BLOCK + "128"],
            "set teacher.serve.kv_block_size to 32, or raise policy.chunk_size to 64 or more",
        ),
        ([CHUNK + "15", BLOCK + "32"], "raise policy.chunk_size to 16 or more"),
        ([CHUNK + "8"], "raise policy.chunk_size to 16 or more"),
        ([CHUNK + "16"], None),
        ([CHUNK + "64", BLOCK + "128"], None),
        ([CHUNK + "40", BLOCK + "128", LONGEST + "40"], None),
        ([CHUNK + "1", "teacher.serve.engine=transformers"], None),
        ([CHUNK + "1", "teacher.serve=null"], None),
        (["policy={kind: on_policy}", BLOCK + "128"], None),
    ],
)
def test_chunks_that_are_short_beside_the_caches_blocks_are_named(
    settings: list[str], advice: str | None
) -> None:
    config = load_config("configs/demo.yaml", [LONGEST + "256", *settings])
    found = chunks_without_prefix(config)
    assert [signature.advice for signature in found] == ([] if advice is None else [advice])
    assert all("once more" in signature.evidence for signature in found)


def test_the_sizes_of_a_run_are_named_beside_what_its_steps_show(tmp_path: Path) -> None:
    for number, policy in enumerate(
        ("{kind: skd, chunk_size: 4}", "{kind: threshold, tau: 1, chunk_size: 4}")
    ):
        run = RunDirectory.create(
            load_config(
                "configs/demo.yaml", [f"runs_dir={tmp_path}", f"name=run-{number}", f"policy={policy}"]
            )
        )
        for step in range(MIN_STEPS):
            append_record(run.metrics, {"step": step, **dict.fromkeys(HEALTH_FIELDS, 0.5)})
        found = check_run(run.path).found
        assert found[-1].name == "chunks shorter than the cache's blocks"


def test_the_default_is_the_teachers() -> None:
    assert run_health.CPU_BLOCK_SIZE == engine.CPU_BLOCK_SIZE
