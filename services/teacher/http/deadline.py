"""How long a request may take: the service's own limit, or less if the client asks for less."""

import asyncio
import math
from collections.abc import Mapping

from starlette.requests import Request

from adaswitch.contract.wire import TIMEOUT_HEADER
from services.teacher.http.errors import ApiError, out_of_range


class Deadline:
    """The time limit of one request, counted from the request's arrival."""

    def __init__(self, timeout_s: float) -> None:
        """The deadline is ``timeout_s`` seconds from now."""
        self.timeout_s = timeout_s
        self._end_s = asyncio.get_running_loop().time() + timeout_s

    @classmethod
    def of(cls, request: Request, longest_s: float) -> "Deadline":
        """The deadline that the header ``X-Request-Timeout-S`` asks for, at most ``longest_s`` seconds from now.

        Raises a 422 if the header is not a number of seconds above 0.
        """
        given = request.headers.get(TIMEOUT_HEADER)
        if given is None:
            return cls(longest_s)
        try:
            wished_s = float(given)
        except ValueError:
            wished_s = math.nan
        if not 0 < wished_s < math.inf:
            raise out_of_range(TIMEOUT_HEADER, f"{TIMEOUT_HEADER}: must be seconds above 0, as in 2.5")
        return cls(min(wished_s, longest_s))

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self._end_s - asyncio.get_running_loop().time())

    def passed(self, headers: Mapping[str, str] | None = None) -> ApiError:
        """The error to raise once the deadline has passed: 504."""
        message = f"not answered within {self.timeout_s:g} s"
        return ApiError("deadline_exceeded", message, headers=headers)
