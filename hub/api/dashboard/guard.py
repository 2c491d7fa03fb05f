# SPDX-License-Identifier: Apache-2.0
"""The one path around every route: headers, session, role, form, errors.

A form counts only if the browser says it comes from a page of ours (Sec-Fetch-Site or
Origin) and if it carries the token of its own session. The policy allows no script or
style but our two files, so that a name that became markup could still do nothing.
Source: W3C CSP level 3; Fetch Metadata; OWASP's sheet about forged requests.
"""

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import web

from hub.api.dashboard.errors import (
    ForeignFormError,
    LoginLimitedError,
    PageUnknownError,
    RoleMissingError,
    SessionMissingError,
)
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.sessions import Sessions
from hub.api.dashboard.visits import Route, Visit
from hub.api.v1.problems import status_of
from hub.clock import Clock
from hub.errors import FaultError, HubError, RefusedError
from hub.operators import csrf_of

_log = logging.getLogger(__name__)
REFRESH_HEADER: Final = "X-Saltkeep-Refresh"
"""The script's own look at a page: it keeps no session alive."""
CSRF_FIELD: Final = "csrf"
_STATUSES: Final[dict[type[HubError], int]] = {
    ForeignFormError: 403,
    RoleMissingError: 403,
    PageUnknownError: 404,
    LoginLimitedError: 429,
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none';"
        " base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that, browsers send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Server": "saltkeep",
}
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Lets visits in.

    Args:
        sessions: Who is logged in.
        pages: For pages about errors.
        clock: The time.
        secure: Whether the browser comes by HTTPS.
        public_host: The host name that a proxy in front serves; empty: ours.
    """

    def __init__(
        self,
        sessions: Sessions,
        pages: Pages,
        *,
        clock: Clock,
        secure: bool,
        public_host: str = "",
    ) -> None:
        self._sessions = sessions
        self._pages = pages
        self._clock = clock
        self._public_host = public_host
        self.secure = secure
        self.cookie = "__Host-saltkeep" if secure else "saltkeep"

    def guarded(self, route: Route) -> _Next:
        """Return what aiohttp calls for a route.

        Args:
            route: Any but the log-in.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            visit = await self.visit(request)
            if not visit.operator.role.may(route.role):
                raise RoleMissingError(f"this needs the role {route.role.value}")
            if route.method == "POST":
                self.require_own_form(request)
                require_token(await request.post(), visit)
            if REFRESH_HEADER not in request.headers:
                await self._sessions.use(visit.session)
            return await route.handler(request, visit)

        return handle

    async def visit(self, request: web.Request) -> Visit:
        """Find out who asks.

        Args:
            request: Any.

        Returns:
            The visit.

        Raises:
            SessionMissingError: If nobody is logged in.
        """
        token = request.cookies.get(self.cookie, "")
        session = await self._sessions.find(token)
        if session is None:
            raise SessionMissingError("log in first")
        return Visit(
            session=session,
            csrf=csrf_of(token),
            now_ms=self._clock(),
            request_id=fresh_request_id(),
        )

    def require_own_form(self, request: web.Request) -> None:
        """Insist that a form was sent by a page of ours.

        Args:
            request: A POST.

        Raises:
            ForeignFormError: If the browser says otherwise, or nothing at all.
        """
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        if site is None and origin is None:
            raise ForeignFormError("the browser does not say where this form is from")
        if site is not None and site != "same-origin":
            raise ForeignFormError("this form comes from another site")
        if origin is not None and not self._is_ours(origin, request):
            raise ForeignFormError("this form comes from another origin")

    def _is_ours(self, origin: str, request: web.Request) -> bool:
        parts = urlsplit(origin)
        scheme = "https" if self.secure else "http"
        host = self._public_host or request.host
        return (parts.scheme, parts.netloc) == (scheme, host)

    @web.middleware
    async def tell(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        """Turn every error into a page and give every reply its headers.

        Args:
            request: Any.
            handler: What comes next.

        Returns:
            The reply; nothing a browser sends makes this raise.

        Raises:
            HTTPException: What aiohttp itself answers with, a redirection say.
        """
        try:
            reply = await handler(request)
        except SessionMissingError:
            reply = to_login(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            reply = await self._failed(request, _as_ours(error))
        except HubError as error:
            reply = await self._failed(request, error)
        except Exception:  # noqa: BLE001 - no request may stop the process
            _log.exception("dashboard failed: %s", request.path)
            reply = await self._failed(request, HubError("failed"))
        return reply

    async def _failed(self, request: web.Request, error: HubError) -> web.Response:
        if not isinstance(error, RefusedError | FaultError) and error.args != (
            "failed",
        ):
            _log.error("dashboard: %s", error, exc_info=error)
        status = _STATUSES.get(type(error)) or status_of(type(error)).value
        hidden = status == HTTPStatus.INTERNAL_SERVER_ERROR  # it stays in the log
        try:
            visit = await self.visit(request)
        except HubError:
            visit = None
        return self._pages.show(
            "error",
            visit,
            title="This did not work",
            path=request.path,
            status=status,
            code=error.code,
            detail="see the hub's log" if hidden else str(error),
            retry=isinstance(error, FaultError),
        )


async def add_headers(request: web.Request, reply: web.StreamResponse) -> None:
    """Give a reply its headers, whatever made it; a signal of aiohttp's.

    Args:
        request: Any.
        reply: About to be sent.
    """
    for name, value in HEADERS.items():
        reply.headers[name] = value
    reply.headers.setdefault("Cache-Control", "no-store")
    if request.secure:
        reply.headers["Strict-Transport-Security"] = "max-age=31536000"


def to_login(request: web.Request) -> web.Response:
    """Send somebody to the log-in and back; a script is only told that it is over."""
    if REFRESH_HEADER in request.headers or request.path == "/live":
        return web.Response(status=401, text="the session is over")
    wanted = request.path_qs if request.method == "GET" else "/"
    target = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}"
    return web.Response(status=303, headers={"Location": target})


def require_token(form: Mapping[str, object], visit: Visit) -> None:
    """Insist that a form carries its session's token.

    Args:
        form: As posted.
        visit: Whose it must be.

    Raises:
        ForeignFormError: If it does not.
    """
    shown = form.get(CSRF_FIELD)
    same = isinstance(shown, str) and hmac.compare_digest(
        shown.encode(), visit.csrf.encode()
    )
    if not same:
        raise ForeignFormError("this form is not of your session: load it again")


def fresh_request_id() -> str:
    """Draw what names a request in log and audit."""
    return secrets.token_hex(8)


def _as_ours(error: web.HTTPException) -> HubError:
    if error.status in {404, 405}:
        return PageUnknownError("there is no such page")
    return ForeignFormError(error.reason)
