"""Weights & Biases, the real package, offline."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaswitch.errors import EnvironmentProblem
from tests.tracking import SETTINGS, TABLE, place, tell_all
from trainer.trackers.wandb import Wandb

pytest.importorskip("wandb", reason="wandb is not installed: make setup")

BLOCK, BLOCK_HEADER, FILE_HEADER = 32768, 7, 7
WHOLE, FIRST, LAST = 1, 2, 4


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "of-wandb"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def blobs(content: bytes) -> Iterator[bytes]:
    """The records of a file in the format of LevelDB's logs, as W&B keeps a run offline."""
    place, record = FILE_HEADER, b""
    while place + BLOCK_HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < BLOCK_HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + BLOCK_HEADER])
        place += BLOCK_HEADER
        record = (
            content[place : place + length]
            if kind in (WHOLE, FIRST)
            else record + content[place : place + length]
        )
        place += length
        if kind in (WHOLE, LAST):
            yield record


def kept(folder: Path) -> list[Any]:
    """What W&B has kept of all attempts, in their order."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # as at the end of the process: only then all of it is in the file
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [Record.FromString(blob) for file in files for blob in blobs(file.read_bytes())]


def history(records: list[Any]) -> list[dict[str, Any]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]


def test_all_that_is_told_is_kept_in_the_run_directory(tmp_path: Path) -> None:
    tell_all(Wandb(place(tmp_path)), tmp_path / "final")
    records = kept(tmp_path)
    rows = history(records)
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == [(0, 1.5), (1, 0.5)]
    assert [row["step"] for row in rows if row.get("eval/exact_match") == 0.5] == [2]
    [table] = [row for row in rows if "rollouts/_type" in row]
    assert (table["rollouts/_type"], table["rollouts/nrows"], table["rollouts/ncols"]) == ("table-file", 2, 3)
    assert [row["writers/_type"] for row in rows if "writers/_type" in row] == ["image-file"]
    [media] = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(media.read_text())["columns"] == list(TABLE.columns)
    runs = [record.run for record in records if record.HasField("run")]
    assert {run.run_id for run in runs} == {place(tmp_path).identity("wandb")}
    assert {(run.display_name, run.project) for run in runs} == {("run", "adaswitch")}
    assert str(tmp_path / "final") in str(records)


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path) -> None:
    tell_all(Wandb(place(tmp_path)), tmp_path / "final")
    second = Wandb(place(tmp_path, start=1))
    second.settings({**SETTINGS, "seed": 4})
    second.scalars({"train/loss": 9.0}, 1)
    second.close(complete=False)
    records = kept(tmp_path)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
    assert [(row["step"], row["train/loss"]) for row in history(records) if "train/loss" in row][-1] == (
        1,
        9.0,
    )


def test_nobody_is_asked_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(EnvironmentProblem, match="nobody is signed in: `wandb login`, or set WANDB_API_KEY"):
        Wandb(place(tmp_path))
    wandb.teardown()
