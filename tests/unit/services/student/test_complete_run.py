"""The students' service of a run that is complete already waits for nobody."""

from pathlib import Path

import pytest

from adaswitch.cluster import actors
from adaswitch.runs.config_files import write_config
from services.student.__main__ import main
from tests.runs import NUM_STEPS, begun, settings


def test_students_of_a_complete_run_say_so_and_join_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect(*_: object, **__: object) -> None:
        pytest.fail("joined a cluster")

    monkeypatch.setattr(actors, "connect", connect)
    config = settings(tmp_path)
    begun(config, saved=NUM_STEPS, scores=NUM_STEPS)
    write_config(config, tmp_path / "run.yaml")
    main(config=tmp_path / "run.yaml", overrides=None, here=False, ready_file=None)
    assert f"is complete after {NUM_STEPS} steps" in capsys.readouterr().out
