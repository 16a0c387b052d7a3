"""Why vLLM's engine did not start, or died: from its log, and from how its processes ended."""

import signal
from types import SimpleNamespace

import pytest

from services.teacher.engines.vllm import engine
from services.vllm.log import EngineLog

PREFIX = "(EngineCore_DP0 pid=2716) ERROR 11-30 16:00:01 [core.py:900] "
FAILED = ["Traceback (most recent call last):", '  File "core.py", line 891, in run', "    start()"]
CONSEQUENCE = [
    "Traceback (most recent call last):",
    '  File "__main__.py", line 3, in main',
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
]


def reason(*lines: str) -> str | None:
    log = EngineLog()
    log._lines.extend(lines)
    return log.reason()


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (["ValueError: no such architecture"], "ValueError: no such architecture"),
        (["AssertionError"], "AssertionError"),
        (
            ["torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB."],
            "OutOfMemoryError: CUDA out of memory. Tried",
        ),
        (
            [
                "pydantic_core.ValidationError: 1 validation error for ModelConfig",
                "  Value error, no room [type=v]",
            ],
            "ValidationError: Value error, no room",
        ),
        (["ImportError: ", "  libfoo.so is missing"], "ImportError: libfoo.so is missing"),
    ],
)
def test_the_cause_is_the_first_exception_with_or_without_prefixes(raised: list[str], words: str) -> None:
    for prefix in ("", PREFIX):
        said = reason("INFO started", *(prefix + line for line in (*FAILED, *raised)), "", *CONSEQUENCE)
        assert said is not None
        assert said.startswith(words)


def test_a_line_that_looks_like_an_exception_will_do() -> None:
    assert reason("ERROR 11-30 [x.py:3] ValueError: too many tokens") == "ValueError: too many tokens"
    assert reason("all is well", *CONSEQUENCE) is None


def test_a_signal_that_killed_the_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "num_memory_kills", lambda: 3)
    ended = {"EngineCore_DP0": -int(signal.SIGTERM), "EngineCore_DP1": -int(signal.SIGKILL)}
    manager = SimpleNamespace(finished_procs=lambda: ended)
    llm = SimpleNamespace(engine_core=SimpleNamespace(resources=SimpleNamespace(engine_manager=manager)))
    codes = engine._exit_codes(llm)  # type: ignore[arg-type]
    assert codes == [-15, -9]
    assert (
        engine._killed_by(codes, 3)
        == "vLLM's engine process was killed by signal 9 (SIGKILL): out of memory?"
    )
    assert "the memory ran out" in (engine._killed_by(codes, 2) or "")
    assert engine._killed_by([-15, 1], 3) is None
    assert engine._exit_codes(None) == []
