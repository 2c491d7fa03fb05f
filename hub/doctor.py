# SPDX-License-Identifier: Apache-2.0
"""Checks of a hub's files, certificates, disk, database and nodes; changes nothing.

Not looked at: the appliance, which has its own ``status``, and who holds which lease.
"""

import datetime as dt
import enum
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from hub.clock import Clock
from hub.config import Config
from hub.errors import HubError, NodeUnavailableError
from hub.files import certificates_of, secrets_of
from hub.service import nodes_of, open_store
from hub.store.engine import is_sqlite
from hub.store.failures import FAILURES
from hub.store.migrate import newest_revision

_OTHERS: Final = 0o077
_WARN_DAYS: Final = 30
_FAIL_DAYS: Final = 7
_WARN_FREE_BYTES: Final = 2 << 30
_FAIL_FREE_BYTES: Final = 200 << 20
_WARN_CLOCK_MS: Final = 1_000
_FAIL_CLOCK_MS: Final = 10_000
_DATABASE: Final = "hub.database_url"


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


def check_line(name: str, path: Path) -> Finding:
    """Check that a serial device is there and may be opened; it is not opened."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        mend = "plug the adapter in, and name it as /dev/serial/by-id does"
        return Finding(Level.FAILURE, name, f"{path}: {error.strerror}", mend)
    if not stat.S_ISCHR(mode):
        mend = "name the device itself"
        return Finding(Level.FAILURE, name, f"{path} is no device", mend)
    if not os.access(path, os.R_OK | os.W_OK):
        mend = "put the hub's user into the group that owns it (often dialout)"
        return Finding(Level.FAILURE, name, f"{path} may not be opened", mend)
    return Finding(Level.OK, name, "is there and may be opened")


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
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as base:
            row = base.execute("SELECT version_num FROM alembic_version").fetchone()
            latch = base.execute("SELECT reason FROM books_latch").fetchone()
    except sqlite3.Error as error:
        mend = "check path and owner; a first `serve` makes the tables"
        yield Finding(Level.FAILURE, _DATABASE, f"{file}: {error}", mend)
        return
    yield from _told(row and row[0], latch[0] if latch else "")


def _told(revision: str | None, latch: str) -> Iterator[Finding]:
    newest = newest_revision()
    if revision != newest:
        found = f"revision {revision or 'none'}, this program's is {newest}"
        mend = "a first `serve` migrates; if it is newer, upgrade the program"
        yield Finding(Level.FAILURE, _DATABASE, found, mend)
    else:
        yield Finding(Level.OK, _DATABASE, f"revision {newest}")
    if latch:
        mend = "saltkeep-hub audit; no balance changes until people have looked"
        yield Finding(Level.FAILURE, "books", f"latched: {latch}", mend)
    else:
        yield Finding(Level.OK, "books", "not latched")


async def check_database(config: Config, *, clock: Clock) -> list[Finding]:
    """Check the database: revision, latch, clock; and the disk of an SQLite file."""
    try:
        url = make_url(config.hub.database_url)
    except ArgumentError:  # not repeated: it may hold a password
        mend = "see docs/configuration.md for its form"
        return [Finding(Level.FAILURE, _DATABASE, "is no URL of a database", mend)]
    if is_sqlite(url) and url.database:
        file = Path(url.database)
        return [*check_sqlite(file), check_disk("database's disk", file.parent)]
    try:
        return await _check_server(config, clock=clock)
    except (*FAILURES, HubError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        mend = "start it; check host, role, password file and CA (docs/postgresql.md)"
        return [Finding(Level.FAILURE, _DATABASE, said, mend)]


async def _check_server(config: Config, *, clock: Clock) -> list[Finding]:
    store = open_store(config)
    try:
        ahead_ms = clock() - await store.now_ms()
        revision, latch = await store.revision(), ""
        if revision == newest_revision():
            async with store.looking() as tx:
                latch = await tx.books.latched()
    finally:
        await store.close()
    return [*_told(revision, latch), check_clock("database's clock", ahead_ms)]


def check_clock(name: str, ahead_ms: int) -> Finding:
    """Check that two clocks are one: leases, limits and certificates go by them."""
    found = f"this machine is {ahead_ms / 1000:+.1f} s ahead of it"
    if abs(ahead_ms) <= _WARN_CLOCK_MS:
        return Finding(Level.OK, name, found)
    level = Level.FAILURE if abs(ahead_ms) > _FAIL_CLOCK_MS else Level.WARNING
    return Finding(level, name, found, "run a time service (chrony) on both")


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
    for name, path in secrets_of(config).items():
        yield check_private(name, path)
    for name, path in certificates_of(config).items():
        yield check_certificate(name, path, now=now)


async def examine(config: Config, *, clock: Clock) -> list[Finding]:
    """Run every check; changes nothing and takes no lock of a running hub."""
    now = dt.datetime.fromtimestamp(clock() / 1000, dt.UTC)
    device = config.appliance.device
    return [
        *check_files(config, now=now),
        *([] if device is None else [check_line("appliance.device", device)]),
        check_disk("hub.state_dir", config.hub.state_dir),
        *await check_database(config, clock=clock),
        *await check_nodes(config, clock=clock),
    ]
