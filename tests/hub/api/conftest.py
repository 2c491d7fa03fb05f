# SPDX-License-Identifier: Apache-2.0
"""Legacy listeners on real sockets, over simulated appliance and nodes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer

from hub.api.grpc_server import GrpcApi
from hub.api.legacy import build_app
from hub.api.legacy_commands import commands
from hub.api.legacy_history import HistoryCommands
from hub.config import GrpcApiSection, LegacyApiSection
from hub.store import Store
from tests.hub.api.old_client import OldClient
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.api.story import Story, play
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import Databases

Call: TypeAlias = Callable[[str], Awaitable[tuple[int, str]]]
"""Post a body; get the status and the whole reply."""
Dial: TypeAlias = Callable[..., AbstractAsyncContextManager[OldClient]]
Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[GrpcApi, str]]]


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Databases:
    """SQLite, unless a test asks for both: most replies come before the database."""
    found: Databases = request.getfixturevalue(getattr(request, "param", "sqlite"))
    return found


@pytest.fixture
def appliance() -> SimulatedAppliance:
    return SimulatedAppliance()


@pytest.fixture
def nodes() -> SimulatedNodes:
    return SimulatedNodes()


@pytest.fixture
async def client(
    store: Store, appliance: SimulatedAppliance, nodes: SimulatedNodes
) -> AsyncGenerator[TestClient]:
    table = commands(store, issuer=appliance, oracle=nodes)
    async with TestClient(TestServer(build_app(LegacyApiSection(), table))) as opened:
        yield opened


@pytest.fixture
def call(client: TestClient) -> Call:
    async def post(body: str) -> tuple[int, str]:
        async with client.post("/", data=body.encode()) as reply:
            return reply.status, (await reply.read()).decode()

    return post


@pytest.fixture
async def story(store: Store, clock: ManualClock) -> Story:
    return await play(store, clock)


@pytest.fixture
def serve(store: Store, appliance: SimulatedAppliance, nodes: SimulatedNodes) -> Serve:
    """Serve gRPC with some settings; get the server and where it listens."""

    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncGenerator[tuple[GrpcApi, str]]:  # noqa: ANN401
        section = GrpcApiSection(enabled=True, listen="127.0.0.1:0", **settings)
        table = commands(store, issuer=appliance, oracle=nodes)
        api = GrpcApi(section, table, HistoryCommands(store))
        target = await api.start()
        try:
            yield api, target
        finally:
            await api.stop()

    return serving


@pytest.fixture
def dial(serve: Serve) -> Dial:
    """Serve gRPC with some settings and open a client of it."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncGenerator[OldClient]:  # noqa: ANN401
        async with (
            serve(**settings) as (_, target),
            grpc.aio.insecure_channel(target) as channel,
        ):
            yield OldClient(channel)

    return opened
