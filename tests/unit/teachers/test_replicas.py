"""Several teachers behind one client: work is spread, a lost one is left out and taken back."""

import asyncio
from collections import Counter

import httpx
import pytest

from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract.wire import ErrorBody, ErrorDetail, ModelInfo, ScoreSequence, answers_to_safetensors
from adaswitch.errors import ConfigError, ModelError, TeacherUnavailableError
from adaswitch.teachers.native import TeacherClient
from adaswitch.teachers.replicas import FIRST_ABSENCE_S, LONGEST_ABSENCE_S, ReplicaTransport
from tests.teacher_fakes import FakeEngine, fake_answer, fake_info, running_app

URLS = ["http://one:1", "http://two:2/teacher", "http://three:3"]


class Cluster:
    """Answers for all hosts; those in ``lost`` do not, those in ``status`` or ``code`` answer with it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lost: set[str] = set()
        self.status: dict[str, int] = {}
        self.code: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.now_s = 0.0
        self.transport = ReplicaTransport(URLS, httpx.MockTransport(self._handle), lambda: self.now_s)
        self.http = httpx.AsyncClient(transport=self.transport, base_url=URLS[0])

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        self.asked.append(host)
        assert request.headers["host"] == f"{host}:{request.url.port}"
        assert request.url.path == ("/teacher/v1/score" if host == "two" else "/v1/score")
        if host in self.hold:
            await self.hold[host].wait()
        if host in self.lost:
            raise httpx.ConnectError("refused")
        if host in self.code:
            body = ErrorBody(error=ErrorDetail(code=self.code[host], message="as it is"))
            status = 429 if "full" in self.code[host] else 503
            return httpx.Response(status, content=body.model_dump_json(), headers=self.headers)
        return httpx.Response(self.status.get(host, 200), text=host)

    async def ask(self, size: int = 10) -> httpx.Response:
        return await self.http.post("/v1/score", content=b"x" * size)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_a_request_goes_where_least_is_under_way(cluster: Cluster) -> None:
    cluster.hold = {host: asyncio.Event() for host in ("one", "two", "three")}
    sizes = [100, 10, 40, 10, 10, 10, 10]
    tasks = []
    for size in sizes:
        tasks.append(asyncio.create_task(cluster.ask(size)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    # 100 for one; then 10 for two, 40 for three, and two again until it has as much as three.
    assert cluster.asked == ["one", "two", "three", "two", "two", "two", "three"]
    for event in cluster.hold.values():
        event.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.text for answer in answers] == cluster.asked
    assert all(replica.work == 0 for replica in cluster.transport.replicas)


@pytest.mark.parametrize("failing", ["lost", 503, 502, "engine_lost", "not_ready", "draining"])
async def test_one_that_cannot_work_is_left_out_and_taken_back(cluster: Cluster, failing) -> None:
    if failing == "lost":
        cluster.lost = {"one"}
    elif isinstance(failing, str):
        cluster.code = {"one": failing}
    else:
        cluster.status = {"one": failing}
    assert (await cluster.ask()).text == "two"
    assert [(await cluster.ask()).text for _ in range(4)].count("one") == 0
    assert Counter(cluster.asked)["one"] == 1
    cluster.lost, cluster.status, cluster.code = set(), {}, {}
    cluster.now_s = FIRST_ABSENCE_S
    assert (await cluster.ask()).text == "one"
    assert all(replica.back_at_s == 0 for replica in cluster.transport.replicas)


@pytest.mark.parametrize("code", ["non_finite", "engine_fault"])
async def test_who_fails_on_one_request_stays_and_no_other_is_asked(cluster: Cluster, code: str) -> None:
    cluster.code = {"one": code, "two": code, "three": code}
    assert (await cluster.ask()).status_code == 503
    assert cluster.asked == ["one"]
    assert all(replica.back_at_s == 0 for replica in cluster.transport.replicas)


async def test_who_is_full_stays_and_the_next_one_is_asked(cluster: Cluster) -> None:
    cluster.code = {"one": "queue_full"}
    assert (await cluster.ask()).text == "two"
    cluster.code = {"one": "queue_full", "two": "memory_full", "three": "queue_full"}
    assert (await cluster.ask()).status_code == 429
    assert cluster.asked == ["one", "two", "one", "two", "three"]
    assert all(replica.back_at_s == 0 for replica in cluster.transport.replicas)


@pytest.mark.parametrize(
    ("wished", "absence_s"), [("7", 7.0), ("0", FIRST_ABSENCE_S), ("inf", FIRST_ABSENCE_S)]
)
async def test_who_says_when_to_come_again_is_left_out_for_as_long(
    cluster: Cluster, wished: str, absence_s: float
) -> None:
    cluster.code, cluster.headers = {"one": "draining"}, {"Retry-After": wished}
    await cluster.ask()
    assert cluster.transport.replicas[0].back_at_s == absence_s


async def test_what_is_lost_together_counts_once_and_late_answers_bring_nobody_back(cluster: Cluster) -> None:
    hold = asyncio.Event()
    cluster.hold = {"one": hold}
    cluster.code = {"two": "queue_full", "three": "queue_full"}
    tasks = [asyncio.create_task(cluster.ask()) for _ in range(5)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert cluster.asked.count("one") == 5
    one = cluster.transport.replicas[0]
    cluster.lost = {"one"}
    hold.set()
    await asyncio.gather(*tasks)
    assert (one.back_at_s, one.num_losses) == (FIRST_ABSENCE_S, 1)
    cluster.now_s = one.back_at_s
    late, now = asyncio.Event(), one.num_losses
    cluster.hold, cluster.lost = {"one": late}, set()
    task = asyncio.create_task(cluster.ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    one.leave_out(cluster.now_s, now)
    assert one.back_at_s == cluster.now_s + 2 * FIRST_ABSENCE_S
    late.set()
    assert (await task).text == "one"
    assert one.back_at_s == cluster.now_s + 2 * FIRST_ABSENCE_S


async def test_who_was_lost_meanwhile_is_not_asked(cluster: Cluster) -> None:
    cluster.hold, cluster.lost = {"one": asyncio.Event()}, {"one"}
    task = asyncio.create_task(cluster.ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cluster.transport.replicas[1].leave_out(0.0, 0)
    cluster.hold["one"].set()
    assert (await task).text == "three"
    assert cluster.asked == ["one", "three"]


async def test_who_stays_away_is_asked_ever_more_seldom(cluster: Cluster) -> None:
    cluster.lost = {"one"}
    absences = []
    for _ in range(8):
        await cluster.ask()
        one = cluster.transport.replicas[0]
        absences.append(one.back_at_s - cluster.now_s)
        cluster.now_s = one.back_at_s
    assert absences[:3] == [FIRST_ABSENCE_S, 2 * FIRST_ABSENCE_S, 4 * FIRST_ABSENCE_S]
    assert absences[-1] == LONGEST_ABSENCE_S


async def test_if_none_can_work_the_client_sees_it_and_the_next_due_is_asked(cluster: Cluster) -> None:
    cluster.lost, cluster.status = {"one", "two"}, {"three": 503}
    assert (await cluster.ask()).status_code == 503
    assert cluster.asked == ["one", "two", "three"]
    cluster.status, cluster.lost = {}, {"one", "two", "three"}
    with pytest.raises(httpx.ConnectError):
        await cluster.ask()
    assert cluster.asked == ["one", "two", "three", "one"]


@pytest.mark.parametrize("status", [400, 401, 422, 500, 504])
async def test_what_another_would_answer_as_well_is_passed_on(cluster: Cluster, status: int) -> None:
    cluster.status = {"one": status}
    assert (await cluster.ask()).status_code == status
    assert cluster.asked == ["one"]


async def test_a_client_goes_on_with_those_that_are_left() -> None:
    engine = FakeEngine()
    async with running_app(engine) as app:
        good = httpx.ASGITransport(app)

        class Both(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.host == "away":
                    raise httpx.ConnectError("refused")
                return await good.handle_async_request(request)

        config = TeacherConfig(url="http://away:1", replicas=["http://teacher:2"], max_wait_s=1e-9)
        client = TeacherClient.from_config(config, transport=Both())
        await client.wait_until_ready(0.0, pytest.fail)
        assert await client.model_info() == fake_info()
        assert len(await client.score([ScoreSequence(token_ids=[1, 2], start=1)], top_k=2)) == 1
        nobody = TeacherClient.from_config(config.model_copy(update={"replicas": ["http://away:3"]}), Both())
        with pytest.raises(TeacherUnavailableError, match="refused"):
            await nobody.model_info()


class Family:
    """Two teachers, each of which says of itself what ``infos`` has for its host; None: it does not answer."""

    def __init__(self, **infos: ModelInfo | None) -> None:
        self.infos = infos
        self.looks: list[str] = []
        self.client = TeacherClient.from_config(
            TeacherConfig(url="http://one:1", replicas=["http://two:2"]), httpx.MockTransport(self._handle)
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        info = self.infos[request.url.host]
        if info is None:
            raise httpx.ConnectError("refused")
        if request.url.path == "/v1/model":
            self.looks.append(request.url.host)
            return httpx.Response(200, content=info.model_dump_json())
        return httpx.Response(200, content=answers_to_safetensors([fake_answer([1], [2], 2, 2)]))

    async def score(self) -> None:
        await self.client.score([ScoreSequence(token_ids=[1, 2], start=1)], top_k=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "/else/where"}, "another model than http://one:1: where there, fake here"),
        ({"vocab_size": 12}, "another number of tokens than http://one:1: 12 there, 11 here"),
        ({"tokenizer_sha256": "1" * 64}, "another tokenizer than http://one:1: 111111111111 there"),
    ],
)
async def test_replicas_that_serve_something_else_are_refused_at_the_start(changes, words: str) -> None:
    family = Family(one=fake_info(), two=fake_info(**changes))
    with pytest.raises(ModelError, match=f"teacher.replicas: http://two:2 serves {words}"):
        await family.client.model_info()


async def test_replicas_that_serve_the_same_are_looked_at_once() -> None:
    family = Family(one=fake_info(), two=fake_info(model="/elsewhere/fake", dtype="bfloat16"))
    for _ in range(4):
        await family.score()
    assert family.looks == ["one", "two"]


async def test_a_replica_that_comes_late_is_looked_at_before_its_answers_count() -> None:
    for change, fits in (({}, True), ({"tokenizer_sha256": "1" * 64}, False)):
        family = Family(one=fake_info(), two=None)
        await family.client.model_info()
        assert family.looks == ["one"]
        family.infos = {"one": None, "two": fake_info(**change)}
        family.client._http._transport.replicas[1].back_at_s = 0.0
        if fits:
            await family.score()
        else:
            with pytest.raises(ModelError, match="http://two:2 serves another tokenizer"):
                await family.score()
        assert family.looks == ["one", "two"]


def test_an_address_that_is_none_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.url: 'two'"):
        TeacherClient.from_config(TeacherConfig(replicas=["two"]))
