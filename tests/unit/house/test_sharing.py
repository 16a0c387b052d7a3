"""The table of tests that run in one process names what is there, and all that starts Ray."""

from pathlib import Path

from tests.sharing import FIRST, GROUPS, group_of, is_late

TESTS = Path(__file__).parents[2]
STARTS_RAY = ("service_fixtures import", "bench.scaling_crowd", "ray.init(")
WITHOUT_RAY = {"test_compare.py"}
"""What runs the same commands, and none that starts Ray."""


def test_every_file_of_the_table_is_there_once():
    named = [name for files in GROUPS.values() for name in files]
    assert len(set(named)) == len(named)
    for name in named:
        assert len(list(TESTS.rglob(name))) == 1


def test_whatever_starts_ray_is_in_its_group():
    files = [path for folder in ("integration", "chaos") for path in (TESTS / folder).glob("test_*.py")]
    found = {path.name for path in files if any(words in path.read_text() for words in STARTS_RAY)}
    assert found == {*GROUPS["shared_cluster"], *GROUPS["own_clusters"]} | WITHOUT_RAY


def test_what_comes_first_is_there():
    assert all(group in GROUPS or (TESTS.parent / group).is_file() for group in FIRST)
    assert not is_late("tests/chaos/test_kills.py::test_a")
    assert is_late("tests/unit/house/test_style.py::test_b")


def test_groups():
    assert group_of("tests/chaos/test_kills.py::test_a[1]") == "shared_cluster"
    assert group_of("tests/unit/house/test_style.py::test_b") == "tests/unit/house/test_style.py"
