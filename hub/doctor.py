# SPDX-License-Identifier: Apache-2.0
"""Checks of a hub's files, certificates, disk, SQLite file and nodes; changes nothing.

Absent on purpose, so far: PostgreSQL, the appliance, leases and the address pool.
"""

import datetime as dt
import enum
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from sqlalchemy.engine import make_url

from hub.clock import Clock
from hub.config import Config
from hub.errors import NodeUnavailableError
from hub.service import nodes_of
from hub.store.engine import is_sqlite
from hub.store.migrate import newest_revision

_OTHERS: Final = 0o077
_WARN_DAYS: Final = 30
_FAIL_DAYS: Final = 7
_WARN_FREE_BYTES: Final = 2 << 30
_FAIL_FREE_BYTES: Final = 200 << 20


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """Works, and will not for long; or could not be checked."""
    FAILURE = "failure"
    """Does not work, or is not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: How bad it is.
        what: What was checked.
        found: What was seen; never a secret.
        mend: What to do; empty: nothing.
    """

    level: Level
    what: str
    found: str
    mend: str = ""


def check_private(name: str, path: Path) -> Finding:
    """Check that nobody but its owner may open a secret's file."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        mend = f"put the file where {name} says"
        return Finding(Level.FAILURE, name, f"{path}: {error.strerror}", mend)
    if mode & _OTHERS:
        found = f"{path} has mode {mode:04o}"
        return Finding(Level.FAILURE, name, found, f"chmod 600 {path}")
    return Finding(Level.OK, name, f"mode {mode:04o}")


def check_certificate(name: str, path: Path, *, now: dt.datetime) -> Finding:
    """Check that no certificate of a PEM file has expired or is about to."""
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        mend = f"put the file where {name} says"
        return Finding(Level.FAILURE, name, f"{path}: {error.strerror}", mend)
    except ValueError:
        return Finding(Level.FAILURE, name, f"{path} is no PEM", "install it anew")
    if any(now < one.not_valid_before_utc for one in chain):
        mend = "set this machine's clock, or have it issued anew"
        return Finding(Level.FAILURE, name, "is not in force yet", mend)
    days = min(one.not_valid_after_utc - now for one in chain).days
    if days < 0:
        mend = "have it issued anew and restart the hub"
        return Finding(Level.FAILURE, name, "has expired", mend)
    level = Level.OK
    if days < _WARN_DAYS:
        level = Level.FAILURE if days < _FAIL_DAYS else Level.WARNING
    mend = "" if level is Level.OK else "have it issued anew and restart the hub"
    return Finding(level, name, f"in force for {days} days", mend)


def check_disk(name: str, folder: Path) -> Finding:
    """Check that a folder's disk has room."""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder}: {error.strerror}"
        return Finding(Level.FAILURE, name, found, f"make the folder {folder}")
    found = f"{free_bytes >> 20} MiB free"
    if free_bytes >= _WARN_FREE_BYTES:
        return Finding(Level.OK, name, found)
    level = Level.FAILURE if free_bytes < _FAIL_FREE_BYTES else Level.WARNING
    return Finding(level, name, found, f"make room on the disk of {folder}")


def check_sqlite(file: Path) -> Iterator[Finding]:
    """Check revision and latch of an SQLite file, opened for reading only."""
    what = "hub.database_url"
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as base:
            row = base.execute("SELECT version_num FROM alembic_version").fetchone()
            latch = base.execute("SELECT reason FROM books_latch").fetchone()
    except sqlite3.Error as error:
        mend = "check path and owner; a first `serve` makes the tables"
        yield Finding(Level.FAILURE, what, f"{file}: {error}", mend)
        return
    newest = newest_revision()
    if row is None or row[0] != newest:
        found = f"revision {row[0] if row else 'none'}, this program's is {newest}"
        yield Finding(Level.FAILURE, what, found, "saltkeep-hub migrate, or upgrade")
    else:
        yield Finding(Level.OK, what, f"revision {newest}")
    if latch:
        mend = "saltkeep-hub audit; no balance changes until people have looked"
        yield Finding(Level.FAILURE, "books", f"latched: {latch[0]}", mend)
    else:
        yield Finding(Level.OK, "books", "not latched")


def check_database(config: Config) -> Iterator[Finding]:
    """Check the database, and the disk of an SQLite file."""
    url = make_url(config.hub.database_url)
    if not is_sqlite(url) or not url.database:
        found = "PostgreSQL is not checked by this version"
        mend = "saltkeep-hub audit opens it, and tells what is wrong"
        yield Finding(Level.WARNING, "hub.database_url", found, mend)
        return
    file = Path(url.database)
    yield from check_sqlite(file)
    yield check_disk("database's disk", file.parent)


async def check_nodes(config: Config, *, clock: Clock) -> list[Finding]:
    """Check that a quorum of nodes is synchronised, and each node by itself."""
    async with nodes_of(config, clock=clock) as nodes:
        try:
            index = (await nodes.require_synced()).index
            quorum = Finding(Level.OK, "quorum", f"has reached milestone {index}")
        except NodeUnavailableError as error:
            mend = "mend the nodes below; compare this machine's clock with theirs"
            quorum = Finding(Level.FAILURE, "quorum", str(error), mend)
        found = [quorum]
        for node in nodes.health():
            what = f"node {node.url}"
            if node.last_answer_ms is None:
                mend = "start it, or correct its URL and dialect"
                found.append(Finding(Level.WARNING, what, "does not answer", mend))
            elif node.stale:
                mend = "let it catch up; see docs/nodes.md"
                found.append(Finding(Level.WARNING, what, "is behind", mend))
            else:
                found.append(Finding(Level.OK, what, "answers"))
        return found


def check_files(config: Config, *, now: dt.datetime) -> Iterator[Finding]:
    """Check every secret's file and every certificate that is configured."""
    api, reconciler = config.api, config.reconciler
    secrets = {
        "appliance.key": config.appliance.key,
        "hub.database_password_file": config.hub.database_password_file,
        "api.legacy.api_key_file": api.legacy.api_key_file,
        "api.legacy.tls_key": api.legacy.tls_key,
        "api.legacy.token_key_file": api.legacy.token_key_file,
        "api.grpc.api_key_file": api.grpc.api_key_file,
        "api.grpc.tls_key": api.grpc.tls_key,
        "api.v1.tls_key": api.v1.tls_key,
        "api.v1.webhook_key_file": api.v1.webhook_key_file,
        "reconciler.auditor_key": reconciler.auditor_key,
    }
    certificates = {
        "appliance.ca": config.appliance.ca,
        "appliance.certificate": config.appliance.certificate,
        "hub.database_ca": config.hub.database_ca,
        "api.legacy.tls_certificate": api.legacy.tls_certificate,
        "api.legacy.client_ca": api.legacy.client_ca,
        "api.grpc.tls_certificate": api.grpc.tls_certificate,
        "api.grpc.client_ca": api.grpc.client_ca,
        "api.v1.tls_certificate": api.v1.tls_certificate,
        "api.v1.client_ca": api.v1.client_ca,
        "reconciler.auditor_certificate": reconciler.auditor_certificate,
    }
    for name, path in secrets.items():
        if path is not None:
            yield check_private(name, path)
    for name, path in certificates.items():
        if path is not None:
            yield check_certificate(name, path, now=now)


async def examine(config: Config, *, clock: Clock) -> list[Finding]:
    """Run every check; changes nothing and takes no lock of a running hub."""
    now = dt.datetime.fromtimestamp(clock() / 1000, dt.UTC)
    return [
        *check_files(config, now=now),
        check_disk("hub.state_dir", config.hub.state_dir),
        *check_database(config),
        *await check_nodes(config, clock=clock),
    ]
