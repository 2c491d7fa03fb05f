# SPDX-License-Identifier: Apache-2.0
"""Journals in either database, and the acts that tests do on them."""

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.approved import ApprovedAct
from appliance.config import Spending
from appliance.errors import RefusedError
from appliance.intent import commit, understand
from appliance.journal import Journal, create_journal
from appliance.journal_database import JournalDatabase
from appliance.journal_postgres import PostgresJournal, schema_of
from appliance.journal_records import IssuedRecord, Leaving
from appliance.journal_sqlite import SqliteJournal
from appliance.journal_view import JournalView
from appliance.operator_keys import public_half, sign_as_operator
from appliance.policy_file import SignedPolicy, parse_policy, policy_digest
from appliance.policy_force import PolicyInForce
from appliance.second_signature import DoorAsked, OpenedDoor
from appliance.wire import Act, ExportSeed, PendingAct, SignTransfer, act_digest
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid
from tests.appliance.door import second
from tests.postgres import Server

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


# --- operators, and what they let pass ----------------------------------------------

OPERATORS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)]
POLICY = (
    'version = 1\nnetwork = "devnet"\n'
    "[doors]\nsecond_signatures = true\nseed_export = true\nleast_bits = 0\n"
) + "".join(
    f'[[operators]]\nname = "operator-{n}"\nkey = "{public_half(key)}"\n'
    for n, key in enumerate(OPERATORS, 1)
)


def put_policy(journal: Journal) -> None:
    """Journal a policy that opens the doors, signed by two operators."""
    digest, content = policy_digest(POLICY), parse_policy(POLICY)
    signatures = [sign_as_operator(key, digest, content) for key in OPERATORS[:2]]
    signed = SignedPolicy(text=POLICY, signatures=signatures)
    payload: dict[str, object] = {"step": "policy"}
    payload["policy"] = msgspec.to_builtins(signed)
    journal.commit_ceremony(client="operator-1", payload=payload)


def approved(
    journal: Journal, act: Act, shown: list[str], *, by: Sequence[int] = (0, 1)
) -> ApprovedAct:
    """Return an act with the approvals of some operators."""
    pending = PendingAct("ab" * 16, act, "hub", NOW_MS, 2, shown=shown)
    digest = act_digest(pending, journal_id=journal.journal_id)
    content = parse_policy(POLICY)
    signatures = [sign_as_operator(OPERATORS[n], digest, content) for n in by]
    return ApprovedAct(pending, tuple(signatures))


def second_door(journal: Journal, request: SignTransfer) -> OpenedDoor:
    """Return the door through which one bundle may be signed by a spent key."""
    root = policy_digest(POLICY).hex()
    policy = PolicyInForce(journal, root, Spending())
    asked = DoorAsked(second(request), policy, {1: 2})
    transfer = understand(request, levels={1: 2})
    shown = asked.describe(transfer, {}, journal.spent_hashes(transfer.commitments))
    return OpenedDoor(asked, approved(journal, asked.act, shown))


def export_row(
    journal: Journal, coin: Coin, *, by: Sequence[int] = (0, 1)
) -> dict[str, object]:
    """Return what a row says by which a seed leaves."""
    act = ExportSeed(
        request_id="", seed_uuid=coin.seed_uuid, generation=1, officer="olga"
    )
    door = approved(journal, act, ["the seed leaves"], by=by).payload()
    return {"step": "export-seed", "officer": "olga", "door": door}
