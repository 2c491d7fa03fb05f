# SPDX-License-Identifier: Apache-2.0
"""Journals in either database, and the acts that tests do on them."""

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.errors import RefusedError
from appliance.intent import commit, understand
from appliance.journal import Journal, create_journal
from appliance.journal_database import JournalDatabase
from appliance.journal_postgres import PostgresJournal, schema_of
from appliance.journal_records import IssuedRecord, Leaving
from appliance.journal_sqlite import SqliteJournal
from appliance.journal_view import JournalView
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid
from tests.appliance.postgres import Server

NOW_MS = 1_800_000_000_000
CANARY = new_uuid()


def clock() -> int:
    return NOW_MS


class Place(Protocol):
    """A database, and a hand that can reach into it behind the journal's back."""

    journal_id: str

    @property
    def database(self) -> JournalDatabase: ...

    def tamper(self, *statements: str) -> int:
        """Run statements against the tables; returns how many rows they changed."""


class SqlitePlace:
    name = "sqlite"

    def __init__(self, folder: Path, journal_id: str = "") -> None:
        self.journal_id = journal_id or secrets.token_hex(16)
        self.database = SqliteJournal(folder / "journal.db")

    def tamper(self, *statements: str) -> int:
        connection = sqlite3.connect(self.database.path)
        before = connection.total_changes
        connection.executescript(";".join(statements))
        changed = connection.total_changes - before
        connection.close()
        return changed


class PostgresPlace:
    name = "postgresql"

    def __init__(self, folder: Path, server: Server, journal_id: str = "") -> None:
        self.journal_id = journal_id or secrets.token_hex(16)
        self.server = server
        self.folder = folder
        self.database: PostgresJournal = server.journal(folder / "mirror.db")

    @property
    def schema(self) -> str:
        return schema_of(self.journal_id)

    def tamper(self, *statements: str) -> int:
        path = f"SET search_path TO {self.schema}"
        return self.server.execute(path, *statements)


def open_journal(place: Place, *, clock_ms: Callable[[], int] = clock) -> Journal:
    return Journal(place.database, journal_id=place.journal_id, clock_ms=clock_ms)


def make(place: Place) -> None:
    ceremony: dict[str, object] = {"step": "init", "never_issue": [commit(CANARY)]}
    create_journal(
        place.database, journal_id=place.journal_id, now_ms=NOW_MS, ceremony=ceremony
    )


def fill(place: Place) -> list[Coin]:
    """Make a journal with rows of every kind; returns its coins, two of them spent."""
    make(place)
    journal = open_journal(place)
    coins = [new_coin() for _ in range(3)]
    for coin in coins:
        issue(journal, coin)
    sign(journal, *coins[:2])
    journal.commit_refusal(
        client="hub", bundle_hashes=[new_address()], code="c", message="m"
    )
    journal.commit_ceremony(client="operator-1", payload={"step": "unseal"})
    journal.close()
    return coins


def record_of(coin: Coin, *, generation: int = 1) -> IssuedRecord:
    return IssuedRecord(commit(coin.seed_uuid), coin.address, generation, 2, "", "r")


def issue(journal: Journal, coin: Coin) -> IssuedRecord:
    return journal.commit_issue(record_of(coin), client="hub")


def sign(journal: Journal, *coins: Coin, limit_i: int = 1 << 60) -> str:
    transfer = understand(bundle(coins), levels={1: 2})

    def decide(view: JournalView) -> Leaving:
        if view.usage(60).outside_i > limit_i:
            raise RefusedError("policy-window", "too much")
        return leaving(100)

    journal.commit_signature(transfer, own={}, client="hub", decide=decide)
    return transfer.bundle_hash


def leaving(amount_i: int) -> Leaving:
    return Leaving({new_address(): amount_i}, (("exchange", new_uuid()),))


def new_coin() -> Coin:
    return Coin(new_uuid(), new_address())
