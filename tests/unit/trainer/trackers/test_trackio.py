"""Trackio, the real package, on local files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracking import SETTINGS, TABLE, place, tell_all
from trainer.trackers.trackio import Trackio

pytest.importorskip("trackio", reason="trackio is not installed: make setup")


@pytest.fixture(autouse=True, scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trackio reads where its files are as it is imported, so all tests here share a folder."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_PROJECT", "HF_TOKEN"):
            patched.delenv(name, raising=False)
        patched.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield


def logs(folder: Path) -> list[dict[str, Any]]:
    """What Trackio has kept of the run in ``folder``."""
    from trackio.sqlite_storage import SQLiteStorage

    return list(SQLiteStorage.get_logs("adaswitch", place(folder).identity("trackio")))


def figures(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(log["step"], log[name]) for log in logs(folder) if name in log]


def test_all_that_is_told_is_there(tmp_path: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    tell_all(Trackio(place(tmp_path)), tmp_path / "final")
    assert figures(tmp_path, "train/loss") == [(0, 1.5), (1, 0.5)]
    assert figures(tmp_path, "eval/exact_match") == [(2, 0.5)]
    [table] = [log["rollouts"] for log in logs(tmp_path) if "rollouts" in log]
    assert table["_value"] == [dict(zip(TABLE.columns, row, strict=True)) for row in TABLE.rows]
    assert [log["writers"]["_type"] for log in logs(tmp_path) if "writers" in log] == ["trackio.image"]
    assert str(tmp_path / "final") in str(logs(tmp_path))
    config = SQLiteStorage.get_run_config("adaswitch", place(tmp_path).identity("trackio"))
    assert {name: config[name] for name in SETTINGS} == SETTINGS


def test_a_run_that_goes_on_is_the_same_run_there(tmp_path: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    before = set(SQLiteStorage.get_runs("adaswitch"))
    for start, loss in ((0, 1.0), (1, 2.0)):
        tracker = Trackio(place(tmp_path, start))
        tracker.settings(SETTINGS)
        tracker.scalars({"train/loss": loss}, start)
        tracker.close(complete=start == 1)
    assert set(SQLiteStorage.get_runs("adaswitch")) - before == {place(tmp_path).identity("trackio")}
    assert figures(tmp_path, "train/loss") == [(0, 1.0), (1, 2.0)]
