"""Style that no linter keeps: short files and functions, docstrings, ``--help`` that answers at once."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("adaswitch", "services", "trainer", "experiments", "scripts", "bench", "tests")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
HEAVY = {"torch", "ray", "vllm", "transformers"}
REQUIRED_ENTRIES = {"adaswitch", "services.teacher", "services.student", "trainer"}

SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def size_complaints(source: str) -> Iterator[str]:
    """Files and functions that do not fit on a few screens."""
    num_lines = len(source.splitlines())
    if num_lines > MAX_FILE_LINES:
        yield f"the file has {num_lines} lines, more than {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{node.name} has {length} lines, more than {MAX_FUNCTION_LINES}"


def docstring_complaints(source: str) -> Iterator[str]:
    """The module, and public classes, functions and methods, that do not say what they are for."""
    tree = ast.parse(source)
    if ast.get_docstring(tree) is None:
        yield "the module has no docstring"
    yield from _undocumented(tree)


def _undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_is_short_and_documented(path):
    source = path.read_text(encoding="utf-8")
    complaints = list(size_complaints(source))
    if path.parts[len(ROOT.parts)] != "tests":
        complaints += docstring_complaints(source)
    assert complaints == []


def test_what_is_too_long_is_found():
    function = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
    assert list(size_complaints(function)) == ["f has 81 lines, more than 80"]
    assert list(size_complaints("x = 1\n" * 401)) == ["the file has 401 lines, more than 400"]
    assert list(size_complaints(function.removesuffix("    x = 1\n"))) == []


def test_what_has_no_docstring_is_found():
    source = "class A:\n    def f(self): ...\n    def _g(self): ...\nasync def h(): ...\ndef _i(): ...\n"
    assert list(docstring_complaints(source)) == [
        "the module has no docstring",
        "A has no docstring",
        "f has no docstring",
        "h has no docstring",
    ]


def entries() -> dict[str, list[str]]:
    """Every program of the project, and the command line that runs it."""
    found = {}
    for path in SOURCES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        runs = re.search(r"^if __name__ == .__main__.:$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if runs and not name.startswith("tests."):
            is_script = name.startswith("scripts.")
            found[name] = [sys.executable, str(path)] if is_script else [sys.executable, "-m", name]
    if (ROOT / "adaswitch/commands/cli.py").is_file():
        found["adaswitch"] = [sys.executable, "-c", "from adaswitch.commands.cli import main; main()"]
        for command in _subcommands():
            found[f"adaswitch {command}"] = [*found["adaswitch"], command]
    return found


def _subcommands() -> list[str]:
    import typer

    from adaswitch.commands.cli import app

    return sorted(typer.main.get_command(app).commands)


ENTRIES = entries()


def test_the_entry_points_are_there():
    assert set(ENTRIES) >= REQUIRED_ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_help_answers_at_once_with_an_example(name):
    # Python then reports every import on stderr, also in the process that a command becomes.
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1", "COLUMNS": "110"}
    done = subprocess.run(
        [*ENTRIES[name], "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert done.returncode == 0, said
    assert "Example" in done.stdout
    assert heavy_imports(done.stderr) == set()


def heavy_imports(import_report: str) -> set[str]:
    """Which of the libraries that take seconds are in a report of ``python -X importtime``."""
    return HEAVY & set(re.findall(r"^import time:.*\| +(\w+)$", import_report, re.MULTILINE))


def test_a_heavy_import_is_found():
    report = "import time: self [us] | cumulative | imported package\nimport time:   7 |   9 |     torch\n"
    assert heavy_imports(report) == {"torch"}
    assert heavy_imports(report.replace("torch", "torch.nn").replace("  torch", "  json")) == set()


def boxed_apps(source: str) -> Iterator[int]:
    """The lines where a typer app is made that draws tracebacks or errors in boxes, of which a log makes no sense."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Typer":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            plain = {"pretty_exceptions_enable": "False", "rich_markup_mode": "None"}
            if not plain.items() <= given.items():
                yield node.lineno


def test_no_program_draws_its_errors_in_boxes():
    boxed = [
        f"{path.relative_to(ROOT)}, line {line}"
        for path in SOURCES
        if path.parts[len(ROOT.parts)] != "tests"
        for line in boxed_apps(path.read_text(encoding="utf-8"))
    ]
    assert boxed == []
    assert list(boxed_apps("import typer\napp = typer.Typer(rich_markup_mode=None)")) == [2]
