"""The cause of a failure in one line, from exceptions and from the logs of Python, Ray, vLLM and typer."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adaswitch.errors import ConfigError
from adaswitch.last_words import exceptions_in, first_line, killed, last_line, num_memory_kills, one_line


class FromRay(Exception):
    """As Ray raises it: its own text is a trace, its cause the original."""

    cause = ValueError("too wide\nby far")

    def __str__(self) -> str:
        return "ray::StudentActor.run()\n  File x\nValueError: too wide"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConfigError("a: b"), "a: b"),
        (ConfigError(""), "ConfigError"),
        (ConfigError("Ray did not start:\n  no port"), "Ray did not start:   no port"),
        (AssertionError(), "AssertionError"),
        (IndexError("index 260 is out of bounds"), "IndexError: index 260 is out of bounds"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("\n\n  first\nsecond"), "RuntimeError: first"),
        (RuntimeError("\n---\n"), "RuntimeError"),
        (RuntimeError("╭── Error ──╮\n│ no such option │\n╰───────────╯"), "RuntimeError: Error"),
        (ExceptionGroup("several", [OSError(5, "broken"), ValueError("x")]), "OSError: [Errno 5] broken"),
        (FromRay(), "ValueError: too wide"),
    ],
)
def test_an_error_is_one_line(error: Exception, words: str) -> None:
    assert one_line(error) == words


def test_of_a_check_of_settings_it_is_the_finding() -> None:
    one = "1 validation error for ModelConfig\n  Value error, no such architecture [type=value_error, input=1]\n    For"
    other = "2 validation errors for X\ndtype\n  Input should be 'a' [type=enum, input_value=3]\nb\n  Field required"
    assert first_line(one) == "Value error, no such architecture"
    assert first_line(other) == "dtype: Input should be 'a'"


def traceback_of(code: str) -> list[str]:
    """What Python prints of ``code``, which raises."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('first line\\nsecond line\\nthird')", ["ValueError: first line"]),
        ("raise ValueError('\\n\\n  below')", ["ValueError: below"]),
        ("assert False", ["AssertionError"]),
        (
            "import json; json.loads('{')",
            ["JSONDecodeError: Expecting property name enclosed in double quotes"],
        ),
        (
            "try:\n  1/0\nexcept ZeroDivisionError as e:\n  raise KeyError('x') from e",
            ["ZeroDivisionError: division by zero", "KeyError: 'x'"],
        ),
        (
            "import asyncio\nasync def f(): raise ValueError('inner')\nasync def g():\n"
            "  async with asyncio.TaskGroup() as group: group.create_task(f())\nasyncio.run(g())",
            ["ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)", "ValueError: inner"],
        ),
        (
            "import threading\ndef f(): raise ValueError('aside')\n"
            "t = threading.Thread(target=f); t.start(); t.join()\n"
            "raise OSError(28, 'No space left on device')",
            ["OSError: [Errno 28] No space left on device"],
        ),
    ],
)
def test_what_a_traceback_raised_is_read_from_a_log(code: str, words: list[str]) -> None:
    found = list(exceptions_in(traceback_of(code)))
    assert [re.sub(r": line 1 .*", "", line) for line in found] == words


RAY = """\
\x1b[36m(StudentActor pid=731)\x1b[0m Traceback (most recent call last):
\x1b[36m(StudentActor pid=731)\x1b[0m   File "x.py", line 3, in run
\x1b[36m(StudentActor pid=731)\x1b[0m     raise ValueError("no room")
\x1b[36m(StudentActor pid=731)\x1b[0m ValueError: no room
\x1b[36m(StudentActor pid=731, ip=10.0.0.2)\x1b[0m something later"""
VLLM = """\
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900] EngineCore failed to start.
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900] Traceback (most recent call last):
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900]   File "core.py", line 891, in run_engine_core
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900]     engine_core = EngineCoreProc(*args)
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900]                   ^^^^^^^^^^^^^^^^^^^^^
(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB.
(EngineCore_DP0 pid=2716) Process EngineCore_DP0:"""


def test_prefixes_of_ray_and_vllm_do_not_matter() -> None:
    assert list(exceptions_in(RAY.splitlines())) == ["ValueError: no room"]
    assert list(exceptions_in(VLLM.splitlines())) == ["OutOfMemoryError: CUDA out of memory. Tried 2 GiB."]


def test_an_exception_without_a_message_takes_none_from_the_next_line() -> None:
    log = [
        "Traceback (most recent call last):",
        '  File "x", line 1, in f',
        "AssertionError",
        "step 3: all is well",
    ]
    assert list(exceptions_in(log)) == ["AssertionError"]


def test_the_last_line_that_says_something_is_never_a_drawn_one() -> None:
    box = "Usage: x\n╭─ Error ─────────╮\n│ No such option: -z │\n╰──────────────────╯\n\n"
    assert last_line(box) == "No such option: -z"
    assert last_line("one\ntwo\n-----\n") == "two"
    assert last_line("───\n") == ""


@pytest.mark.parametrize(
    ("exit_code", "memory_ran_out", "words"),
    [
        (1, True, None),
        (0, False, None),
        (-signal.SIGKILL, False, "killed by signal 9 (SIGKILL): out of memory?"),
        (-signal.SIGKILL, True, "killed by signal 9 (SIGKILL): the memory ran out, so the kernel ended it"),
        (-signal.SIGSEGV, True, "killed by signal 11 (SIGSEGV): it crashed in a library's native code"),
        (-signal.SIGTERM, False, "killed by signal 15 (SIGTERM)"),
        (-signal.SIGBUS, False, "killed by signal 7 (SIGBUS): is /dev/shm or a disk full?"),
        (-99, False, "killed by signal 99 (unknown)"),
    ],
)
def test_a_signal_is_named(exit_code: int, memory_ran_out: bool, words: str | None) -> None:
    said = killed(exit_code, memory_ran_out)
    assert said is None if words is None else said is not None and said.startswith(words)


def test_kills_for_memory_are_counted_where_the_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_memory_kills() >= 0
    texts = {
        "/proc/vmstat": "oom_kill 3\noom_killed 9\n",
        "/sys/fs/cgroup/memory.events": "oom 5\noom_kill 2\n",
    }

    def read(path: Path, encoding: str) -> str:
        if str(path) not in texts:
            raise FileNotFoundError
        return texts[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    assert num_memory_kills() == 5
