"""TensorBoard: settings, figures, marks, texts and pictures, and an attempt that takes up where another ended."""

import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tb_logging

from tests.tracking import SETTINGS, TABLE, picture, place, tell_all
from trainer.trackers.base import Table
from trainer.trackers.tensorboard import TensorBoard, markdown


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def scalars(found: EventAccumulator, name: str) -> list[tuple[int, float]]:
    tensors = found.Tensors(name) if name in found.Tags()["tensors"] else []
    return [(event.step, event.value) for event in found.Scalars(name)] if not tensors else []


def test_all_that_is_told_is_there(tmp_path: Path) -> None:
    tell_all(TensorBoard(place(tmp_path)), tmp_path / "final")
    found = read(tmp_path)
    assert scalars(found, "train/loss") == [(0, 1.5), (1, 0.5)]
    assert scalars(found, "eval/exact_match") == [(2, 0.5)]
    text = found.Tensors("rollouts/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == markdown(TABLE)
    assert str(tmp_path / "final") in str(found.Tensors("final_model/text_summary")[0].tensor_proto)
    [image] = found.Images("writers")
    assert image.encoded_image_string == picture().png
    assert (image.width, image.height) == (picture().width, picture().height)
    content = found.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["trainer.dtype"].string_value == SETTINGS["trainer.dtype"]
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/exact_match"]
    assert "_hparams_/session_end_info" in content


def test_a_run_that_goes_on_has_each_step_once_and_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = TensorBoard(place(tmp_path))
    first.settings(SETTINGS)
    for step in range(6):
        first.evaluation({"eval/exact_match": step / 10}, step)
        first.scalars({"train/loss": float(step)}, step)
        first.table(TABLE, step)
    first.close(complete=False)
    second = TensorBoard(place(tmp_path, start=3))
    second.settings({**SETTINGS, "seed": 4})
    for step in (3, 4):
        second.scalars({"train/loss": 10.0 + step}, step)
        second.evaluation({"eval/exact_match": 0.9}, step + 1)
    second.close(complete=True)
    with caplog.at_level(logging.DEBUG, logger=tb_logging.get_logger().name):
        found = read(tmp_path)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert scalars(found, "train/loss") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]
    marks = scalars(found, "eval/exact_match")
    assert [step for step, _ in marks] == [0, 1, 2, 3, 4, 5]
    assert marks[3][1] == pytest.approx(0.3)
    assert marks[4][1] == pytest.approx(0.9)
    assert [event.step for event in found.Tensors("rollouts/text_summary")] == [0, 1, 2]
    content = found.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["seed"].number_value == 4


def test_what_a_killed_attempt_left_half_written_is_taken_out(tmp_path: Path) -> None:
    first = TensorBoard(place(tmp_path))
    first.scalars({"train/loss": 1.0}, 0)
    first.close(complete=False)
    [file] = (tmp_path / "tensorboard").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[-30:-7])
    TensorBoard(place(tmp_path, start=1)).close(complete=True)
    assert file.read_bytes() == whole
    assert scalars(read(tmp_path), "train/loss") == [(0, 1.0)]


def test_a_cell_of_a_table_stays_a_cell() -> None:
    table = Table("rollouts", ("a", "b"), (("x|y\nz", 0.123456), (None, 7)))
    assert markdown(table) == "| a | b |\n| --- | --- |\n| x\\|y↵ z | 0.1235 |\n|  | 7 |"
