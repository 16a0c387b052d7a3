"""The load benchmark in short: unruly clients at once, and every good answer right."""

import asyncio
from pathlib import Path

import pytest

from bench.load_clients import hold

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]


def test_many_clients_some_of_them_unruly(tmp_path: Path) -> None:
    report = asyncio.run(hold(tmp_path, num_clients=16, seconds=10.0, seed=0, engine="transformers"))
    assert report.problems == []
    assert report.codes["200"] > 20
    assert report.compared > 0
    assert {"400", "422", "given up"} <= set(report.codes)
    assert '"problems": []' in report.line()
