# SPDX-License-Identifier: Apache-2.0
"""A migrated store on a file, a clock that is set by hand, and tokens to book."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hub.store import Store
from tests.hub.bookkeeping import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}"


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncGenerator[Store]:
    opened = Store(database_url, clock=clock)
    await opened.migrate()
    yield opened
    async with opened.reading() as tx:
        report = await tx.books.verify()
    await opened.close()
    assert report.sound, report  # after every test the books must balance
