"""What this machine lacks is said before anything is started."""

import importlib.util
import os
import socket
from importlib import metadata
from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ConfigError, EnvironmentProblem, UserError
from adaswitch.preflight import machine
from adaswitch.preflight.machine import (
    check_devices,
    check_engine,
    check_runs_dir,
    check_teacher_address,
    check_torch_device,
)
from tests.service_fixtures import unused_port


def config(**settings: object) -> RunConfig:
    document = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/any"}}
    return parse_config(with_overrides(document, list(settings.items())))


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "cpu:0x", "CUDA", ""])
@pytest.mark.parametrize("setting", ["trainer.device", "student.device"])
def test_a_device_that_is_none_is_refused_wherever_it_is_meant(setting: str, device: str) -> None:
    with pytest.raises(ConfigError, match=f"^{setting}: .* is no device: write auto, cpu, cuda"):
        check_devices(config(**{setting: device}), trainer=False, students=False)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "xpu:1"])
def test_devices_that_may_be_there_pass(device: str) -> None:
    check_devices(config(**{"trainer.device": device, "student.device": device}), trainer=True, students=True)


GPU_WISHES = [
    ({"trainer.device": "cuda"}, {"trainer": True, "students": False}, "trainer.device"),
    ({"student.device": "cuda:1"}, {"trainer": False, "students": True}, "student.device"),
    ({"student.num_gpus_per_actor": 0.5}, {"trainer": False, "students": True}, "student.num_gpus_per_actor"),
]


@pytest.mark.parametrize(("settings", "here", "setting"), GPU_WISHES)
@pytest.mark.parametrize(("version", "reason"), [("2.13.0+cpu", "the CPU build"), ("2.13.0", "has no GPU")])
def test_a_gpu_that_cannot_be_there_is_refused_where_it_is_used(
    monkeypatch, settings, here, setting, version, reason
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    monkeypatch.setattr(machine, "GPU_FILES", ("/nowhere",))
    with pytest.raises(EnvironmentProblem, match=f"^{setting}: .*{reason}.*: set {setting}=(cpu|0)"):
        check_devices(config(**settings), **here)
    check_devices(config(**settings), trainer=False, students=False)
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0")
    monkeypatch.setattr(machine, "GPU_FILES", ("/dev/null",))
    check_devices(config(**settings), **here)


def test_torch_has_the_last_word_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for device in ("cpu", "auto", "cuda", "cuda:0"):
        check_torch_device("trainer.device", device)
    with pytest.raises(
        EnvironmentProblem, match=r"trainer\.device: cuda:1 is asked for, but torch finds 1 GPUs"
    ):
        check_torch_device("trainer.device", "cuda:1")


def test_an_engine_that_is_not_installed_is_named(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for setting in ("teacher.serve.engine", "student.engine"):
        with pytest.raises(EnvironmentProblem, match=f"^{setting}: vllm is not .*or set {setting}=transf"):
            check_engine(setting, "vllm")
        for engine in ("transformers", "auto"):
            check_engine(setting, engine)


@pytest.mark.parametrize("device", ["mps", "xpu", "cuda:1"])
def test_a_device_on_which_vllm_does_not_compute_is_refused(device: str) -> None:
    wanted = {"student.engine": "vllm", "student.device": device}
    with pytest.raises(ConfigError, match=f"^student.engine: vllm computes on the CPU .* not on {device}"):
        check_devices(config(**wanted), trainer=False, students=False)
    for settings in (wanted | {"student.engine": "auto"}, wanted | {"student.device": "cuda:0"}):
        check_devices(config(**settings), trainer=False, students=False)


def test_a_port_that_is_taken_and_an_open_address_without_a_key_are_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("ADASWITCH_API_KEY", raising=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"^teacher\.serve\.port: port {port} is taken"):
            check_teacher_address(TeacherServiceConfig(model="any", port=port))
    served = TeacherServiceConfig(model="any", port=unused_port(), host="0.0.0.0")
    with pytest.raises(
        EnvironmentProblem, match=r"^teacher\.serve\.host: 0\.0\.0\.0 can be reached from other"
    ):
        check_teacher_address(served)
    with pytest.raises(ConfigError, match=r"^teacher\.serve\.api_keys_file: cannot read /nowhere"):
        check_teacher_address(served.model_copy(update={"api_keys_file": "/nowhere"}))
    keys = tmp_path / "keys"
    keys.write_text("key\n")
    check_teacher_address(served.model_copy(update={"api_keys_file": str(keys)}))
    monkeypatch.setenv("ADASWITCH_API_KEY", "key")
    check_teacher_address(served)


def test_a_run_directory_that_cannot_be_written_is_refused_and_none_is_made(
    monkeypatch, tmp_path: Path
) -> None:
    check_runs_dir(config(runs_dir=str(tmp_path / "a" / "b")))
    (tmp_path / "file").touch()
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=rf"^runs_dir: cannot write to {runs_dir}/run: .*file is a file"):
            check_runs_dir(config(runs_dir=str(runs_dir)))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(EnvironmentProblem, match=rf"^runs_dir: .*{tmp_path} is not writable; set runs_dir"):
        check_runs_dir(config(runs_dir=str(tmp_path)))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]
