"""Record files: damage is named, and a last line that was not written to its end is nobody's harm."""

from pathlib import Path

import pytest

from adaswitch.errors import DataError, NonFiniteError, StorageError
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory, append_record, append_records, read_records
from adaswitch.runs.run_health import check_run
from adaswitch.runs.summary import summarise
from tests.disk import file_size_limit

TORN = [b'{"step": 3, "lo', b'{"ste', b"{", b"\x00\x00\x00\x00", b'{"step": 3}trailing', b"\xff\xfe"]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(load_config("configs/demo.yaml", [f"runs_dir={tmp_path}"]))


def steps(path: Path) -> list[int]:
    return [record["step"] for record in read_records(path)]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_not_read_and_goes_when_the_next_line_comes(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [{"step": 0}, {"step": 1}])
    with path.open("ab") as file:
        file.write(torn)
    assert steps(path) == [0, 1]
    append_record(path, {"step": 2})
    assert steps(path) == [0, 1, 2]
    assert path.read_bytes().count(b"\n") == 3


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1}')
    assert steps(path) == [0, 1]
    append_record(path, {"step": 2})
    assert steps(path) == [0, 1, 2]


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step": 0}\n{"ste\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"records\.jsonl, line 2: not valid JSON"):
        steps(path)


def test_a_file_of_nothing_but_a_torn_line_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step"')
    assert steps(path) == []
    append_record(path, {"step": 0})
    assert steps(path) == [0]


def test_report_and_doctor_read_a_run_that_is_being_written(run: RunDirectory) -> None:
    figures = {
        **dict.fromkeys(("loss", "switch_rate", "student_tokens", "wasted_tokens", "scored_tokens"), 1.0),
        **dict.fromkeys(("teacher_tokens", "wait_s", "update_s", "publish_s"), 1.0),
        **dict.fromkeys(("write_s", "score_s", "generate_s"), 1.0),
    }
    append_record(run.metrics, {"step": 0, **figures})
    for path in (run.metrics, run.evals):
        with path.open("ab") as file:
            file.write(b'{"step": 1, "lo')
    summary = summarise(run)
    assert summary is not None
    assert summary.num_steps == 1
    check_run(run.path)


def records(run: RunDirectory, num_steps: int, eval_steps: list[int]) -> None:
    append_records(run.metrics, [{"step": step} for step in range(num_steps)])
    append_records(run.evals, [{"step": step, "split": split} for step in eval_steps for split in "ab"])


@pytest.mark.parametrize("torn", [b'{"step": 4, "loss": 0.', b'{"ste', b"\x00\x00\n"])
def test_resuming_drops_a_torn_line_that_is_made_again_with_a_warning(run: RunDirectory, torn: bytes) -> None:
    records(run, 4, [0, 2])
    with run.metrics.open("ab") as file:
        file.write(torn)
    warnings = run.drop_records_from(2)
    assert warnings == [f"{run.metrics}, line 5 was not written to its end: it is dropped, and made again"]
    assert steps(run.metrics) == [0, 1]
    assert steps(run.evals) == [0, 0, 2, 2]
    assert run.drop_records_from(2) == []


def test_a_torn_line_of_a_step_that_is_not_made_again_is_an_error(run: RunDirectory) -> None:
    records(run, 4, [0])
    with run.metrics.open("ab") as file:
        file.write(b'{"step": 4, "loss": 0.')
    with pytest.raises(
        DataError, match=r"metrics\.jsonl, line 5: was not written to its end.*remove the line"
    ):
        run.drop_records_from(10)
    assert len(run.metrics.read_bytes().splitlines()) == 5


@pytest.mark.parametrize("torn", [b'{"step": 4, "split"', b'{"st'])
def test_of_an_evaluation_all_or_nothing_is_kept(run: RunDirectory, torn: bytes) -> None:
    records(run, 4, [0, 2])
    append_record(run.evals, {"step": 4, "split": "a"})
    with run.evals.open("ab") as file:
        file.write(torn)
    assert len(run.drop_records_from(4)) == 1
    assert steps(run.evals) == [0, 0, 2, 2]


def test_a_torn_evaluation_that_would_not_be_made_again_is_an_error(run: RunDirectory) -> None:
    records(run, 4, [0])
    with run.evals.open("ab") as file:
        file.write(b'{"step": 2, "split"')
    with pytest.raises(DataError, match=r"eval\.jsonl, line 3"):
        run.drop_records_from(4)


def test_a_record_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, {"step": 0})
    with file_size_limit(40), pytest.raises(StorageError, match=r"records\.jsonl cannot be written"):
        append_records(path, [{"step": 1}, {"step": 2, "name": "x" * 100}])
    assert path.read_bytes() == b'{"step": 0}\n'


def test_a_number_that_cannot_be_recorded_is_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"records\.jsonl: loss is nan, which cannot be recorded"):
        append_record(tmp_path / "records.jsonl", {"loss": float("nan")})


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/demo cannot be written, because not a directory"):
        RunDirectory.create(load_config("configs/demo.yaml", [f"runs_dir={tmp_path}/file"]))


def test_an_earlier_attempts_half_written_files_are_removed(run: RunDirectory) -> None:
    for folder in (run.path, run.rollouts):
        (folder / ".x.safetensors.1.partial").touch()
    (run.checkpoints / ".step-1.partial").mkdir()
    (run.checkpoints / ".step-1.partial" / "model.safetensors").touch()
    run.remove_partials()
    assert sorted(path.name for path in run.path.rglob("*")) == ["checkpoints", "config.yaml", "rollouts"]


def test_steps_that_are_missing_from_the_records_are_said_when_the_run_goes_on(run: RunDirectory) -> None:
    records(run, 4, [0])
    assert run.drop_records_from(4) == []
    lines = run.metrics.read_text().splitlines(keepends=True)
    for kept in (lines[2:], lines + lines, []):
        run.metrics.write_text("".join(kept))
        (warning,) = run.drop_records_from(4)
        assert f"holds {len(kept)} records of" in warning
        assert "4 steps were done" in warning
    run.metrics.unlink()
    assert len(run.drop_records_from(4)) == 1
