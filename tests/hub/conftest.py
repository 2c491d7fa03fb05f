# SPDX-License-Identifier: Apache-2.0
"""A migrated store on each database, and a clock that is set by hand."""

from collections.abc import AsyncGenerator, Iterator

import pytest

from hub.store import Store
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import (
    NAMES,
    Databases,
    Postgresql,
    Sqlite,
    running_postgresql,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    yield from running_postgresql()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Sqlite:
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=NAMES)
def databases(request: pytest.FixtureRequest) -> Databases:
    """Each kind of database in turn."""
    found: Databases = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated database of this test alone."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncGenerator[Store]:
    opened = Store(database_url, clock=clock)
    yield opened
    async with opened.reading() as tx:
        report = await tx.books.verify()
    await opened.close()
    assert report.sound, report  # after every test the books must balance
