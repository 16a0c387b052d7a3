"""Describes, for the OpenAPI document, the routes that read their bodies and write their answers themselves."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from adaswitch.contract.wire import JSON_TYPE, REQUEST_ID_HEADER, SAFETENSORS_TYPE, TIMEOUT_HEADER, ErrorBody

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_IDS = {"type": "array", "items": {"type": "integer"}}
_SEQUENCE = {
    "type": "object",
    "required": ["token_ids", "token_logprobs", "top_ids", "top_logprobs"],
    "properties": {
        "token_ids": _IDS | {"description": "Those scored from start on, or those generated."},
        "token_logprobs": _NUMBERS | {"description": "Of exactly those, in nats."},
        "top_ids": {"type": "array", "items": _IDS, "description": "A row a distribution, likeliest first."},
        "top_logprobs": {"type": "array", "items": _NUMBERS, "description": "Of those, in nats."},
        "finish_reason": {"enum": ["stop", "length"], "description": "Of what was generated."},
    },
}
_ANSWER = {
    "description": "An answer a sequence, in their order; in JSON, or as safetensors bytes where those are accepted",
    "content": {
        JSON_TYPE: {
            "schema": {
                "type": "object",
                "required": ["sequences"],
                "properties": {"sequences": {"type": "array", "items": _SEQUENCE}},
            }
        },
        SAFETENSORS_TYPE: {"schema": {"type": "string", "format": "binary"}},
    },
}
_HEADERS = [
    {
        "name": REQUEST_ID_HEADER,
        "in": "header",
        "description": "The client's own name for the request, which the answer carries.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
    },
    {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "description": "After how many seconds 504 is wanted instead of an answer.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
]
_REFUSALS = (400, 401, 408, 413, 422, 429, 503, 504)


def documented(path: str, schema: type[BaseModel]) -> dict[str, Any]:
    """FastAPI's options that describe the route ``path``, whose request body is a ``schema``."""
    here = f"#/paths/{path.replace('/', '~1')}/post/requestBody/content/{JSON_TYPE.replace('/', '~1')}/schema"
    body = schema.model_json_schema(ref_template=here + "/$defs/{model}")
    return {
        "responses": {200: _ANSWER, **{status: {"model": ErrorBody} for status in _REFUSALS}},
        "openapi_extra": {
            "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": body}}},
            "parameters": _HEADERS,
        },
        "response_class": Response,
    }
