"""``docs/teacher.md`` is the contract: it says what the service's own document says, and that what it answers."""

import json
import re
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator
from safetensors.numpy import load as load_safetensors

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.contract.wire import JSON_TYPE, ErrorBody, safetensors_type
from services.teacher.http.codes import ERROR_CODES, Routes
from services.teacher.http.documented import HALF_TYPE
from tests.teacher_contract import assert_documented, fields_of
from tests.teacher_fakes import FakeEngine, http_client, running_app, stated_document
from tests.unit.services.teacher.http.test_teacher_app import GENERATE, SCORE

PAGE = (Path(__file__).parents[5] / "docs/teacher.md").read_text(encoding="utf-8")
METHODS = {"get", "post"}
NOT_IN_OPENAPI = {"Authorization", "Accept", "Content-Type"}
"""Headers that OpenAPI states by other means: security schemes and media types."""
REQUIRED = "required"


def section(heading: str) -> str:
    """The text under ``heading``, up to the next heading of any level."""
    _, _, rest = PAGE.partition(f"\n{heading}\n")
    assert rest, f"docs/teacher.md has no {heading}"
    return re.split(r"\n#+ ", rest)[0]


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table in ``text`` whose first column is headed ``first``, without backquotes."""
    tables = [table for table in text.split("\n\n") if table.lstrip().startswith(f"| {first} |")]
    assert len(tables) == 1, f"no table of {first}"
    lines = tables[0].strip().splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
async def document() -> dict[str, object]:
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        return (await client.get("/openapi.json")).json()


def answer_schema(document, path: str, method: str, status: str = "200"):
    return document["paths"][path][method]["responses"][status]["content"][JSON_TYPE]["schema"]


def test_every_path_is_in_the_page_and_no_other(document) -> None:
    stated = {
        (path, method.upper()) for path, operations in document["paths"].items() for method in operations
    }
    told = {(path, method): key for path, method, key, _ in rows(PAGE, "path")}
    assert set(told) == stated | {("/openapi.json", "GET")}
    for (path, method), key in told.items():
        secured = path != "/openapi.json" and "security" in document["paths"][path][method.lower()]
        assert key == ("yes" if secured else "no"), path


REQUESTS = [("/v1/score", "### `POST /v1/score`"), ("/v1/generate", "### `POST /v1/generate`")]


@pytest.mark.parametrize(("path", "heading"), REQUESTS)
def test_every_field_of_a_request_is_in_the_page_with_its_default(document, path, heading) -> None:
    body = document["paths"][path]["post"]["requestBody"]["content"][JSON_TYPE]["schema"]
    assert defaults_told(heading) == defaults_stated(body, document)


@pytest.mark.parametrize(
    ("path", "heading"),
    [("/v1/model", "### `GET /v1/model`"), ("/readyz", "## The contract"), ("/healthz", "## The contract")],
)
def test_every_field_of_a_plain_answer_is_in_the_page_with_its_default(document, path, heading) -> None:
    assert defaults_told(heading) == defaults_stated(answer_schema(document, path, "get"), document)


def defaults_told(heading: str) -> dict[str, object]:
    told = {row[0]: row[2] for row in rows(section(heading), "field")}
    return {
        field: REQUIRED if default == REQUIRED else json.loads(default) for field, default in told.items()
    }


def defaults_stated(schema, document) -> dict[str, object]:
    fields = fields_of(schema, document)
    return {name: REQUIRED if required else field.get("default") for name, field, required in fields}


@pytest.mark.parametrize("path", ["/v1/score", "/v1/generate"])
def test_every_field_of_an_answer_is_in_the_page(document, path) -> None:
    stated = [name for name, _, _ in fields_of(answer_schema(document, path, "post"), document)]
    assert [row[0] for row in rows(section("### Answers"), "field")] == stated


def test_every_field_of_an_error_is_in_the_page(document) -> None:
    stated = [name for name, _, _ in fields_of(ErrorBody.model_json_schema(), ErrorBody.model_json_schema())]
    assert [row[0] for row in rows(section("### Errors"), "field")] == stated
    assert stated == [
        name for name, _, _ in fields_of(answer_schema(document, "/readyz", "get", "503"), document)
    ]


def test_every_status_and_code_is_in_the_page_with_where_it_occurs(document) -> None:
    told = {(status, code): where for status, code, where, _, _ in rows(section("### Errors"), "status")}
    assert len(told) == len(rows(section("### Errors"), "status"))
    names = {
        Routes.NONE: {"other paths", "other methods"},
        Routes.ALL: {"everywhere"},
        Routes.KEYED: {"/v1`, also paths that do not exist"},
        Routes.ENGINE: {"/readyz`, `/v1"},
        Routes.WORK: {"score, generate"},
    }
    assert set(told) == {(str(code.status), name) for name, code in ERROR_CODES.items()}
    for (_, name), where in told.items():
        assert where in names[ERROR_CODES[name].routes], name


def test_the_document_states_every_code_of_every_status(document) -> None:
    stated = set()
    for status, response in document["components"]["responses"].items():
        ((_, code, _),) = [
            f for f in fields_of(response["content"][JSON_TYPE]["schema"], document) if f[0] == "error.code"
        ]
        stated |= {(status, name) for name in code["enum"]}
        assert all(f"{name}: " in response["description"] for name in code["enum"])
    assert stated == {(str(code.status), name) for name, code in ERROR_CODES.items()}


def test_every_header_is_in_the_page_and_no_other(document) -> None:
    told = {row[0]: row[1] for row in rows(section("### Headers"), "header")}
    sent, received = set(), set()
    for operations in document["paths"].values():
        for operation in operations.values():
            sent |= {parameter["name"] for parameter in operation["parameters"]}
            for response in operation["responses"].values():
                received |= set(response.get("headers", {}))
    for response in document["components"]["responses"].values():
        received |= set(response["headers"])
    assert set(told) == sent | received | NOT_IN_OPENAPI
    assert {name for name, where in told.items() if "requests" in where} == sent | {"Authorization", "Accept"}
    assert {name for name, where in told.items() if "answers" in where} == received | {"Content-Type"}
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_every_limit_in_the_page_is_a_setting_with_that_default() -> None:
    defaults = TeacherServiceConfig(model="any").model_dump()
    for name, default, _, _ in rows(section("## Limits"), "setting of `teacher.serve`"):
        assert json.loads(default) == defaults[name], name


@pytest.mark.parametrize("half", [False, True])
async def test_the_arrays_of_a_blob_are_as_the_page_says(half: bool) -> None:
    accept = safetensors_type("float16" if half else "float32")
    assert not half or accept == HALF_TYPE
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        response = await client.post("/v1/score", json=SCORE, headers={"Accept": accept})
    names = {"int32": "I32", "float32": "F32", "float16": "F16"}
    sizes = {"tokens": 3, "rows": 4, "k": 3, "sequences": 1}
    arrays = {
        name: (list(a.shape), names[str(a.dtype)]) for name, a in load_safetensors(response.content).items()
    }
    told = {
        name: ([sizes[size] for size in shape.strip("[]").split(", ")], types[half])
        for name, shape, *types in rows(section("### Answers"), "array")
    }
    assert arrays == told
    assert response.headers["content-type"] == "application/x-safetensors"


async def test_the_requests_of_the_page_are_right() -> None:
    """They are for the chain teacher: the fake takes them, or finds them too long for it. The wrong one is as shown."""
    bodies = re.findall(
        r"localhost:8000(/v1/\w+)[^']*(?:'Accept[^']*'[^']*)?-d '([^']*)'\n(\{\"error.*)?", PAGE
    )
    assert len(bodies) == 4
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        for path, body, shown in bodies:
            response = await client.post(path, content=body)
            if shown:
                assert response.json() == json.loads(shown)
            else:
                assert response.status_code == 200 or response.json()["error"]["code"] == "out_of_range", body


async def test_an_answer_that_is_not_in_the_document_is_noticed() -> None:
    """Or the check behind every other test here would find nothing."""
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        answered = await client.post("/v1/generate", json=GENERATE)
        error = {"error": {"code": "queue_full", "message": "no"}}
        for status, body, headers in (
            (418, error, {}),
            (429, {"error": {"code": "not_json", "message": "no"}}, {}),
            (429, {"error": {"code": "queue_full"}}, {}),
            (429, error, {"X-New": "1"}),
            (200, {"sequences": [{"token_ids": [1]}]}, {}),
            (200, {**answered.json(), "more": 1}, {}),
        ):
            response = httpx.Response(status, json=body, headers=headers, request=answered.request)
            with pytest.raises(AssertionError):
                assert_documented(stated_document(), response)
        assert_documented(stated_document(), httpx.Response(429, json=error, request=answered.request))


def test_the_document_states_valid_schemas(document) -> None:
    for operations in document["paths"].values():
        for method, operation in operations.items():
            assert method in METHODS
            for response in operation["responses"].values():
                for media in response["content"].values():
                    Draft202012Validator.check_schema(media["schema"])
