# SPDX-License-Identifier: Apache-2.0
"""Old databases on both kinds of server, and an appliance that adopts."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import bookkeeping as books
from tests.hub.legacy_import.mariadb import Server
from tests.hub.legacy_import.old_hub import OldHub, live, on_mariadb, on_sqlite


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    started = Server()
    try:
        started.start()
        yield started
    finally:
        started.destroy()


def random_address(_uuid: str) -> str:
    """Stand for a derivation where nobody derives."""
    return "".join(secrets.choice(books.TRYTES) for _ in range(80)) + "9"


@pytest.fixture(params=["mariadb", "sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> OldHub:
    if request.param == "sqlite":
        return on_sqlite(tmp_path)
    return on_mariadb(request.getfixturevalue("server"), tmp_path)


@pytest.fixture
def old(empty: OldHub) -> OldHub:
    """A database with a life in it, on either server."""
    live(empty, random_address)
    return empty


@pytest.fixture
def old_file(tmp_path: Path) -> OldHub:
    """The same on SQLite alone, where the server is beside the point."""
    hub = on_sqlite(tmp_path)
    live(hub, random_address)
    return hub
