"""Holds what a teacher service answers against the OpenAPI document that it states itself."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from adaswitch.contract.wire import JSON_TYPE, REQUEST_ID_HEADER

Schema = Mapping[str, Any]
PLAIN_HEADERS = {"content-length", "content-type", REQUEST_ID_HEADER.lower()}
NO_ANSWER = 499
"""The status of a client that has hung up, which nobody receives."""
UNREAD_CODES = {"not_http", "headers_timeout", "headers_too_large"}
"""Errors of requests whose headers could not be read: their answers carry no request id."""


def assert_documented(document: Mapping[str, Any], response: httpx.Response) -> None:
    """Raises ``AssertionError`` if ``response`` is an answer that the service's ``document`` does not describe."""
    if response.request.url.path == "/openapi.json" or response.status_code == NO_ANSWER:
        return
    stated = _stated(document, response)
    media_type = response.headers["content-type"].split(";")[0]
    assert media_type in stated["content"], f"{media_type} is not in the document"
    extra = set(response.headers) - PLAIN_HEADERS - {name.lower() for name in stated["headers"]}
    assert not extra, f"{extra} are not in the document"
    if media_type == JSON_TYPE:
        assert_fits(response.json(), stated["content"][media_type]["schema"], document)


def _stated(document: Mapping[str, Any], response: httpx.Response) -> Mapping[str, Any]:
    """What ``document`` says of ``response``: at its route, or for routes that are not there at all."""
    operations = document["paths"].get(response.request.url.path, {})
    operation = operations.get(response.request.method.lower())
    status = str(response.status_code)
    stated = document["components"]["responses"] if operation is None else operation["responses"]
    assert status in stated, f"{response.request.method} {response.request.url.path}: {status} is not stated"
    return dict(stated[status])


def assert_fits(value: object, schema: Schema, document: Mapping[str, Any]) -> None:
    """Raises ``AssertionError`` unless the objects, lists and enumerations in ``value`` are as ``schema`` says."""
    schema = resolved(schema, document)
    if "enum" in schema:
        assert value in schema["enum"], f"{value!r} is not one of {schema['enum']}"
    if isinstance(value, dict):
        properties = schema["properties"]
        assert set(value) <= set(properties), f"{set(value) - set(properties)} are not in the document"
        assert set(value) >= set(schema.get("required", ())), f"{value} lacks what is required"
        for name, inner in value.items():
            assert_fits(inner, properties[name], document)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        # A hundred thousand numbers are alike.
        for inner in value[:3]:
            assert_fits(inner, schema["items"], document)


def resolved(schema: Schema, document: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` with what its ``$ref`` points at; what both say of a property holds together."""
    if "$ref" not in schema:
        return dict(schema)
    target: Any = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step.replace("~1", "/")]
    return _merged(resolved(target, document), {k: v for k, v in schema.items() if k != "$ref"}, document)


def _merged(one: dict[str, Any], other: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    merged = resolved(one, document)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value, document) if both else value
    return merged


def fields_of(
    schema: Schema, document: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every field in ``schema``, as its dotted path, its own schema, and whether it must be given."""
    schema = resolved(schema, document)
    if schema.get("type") == "array":
        yield from fields_of(schema["items"], document, f"{prefix}[]")
    for name, inner in schema.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield path, resolved(inner, document), name in schema.get("required", ())
        yield from fields_of(inner, document, path)
