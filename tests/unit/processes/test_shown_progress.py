"""How far something is, as it is shown: a bar in a terminal, lines without control codes in a file."""

import io

import pytest
from rich.console import Console

from adaswitch.processes.progress import ShownProgress, in_words, working


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def shown(*, terminal: bool, step_s: float, num_steps: int = 10) -> str:
    """What is shown of a part of so many pieces that take ``step_s`` each."""
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=120)
    with ShownProgress(console, clock) as progress:
        part = progress.part("answering", num_steps)
        for number in range(num_steps):
            clock.now_s += step_s
            part.advance(1, f"loss {number}")
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (35, "35 s"), (89.4, "89 s"), (95, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_log_file_gets_a_line_now_and_then_with_the_time_left() -> None:
    assert shown(terminal=False, step_s=6.0).splitlines() == [
        "answering: 2 of 10  loss 1  about 48 s left",
        "answering: 4 of 10  loss 3  about 36 s left",
        "answering: 6 of 10  loss 5  about 24 s left",
        "answering: 8 of 10  loss 7  about 12 s left",
        "answering: 10 of 10  loss 9  60 s",
    ]


def test_what_is_done_soon_says_nothing_in_a_log_file() -> None:
    assert shown(terminal=False, step_s=0.5) == ""


def test_a_terminal_gets_a_bar() -> None:
    text = shown(terminal=True, step_s=6.0)
    assert "answering" in text
    assert "10/10" in text
    assert "loss 9" in text


def test_work_whose_length_nobody_knows_is_named_in_a_terminal_alone() -> None:
    out = io.StringIO()
    with working(Console(file=out, force_terminal=True, width=80), "checking"):
        pass
    assert "checking" in out.getvalue()
    out = io.StringIO()
    with working(Console(file=out), "checking") as say:
        say("reading [x]")
    assert out.getvalue() == "reading [x]\n"
