"""Events for TensorBoard: a disk without room for them ends the events, and neither the run nor its message."""

import errno
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from trainer.events import Events


def test_events_are_written(tmp_path: Path) -> None:
    events = Events(tmp_path, 0)
    events.add_scalar("train/loss", 1.0, 0)
    events.close()
    assert list(tmp_path.glob("events*"))


@pytest.mark.parametrize("failing", ["add_scalar", "close"])
def test_events_that_cannot_be_written_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    events = Events(tmp_path, 0)
    with monkeypatch.context() as patched:
        patched.setattr(SummaryWriter, failing, full)
        for step in range(3):
            events.add_scalar("train/loss", 1.0, step)
        events.close()
    events.close()
    said = capsys.readouterr().out
    assert said.count("warning: there are no more events for TensorBoard: ") == 1
    assert "the disk is full" in said


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    events = Events(tmp_path / "file" / "tensorboard", 0)
    events.add_scalar("train/loss", 1.0, 0)
    events.close()
    said = capsys.readouterr().out
    assert said.startswith(
        f"warning: there are no more events for TensorBoard: {tmp_path}/file/tensorboard cannot"
    )
