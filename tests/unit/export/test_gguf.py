"""GGUF by llama.cpp's converter, in whose place stands a small program."""

from pathlib import Path

import pytest

from adaswitch.errors import EnvironmentProblem, ModelError
from adaswitch.export.gguf import VARIABLE, convert, find_converter

PROGRAM = """#!/bin/sh
[ "$2" = --outfile ] && [ "$4" = --outtype ] || exit 3
[ -f "$1/config.json" ] || { echo loading; echo "Model FooForCausalLM is not supported"; exit 1; }
printf GGUF > "$3"
"""


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))
    (tmp_path / "bin").mkdir()


def program(path: Path) -> Path:
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["convert_hf_to_gguf.py", "convert-hf-to-gguf"])
def test_a_converter_on_the_path_is_found_and_used(tmp_path: Path, name: str) -> None:
    converter = program(tmp_path / "bin" / name)
    assert find_converter() == [str(converter)]
    (tmp_path / "config.json").write_text("{}")
    convert(find_converter(), tmp_path, tmp_path / "run.gguf")
    assert (tmp_path / "run.gguf").read_bytes() == b"GGUF"


def test_one_that_is_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin/convert-hf-to-gguf")
    own = program(tmp_path / "own.py")
    monkeypatch.setenv(VARIABLE, str(own))
    assert find_converter() == [str(own)]
    own.chmod(0o644)
    assert find_converter() == [str(tmp_path / "bin/python"), str(own)]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone.py"))
    with pytest.raises(
        EnvironmentProblem, match=f"^--gguf: {VARIABLE} names .*, which is no file: get llama.cpp"
    ):
        find_converter()


def test_without_one_the_fix_is_said() -> None:
    with pytest.raises(
        EnvironmentProblem, match=f"^--gguf: llama.cpp's converter is not .*PATH, or set {VARIABLE}"
    ):
        find_converter()


def test_its_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    converter = program(tmp_path / "bin/convert-hf-to-gguf")
    with pytest.raises(
        ModelError, match=f"^--gguf: {converter} failed: Model FooForCausalLM is not supported$"
    ):
        convert([str(converter)], tmp_path, tmp_path / "run.gguf")
