"""One HTML file with all that it needs: style, script, the library of the charts, and the data.

The page's own policy forbids every connection, and every script and style but those that stand in it.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from adaswitch.pages.embedding import embedded

LIBRARY = "vendor/uplot/uPlot.iife.min.js"


@dataclass(frozen=True)
class PageKind:
    """One kind of page: what it is made of, all of it files of this package."""

    skeleton: str
    styles: tuple[str, ...]
    modules: tuple[str, ...]
    """The modules of the page's script, in the order in which they stand in it. They share one scope."""


UPLOT, COMMON, ROLLOUTS = "vendor/uplot/uPlot.min.css", "assets/page.css", "assets/rollouts.css"
DRAWING = ("elements", "numbers", "theme", "problems", "charts", "tip", "tokens", "cards", "filters")
RUN = PageKind(
    "assets/page.html",
    (UPLOT, COMMON, ROLLOUTS),
    (*DRAWING, "run_charts", "verdict", "rollouts", "settings", "live", "main"),
)
COMPARISON = PageKind(
    "assets/comparison.html",
    (UPLOT, COMMON, ROLLOUTS, "assets/comparison.css"),
    (*DRAWING, "settings", "methods", "method_charts", "tables", "quality", "groups", "comparison"),
)
KINDS = (RUN, COMPARISON)
FRAME = {name: f"assets/frame/{name}.html" for name in ("head", "problems", "charts", "rollouts", "tail")}
"""The files of what skeletons have in common, by the names under which it stands in them."""
HERE = files("adaswitch.pages")


def page_html(name: str, parts: Mapping[str, object], live: bool = False, kind: PageKind = RUN) -> str:
    """The page of ``name`` with its ``parts``. A ``live`` page asks its own server for news, and nobody else.

    Everything that comes from the run stands in it as JSON, which the script puts into the page as text.
    """
    style = "\n".join(_file(path) for path in kind.styles)
    scripts = (_file(LIBRARY), _script(kind))
    policy = content_policy(style, scripts, live)
    fields = {
        "policy": escape(policy),
        # A folder's name may hold bytes that are no text.
        "title": escape(name.encode(errors="replace").decode()),
        "style": style,
        "library": scripts[0],
        "script": scripts[1],
        "data": embedded({**parts, "live": live}),
    }
    pieces = _skeleton(kind).split("%%")
    # Every second piece is the name of what stands there, so nothing within a field is ever taken for another one.
    return "".join(fields[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def content_policy(style: str, scripts: tuple[str, ...], live: bool) -> str:
    """What the page may load: the scripts and the style that stand in it; a live page also its server's answers."""
    allowed = " ".join(_hash(script) for script in scripts)
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _skeleton(kind: PageKind) -> str:
    """The skeleton of the page, with the frame that all kinds have in common."""
    skeleton = _file(kind.skeleton)
    for name, path in FRAME.items():
        skeleton = skeleton.replace(f"%%{name}%%\n", _file(path))
    return skeleton


def _script(kind: PageKind) -> str:
    modules = "\n".join(_file(f"assets/{module}.js") for module in kind.modules)
    return f'(() => {{\n"use strict";\n{modules}\n}})();\n'


def _file(path: str) -> str:
    return HERE.joinpath(path).read_text(encoding="utf-8")
