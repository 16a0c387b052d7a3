"""The number of threads in the place of ``auto``."""

from pathlib import Path
from typing import Any

import pytest

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.data import threads
from adaswitch.data.threads import (
    BYTES_PER_THREAD,
    describe_threads,
    on_one_machine,
    one_thread_each,
    student_threads,
    teacher_threads,
    threads_of_one_process,
    trainer_threads,
    weight_bytes,
)
from adaswitch.errors import ConfigError
from adaswitch.method.policies.replay import Replay

LARGE = "owner/model-of-the-hub"


def run(student: str = LARGE, teacher: str | None = LARGE, **trainer: Any) -> RunConfig:
    serve = {} if teacher is None else {"serve": {"model": teacher}}
    return parse_config(
        {
            "name": "run",
            "task": {"kind": "chain"},
            "teacher": serve,
            "student": {"model": student},
            "trainer": trainer,
        }
    )


def with_actors(config: RunConfig, number: int) -> RunConfig:
    return config.model_copy(update={"student": config.student.model_copy(update={"num_actors": number})})


def numbers(config: RunConfig, cores: int) -> tuple[object, ...]:
    resolved = on_one_machine(config, cores)
    serve = resolved.teacher.serve
    return (
        resolved.student.num_threads,
        resolved.trainer.num_threads,
        None if serve is None else serve.num_threads,
    )


def folder(path: Path, num_bytes: int) -> str:
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model-1.safetensors").write_bytes(b"")
    with (path / "model-2.safetensors").open("wb") as file:
        file.truncate(num_bytes)
    return str(path)


@pytest.mark.parametrize(
    ("max_staleness", "num_actors", "cores", "expected"),
    [
        (0, 1, 1, (1, 1, 1)),
        (0, 1, 2, (2, 2, 2)),
        (0, 2, 8, (4, 8, 8)),
        (0, 3, 2, (1, 2, 2)),
        (1, 1, 2, (1, 1, 1)),
        (1, 1, 12, (4, 4, 4)),
        (3, 4, 12, (2, 2, 2)),
    ],
)
def test_parts_that_take_turns_have_all_cores_and_others_share_them(
    max_staleness: int, num_actors: int, cores: int, expected: tuple[int, ...]
) -> None:
    assert numbers(with_actors(run(max_staleness=max_staleness), num_actors), cores) == expected


def test_a_teacher_elsewhere_takes_no_share() -> None:
    assert numbers(run(teacher=None, max_staleness=1), 8) == (4, 4, None)


def test_a_number_of_ones_own_stays() -> None:
    config = run(num_threads=3)
    assert numbers(config, 8) == (8, 3, 8)
    resolved = on_one_machine(config, 8)
    assert on_one_machine(resolved, 2) == resolved


def test_a_small_model_has_fewer_threads_than_there_are_cores(tmp_path: Path) -> None:
    tiny = folder(tmp_path / "tiny", 1000)
    middle = folder(tmp_path / "middle", 3 * BYTES_PER_THREAD)
    assert weight_bytes(tiny) == 1000
    assert weight_bytes(LARGE) is None
    assert numbers(run(tiny, middle), 8) == (1, 1, 3)
    assert numbers(run(tiny, middle), 2) == (1, 1, 2)


def test_a_trainer_or_students_on_nodes_of_their_own_share_with_nobody() -> None:
    config = run(max_staleness=1)
    assert trainer_threads(config, 8, alone=True) == 8
    assert trainer_threads(config, 9, alone=False) == 3
    assert student_threads(config, 8, 2, alone=True) == 4
    assert student_threads(config, 8, 2, alone=False) == 2
    assert student_threads(run(), 8, 2, alone=False) == 4
    serve = config.teacher.serve
    assert serve is not None
    assert teacher_threads(serve, 8) == 8


def test_in_one_process_all_parts_have_the_threads_of_the_larger_model(tmp_path: Path) -> None:
    tiny, middle = folder(tmp_path / "tiny", 1000), folder(tmp_path / "middle", 3 * BYTES_PER_THREAD)
    assert threads_of_one_process(run(tiny, middle), 8) == 3
    assert threads_of_one_process(run(tiny, tiny), 8) == 1
    assert threads_of_one_process(run(tiny, middle, num_threads=2), 8) == 2
    replay = run(tiny, middle).model_copy(update={"policy": Replay(run="runs/earlier")})
    assert threads_of_one_process(replay, 8) == 1


def test_a_model_of_the_hubs_cache_has_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = folder(tmp_path / "cached", 2 * BYTES_PER_THREAD)
    monkeypatch.setattr(threads, "cached_folder", {LARGE: cached}.get)
    assert numbers(run(), 8) == (2, 2, 2)


def test_runs_beside_each_other_have_one_thread_each() -> None:
    assert one_thread_each(run()).student.num_threads == 1
    assert one_thread_each(run(num_threads=2)).trainer.num_threads == 2


def test_what_was_chosen_is_said() -> None:
    assert (
        describe_threads(on_one_machine(run(), 2), 2) == "threads: trainer 2, student 2, teacher 2 of 2 cores"
    )
    alone = on_one_machine(run(teacher=None), 1)
    assert describe_threads(alone, 1) == "threads: trainer 1, student 1 of 1 core"


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, None])
def test_a_number_that_is_none_is_answered_in_one_line(value: object) -> None:
    with pytest.raises(ConfigError) as raised:
        run(num_threads=value)
    assert str(raised.value).startswith(f"trainer.num_threads: {value!r} is no number of threads: write auto")
    assert "more)" not in str(raised.value)
