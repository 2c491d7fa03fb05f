# SPDX-License-Identifier: Apache-2.0
"""An old Hub's database with its columns and triggers, and a life in it."""

# ruff: noqa: S608, ANN401 - our own names; rows as a driver has them

import contextlib
import datetime as dt
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.model import Address
from hub.tangle import DraftInput, DraftOutput, draft_bundle, finish
from tests.hub import bookkeeping as books
from tests.hub.legacy_import.mariadb import Server

T0 = dt.datetime(2020, 9, 1, 12, 0, 0)  # noqa: DTZ001 - as DATETIME holds it
TABLES = """
user_account: identifier VARCHAR(64) NOT NULL UNIQUE, balance BIGINT NOT NULL DEFAULT 0
user_address: address CHAR(81) NOT NULL, user_id INTEGER NOT NULL, seed_uuid CHAR(64) NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, balance BIGINT NOT NULL DEFAULT 0
hub_address: address CHAR(81) NOT NULL, seed_uuid CHAR(64) NOT NULL, is_cold_storage INTEGER NOT NULL DEFAULT 0, balance BIGINT NOT NULL DEFAULT 0, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
sweep: bundle_hash CHAR(81) NOT NULL UNIQUE, trytes LONGTEXT NOT NULL, into_hub_address INTEGER NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
sweep_tails: hash CHAR(81) NOT NULL PRIMARY KEY, sweep INTEGER NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
withdrawal: uuid CHAR(36) NOT NULL UNIQUE, user_id INTEGER NOT NULL, amount BIGINT NOT NULL CHECK (amount > 0), payout_address CHAR(81) NOT NULL, tag CHAR(27), sweep INTEGER, requested_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, cancelled_at DATETIME
user_account_balance: user_id INTEGER NOT NULL, amount BIGINT NOT NULL, reason INTEGER NOT NULL CHECK (reason >= 0 AND reason < 5), sweep INTEGER, withdrawal INTEGER, occured_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
user_address_balance: user_address INTEGER NOT NULL, amount BIGINT NOT NULL, reason INTEGER NOT NULL, tail_hash CHAR(81), sweep INTEGER, occured_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, message TEXT
hub_address_balance: hub_address INTEGER NOT NULL, amount BIGINT NOT NULL, reason INTEGER NOT NULL, sweep INTEGER NOT NULL, occured_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
signed_uuids: uuid CHAR(64) NOT NULL PRIMARY KEY
"""  # noqa: E501 - a table
WITHOUT_ID = {"sweep_tails", "user_account_balance", "signed_uuids"}
SUMS = {  # whose balance follows from which entries, by which column
    "user_account": ("user_account_balance", "user_id"),
    "user_address": ("user_address_balance", "user_address"),
    "hub_address": ("hub_address_balance", "hub_address"),
}


@dataclass
class OldHub:
    """A database of a Hub 1.4.

    Attributes:
        source: As ``--source`` takes it.
        execute: Runs one statement with ``%s`` for parameters; returns the new row.
        connect: Opens another connection.
        password_file: Of MariaDB's reader.
    """

    source: str
    execute: Callable[..., int]
    connect: Callable[[], Any]
    password_file: Path | None = None
    password: str = ""
    names: dict[str, str] = field(default_factory=dict)

    # --- what the old Hub did ------------------------------------------------

    def user(self, identifier: str) -> int:
        return self.execute(
            "INSERT INTO user_account (identifier) VALUES (%s)", identifier
        )

    def address(self, user: int | None, address: str, uuid: str) -> int:
        if user is None:
            return self.execute(
                "INSERT INTO hub_address (address, seed_uuid) VALUES (%s, %s)",
                address,
                uuid,
            )
        return self.execute(
            "INSERT INTO user_address (user_id, address, seed_uuid)"
            " VALUES (%s, %s, %s)",
            user,
            address,
            uuid,
        )

    def deposit(self, address: int, amount_i: int, *, at: dt.datetime = T0) -> str:
        tail = books.trytes()
        self.execute(
            "INSERT INTO user_address_balance (user_address, amount, reason, tail_hash,"
            " occured_at, message) VALUES (%s, %s, 0, %s, %s, 'HELLO')",
            address,
            amount_i,
            tail,
            at,
        )
        return tail

    def entry(self, user: int, amount_i: int, reason: int, **points: Any) -> None:
        """Write a user_account_balance row; BUY and SELL get the server's time."""
        at = points.pop("at", None)
        columns = {"user_id": user, "amount": amount_i, "reason": reason} | points
        if at is not None:
            columns["occured_at"] = at
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        self.execute(
            f"INSERT INTO user_account_balance ({names}) VALUES ({marks})",
            *columns.values(),
        )

    def withdraw(self, user: int, uuid: str, amount_i: int, payout: str) -> int:
        row = self.execute(
            "INSERT INTO withdrawal (uuid, user_id, amount, payout_address, tag,"
            " requested_at) VALUES (%s, %s, %s, %s, %s, %s)",
            uuid,
            user,
            amount_i,
            payout,
            "TAG".ljust(27, "9"),
            T0,
        )
        self.entry(user, -amount_i, 3, withdrawal=row, at=T0)
        return row

    def cancel(self, user: int, withdrawal: int, amount_i: int) -> None:
        self.execute(
            "UPDATE withdrawal SET cancelled_at = %s WHERE id = %s", T0, withdrawal
        )
        self.entry(user, amount_i, 2, withdrawal=withdrawal, at=T0)

    def sweep(
        self,
        inputs: list[tuple[str, int, int]],
        *,
        payouts: list[tuple[int, str, int]],
        into: int,
        confirmed: bool,
        credits_i: dict[int, int],
        at: dt.datetime = T0 + dt.timedelta(minutes=10),
    ) -> str:
        """Book a sweep. Inputs: table, row, amount; payouts: row, address, amount."""
        rest_i = sum(i[2] for i in inputs) - sum(p[2] for p in payouts)
        where = dict(self._addresses())
        draft = draft_bundle(
            [DraftInput(Address(where[t, row]), a, 2) for t, row, a in inputs],
            [DraftOutput(Address(text), a) for _, text, a in payouts]
            + [DraftOutput(Address(where["hub_address", into]), rest_i)] * (rest_i > 0),
            timestamp_s=1_598_961_600,
        )
        row = self.execute(
            "INSERT INTO sweep (bundle_hash, trytes, into_hub_address, created_at)"
            " VALUES (%s, %s, %s, %s)",
            draft.bundle_hash,
            "\n".join(reversed(finish(draft, {}))),
            into,
            at,
        )
        for table, address, amount_i in inputs:
            self.execute(
                f"INSERT INTO {table}_balance ({table}, amount, reason, sweep,"
                " occured_at) VALUES (%s, %s, 1, %s, %s)",
                address,
                -amount_i,
                row,
                at,
            )
        self.execute(
            "INSERT INTO hub_address_balance (hub_address, amount, reason, sweep,"
            " occured_at) VALUES (%s, %s, 0, %s, %s)",
            into,
            rest_i,
            row,
            at,
        )
        for user, amount_i in credits_i.items():
            self.entry(user, amount_i, 0, sweep=row, at=at)
        for withdrawal, _, _ in payouts:
            self.execute(
                "UPDATE withdrawal SET sweep = %s WHERE id = %s", row, withdrawal
            )
        tail = books.trytes()
        self.execute(
            "INSERT INTO sweep_tails (hash, sweep, created_at) VALUES (%s, %s, %s)",
            tail,
            row,
            at,
        )
        if confirmed:
            self.execute("UPDATE sweep_tails SET confirmed = 1 WHERE hash = %s", tail)
        return draft.bundle_hash

    def signed(self, uuid: str) -> None:
        self.execute("INSERT INTO signed_uuids (uuid) VALUES (%s)", uuid)

    def _addresses(self) -> list[tuple[tuple[str, int], str]]:
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            found = []
            for table in ("user_address", "hub_address"):
                cursor.execute(f"SELECT id, address FROM {table}")
                found += [((table, row), text) for row, text in cursor.fetchall()]
        return found


def on_mariadb(server: Server, folder: Path) -> OldHub:
    name = server.create()
    secret = folder / "reader.password"
    secret.write_text(server.password)
    secret.chmod(0o600)

    def execute(statement: str, *values: object) -> int:
        with server.connect(name) as root, root.cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.lastrowid)

    hub = OldHub(
        f"mysql://reader@127.0.0.1:{server.port}/{name}",
        execute,
        lambda: server.connect(name),
        secret,
        server.password,
    )
    for statement in _tables("INTEGER PRIMARY KEY AUTO_INCREMENT"):
        execute(statement)
    for statement in _triggers("FOR EACH ROW BEGIN", "END"):
        execute(statement)
    return hub


def on_sqlite(folder: Path) -> OldHub:
    file = folder / "old.db"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(file)

    def execute(statement: str, *values: object) -> int:
        plain = [str(v) if isinstance(v, dt.datetime) else v for v in values]
        with contextlib.closing(connect()) as connection:
            row = connection.execute(statement.replace("%s", "?"), plain).lastrowid
            connection.commit()
        return row or 0

    hub = OldHub(f"sqlite:///{file}", execute, connect)
    for statement in _tables("INTEGER PRIMARY KEY"):
        execute(statement)
    for statement in _triggers("FOR EACH ROW BEGIN", "END"):
        execute(statement)
    return hub


def _tables(primary: str) -> list[str]:
    found = []
    for line in TABLES.strip().splitlines():
        name, columns = line.split(": ", 1)
        row = "" if name in WITHOUT_ID else f"id {primary}, "
        found.append(f"CREATE TABLE {name} ({row}{columns})")
    return found


def _triggers(begin: str, end: str) -> list[str]:
    found = [
        f"CREATE TRIGGER {entries}_insert AFTER INSERT ON {entries} {begin}"
        f" UPDATE {table} SET balance = (SELECT SUM(amount) FROM {entries}"
        f" WHERE {column} = NEW.{column}) WHERE id = NEW.{column}; {end}"
        for table, (entries, column) in SUMS.items()
    ]
    found.append(
        f"CREATE TRIGGER sweep_tails_update AFTER UPDATE ON sweep_tails {begin}"
        " UPDATE sweep SET confirmed = NEW.confirmed"
        f" WHERE sweep.id = NEW.sweep AND sweep.confirmed = 0; {end}"
    )
    return [re.sub(r"\s+", " ", one) for one in found]


Derive = Callable[[str], str]


def live(hub: OldHub, derive: Derive) -> None:
    """Live a life: ana and bob deposit, trade, withdraw; two sweeps, one confirmed.

    ana: 100 i swept, 40 i since on another address; bob bought 25 i of hers, has 5 i
    waiting to be paid and cancelled 2 i. A recovery signed once more with ana's key.
    """
    ana, bob = hub.user("ana"), hub.user("Bob")
    uuids = {
        name: books.issued().seed_uuid for name in ("old", "new", "h1", "h2", "h3")
    }
    hub.names |= {f"{name}_uuid": uuid for name, uuid in uuids.items()}
    hub.names |= {name: derive(uuid) for name, uuid in uuids.items()}
    old = hub.address(ana, hub.names["old"], uuids["old"])
    new = hub.address(ana, hub.names["new"], uuids["new"])
    first, second, third = (
        hub.address(None, hub.names[name], uuids[name]) for name in ("h1", "h2", "h3")
    )
    payout = books.trytes()
    hub.deposit(old, 60)
    hub.deposit(old, 40, at=T0 + dt.timedelta(minutes=1))
    one = hub.sweep(
        [("user_address", old, 100)],
        payouts=[],
        into=first,
        confirmed=True,
        credits_i={ana: 100},
    )
    hub.signed(uuids["old"])
    hub.entry(ana, -25, 4)
    hub.entry(bob, 25, 1)
    paid = hub.withdraw(ana, "ABCDEF00-0000-4000-8000-00000000000A", 30, payout)
    two = hub.sweep(
        [("hub_address", first, 100)],
        payouts=[(paid, payout, 30)],
        into=second,
        confirmed=False,
        credits_i={},
        at=T0 + dt.timedelta(minutes=30),
    )
    hub.signed(uuids["h1"])
    hub.deposit(new, 40, at=T0 + dt.timedelta(hours=1))
    hub.withdraw(bob, "00000000-0000-4000-8000-00000000000b", 5, payout)
    gone = hub.withdraw(bob, "00000000-0000-4000-8000-00000000000c", 2, payout)
    hub.cancel(bob, gone, 2)
    hub.names |= {"one": one, "two": two, "payout": payout}
    assert third
