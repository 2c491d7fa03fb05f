# SPDX-License-Identifier: Apache-2.0
"""One appliance made per session; copies of it for tests that maltreat theirs."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from hub.devnet.config import Dialect
from tests.flows.world import (
    DESK,
    Appliance,
    World,
    copy_appliance,
    make_appliance,
    running_world,
)


@pytest.fixture(scope="session", autouse=True)
def _bundle_process() -> Generator[None]:
    yield
    DESK.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh appliance that is never started."""
    folder = tmp_path_factory.mktemp("template") / "box"
    asyncio.run(make_appliance(folder))
    return folder


@pytest.fixture(scope="module")
def shared_appliance(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Appliance]:
    """An appliance that runs for all tests of a module; do not maltreat it."""
    appliance = copy_appliance(template, tmp_path_factory.mktemp("shared") / "box")
    appliance.start()
    asyncio.run(appliance.wait_ready())
    try:
        yield appliance
        appliance.verify_journal()
    finally:
        appliance.stop()


@pytest.fixture
async def appliance(template: Path, tmp_path: Path) -> AsyncGenerator[Appliance]:
    """An appliance of this test alone, running."""
    own = copy_appliance(template, tmp_path / "box")
    own.start()
    try:
        await own.wait_ready()
        yield own
    finally:
        own.stop()


@pytest.fixture(params=list(Dialect), ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.fixture
async def world(
    shared_appliance: Appliance, tmp_path: Path, dialect: Dialect
) -> AsyncGenerator[World]:
    """A story's world, once per dialect."""
    async with running_world(shared_appliance, tmp_path, dialect=dialect) as made:
        yield made


@pytest.fixture
async def iri_world(
    shared_appliance: Appliance, tmp_path: Path
) -> AsyncGenerator[World]:
    """A story's world where the dialect is beside the point."""
    async with running_world(shared_appliance, tmp_path) as made:
        yield made


@pytest.fixture
async def own_world(appliance: Appliance, tmp_path: Path) -> AsyncGenerator[World]:
    """A world whose appliance may be maltreated."""
    async with running_world(appliance, tmp_path) as made:
        yield made
