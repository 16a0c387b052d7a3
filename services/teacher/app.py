"""The teacher's REST contract as a FastAPI app around any engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.wire import (
    JSON_TYPE,
    SAFETENSORS_TYPE,
    ErrorBody,
    GenerateRequest,
    ModelInfo,
    ScoreRequest,
    SequenceAnswer,
    answers_to_safetensors,
)
from services.teacher.auth import BearerAuthMiddleware
from services.teacher.deadline import Deadline
from services.teacher.engine import TeacherEngine
from services.teacher.errors import install_handlers
from services.teacher.keys import KeyRing
from services.teacher.lifecycle import Service
from services.teacher.limits import check_generate, check_score, parse, read_body
from services.teacher.metrics import TeacherMetrics
from services.teacher.observe import ObserveMiddleware

router = APIRouter()


def create_app(
    engine: TeacherEngine,
    config: TeacherServiceConfig,
    keys: KeyRing,
    log: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The app. Its lifespan starts ``engine`` in the background and ends it; until then it answers 503.

    With ``keys`` every ``/v1`` route wants one of them. ``log`` gets a line a request.
    """
    metrics = TeacherMetrics()
    service = Service(engine, config, metrics)
    app = FastAPI(
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
    # The last one added is the outermost.
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


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """200 while the process lives."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": ErrorBody}})
async def readyz(request: Request) -> dict[str, str]:
    """200 once a warm-up score has been answered; 503 before, and while draining."""
    _service(request.app).check_ready()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The service's metrics and the engine's own, in Prometheus' text format."""
    service = _service(request.app)
    text = service.metrics.text() + service.engine.metrics_text()
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/v1/model", responses={401: {"model": ErrorBody}, 503: {"model": ErrorBody}})
async def model(request: Request) -> ModelInfo:
    """What is served, and its limits."""
    service = _service(request.app)
    service.check_ready()
    return service.engine.info


def _documented(path: str, schema: type[BaseModel]) -> dict[str, Any]:
    """For the OpenAPI document, since the routes read their bodies themselves."""
    here = f"#/paths/{path.replace('/', '~1')}/post/requestBody/content/{JSON_TYPE.replace('/', '~1')}/schema"
    return {
        "responses": {status: {"model": ErrorBody} for status in (400, 401, 408, 413, 422, 429, 503, 504)},
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    JSON_TYPE: {"schema": schema.model_json_schema(ref_template=here + "/$defs/{model}")}
                },
            }
        },
        "response_class": Response,
    }


@router.post("/v1/score", **_documented("/v1/score", ScoreRequest))
async def score(request: Request) -> Response:
    """The teacher's distributions after given tokens: ``len - start + 1`` rows a sequence."""
    service = _service(request.app)
    deadline = Deadline.of(request, service.config.request_timeout_s)
    async with service.place():
        body = parse(ScoreRequest, await read_body(request, service.config))
        checked = check_score(body, service.engine.info, service.config)
        num_rows = sum(len(sequence.token_ids) for sequence in checked.sequences)
        with service.memory(num_rows, checked.top_k):
            work = service.engine.score(checked.sequences, checked.top_k)
            answers = await service.run(work, request.receive, deadline)
    service.metrics.scored_tokens.inc(sum(len(answer.token_ids) for answer in answers))
    return _encoded(answers, request)


@router.post("/v1/generate", **_documented("/v1/generate", GenerateRequest))
async def generate(request: Request) -> Response:
    """The teacher's own tokens, each with the distribution that it was drawn from."""
    service = _service(request.app)
    deadline = Deadline.of(request, service.config.request_timeout_s)
    async with service.place():
        body = parse(GenerateRequest, await read_body(request, service.config))
        checked = check_generate(body, service.engine.info, service.config)
        num_rows = sum(prompt.max_tokens for prompt in checked.prompts)
        with service.memory(num_rows, checked.top_k):
            answers = await service.run(service.engine.generate(checked), request.receive, deadline)
    service.metrics.generated_tokens.inc(sum(len(answer.token_ids) for answer in answers))
    return _encoded(answers, request)


def _encoded(answers: Sequence[SequenceAnswer], request: Request) -> Response:
    for part in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind == SAFETENSORS_TYPE:
            half = "logprobs=float16" in parameters
            body = answers_to_safetensors(answers, "float16" if half else "float32")
            return Response(body, media_type=SAFETENSORS_TYPE)
    document = {"sequences": [answer.to_json() for answer in answers]}
    return Response(orjson.dumps(document), media_type=JSON_TYPE)
