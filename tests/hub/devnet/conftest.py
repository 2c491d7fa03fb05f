# SPDX-License-Identifier: Apache-2.0
"""Running devnets in each dialect, and callers for them."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from hub.devnet.config import Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from tests.hub.devnet.world import Caller, Wallet, plain


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def iri() -> AsyncIterator[RunningDevnet]:
    async with running_devnet(plain(Dialect.IRI)) as devnet:
        yield devnet


@pytest.fixture
async def hornet() -> AsyncIterator[RunningDevnet]:
    async with running_devnet(plain(Dialect.HORNET)) as devnet:
        yield devnet


@pytest.fixture(params=[*Dialect])
async def devnet(request: pytest.FixtureRequest) -> AsyncIterator[RunningDevnet]:
    """A devnet in each dialect in turn."""
    async with running_devnet(plain(request.param)) as running:
        yield running


@pytest.fixture
def call(devnet: RunningDevnet, session: aiohttp.ClientSession) -> Caller:
    return Caller(devnet.url, session)


@pytest.fixture
def call_iri(iri: RunningDevnet, session: aiohttp.ClientSession) -> Caller:
    return Caller(iri.url, session)


@pytest.fixture
def call_hornet(hornet: RunningDevnet, session: aiohttp.ClientSession) -> Caller:
    return Caller(hornet.url, session)


@pytest.fixture
def wallet() -> Wallet:
    return Wallet()
