"""The docs point at what is there: every relative link, every heading that a link names, every path in backquotes."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "deploy/README.md",
    ROOT / "models/README.md",
]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE_PATH = re.compile(
    r"`((?:adaswitch|services|trainer|tests|experiments|configs|scripts|docker|bench|docs)/[\w./-]+)`"
)
GENERATED = re.compile(r"configs/mine\.yaml|experiments/plans/\w+\.yaml")
MAX_README_LINES = 160


def anchors(page: Path) -> set[str]:
    """The headings of ``page`` as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in LINK.findall(page.read_text(encoding="utf-8")):
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{page.name}: {target} is not there"
        if heading and place.suffix == ".md":
            assert heading in anchors(place), f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_the_text_are_there(page: Path) -> None:
    if page.name == "log.md":
        pytest.skip("history speaks of what was")
    for path in CODE_PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or GENERATED.fullmatch(path), f"{page.name}: {path} is not there"


def test_the_readme_is_short_and_names_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_README_LINES
    told = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in (ROOT / "adaswitch").glob("*/__init__.py")]
    assert len(rooms) > 10
    for room in rooms:
        assert re.search(rf"`(?:adaswitch/)?{room}/`", text), f"README.md does not name {room}"
        assert f"`adaswitch/{room}/" in told, f"docs/architecture.md does not name {room}"
