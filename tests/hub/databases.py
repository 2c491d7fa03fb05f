# SPDX-License-Identifier: Apache-2.0
"""The databases that the hub's tests run on: SQLite and a real PostgreSQL.

Each test gets a database of its own: a copy of a migrated file, or a database made
from a migrated template.
"""

import asyncio
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from hub.store import Store
from tests.hub.bookkeeping import ManualClock
from tests.postgres import ROLE, Server

NAMES = ("sqlite", "postgresql")
TEMPLATE = "migrated"
_serial = itertools.count(1)


class Sqlite:
    """Files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "migrated.db"
        asyncio.run(migrate(_file_url(self._template)))

    def empty(self) -> str:
        """Return the URL of a database without tables."""
        return _file_url(self._folder / f"{next(_serial)}.db")

    def migrated(self) -> str:
        """Return the URL of a database with every table."""
        url = self.empty()
        shutil.copy(self._template, url.partition(":///")[2])
        return url

    def drop(self, url: str) -> None:
        file = Path(url.partition(":///")[2])
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()


class Postgresql:
    """Databases of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._create(TEMPLATE, "template0")
        asyncio.run(migrate(self._url(TEMPLATE)))

    def empty(self) -> str:
        return self._url(self._create(f"hub{next(_serial)}", "template0"))

    def migrated(self) -> str:
        return self._url(self._create(f"hub{next(_serial)}", TEMPLATE))

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2]
        with self.server.connect("postgres") as connection:
            connection.run(f"DROP DATABASE {name} WITH (FORCE)")

    def _create(self, name: str, template: str) -> str:
        with self.server.connect("postgres") as connection:
            connection.run(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}")
        return name

    def _url(self, name: str) -> str:
        return (
            f"postgresql+asyncpg://{ROLE}:{self.server.password}"
            f"@127.0.0.1:{self.server.port}/{name}"
        )


Databases = Sqlite | Postgresql


def running_postgresql() -> Iterator[Postgresql]:
    """One server, its disk not waited for; a session needs no more."""
    server = Server(fast=True)
    try:
        server.start()
        yield Postgresql(server)
    finally:
        server.destroy()


async def migrate(url: str) -> None:
    store = Store(url, clock=ManualClock())
    await store.migrate()
    await store.close()


def _file_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"
