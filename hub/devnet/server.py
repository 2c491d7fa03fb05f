# SPDX-License-Identifier: Apache-2.0
"""The devnet over HTTP: the node's one endpoint, and the admin endpoints."""

import asyncio
import base64
import hmac
from http import HTTPStatus
from typing import Final

from aiohttp import web

from hub.devnet.admin import admin_routes
from hub.devnet.config import Dialect
from hub.devnet.devnet import Devnet
from hub.devnet.faults import Fault
from hub.devnet.hornet import HornetApi
from hub.devnet.iri import IriApi
from hub.devnet.replies import Api, Reply, Request

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""What the server itself takes; the dialects' own limits are lower."""

VERSION_HEADER: Final = "X-IOTA-API-Version"

_ANY_ORIGIN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        f"Origin, X-Requested-With, Content-Type, Accept, Authorization,"
        f" {VERSION_HEADER}"
    ),
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
}


def api_of(devnet: Devnet) -> Api:
    """Make the dialect that a network is told to speak.

    Args:
        devnet: The network.

    Returns:
        It.
    """
    if devnet.config.dialect is Dialect.HORNET:
        return HornetApi(devnet)
    return IriApi(devnet)


def application(devnet: Devnet) -> web.Application:
    """Build the web application of a network.

    Args:
        devnet: The network.

    Returns:
        The application, without a listener.
    """
    endpoint = _Endpoint(devnet, api_of(devnet))
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/", endpoint.post),
            web.options("/", endpoint.options),
            web.get("/healthz", endpoint.health),
            *admin_routes(devnet),
        ]
    )
    return app


class _Endpoint:
    """What a node's port answers, with the faults of the transport."""

    def __init__(self, devnet: Devnet, api: Api) -> None:
        self._devnet = devnet
        self._api = api

    async def post(self, request: web.Request) -> web.StreamResponse:
        if not self._may_enter(request):
            challenge = {"WWW-Authenticate": f'Basic realm="{self._api.realm}"'}
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers=challenge)
        has_version = VERSION_HEADER in request.headers
        reply = await self._api.answer(Request(await request.read(), has_version))
        await asyncio.sleep(self._devnet.faults.seconds(Fault.SLOW_REPLIES))
        if self._devnet.faults.take_one(Fault.DROPPED_REPLIES):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return self._response(reply)

    async def options(self, _: web.Request) -> web.Response:
        return web.Response(headers=_ANY_ORIGIN)

    async def health(self, _: web.Request) -> web.Response:
        healthy = self._devnet.is_healthy()
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(status=status)

    def _may_enter(self, request: web.Request) -> bool:
        wanted = self._devnet.config.basic_auth
        if wanted is None:
            return True
        expected = "Basic " + base64.b64encode(wanted.encode()).decode()
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), expected.encode())

    def _response(self, reply: Reply) -> web.Response:
        response = web.json_response(
            dict(reply.body), status=reply.status, headers=_ANY_ORIGIN
        )
        if self._devnet.config.dialect is Dialect.HORNET:
            response.enable_compression()
        return response
