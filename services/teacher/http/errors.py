"""Puts every error answer, which is any answer that is not a 2xx, into the form of the REST contract."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from adaswitch.contract.wire import JSON_TYPE, ErrorBody, ErrorDetail
from adaswitch.errors import NonFiniteError
from services.teacher.engines.engine import EngineFaultError, EngineLostError, RequestRefusedError
from services.teacher.http.codes import ERROR_CODES, RETRY_AFTER

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""The status under which the metrics count a request whose client hung up. No client receives this status."""
RETRY_AFTER_S = 1
MAX_FIELD_CHARACTERS = 200
"""Most characters of a field's name in an error: clients may make up long names."""
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
"""The statuses that the router itself answers with."""


class ApiError(Exception):
    """An error of the contract. ``field`` is the dotted path of the field at fault, such as ``sequences.0.start``."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``code`` is one of ``ERROR_CODES``, which gives the status; ``message`` is for people."""
        super().__init__(message)
        self.status = ERROR_CODES[code].status
        self.detail = ErrorDetail(code=code, message=message, field=field)
        self.headers = headers

    def response(self) -> Response:
        """The HTTP answer."""
        body = ErrorBody(error=self.detail).model_dump_json(exclude_none=True)
        return Response(body, self.status, self.headers, media_type=JSON_TYPE)


def unavailable(code: str, message: str) -> ApiError:
    """503: the same request may succeed later."""
    return ApiError(code, message, headers={RETRY_AFTER: str(RETRY_AFTER_S)})


def busy(code: str, message: str) -> ApiError:
    """429: the same request may succeed once others have been answered."""
    return ApiError(code, message, headers={RETRY_AFTER: str(RETRY_AFTER_S)})


def internal() -> ApiError:
    """500: a fault of the service's own, which is logged where it is caught."""
    return ApiError("internal", "an error in the service; its log has it under the request's id")


def out_of_range(field: str, message: str) -> ApiError:
    """422: the value of ``field`` is outside of what is allowed."""
    return ApiError("out_of_range", message, field=field)


def from_validation(error: ValidationError) -> ApiError:
    """The error for a body that pydantic refuses: 400 if it is not JSON, else 422 with the first field at fault."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "json_invalid":
        return ApiError("not_json", message)
    field = ".".join(str(part) for part in finding["loc"])[:MAX_FIELD_CHARACTERS]
    return ApiError("invalid_field", f"{field or 'body'}: {message}", field=field or None)


def install_handlers(app: FastAPI) -> None:
    """Make ``app`` answer the exceptions of its routes in the contract's form."""

    async def answer(_: Request, error: Exception) -> Response:
        return _as_api_error(error).response()

    async def hung_up(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    for kind in (
        ApiError,
        HTTPException,
        RequestRefusedError,
        NonFiniteError,
        EngineFaultError,
        EngineLostError,
    ):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(ClientDisconnect, hung_up)


def _as_api_error(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "internal")
            return ApiError(code, str(error.detail), headers=error.headers)
        case RequestRefusedError():
            return ApiError("refused", str(error))
        case NonFiniteError():
            return ApiError("non_finite", str(error))
        case EngineFaultError():
            return ApiError("engine_fault", str(error))
        case EngineLostError():
            return unavailable("engine_lost", str(error))
        case _:
            return internal()
