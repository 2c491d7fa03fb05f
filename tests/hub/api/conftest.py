# SPDX-License-Identifier: Apache-2.0
"""A legacy listener on a real socket, over simulated appliance and nodes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hub.api.legacy import build_app, commands
from hub.config import LegacyApiSection
from hub.store import Store
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.databases import Databases

Call: TypeAlias = Callable[[str], Awaitable[tuple[int, str]]]
"""Post a body; get the status and the whole reply."""


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
