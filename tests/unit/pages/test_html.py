"""One file that loads nothing, in which text from a run is data and nothing else."""

import hashlib
import json
import re

import pytest

from adaswitch.pages.embedding import embedded
from adaswitch.pages.html import COMPARISON, FRAME, HERE, KINDS, LIBRARY, PageKind, page_html

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 %%script%% \ud800 \x00 & \" '"
UPLOT_SHA256 = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_a_run_cannot_leave_its_place(kind: PageKind) -> None:
    page = page_html(HOSTILE, {"figures": {"name": HOSTILE}}, kind=kind)
    page.encode()
    assert page.count("<script") == 3
    assert "alert(1)</script>" not in page
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["figures"]["name"] == HOSTILE


def test_embedded_json_has_no_tag_and_says_the_same() -> None:
    assert "<" not in embedded({HOSTILE: [HOSTILE]})
    assert json.loads(embedded([HOSTILE, 1.5, None])) == [HOSTILE, 1.5, None]


def test_the_page_allows_its_own_scripts_alone() -> None:
    page = page_html("run", {})
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy.replace("&#x27;", "'")
    assert "connect-src 'none'" in policy.replace("&#x27;", "'")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in page_html("run", {}, live=True).replace("&#x27;", "'")
    assert "connect-src 'none'" in page_html("two", {}, kind=COMPARISON).replace("&#x27;", "'")
    own = "".join(HERE.joinpath(f"assets/{name}.js").read_text() for kind in KINDS for name in kind.modules)
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        'setAttribute("style',
    ):
        assert way not in own
    for path in (*(kind.skeleton for kind in KINDS), *FRAME.values()):
        assert not re.search(r"\son\w+=", HERE.joinpath(path).read_text())


def test_nothing_is_loaded_from_elsewhere() -> None:
    for kind in KINDS:
        modules = (f"assets/{name}.js" for name in kind.modules)
        for path in (*kind.styles, kind.skeleton, *FRAME.values(), *modules):
            text = HERE.joinpath(path).read_text()
            assert not re.search(r"https?://|@import|url\(|src=", text), path


def test_every_file_of_the_assets_is_in_a_page() -> None:
    used = {path for kind in KINDS for path in (*kind.styles, kind.skeleton)}
    used |= {f"assets/{name}.js" for kind in KINDS for name in kind.modules}
    assert {f"assets/{file.name}" for file in HERE.joinpath("assets").iterdir() if file.is_file()} <= used
    frame = {f"assets/frame/{file.name}" for file in HERE.joinpath("assets/frame").iterdir()}
    assert frame == set(FRAME.values())
    for name in FRAME:
        assert all(f"%%{name}%%\n" in HERE.joinpath(kind.skeleton).read_text() for kind in KINDS)


def test_the_vendored_library_is_the_published_one() -> None:
    folder = HERE.joinpath(LIBRARY).parent
    for name, checksum in UPLOT_SHA256.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
    assert "MIT" in (folder / "LICENSE").read_text()
