# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub doctor``: each check finds its fault, and is quiet without it."""

import asyncio
import datetime as dt
import json
import sqlite3
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from hub.doctor import Level, check_certificate, check_private, check_sqlite
from tests.flows.world import free_port
from tests.hub.databases import Sqlite, migrate
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
        for quorum, expected in ((1, 3), (2, 1)):
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
            bad = [f for f in json.loads(out) if f["level"] != "ok"]
            assert process.returncode == expected, bad
            assert any(f["found"] == "does not answer" for f in bad)
