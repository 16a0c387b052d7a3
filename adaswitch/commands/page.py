"""``adaswitch page`` and ``adaswitch watch``: a run as an HTML file, and the same page live."""

import socket
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adaswitch.errors import ConfigError, DataError, EnvironmentProblem
from adaswitch.pages.document import PageSource, whole_page
from adaswitch.pages.html import page_html
from adaswitch.runs.overview import is_comparison, is_run
from adaswitch.storage import write_atomically

PAGE = "page.html"
PORTS_TRIED = 50


def write_page(run: Path, out: Path | None, console: Console) -> None:
    """Write the page of ``run`` to ``out``, by default into the run's folder. Raises ``UserError``."""
    source = PageSource.open(run)
    file = page_file(run, out)
    with console.status("reading the run") as status:
        parts = whole_page(source, status.update)
    content = page_html(source.run.path.resolve().name, parts).encode()
    write_atomically(file, content)
    problems = [line for part in parts.values() for line in part["problems"]]  # type: ignore[attr-defined]
    say_written(file, len(content), problems, console)


def page_file(folder: Path, out: Path | None) -> Path:
    """The file that a page of ``folder`` is written to: ``out``, or one in the folder. Raises ``ConfigError``."""
    file = folder / PAGE if out is None else out
    if not file.parent.is_dir() or file.is_dir():
        raise ConfigError(
            f"--out: {file} must be a file in a folder that is there, as in runs/demo/page.html"
        )
    return file


def say_written(file: Path, num_bytes: int, problems: Sequence[str], console: Console) -> None:
    """Say where a page stands, after a note on each thing that could not be read for it."""
    words = f"{file} ({num_bytes / 1e6:.1f} MB): open it in a browser; it needs nothing else"
    for line in (*(f"note: {problem}" for problem in dict.fromkeys(problems)), words):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def watch_run(run: Path, port: int, console: Console) -> None:
    """Serve the page of ``run`` on this machine's own address until Ctrl-C. Raises ``UserError``."""
    # Imported here, so that writing a page needs no web server.
    import uvicorn

    from adaswitch.pages.live import HOST, LIVE_ROLLOUT_BYTES, create_app

    if is_comparison(run) and not is_run(run):
        raise DataError(
            f"a comparison is followed run by run: adaswitch watch {run}/METHOD-seedN, or write its page as it is now: "
            f"adaswitch page {run}",
            source=str(run),
        )
    source = PageSource.open(run, LIVE_ROLLOUT_BYTES)
    listening = bind(HOST, port)
    console.print(
        f"http://{HOST}:{port} shows {run} and follows it; Ctrl-C ends this, and not the run",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    server = uvicorn.Server(uvicorn.Config(create_app(source), log_level="warning", access_log=False))
    with listening:
        server.run(sockets=[listening])


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on ``port``. Raises ``EnvironmentProblem`` with the next free one if it cannot."""
    try:
        return _listening(host, port)
    except OSError as error:
        free = next(
            (other for other in range(port + 1, port + 1 + PORTS_TRIED) if _is_free(host, other)), None
        )
        fix = (
            "choose another one with --port"
            if free is None
            else f"the next free one is {free}: --port {free}"
        )
        raise EnvironmentProblem(
            f"--port: cannot listen on {host}:{port} ({error.strerror or error}); {fix}"
        ) from None


def _listening(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def _is_free(host: str, port: int) -> bool:
    try:
        _listening(host, port).close()
    except (OSError, OverflowError):
        return False
    return True
