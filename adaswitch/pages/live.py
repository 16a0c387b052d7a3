"""The page of a run that is under way, served on this machine alone. The page asks for what is new."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from adaswitch.pages.document import PageSource
from adaswitch.pages.embedding import embedded
from adaswitch.pages.html import page_html

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
"""The names by which a browser may call the page: another name for this address could belong to a hostile site."""
SHARE = 0.1
"""The share of the time in which a part is read: what takes long is read less often, but for ``LONGEST_S``."""
LONGEST_S = 15.0
"""The longest time between two looks, because the first one, which loads the tokenizer, takes longest."""
ROLLOUTS_EVERY_S = 10.0
"""The least time between two looks at the rollouts, which take longer to read than all else."""
LIVE_ROLLOUT_BYTES = 1_000_000
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass
class _Part:
    version: str
    json: str
    next_s: float
    """When it is read again."""


class LiveParts:
    """The parts of a page with a version each, which is another as soon as the part says anything else."""

    def __init__(self, source: PageSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._lock = Lock()
        self._kept: dict[str, _Part] = {}

    def news(self, known: dict[str, str]) -> str:
        """As JSON, each part whose version is not the one in ``known``, with its version and its content."""
        with self._lock:
            self._read("figures", self._source.figures, every_s=0.0)
            self._read("rollouts", self._source.rollouts, every_s=ROLLOUTS_EVERY_S)
            changed = {name: part for name, part in self._kept.items() if known.get(name) != part.version}
        parts = (
            f'"{name}":{{"version":"{part.version}","content":{part.json}}}' for name, part in changed.items()
        )
        return f"{{{','.join(parts)}}}"

    def _read(self, name: str, read: Callable[[], dict[str, object]], every_s: float) -> None:
        kept, now_s = self._kept.get(name), self._clock()
        if kept is not None and now_s < kept.next_s:
            return
        text = embedded(read())
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        took_s = self._clock() - now_s
        self._kept[name] = _Part(version, text, now_s + took_s + max(every_s, min(LONGEST_S, took_s / SHARE)))


def create_app(source: PageSource, clock: Callable[[], float] = time.monotonic) -> FastAPI:
    """The page of ``source`` at ``/``, and what is new at ``/news``. The handlers run in threads: they read files."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))
    parts = LiveParts(source, clock)

    @app.get("/")
    def page() -> Response:
        """The page without data, which it asks for at once."""
        return HTMLResponse(page_html(source.run.path.resolve().name, {}, live=True), headers=HEADERS)

    @app.get("/news")
    def news(request: Request) -> Response:
        """The parts that differ from the versions in the query, as in ``/news?figures=0123``."""
        content = parts.news(dict(request.query_params))
        return Response(content, media_type="application/json", headers=HEADERS)

    return app
