# SPDX-License-Identifier: Apache-2.0
"""A migrated store on a file, a clock that is set by hand, and tokens to book."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hub.store import Store
from tests.hub.bookkeeping import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate once; every test works on a copy."""
    file = tmp_path_factory.mktemp("migrated") / "hub.db"

    async def migrate() -> None:
        opened = Store(f"sqlite+aiosqlite:///{file}", clock=ManualClock())
        await opened.migrate()
        await opened.close()

    asyncio.run(migrate())
    return file


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}"


@pytest.fixture
async def store(
    database_url: str, tmp_path: Path, migrated_file: Path, clock: ManualClock
) -> AsyncGenerator[Store]:
    shutil.copy(migrated_file, tmp_path / "hub.db")
    opened = Store(database_url, clock=clock)
    yield opened
    async with opened.reading() as tx:
        report = await tx.books.verify()
    await opened.close()
    assert report.sound, report  # after every test the books must balance
