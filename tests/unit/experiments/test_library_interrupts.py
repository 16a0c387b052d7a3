"""Ctrl-C during ``run_locally``, once and again."""

import signal
import threading

import pytest

from experiments.library import IMPATIENT, STOPPING, _in_thread


def test_every_interrupt_is_answered_and_the_work_still_comes_to_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    heard = threading.Semaphore(0)

    def work() -> str:
        for _ in range(3):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert heard.acquire(timeout=20)
        return "saved"

    assert _in_thread(work, heard.release) == "saved"
    assert capsys.readouterr().out.splitlines() == [STOPPING, IMPATIENT, IMPATIENT]
    assert signal.getsignal(signal.SIGINT) is before


def test_it_may_be_called_in_any_thread_and_errors_pass() -> None:
    def work() -> None:
        raise KeyError("broken")

    raised: list[BaseException] = []

    def call() -> None:
        try:
            _in_thread(work, lambda: None)
        except KeyError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert len(raised) == 1
