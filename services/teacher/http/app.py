"""The teacher's REST contract as a FastAPI app around any engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Counter

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreRequest, SequenceAnswer, ServiceStatus
from services.teacher.engines.engine import TeacherEngine
from services.teacher.http.answer import HeldAnswer, encoded
from services.teacher.http.auth import BearerAuthMiddleware
from services.teacher.http.codes import Routes
from services.teacher.http.deadline import Deadline
from services.teacher.http.documented import DocumentedApp, documented, documented_work, text_answer
from services.teacher.http.errors import install_handlers
from services.teacher.http.keys import KeyRing
from services.teacher.http.lifecycle import Service
from services.teacher.http.limits import Schema, check_generate, check_score, parse, read_body
from services.teacher.http.metrics import TeacherMetrics
from services.teacher.http.observe import ObserveMiddleware

router = APIRouter()
# Only for the OpenAPI document: BearerAuthMiddleware checks the key.
with_key = [Depends(HTTPBearer(auto_error=False))]


@dataclass(frozen=True)
class Work:
    """A checked request: the call of the engine, the rows and ``top_k`` of its answer, the counter of its tokens."""

    start: Callable[[], Coroutine[Any, Any, list[SequenceAnswer]]]
    num_rows: int
    top_k: int
    counter: Counter


def create_app(
    engine: TeacherEngine,
    config: TeacherServiceConfig,
    keys: KeyRing,
    log: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The app. Its lifespan starts ``engine`` in the background, and closes it at the end.

    Until the engine is ready, requests for it are answered with 503. If there are ``keys``, every ``/v1`` route
    requires one of them. ``log`` is called with one line for each request.
    """
    metrics = TeacherMetrics()
    service = Service(engine, config, metrics)
    app = DocumentedApp(
        title="AdaSwitch teacher",
        description="Per-token log-probabilities of a language model, and its own continuations.",
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    install_handlers(app)
    # The middleware that is added last is the outermost.
    app.add_middleware(BearerAuthMiddleware, keys=keys)
    app.add_middleware(ObserveMiddleware, metrics=metrics, log=log)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = _service(app)
    running = asyncio.create_task(service.run_engine())
    try:
        yield
    finally:
        await service.engine.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _service(app: FastAPI) -> Service:
    service: Service = app.state.service
    return service


@router.get("/healthz", **documented())
async def healthz() -> ServiceStatus:
    """200 while the process lives."""
    return ServiceStatus(status="alive")


@router.get("/readyz", **documented(Routes.ENGINE))
async def readyz(request: Request) -> ServiceStatus:
    """200 once the engine has answered a warm-up request; 503 before that, and while the service is draining."""
    _service(request.app).check_ready()
    return ServiceStatus(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    **documented(answer=text_answer("Metrics in Prometheus' text format.")),
)
async def metrics(request: Request) -> Response:
    """The service's metrics and the engine's own, in Prometheus' text format."""
    service = _service(request.app)
    text = service.metrics.text() + service.engine.metrics_text()
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/v1/model", dependencies=with_key, **documented(Routes.KEYED, Routes.ENGINE))
async def model(request: Request) -> ModelInfo:
    """The model that is served, and its limits."""
    service = _service(request.app)
    service.check_ready()
    return service.engine.info


@router.post("/v1/score", dependencies=with_key, **documented_work("/v1/score", ScoreRequest))
async def score(request: Request) -> Response:
    """The teacher's distributions after given tokens: ``len - start + 1`` rows for each sequence."""
    return await _answered(request, ScoreRequest, _scoring)


def _scoring(service: Service, request: ScoreRequest) -> Work:
    checked = check_score(request, service.engine.info, service.config)
    return Work(
        lambda: service.engine.score(checked.sequences, checked.top_k),
        num_rows=sum(len(sequence.token_ids) for sequence in checked.sequences),
        top_k=checked.top_k,
        counter=service.metrics.scored_tokens,
    )


@router.post("/v1/generate", dependencies=with_key, **documented_work("/v1/generate", GenerateRequest))
async def generate(request: Request) -> Response:
    """The teacher's own tokens, each with the distribution that it was drawn from."""
    return await _answered(request, GenerateRequest, _generating)


def _generating(service: Service, request: GenerateRequest) -> Work:
    checked = check_generate(request, service.engine.info, service.config)
    return Work(
        lambda: service.engine.generate(checked),
        num_rows=sum(prompt.max_tokens for prompt in checked.prompts),
        top_k=checked.top_k,
        counter=service.metrics.generated_tokens,
    )


async def _answered(
    request: Request, schema: type[Schema], work_of: Callable[[Service, Schema], Work]
) -> Response:
    """The engine's answer. The request keeps its place and its memory until the client has the whole answer."""
    service = _service(request.app)
    deadline = Deadline.of(request, service.config.request_timeout_s)
    async with AsyncExitStack() as stay:
        await stay.enter_async_context(service.place())
        with service.reading() as take:
            # The body gets no variable, which would keep it in memory until the answer is sent.
            work = work_of(service, parse(schema, await read_body(request, service.config, deadline, take)))
        stay.enter_context(service.memory(work.num_rows, work.top_k))
        answers = await service.run(work.start(), request.receive, deadline)
        work.counter.inc(sum(len(answer.token_ids) for answer in answers))
        content, media_type = encoded(answers, request)
        cut_off = service.metrics.cancelled.labels("slow_reader").inc
        return HeldAnswer(content, media_type, stay.pop_all(), service.config.send_timeout_s, cut_off)
