# SPDX-License-Identifier: Apache-2.0
"""The way to a PostgreSQL server: its password, its certificate, the pool."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.errors import ConfigError, DatabaseUnavailableError
from hub.store import Store
from hub.store.engine import DatabaseOptions
from tests.hub.api.certificates import Authority
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import Postgresql
from tests.hub.test_config import MINIMAL
from tests.postgres import ROLE


@pytest.fixture
def databases(postgresql: Postgresql) -> Postgresql:
    """In this file: PostgreSQL alone."""
    return postgresql


@pytest.fixture
def bare_url(database_url: str, postgresql: Postgresql) -> str:
    """The URL as an operator writes it: without the password."""
    return database_url.replace(f":{postgresql.server.password}@", "@")


@pytest.fixture
def authority(postgresql: Postgresql, tmp_path: Path) -> Iterator[Authority]:
    """The authority of the certificate that the server shows meanwhile."""
    made = Authority(tmp_path / "authority")
    pair = made.issue("postgresql")
    server = postgresql.server
    for name, file in (("tls.pem", pair.certificate), ("tls.key", pair.key)):
        copy = shutil.copy(file, server.data / name)
        if server.user:
            shutil.chown(copy, server.user)
    server.set(ssl="on", ssl_cert_file="tls.pem", ssl_key_file="tls.key")
    yield made
    server.set()


async def is_encrypted(url: str, options: DatabaseOptions) -> bool:
    store = Store(url, clock=ManualClock(), options=options)
    try:
        async with store.reading() as tx:
            result = await tx.accounts._connection.exec_driver_sql(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )
            return bool(result.scalar_one())
    finally:
        await store.close()


async def test_with_an_authority_the_connection_is_encrypted_and_checked(
    authority: Authority, bare_url: str, postgresql: Postgresql, tmp_path: Path
) -> None:
    password = postgresql.server.password
    assert await is_encrypted(bare_url, DatabaseOptions(password, authority.file))
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(DatabaseUnavailableError, match=r"(?i)certificate"):
        await is_encrypted(bare_url, DatabaseOptions(password, stranger.file))
    elsewhere = bare_url.replace("127.0.0.1", "localhost")
    with pytest.raises(DatabaseUnavailableError, match=r"(?i)certificate"):
        await is_encrypted(elsewhere, DatabaseOptions(password, authority.file))


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear_instead(
    bare_url: str, postgresql: Postgresql, tmp_path: Path
) -> None:
    made = Authority(tmp_path / "authority")
    options = DatabaseOptions(postgresql.server.password, made.file)
    with pytest.raises(DatabaseUnavailableError):
        await is_encrypted(bare_url, options)


def test_an_authority_that_is_no_certificate_is_a_configuration_error(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="database_ca"):
        Store(
            "postgresql+asyncpg://u@h/d",
            clock=ManualClock(),
            options=DatabaseOptions(ca=file),
        )


async def test_the_pool_never_holds_more_than_it_may(
    bare_url: str, postgresql: Postgresql
) -> None:
    options = DatabaseOptions(postgresql.server.password, pool_size=2)
    store = Store(bare_url, clock=ManualClock(), options=options)

    async def look() -> None:
        async with store.reading() as tx:
            await tx.accounts.owner()

    await asyncio.gather(*(look() for _ in range(20)))
    names = postgresql.server.query(
        "SELECT datname FROM pg_stat_activity WHERE application_name = 'saltkeep-hub'"
    )
    await store.close()
    assert names.count([bare_url.rpartition("/")[2]]) == 2


def program(folder: Path, url: str, command: str) -> subprocess.CompletedProcess[str]:
    path = folder / "hub.toml"
    lines = f'database_url = "{url}"\ndatabase_password_file = "password"'
    sqlite = 'database_url = "sqlite+aiosqlite:///hub.db"'
    path.write_text(MINIMAL.replace(sqlite, lines))
    return subprocess.run(
        [sys.executable, "-m", "hub", "--config", str(path), command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_takes_its_password_from_a_file_and_never_prints_it(
    bare_url: str, postgresql: Postgresql, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(postgresql.server.password + "\n")
    done = program(tmp_path, bare_url, "audit")
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text("mellon-mellon")
    refused = program(tmp_path, bare_url, "migrate")
    assert refused.returncode == 1
    assert refused.stderr.startswith("database-unavailable: ")
    assert ROLE in refused.stderr
    assert "mellon" not in refused.stderr + refused.stdout
    file.chmod(0o644)
    assert program(tmp_path, bare_url, "migrate").stderr.startswith("config-invalid: ")
