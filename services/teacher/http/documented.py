"""Describes the service in its OpenAPI document: answers, headers, and each status with its error codes."""

from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel

from adaswitch.contract.wire import JSON_TYPE, REQUEST_ID_HEADER, SAFETENSORS_TYPE, TIMEOUT_HEADER, ErrorBody
from services.teacher.http.codes import ANSWER_HEADERS, ERROR_CODES, RETRY_AFTER, Routes

TEXT_TYPE = "text/plain"
HALF_TYPE = f"{SAFETENSORS_TYPE};logprobs=float16"
_REQUEST_ID = {
    "description": "The client's own id for the request; without one that is usable, an id that the service makes. "
    "Missing if the request's headers could not be read.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_IDS = {"type": "array", "items": {"type": "integer"}}
_SEQUENCE = {
    "type": "object",
    "required": ["token_ids", "token_logprobs", "top_ids", "top_logprobs"],
    "additionalProperties": False,
    "properties": {
        "token_ids": _IDS
        | {
            "description": "[tokens]: the tokens that were scored, from start on, or those that were generated."
        },
        "token_logprobs": _NUMBERS
        | {"description": "[tokens], in nats: the log-probability of each of these tokens."},
        "top_ids": {
            "type": "array",
            "items": _IDS,
            "description": "[rows, k]: the candidates, likeliest first.",
        },
        "top_logprobs": {
            "type": "array",
            "items": _NUMBERS,
            "description": "[rows, k], in nats: the log-probabilities of the candidates.",
        },
        "finish_reason": {
            "enum": ["stop", "length"],
            "description": "Of a generated sequence alone: stop after a stop token, length after max_tokens tokens.",
        },
    },
}
_BLOB = {
    "type": "string",
    "format": "binary",
    "description": "Arrays, concatenated over the sequences: token_ids I32 [tokens], token_logprobs [tokens], top_ids "
    "I32 [rows, k], top_logprobs [rows, k], num_tokens I32 [sequences], num_rows I32 [sequences]. Log-probabilities "
    "are F32. The metadata's finish_reasons is a JSON list with a finish_reason or null for each sequence.",
}
_HALF_BLOB = _BLOB | {
    "description": f"What Accept: {HALF_TYPE} asks for: as {SAFETENSORS_TYPE}, with log-probabilities in F16. The "
    f"answer's Content-Type is {SAFETENSORS_TYPE}."
}
_ANSWER = {
    "description": "One answer for each sequence or prompt, in their order, in the form that Accept names.",
    "content": {
        JSON_TYPE: {
            "schema": {
                "type": "object",
                "required": ["sequences"],
                "additionalProperties": False,
                "properties": {
                    "sequences": {
                        "type": "array",
                        "items": _SEQUENCE,
                        "description": "One answer for each sequence.",
                    }
                },
            }
        },
        SAFETENSORS_TYPE: {"schema": _BLOB},
        HALF_TYPE: {"schema": _HALF_BLOB},
    },
}
_REQUEST_ID_PARAMETER = {"name": REQUEST_ID_HEADER, "in": "header", **_REQUEST_ID}
_TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "description": "The seconds after which the client wants 504 instead of an answer, at most request_timeout_s.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


class DocumentedApp(FastAPI):
    """An app whose OpenAPI document describes all errors, with those that belong to no route of its own."""

    def openapi(self) -> dict[str, Any]:
        """The document. ``components.responses`` has every status, with 404 and 405, which occur outside of routes."""
        document = super().openapi()
        statuses = sorted({code.status for code in ERROR_CODES.values()})
        schema = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}
        document["components"]["responses"] = {
            str(status): _refusal(_codes_of(status, *Routes), schema) for status in statuses
        }
        return document


def documented(*routes: Routes, answer: dict[str, Any] | None = None) -> dict[str, Any]:
    """FastAPI's options that describe a ``GET`` route, whose errors are those of ``routes`` and of every route."""
    ok = {"headers": {REQUEST_ID_HEADER: _REQUEST_ID}} | (answer or {})
    kinds = (Routes.ALL, *routes)
    statuses = sorted({code.status for code in ERROR_CODES.values() if code.routes in kinds})
    errors = {status: {"model": ErrorBody, **_refusal(_codes_of(status, *kinds), {})} for status in statuses}
    return {"responses": {200: ok, **errors}, "openapi_extra": {"parameters": [_REQUEST_ID_PARAMETER]}}


def documented_work(path: str, schema: type[BaseModel]) -> dict[str, Any]:
    """FastAPI's options for the ``POST`` route ``path``, which reads its ``schema`` and writes its answer itself."""
    here = f"#/paths/{path.replace('/', '~1')}/post/requestBody/content/{JSON_TYPE.replace('/', '~1')}/schema"
    body = schema.model_json_schema(ref_template=here + "/$defs/{model}")
    options = documented(Routes.KEYED, Routes.ENGINE, Routes.WORK, answer=_ANSWER)
    options["openapi_extra"]["requestBody"] = {"required": True, "content": {JSON_TYPE: {"schema": body}}}
    options["openapi_extra"]["parameters"].append(_TIMEOUT_PARAMETER)
    return options | {"response_class": Response}


def text_answer(description: str) -> dict[str, Any]:
    """The description of an answer that is plain text."""
    return {"description": description, "content": {TEXT_TYPE: {"schema": {"type": "string"}}}}


def _codes_of(status: int, *routes: Routes) -> list[str]:
    return [name for name, code in ERROR_CODES.items() if code.status == status and code.routes in routes]


def _refusal(codes: list[str], schema: dict[str, Any]) -> dict[str, Any]:
    """The answer with one of ``codes``, which have the same status. ``schema`` is what else is said of its body."""
    names = sorted({header for code in codes for header in ERROR_CODES[code].headers})
    code_schema = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    return {
        "description": " ".join(f"{code}: {ERROR_CODES[code].meaning}" for code in codes),
        "headers": {REQUEST_ID_HEADER: _REQUEST_ID} | {name: _answer_header(name) for name in names},
        "content": {JSON_TYPE: {"schema": schema | code_schema}},
    }


def _answer_header(name: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0} if name == RETRY_AFTER else {"type": "string"}
    return {"description": ANSWER_HEADERS[name], "schema": schema}
