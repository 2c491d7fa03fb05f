# SPDX-License-Identifier: Apache-2.0
"""Reads the database of a Hub 1.4, MariaDB or SQLite; never writes there.

Its DATETIME columns are of two kinds: what the database stamped by default stands in
the server's time zone, what the Hub stamped is UTC. ``BUY`` and ``SELL`` are of the
first kind, and when an address or a sweep was made.
Source: Hub 1.4.4, schema/ and hub/db/.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import quote
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from hub.errors import ConfigError, DatabaseUnavailableError
from hub.legacy_import.rows import (
    BOUGHT,
    SOLD,
    OldAccountEntry,
    OldAddress,
    OldAddressEntry,
    OldBooks,
    OldSweep,
    OldTail,
    OldUser,
    OldWithdrawal,
)

_Stamp: TypeAlias = Callable[[Any], int]
_DRIVERS: Final = {"mysql": "mysql+aiomysql", "mariadb": "mysql+aiomysql"}
_OTHERS_CONNECTED: Final = (
    "SELECT COUNT(*) FROM information_schema.processlist"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
)
_SECOND_MS: Final = 1000


class OldDatabase:
    """A Hub 1.4 database.

    Args:
        url: ``mysql://USER@HOST:PORT/DB`` or ``sqlite:///FILE``; no password in it.
        password: Of the MariaDB user.
        zone: Name of the time zone the database server ran in; None asks it for its
            offset of today.

    Raises:
        ConfigError: If the URL or the zone is none, or there is no driver.
    """

    def __init__(self, url: str, *, password: str, zone: str | None) -> None:
        try:
            parsed = make_url(url)
            self._zone = None if zone is None else ZoneInfo(zone)
            self._engine = create_async_engine(_with_driver(parsed, password))
        except ImportError as error:
            message = "no driver for MariaDB: install the extra `mariadb`"
            raise ConfigError(message) from error
        except (ArgumentError, InvalidRequestError, ValueError) as error:
            message = "--source is mysql://USER@HOST:PORT/DB or sqlite:///FILE"
            raise ConfigError(message) from error
        except LookupError as error:
            message = f"there is no time zone {zone!r}"
            raise ConfigError(message) from error
        self._is_sqlite = parsed.get_backend_name() == "sqlite"

    async def close(self) -> None:
        """Close the connection."""
        await self._engine.dispose()

    async def others_connected(self) -> int:
        """Count who else has the database open, as far as we may see.

        Returns:
            How many; always 0 for SQLite, which does not tell.
        """
        if self._is_sqlite:
            return 0
        async with self._reading() as connection:
            return int((await connection.execute(text(_OTHERS_CONNECTED))).scalar_one())

    async def read(self) -> OldBooks:
        """Read everything in one transaction.

        Returns:
            The rows; ``DatabaseUnavailableError`` if that is no such database.
        """
        async with self._reading() as connection:
            local = await self._local_stamp(connection)
            return OldBooks(
                users=await _users(connection),
                addresses=(
                    *await _user_addresses(connection, local),
                    *await _hub_addresses(connection, local),
                ),
                sweeps=await _sweeps(connection, local),
                tails=await _tails(connection, local),
                withdrawals=await _withdrawals(connection),
                account_entries=await _account_entries(connection, local),
                address_entries=(
                    *await _user_address_entries(connection),
                    *await _hub_address_entries(connection),
                ),
                signed_uuids=frozenset(
                    row.uuid for row in await _all(connection, "signed_uuids", "uuid")
                ),
            )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                if not self._is_sqlite:
                    await connection.execute(text("SET SESSION TRANSACTION READ ONLY"))
                    await connection.rollback()
                yield connection
        except (SQLAlchemyError, OSError) as error:
            what = str(error).splitlines()[0]
            message = f"the old database can not be read: {what}"
            raise DatabaseUnavailableError(message) from error

    async def _local_stamp(self, connection: AsyncConnection) -> _Stamp:
        """Return how a time that the database stamped is read."""
        zone: dt.tzinfo = dt.UTC
        if self._zone is not None:
            zone = self._zone
        elif not self._is_sqlite:
            query = text("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())")
            offset_s = int((await connection.execute(query)).scalar_one())
            zone = dt.timezone(dt.timedelta(seconds=offset_s))
        return lambda value: _milliseconds(value, zone)


def _with_driver(url: URL, password: str) -> URL:
    backend = url.get_backend_name()
    if url.password is not None:
        raise ValueError("a password in the URL")
    if backend == "sqlite":
        place = f"file:{quote(url.database or '')}"  # as a URI it is not created
        only_read = {"mode": "ro", "uri": "true"}
        return url.set(drivername="sqlite+aiosqlite", database=place, query=only_read)
    named = url.set(drivername=_DRIVERS[backend]) if backend in _DRIVERS else None
    if named is None:
        raise ValueError(backend)
    return named.set(password=password, query={"charset": "utf8mb4"})


def _milliseconds(value: Any, zone: dt.tzinfo = dt.UTC) -> int:  # noqa: ANN401 - as the driver gives it
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    aware = value.replace(tzinfo=zone)
    return int(aware.timestamp() * _SECOND_MS)


async def _all(connection: AsyncConnection, table: str, columns: str) -> Any:  # noqa: ANN401 - rows
    return (await connection.execute(text(f"SELECT {columns} FROM {table}"))).all()  # noqa: S608 - our own names


async def _users(connection: AsyncConnection) -> tuple[OldUser, ...]:
    rows = await _all(connection, "user_account", "id, identifier, balance")
    return tuple(OldUser(r.id, r.identifier, int(r.balance)) for r in rows)


async def _user_addresses(
    connection: AsyncConnection, local: _Stamp
) -> list[OldAddress]:
    columns = "id, address, seed_uuid, user_id, balance, created_at"
    rows = await _all(connection, "user_address", columns)
    return [
        OldAddress(
            (False, r.id),
            r.address,
            r.seed_uuid,
            r.user_id,
            int(r.balance),
            local(r.created_at),
        )
        for r in rows
    ]


async def _hub_addresses(
    connection: AsyncConnection, local: _Stamp
) -> list[OldAddress]:
    columns = "id, address, seed_uuid, balance, created_at, is_cold_storage"
    rows = await _all(connection, "hub_address", columns)
    return [
        OldAddress(
            (True, r.id),
            r.address,
            r.seed_uuid,
            None,
            int(r.balance),
            local(r.created_at),
            bool(r.is_cold_storage),
        )
        for r in rows
    ]


async def _sweeps(connection: AsyncConnection, local: _Stamp) -> tuple[OldSweep, ...]:
    columns = "id, bundle_hash, trytes, into_hub_address, confirmed, created_at"
    return tuple(
        OldSweep(
            r.id,
            r.bundle_hash,
            r.trytes,
            r.into_hub_address,
            bool(r.confirmed),
            local(r.created_at),
        )
        for r in await _all(connection, "sweep", columns)
    )


async def _tails(connection: AsyncConnection, local: _Stamp) -> tuple[OldTail, ...]:
    rows = await _all(connection, "sweep_tails", "hash, sweep, confirmed, created_at")
    return tuple(
        OldTail(r.hash, r.sweep, bool(r.confirmed), local(r.created_at)) for r in rows
    )


async def _withdrawals(connection: AsyncConnection) -> tuple[OldWithdrawal, ...]:
    columns = (
        "id, uuid, user_id, amount, payout_address, tag, sweep, requested_at,"
        " cancelled_at"
    )
    return tuple(
        OldWithdrawal(
            r.id,
            r.uuid,
            r.user_id,
            int(r.amount),
            r.payout_address,
            r.tag or "",
            r.sweep,
            _milliseconds(r.requested_at),
            None if r.cancelled_at is None else _milliseconds(r.cancelled_at),
        )
        for r in await _all(connection, "withdrawal", columns)
    )


async def _account_entries(
    connection: AsyncConnection, local: _Stamp
) -> tuple[OldAccountEntry, ...]:
    columns = "user_id, amount, reason, sweep, withdrawal, occured_at"
    return tuple(
        OldAccountEntry(
            r.user_id,
            int(r.amount),
            r.reason,
            r.sweep,
            r.withdrawal,
            local(r.occured_at)
            if r.reason in {BOUGHT, SOLD}
            else _milliseconds(r.occured_at),
        )
        for r in await _all(connection, "user_account_balance", columns)
    )


async def _user_address_entries(connection: AsyncConnection) -> list[OldAddressEntry]:
    return [
        OldAddressEntry(
            (False, r.user_address),
            int(r.amount),
            r.reason,
            r.tail_hash or "",
            r._mapping.get("message") or "",  # noqa: SLF001 - 1.3 has no such column
            r.sweep,
            _milliseconds(r.occured_at),
        )
        for r in await _all(connection, "user_address_balance", "*")
    ]


async def _hub_address_entries(connection: AsyncConnection) -> list[OldAddressEntry]:
    columns = "hub_address, amount, reason, sweep, occured_at"
    return [
        OldAddressEntry(
            (True, r.hub_address),
            int(r.amount),
            r.reason,
            "",
            "",
            r.sweep,
            _milliseconds(r.occured_at),
        )
        for r in await _all(connection, "hub_address_balance", columns)
    ]
