# SPDX-License-Identifier: Apache-2.0
"""Builds the dashboard: every route at its place behind the guard."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from hub.api.dashboard.guard import Guard, add_headers
from hub.api.dashboard.health import NodesProbe
from hub.api.dashboard.live import Live
from hub.api.dashboard.pages.deposits import DepositPages
from hub.api.dashboard.pages.login import LoginPages
from hub.api.dashboard.pages.overview import OverviewPage
from hub.api.dashboard.pages.records import RecordPages
from hub.api.dashboard.pages.search import SearchPage
from hub.api.dashboard.pages.sweeps import SweepPages
from hub.api.dashboard.pages.withdrawals import WithdrawalPages
from hub.api.dashboard.rendering import Pages, StaticFile, static_files
from hub.api.dashboard.sessions import Sessions
from hub.api.dashboard.visits import Ports, Route
from hub.config import DashboardSection
from hub.operators import SessionLimits
from hub.passwords import Passwords

OPEN_PATHS: Final = ("/login", "/static/{name}")
"""What is served without a session."""
_MOST_FORM_BYTES: Final = 16_384
_MILLISECONDS: Final = 1000


class Dashboard:
    """The parts of one dashboard.

    Args:
        section: The configuration, already checked.
        ports: The rest of the hub.
        passwords: Who hashes.
    """

    def __init__(
        self, section: DashboardSection, ports: Ports, *, passwords: Passwords
    ) -> None:
        self._ports = ports
        self._files = static_files()
        pages = Pages(network=ports.network, files=self._files)
        self._sessions = Sessions(
            ports.store,
            passwords,
            limits=SessionLimits(
                section.idle_s * _MILLISECONDS, section.session_s * _MILLISECONDS
            ),
            clock=ports.clock,
        )
        public = urlsplit(section.public_url or "").netloc
        self._guard = Guard(
            self._sessions,
            pages,
            clock=ports.clock,
            secure=section.tls_certificate is not None or bool(public),
            public_host=public,
        )
        self._login = LoginPages(self._sessions, self._guard, pages)
        self._probe = NodesProbe(ports.synced)
        self._pages = pages
        self._heartbeat_s = section.heartbeat_s

    def routes(self) -> list[Route]:
        """List every route behind the log-in."""
        ports, pages = self._ports, self._pages
        live = Live(
            ports.store,
            ports.publisher,
            self._sessions,
            heartbeat_s=self._heartbeat_s,
        )
        return [
            *OverviewPage(ports, pages, self._probe).routes(),
            *WithdrawalPages(ports, pages).routes(),
            *DepositPages(ports, pages).routes(),
            *SweepPages(ports, pages).routes(),
            *RecordPages(ports, pages, self._probe).routes(),
            *SearchPage(ports, pages).routes(),
            *self._login.routes(),
            Route(path="/live", handler=live.stream),
        ]

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application(
            client_max_size=_MOST_FORM_BYTES, middlewares=[self._guard.tell]
        )
        for route in self.routes():
            app.router.add_route(route.method, route.path, self._guard.guarded(route))
        app.router.add_get("/login", self._login.ask)
        app.router.add_post("/login", self._login.log_in)
        app.router.add_get("/static/{name}", self._static)
        app.on_response_prepare.append(add_headers)
        app.on_shutdown.append(self._end)
        return app

    async def _static(self, request: web.Request) -> web.Response:
        found: StaticFile | None = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(
            body=found.body,
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
            content_type=found.media_type,
            charset="utf-8",
        )

    async def _end(self, _app: web.Application) -> None:
        await self._ports.publisher.close()
        await self._probe.close()
