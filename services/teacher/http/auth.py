"""Bearer keys for everything under ``/v1``."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.teacher.http.codes import AUTHENTICATE
from services.teacher.http.errors import ApiError
from services.teacher.http.keys import KeyRing

PROTECTED_PREFIX = "/v1/"


class BearerAuthMiddleware:
    """Answers 401 to a ``/v1`` request that carries none of ``keys``. If there are no keys, every request passes."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request, and hand it on to the app if it may pass."""
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED_PREFIX) and not self._allows(scope):
            error = ApiError(
                "unauthorized",
                "this service wants Authorization: Bearer <key>",
                headers={AUTHENTICATE: "Bearer"},
            )
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        if not self._keys:
            return True
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        accepted = self._keys.accepts(given.strip().encode("latin-1"))
        return scheme.lower() == "bearer" and accepted
