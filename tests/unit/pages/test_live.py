"""The live page: what is new is sent, once, to this machine's own browsers alone."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adaswitch.pages.document import PageSource
from adaswitch.pages.live import ROLLOUTS_EVERY_S, LiveParts, create_app
from adaswitch.runs.directory import RunDirectory
from tests.pages import page_run, record_step, text_rollout


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return page_run(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(run: RunDirectory, clock: Clock) -> Iterator[httpx.AsyncClient]:
    app = create_app(PageSource.open(run.path), clock)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8090"
    ) as client:
        yield client


async def news(client: httpx.AsyncClient, **versions: str) -> dict:
    answer = await client.get("/news", params=versions)
    assert answer.status_code == 200
    return answer.json()


async def test_what_is_known_already_is_not_sent_again(client: httpx.AsyncClient, run: RunDirectory) -> None:
    first = await news(client)
    assert set(first) == {"figures", "rollouts"}
    versions = {name: part["version"] for name, part in first.items()}
    assert await news(client, **versions) == {}
    record_step(run, 3)
    (changed,) = (await news(client, **versions)).items()
    assert changed[0] == "figures"
    assert changed[1]["content"]["curves"]["points"]["step"] == [1, 2, 3, 4]


async def test_rollouts_are_read_again_after_a_while(
    client: httpx.AsyncClient, run: RunDirectory, clock: Clock
) -> None:
    version = (await news(client))["rollouts"]["version"]
    record_step(run, 3, [text_rollout(3, 0, "new")])
    assert "rollouts" not in await news(client, rollouts=version)
    clock.now_s += ROLLOUTS_EVERY_S
    assert (await news(client, rollouts=version))["rollouts"]["content"]["shown"] == 7


async def test_what_takes_long_is_read_less_often(run: RunDirectory, clock: Clock) -> None:
    source = PageSource.open(run.path)
    read: list[float] = []

    def slowly() -> dict[str, object]:
        read.append(clock.now_s)
        clock.now_s += 1.0
        return {}

    source.figures = slowly
    parts = LiveParts(source, clock)
    for _ in range(30):
        parts.news({})
        clock.now_s += 1.0
    assert read == [0.0, 11.0, 22.0]


async def test_a_line_that_is_being_written_is_no_damage(
    client: httpx.AsyncClient, run: RunDirectory
) -> None:
    with run.metrics.open("a") as file:
        file.write('{"step": 3, "lo')
    assert (await news(client))["figures"]["content"]["problems"] == []


async def test_the_page_names_its_policy_and_other_hosts_get_nothing(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert "connect-src" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    assert (await client.get("/", headers={"host": "evil.example"})).status_code == 400
    assert (await client.get("/docs")).status_code == 404
