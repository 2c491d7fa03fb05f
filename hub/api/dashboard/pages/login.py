# SPDX-License-Identifier: Apache-2.0
"""Logging in and out by a form."""

from typing import Final

from aiohttp import web

from hub.api.dashboard.errors import LoginLimitedError, LoginRefusedError
from hub.api.dashboard.guard import Guard, fresh_request_id
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.sessions import Sessions
from hub.api.dashboard.visits import Route, Visit
from hub.operators import Role

_MOST_PATH: Final = 500


class LoginPages:
    """The two pages that a stranger meets, and the way out.

    Args:
        sessions: Opens and ends them.
        guard: Says whether a form is of ours.
        pages: Fills the template.
    """

    def __init__(self, sessions: Sessions, guard: Guard, pages: Pages) -> None:
        self._sessions = sessions
        self._guard = guard
        self._pages = pages

    def routes(self) -> list[Route]:
        """List those for who is logged in."""
        return [
            Route(method="POST", path="/logout", role=Role.VIEWER, handler=self.log_out)
        ]

    async def ask(self, request: web.Request) -> web.Response:
        """Show the form."""
        return self._form(request, wanted=request.query.get("next", "/"))

    async def log_in(self, request: web.Request) -> web.Response:
        """Open a session, or say that it did not work.

        Args:
            request: With the form.

        Returns:
            The way to the page that was wanted, or the form again.
        """
        self._guard.require_own_form(request)
        form = await request.post()
        wanted = str(form.get("next", "/"))
        try:
            token = await self._sessions.log_in(
                str(form.get("name", "")),
                str(form.get("password", "")),
                peer=request.remote or "?",
                request_id=fresh_request_id(),
                old_token=request.cookies.get(self._guard.cookie, "")[:64],
            )
        except (LoginRefusedError, LoginLimitedError) as error:
            limited = isinstance(error, LoginLimitedError)
            return self._form(
                request, wanted=wanted, status=429 if limited else 403, said=str(error)
            )
        reply = web.Response(status=303, headers={"Location": inner_path(wanted)})
        reply.set_cookie(
            self._guard.cookie,
            token,
            path="/",
            secure=self._guard.secure,
            httponly=True,
            samesite="Strict",
        )
        return reply

    async def log_out(self, _request: web.Request, visit: Visit) -> web.StreamResponse:
        """End the session.

        Args:
            visit: Whose.

        Returns:
            The way to the log-in.
        """
        await self._sessions.log_out(visit.session, request_id=visit.request_id)
        reply = web.Response(status=303, headers={"Location": "/login"})
        reply.del_cookie(
            self._guard.cookie,
            path="/",
            secure=self._guard.secure,
            httponly=True,
            samesite="Strict",
        )
        return reply

    def _form(
        self, request: web.Request, *, wanted: str, status: int = 200, said: str = ""
    ) -> web.Response:
        return self._pages.show(
            "login",
            None,
            title="Log in",
            path=request.path,
            status=status,
            wanted=inner_path(wanted),
            said=said,
        )


def inner_path(text: str) -> str:
    """Return a path of this site, whatever a link asked for.

    Args:
        text: Anything.

    Returns:
        The same if it is a path and nothing but one, else ``/``.
    """
    plain = text.isascii() and text.isprintable() and "\\" not in text
    if not plain or not text.startswith("/") or text.startswith("//"):
        return "/"
    return text if len(text) <= _MOST_PATH else "/"
