# SPDX-License-Identifier: Apache-2.0
"""A journal in PostgreSQL, for two or more appliances.

Each journal has a schema of its own, named by the journal's id, so that a vault can
only ever find the one it was made with. Needs the extra ``postgresql`` (pg8000).
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy import exc

from appliance.errors import (
    ApplianceError,
    BrokenInvariantError,
    ConfigError,
    JournalError,
)
from appliance.journal_catalogue import require_structure
from appliance.journal_schema import HEADER, broken, create_tables
from trinary.memory import LockedBuffer

try:
    import pg8000.dbapi
    from pg8000.exceptions import InterfaceError
except ImportError as _error:  # pragma: no cover - an installation without the extra
    raise ConfigError(
        "a journal on PostgreSQL needs pg8000: install saltkeep[appliance,postgresql]"
    ) from _error

_PORT: Final = 5432
_SCHEMA_PREFIX: Final = "saltkeep_"
_TIMEOUT_S: Final = 30.0
# In milliseconds. A frozen appliance that holds the lock is put out by the server.
_SESSION: Final = {
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "15000",
    "statement_timeout": "20000",
}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_OLDEST_VERSION: Final = 140_000
# What each must be. With synchronous_commit=local a server that has standbys would
# answer before they know; off, before its own disk does.
_SAFE: Final[Mapping[str, frozenset[str]]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    "synchronous_commit": frozenset({"on", "remote_write", "remote_apply"}),
    "default_transaction_read_only": frozenset({"off"}),
    "server_encoding": frozenset({"UTF8"}),
    "zero_damaged_pages": frozenset({"off"}),
    "ignore_checksum_failure": frozenset({"off"}),
}

# SQLSTATE classes of what may come back by itself or by an administrator's hand:
# connection, rollback, resources, operator's intervention, system, login, rights,
# no such database, not available, read-only.
_MENDS_ITSELF: Final = (
    "08",
    "40",
    "53",
    "57",
    "58",
    "28",
    "3D",
    "55",
    "25006",
    "42501",
)
_SCHEMA_EXISTS: Final = "42P06"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a PostgreSQL server is and as whom to log in.

    Attributes:
        host: Name or address; or the folder of its Unix socket.
        port: TCP port.
        user: Role.
        name: Database.
        tls: How its certificate is checked; None on the loopback only.
    """

    host: str
    port: int
    user: str
    name: str
    tls: ssl.SSLContext | None


def read_address(url: str, *, ca: str) -> ServerAddress:
    """Read ``postgresql://user@host:port/name``; ``?host=/folder`` is a Unix socket.

    Args:
        url: Without a password.
        ca: PEM path of the authority of the server's certificate; empty: the
            system's authorities, and on the loopback no TLS.

    Returns:
        The address.

    Raises:
        ConfigError: If it is not of that form, holds a password, or ``ca`` can not
            be read.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        host, port = query.pop("host", parts.hostname or ""), parts.port or _PORT
    except ValueError as error:
        raise ConfigError(f"[journal] database is no URL: {error}") from None
    if parts.password is not None:
        raise ConfigError(
            "[journal] database holds a password: put it into a file of mode 0600 and"
            " name that in password_file"
        )
    name = unquote(parts.path.removeprefix("/"))
    complete = host and parts.username and name and "/" not in name
    if parts.scheme != "postgresql" or not complete or query or parts.fragment:
        raise ConfigError(
            "[journal] database is postgresql://user@host:port/name, with"
            " ?host=/folder in place of host and port for a Unix socket"
        )
    local = host.startswith("/") or host in _LOOPBACK
    tls = None if local and not ca else _tls(ca)
    return ServerAddress(host, port, unquote(parts.username or ""), name, tls)


def _tls(ca: str) -> ssl.SSLContext:
    """Return a context that checks certificate and name, TLS 1.2 at least."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigError(f"[journal] ca {ca}: {error}") from error


@dataclass(frozen=True, slots=True)
class PostgresJournal:
    """A schema of a PostgreSQL database; see ``JournalDatabase`` for the methods.

    Attributes:
        address: The server.
        password: In locked memory, for as long as the process may connect again.
        mirror: The local file that remembers its spent keys.
    """

    address: ServerAddress
    password: LockedBuffer | None
    mirror: Path
    shared: ClassVar[bool] = True

    @contextmanager
    def creating(self, journal_id: str) -> Iterator[sa.Connection]:
        """Make schema, tables and what the block inserts, in one transaction."""
        engine = self._engine(journal_id)
        schema = schema_of(journal_id)
        try:
            with engine.begin() as connection:
                try:
                    connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
                except exc.DBAPIError as error:
                    if _sqlstate(error) != _SCHEMA_EXISTS:
                        raise
                    raise JournalError(
                        f"schema {schema} exists; a journal is made only once"
                    ) from None
                create_tables(connection)
                yield connection
        finally:
            engine.dispose()

    def open(self, journal_id: str) -> sa.Engine:
        """Return an engine on the journal's schema.

        Args:
            journal_id: Names the schema.

        Returns:
            An engine of one connection, whose settings are checked.

        Raises:
            JournalError: If there is none, or the server is away or not safe.
        """
        engine = self._engine(journal_id)
        query = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
        schema = schema_of(journal_id)
        try:
            with engine.begin() as connection:
                found = connection.exec_driver_sql(query, (schema,)).scalar_one()
        except exc.SQLAlchemyError as error:
            engine.dispose()
            raise self.failure(error) from error
        except BaseException:
            engine.dispose()
            raise
        if not found:
            engine.dispose()
            raise JournalError(
                f"the journal (schema {schema}) is missing; a start never makes one."
                " Restore it, or run `saltkeep-appliance init` for a new appliance"
            )
        return engine

    def begin(self, connection: sa.Connection, *, appending: bool) -> None:
        """Take the lock of those who append, or one snapshot for all that is read.

        Read committed, so that what is read after the lock was waited for is what
        its last holder committed.

        Args:
            connection: With no statement made.
            appending: Whether a row may be appended.
        """
        if not appending:
            connection.exec_driver_sql(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            )
            return
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        locked = connection.execute(sa.select(HEADER.c.epoch).with_for_update()).all()
        if len(locked) != 1:  # nothing was locked, or not what others lock
            broken(f"its header has {len(locked)} rows; expected one")

    def require_sound(self, connection: sa.Connection) -> None:
        """Check that the schema holds our tables and nothing that changes them."""
        require_structure(connection)

    def probe(self, connection: sa.Connection) -> None:
        """Check the settings again, and write what changes nothing."""
        _require_safe(dict(_settings(connection)))
        connection.execute(HEADER.update().values(epoch=HEADER.c.epoch))

    def settle(self, engine: sa.Engine) -> None:
        """Commit what changes nothing: the log is synced up to it.

        What another session committed asynchronously is seen before it is on disk.

        Args:
            engine: With no transaction open.
        """
        with engine.begin() as connection:
            self.begin(connection, appending=True)
            self.probe(connection)

    def failure(self, error: exc.SQLAlchemyError) -> ApplianceError:
        """Say what an error of the database means."""
        state, original = _sqlstate(error), getattr(error, "orig", None)
        text = _message(original) or type(error).__name__
        if isinstance(original, InterfaceError) or state.startswith(_MENDS_ITSELF):
            return JournalError(f"the journal's database failed: {text}")
        return BrokenInvariantError(f"journal: {text}", code="journal-broken")

    def _engine(self, journal_id: str) -> sa.Engine:
        schema = schema_of(journal_id)

        def connect() -> Any:  # noqa: ANN401 - DBAPI
            connection = self._connect({**_SESSION, "search_path": schema})
            try:
                cursor = connection.cursor()
                cursor.execute(_SETTINGS)
                _require_safe({str(name): str(value) for name, value in cursor})
                connection.rollback()
            except BaseException:
                connection.close()
                raise
            return connection

        return sa.create_engine(
            "postgresql+pg8000://", creator=connect, poolclass=sa.pool.StaticPool
        )

    def _connect(self, session: dict[str, str]) -> Any:  # noqa: ANN401 - DBAPI
        address = self.address
        socket = address.host.startswith("/")
        where: dict[str, Any] = {"host": address.host, "port": address.port}
        if socket:
            where = {"unix_sock": f"{address.host}/.s.PGSQL.{address.port}"}
        secret = bytes(self.password.view) if self.password else None
        try:
            return pg8000.dbapi.connect(
                user=address.user,
                database=address.name,
                password=secret,
                ssl_context=address.tls or False,
                timeout=_TIMEOUT_S,
                application_name="saltkeep-appliance",
                startup_params=session,
                **where,
            )
        except OSError as error:
            raise JournalError(f"the journal's database: {error}") from error


def schema_of(journal_id: str) -> str:
    """Return the name of a journal's schema.

    Args:
        journal_id: 32 hex characters.

    Returns:
        A name that needs no quotes.

    Raises:
        ValueError: If the id is not of that form.
    """
    if not set(journal_id) <= set("0123456789abcdef"):
        raise ValueError(f"journal id {journal_id!r} is not hexadecimal")
    return _SCHEMA_PREFIX + journal_id


_SETTINGS: Final = (
    "SELECT name, setting FROM pg_settings WHERE name IN ("  # noqa: S608 - constants
    + ", ".join(f"'{name}'" for name in (*_SAFE, "server_version_num"))
    + ") UNION ALL SELECT 'in_recovery', pg_is_in_recovery()::text"
)


def _settings(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    for name, value in connection.exec_driver_sql(_SETTINGS):
        yield str(name), str(value)


def _require_safe(found: Mapping[str, str]) -> None:
    """Insist on a server whose commits are on the disk.

    Raises:
        JournalError: ``journal-unsafe``, with the setting to mend.
    """
    complaints = [
        f"{name} is {found.get(name)}: set it to {' or '.join(sorted(safe))}"
        for name, safe in _SAFE.items()
        if found.get(name) not in safe
    ]
    if found.get("in_recovery") != "false":
        complaints.append("it is in recovery: name the primary server")
    if int(found.get("server_version_num", "0")) < _OLDEST_VERSION:
        oldest = _OLDEST_VERSION // 10_000
        complaints.append(f"it is older than PostgreSQL {oldest}: use a newer one")
    if complaints:
        raise JournalError(
            "the journal's database is not safe: " + "; ".join(complaints),
            code="journal-unsafe",
        )


def _fields(original: object) -> Mapping[str, str]:
    """Return the fields of a server's error message."""
    arguments = getattr(original, "args", ())
    found = arguments[0] if arguments else None
    return found if isinstance(found, Mapping) else {}


def _sqlstate(error: exc.SQLAlchemyError) -> str:
    return _fields(getattr(error, "orig", None)).get("C", "")


def _message(original: object) -> str:
    """Return the server's sentence; never its details, which quote values."""
    return _fields(original).get("M", "") or str(original or "")
