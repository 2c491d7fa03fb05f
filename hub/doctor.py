# SPDX-License-Identifier: Apache-2.0
"""Checks of a hub's files, disk, database, nodes and appliances; changes nothing.

Not looked at: who holds which lease.
"""

import datetime as dt
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from channel.findings import (
    Finding,
    Level,
    check_certificate,
    check_disk,
    check_private,
)
from hub.appliances import Appliances
from hub.clock import Clock
from hub.config import Config
from hub.errors import ConfigError, HubError, NodeUnavailableError
from hub.files import certificates_of, secrets_of
from hub.model import HeadToken
from hub.service import appliances_of, nodes_of, open_store
from hub.store.engine import is_sqlite
from hub.store.failures import FAILURES
from hub.store.migrate import newest_revision

_WARN_CLOCK_MS: Final = 1_000
_FAIL_CLOCK_MS: Final = 10_000
_DATABASE: Final = "hub.database_url"


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
        section, _, field = name.rpartition(".")
        ours = field.endswith("certificate")
        renew = f"saltkeep-hub certificate renew {section}" if ours else ""
        yield check_certificate(name, path, now=now, renew=renew)


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
        *await check_appliances(config),
    ]


class _NoHeads:
    """A doctor shows no head token and keeps none."""

    async def get(self) -> None:
        """Return none."""

    async def remember(self, token: HeadToken) -> None:
        """Forget it."""


async def check_appliances(config: Config) -> list[Finding]:
    """Check that each appliance answers this hub's key, and could sign."""
    try:
        async with appliances_of(config, _NoHeads()) as appliances:
            return [await _appliance(appliances, place) for place in appliances.places]
    except ConfigError as error:  # its files were told of above
        return [Finding(Level.FAILURE, "appliance", str(error), "see the files above")]


async def _appliance(appliances: Appliances, place: str) -> Finding:
    what = f"appliance {place}"
    try:
        report = await appliances.status_of(place)
    except HubError as error:
        mend = "start it; check URL, pin and certificate, and that this key is enrolled"
        return Finding(Level.FAILURE, what, str(error), mend)
    if report.state != "ready":
        found = f"{report.state}: {report.reason}"
        return Finding(Level.FAILURE, what, found, "saltkeep-appliance status there")
    return Finding(Level.OK, what, "ready")
