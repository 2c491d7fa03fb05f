# SPDX-License-Identifier: Apache-2.0
"""Nodes that say what a test wants, over real HTTP; one handler each."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from hub.nodes import Nodes
from tests.hub.bookkeeping import ManualClock


class SimulatedNode:
    """Answers each command from a table; ``status`` and ``raw`` override all."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.status = 200
        self.delay_s = 0.0
        self.raw: bytes | None = None
        self.asked: list[dict[str, Any]] = []

    async def serve(self, request: web.Request) -> web.Response:
        command: dict[str, Any] = await request.json()
        self.asked.append(command)
        await asyncio.sleep(self.delay_s)
        if self.raw is not None:
            return web.Response(status=self.status, body=self.raw)
        answer = self.answers.get(command["command"], {"error": "unknown"})
        if callable(answer):
            answer = answer(command)
        return web.json_response(answer, status=self.status)


@asynccontextmanager
async def serving(node: SimulatedNode) -> AsyncGenerator[str]:
    """Serve one node; gives its URL."""
    app = web.Application()
    app.router.add_post("/", node.serve)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@asynccontextmanager
async def quorum_of(
    *nodes: SimulatedNode,
    quorum: int,
    timeout_s: float = 1.0,
    dialect: str = "hornet",
    clock_ms: Callable[[], int] | None = None,
) -> AsyncGenerator[Nodes]:
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(node)) for node in nodes]
        yield await stack.enter_async_context(
            Nodes(
                [(url, dialect) for url in urls],  # type: ignore[misc]
                quorum=quorum,
                timeout_s=timeout_s,
                clock_ms=clock_ms or ManualClock(),
            )
        )


class RelayNode(SimulatedNode):
    """Passes on to a real node what no answer of its own overrides."""

    def __init__(self, url: str, **answers: object) -> None:
        super().__init__(**answers)
        self.url = url

    def commands(self, name: str) -> list[dict[str, Any]]:
        """Return what was asked under a name."""
        return [asked for asked in self.asked if asked["command"] == name]

    async def serve(self, request: web.Request) -> web.Response:
        command = await request.json()
        if command["command"] in self.answers:
            return await super().serve(request)
        self.asked.append(command)
        async with (
            ClientSession() as session,
            session.post(
                self.url, json=command, headers={"X-IOTA-API-Version": "1"}
            ) as reply,
        ):
            return web.json_response(await reply.json(), status=reply.status)
