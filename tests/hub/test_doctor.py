# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub doctor``: each check finds its fault, and is quiet without it."""

import asyncio
import datetime as dt
import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from channel.findings import Level, check_certificate, check_disk, check_private
from hub.clock import system_clock_ms
from hub.config import Config, load
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from hub.doctor import check_clock, check_database, check_line, check_sqlite
from hub.store import Store
from tests.flows.world import free_port
from tests.hub.databases import Postgresql, Sqlite, migrate
from tests.hub.test_nodes_command import CONFIGURATION

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def certificate(path: Path, *, now: dt.datetime, days: int) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=100))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("days", "level"),
    [
        (-2, Level.FAILURE),
        (6, Level.FAILURE),
        (7, Level.WARNING),
        (29, Level.WARNING),
        (30, Level.OK),
    ],
)
def test_a_certificate_is_told_of_before_it_expires(
    tmp_path: Path, days: int, level: Level
) -> None:
    path = certificate(tmp_path / "c.pem", now=NOW, days=days)
    assert check_certificate("c", path, now=NOW).level is level


def test_a_key_that_others_can_read_is_a_failure(tmp_path: Path) -> None:
    key = tmp_path / "hub.key"
    assert check_private("key", key).level is Level.FAILURE
    key.touch(mode=0o600)
    assert check_private("key", key).level is Level.OK
    key.chmod(0o644)
    assert check_private("key", key).mend == f"chmod 600 {key}"


def test_a_serial_device_that_is_none_is_a_failure(tmp_path: Path) -> None:
    absent, plain = tmp_path / "absent", tmp_path / "plain"
    plain.touch()
    assert check_line("device", absent).level is Level.FAILURE
    assert check_line("device", plain).level is Level.FAILURE
    assert check_line("device", Path("/dev/null")).level is Level.OK


def test_a_missing_or_latched_database_is_a_failure_and_none_is_made(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "none.db"
    assert [f.level for f in check_sqlite(missing)] == [Level.FAILURE]
    assert not missing.exists()
    file = Path(Sqlite(tmp_path).migrated().partition(":///")[2])
    assert [f.level for f in check_sqlite(file)] == [Level.OK, Level.OK]
    with sqlite3.connect(file) as base:
        base.execute("INSERT INTO books_latch VALUES (1, 'differs', 0)")
    base.close()
    assert [f.level for f in check_sqlite(file)] == [Level.OK, Level.FAILURE]


@pytest.mark.parametrize(
    ("ahead_ms", "level"),
    [(0, Level.OK), (-1001, Level.WARNING), (10_001, Level.FAILURE)],
)
def test_two_clocks_that_differ_are_told_of(ahead_ms: int, level: Level) -> None:
    assert check_clock("clock", ahead_ms).level is level


def test_a_folder_that_is_not_there_has_no_room(tmp_path: Path) -> None:
    assert check_disk("disk", tmp_path / "none").level is Level.FAILURE


def configured(folder: Path, database_url: str) -> Config:
    for name in ("ca.pem", "hub.pem", "hub.key"):
        (folder / name).touch(mode=0o600)
    path = folder / "hub.toml"
    text = CONFIGURATION.format(
        folder=folder, url="http://127.0.0.1:1", quorum=1, pin="a" * 64, closed=2
    )
    path.write_text(text)
    config = load(path)
    # Not by the file: it must not hold a password, and a test's server wants one.
    section = replace(config.hub, database_url=database_url)
    return replace(config, hub=section)


async def levels(config: Config, *, late_ms: int = 0) -> list[Level]:
    def clock() -> int:
        return system_clock_ms() - late_ms

    return [f.level for f in await check_database(config, clock=clock)]


async def test_a_database_server_is_looked_at(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    url = postgresql.migrated()
    config = configured(tmp_path, url)
    assert await levels(config) == [Level.OK] * 3
    assert await levels(config, late_ms=20_000) == [Level.OK, Level.OK, Level.FAILURE]
    store = Store(url, clock=system_clock_ms)
    await store.run(lambda tx: tx.books.latch("differs"))
    assert await levels(config) == [Level.OK, Level.FAILURE, Level.OK]
    await store.migrate("0003")
    await store.close()
    assert (await levels(config))[0] is Level.FAILURE


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://hub:s3cret@127.0.0.1:1/hub", "s3cret"]
)
async def test_a_database_that_can_not_be_opened_is_told_without_its_password(
    tmp_path: Path, url: str
) -> None:
    config = configured(tmp_path, url)
    (found,) = await check_database(config, clock=system_clock_ms)
    assert found.level is Level.FAILURE
    assert "s3cret" not in repr(found)


async def test_the_operator_sees_the_node_that_is_down(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - the command takes the real one
    for name in ("ca.pem", "hub.pem"):
        certificate(tmp_path / name, now=now, days=90)
    (tmp_path / "hub.key").touch(mode=0o600)
    await migrate(f"sqlite+aiosqlite:///{tmp_path}/hub.db")
    config = DevnetConfig(min_weight_magnitude=1, dialect=Dialect.HORNET)
    path = tmp_path / "hub.toml"
    async with running_devnet(config) as devnet:
        await devnet.tick()
        for quorum, expected in ((1, "ok"), (2, "failure")):
            path.write_text(
                CONFIGURATION.format(
                    folder=tmp_path,
                    url=devnet.url,
                    quorum=quorum,
                    pin="a" * 64,
                    closed=free_port(),
                )
            )
            command = [sys.executable, "-m", "hub", "--config", str(path), "--json"]
            process = await asyncio.create_subprocess_exec(
                *command, "doctor", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            found = {one["what"]: one for one in json.loads(out)}
            assert process.returncode == 1, found  # no appliance is there
            assert found["quorum"]["level"] == expected
            away = [f for f in found.values() if f["found"] == "does not answer"]
            assert [one["level"] for one in away] == ["warning"]
