# SPDX-License-Identifier: Apache-2.0
"""The one-time ledger: what was issued and signed, and which keys are spent.

Append-only rows (``journal_chain``), beside them tables that follow from the rows
(``journal_records.guards_of``) and guard by primary key: a key signs one bundle
hash, ever. One transaction writes a row and its guards, synced to disk before
``commit_*`` returns. Nothing is ever updated or deleted.

A journal that is missing, empty, foreign or of an unknown format is never mended
and never made by a start; only a ceremony makes one. Opening verifies every row
and every guard, and settles on disk what a killed process may have left unsynced.

Every method blocks: ``appliance.lifecycle`` runs them in the journal's own thread.
After any failure of the database the object answers nothing more, since what it
remembers may be wrong: open it anew.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from appliance.errors import (
    BrokenInvariantError,
    JournalError,
    RefusedError,
)
from appliance.intent import Commitment, Transfer
from appliance.journal_chain import Head, next_row
from appliance.journal_records import (
    IssuedRecord,
    Leaving,
    SignedRecord,
    Spent,
    guards_of,
    is_recorded,
    policies_of,
    require_blind_again,
    require_same_issue,
    require_unspent,
    require_unspent_outputs,
    signed_payload,
)
from appliance.journal_schema import (
    FORMAT,
    HEADER,
    ISSUED,
    REFUSED,
    ROW,
    SIGNED,
    SPENT_KEY,
    create_tables,
    failure,
    open_engine,
    settle,
)
from appliance.journal_verification import Verified, rows_after, verify_journal
from appliance.journal_view import JournalView
from appliance.roster import client_changes_of
from appliance.wire import JournalRow
from failpoints import failpoint

CLOCK_TOLERANCE_MS: Final = 5_000
_Answer = TypeVar("_Answer")


class Door(Protocol):
    """What lets a key sign again."""

    def pass_with(
        self, transfer: Transfer, own: Mapping[str, Commitment], spent: Spent, /
    ) -> dict[str, object]:
        """Judge under the lock and return what the row says besides, or raise."""


def create_journal(
    path: Path, *, journal_id: str, now_ms: int, ceremony: dict[str, object]
) -> None:
    """Make a new journal with its first row; part of a ceremony, never of a start.

    Args:
        path: A file that does not exist yet.
        journal_id: 32 hex characters.
        now_ms: The time of the first row.
        ceremony: What the first row says.

    Raises:
        JournalError: If the file is there already or can not be written.
        failure: As the database fails.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise JournalError(f"{path} exists; a journal is made only once") from None
    engine = open_engine(path)
    row = next_row(
        None,
        now_ms=now_ms,
        client="ceremony",
        kind="ceremony",
        payload=ceremony | {"journal_id": journal_id},
    )
    try:
        create_tables(engine)
        with engine.begin() as connection:
            header = {"format": FORMAT, "journal_id": journal_id, "epoch": 1}
            connection.execute(HEADER.insert().values(header))
            _insert(connection, row)
        settle(engine)
    except exc.SQLAlchemyError as error:
        raise failure(error) from error
    finally:
        engine.dispose()


def import_journal(
    path: Path, rows: Sequence[JournalRow], *, journal_id: str, epoch: int
) -> None:
    """Make a journal of rows that were backed up; part of a restore only.

    Args:
        path: A file that does not exist yet.
        rows: The chain, already checked, the row of the restore its last.
        journal_id: 32 hex characters.
        epoch: The new epoch.

    Raises:
        JournalError: If the file is there already or can not be written.
        failure: As the database fails.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise JournalError(f"{path} exists; a journal is made only once") from None
    engine = open_engine(path)
    try:
        create_tables(engine)
        with engine.begin() as connection:
            header = {"format": FORMAT, "journal_id": journal_id, "epoch": epoch}
            connection.execute(HEADER.insert().values(header))
            for row in rows:
                _insert(connection, row)
            failpoint("journal.import.before-commit")
        settle(engine)
    except exc.SQLAlchemyError as error:
        raise failure(error) from error
    finally:
        engine.dispose()


def _insert(connection: sa.Connection, row: JournalRow) -> None:
    """Insert a row and every guard that follows from it."""
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    connection.execute(ROW.insert().values(values))
    for table, guard in guards_of(row):
        connection.execute(table.insert().values(guard))


class Journal:
    """An open journal, verified from its first row.

    Args:
        path: The file; it must exist.
        journal_id: What the vault says it must be.
        clock_ms: The time in milliseconds since 1970.

    Raises:
        JournalError: If it is missing, locked or unreadable.
        BrokenInvariantError: If it is empty, foreign, of an unknown format,
            altered, or from the future.

    Attributes:
        policies: Every signed policy that took force, the first one first.
        clients: Every client that was enrolled or revoked, the oldest first.
    """

    def __init__(
        self, path: Path, *, journal_id: str, clock_ms: Callable[[], int]
    ) -> None:
        if not path.is_file():
            raise JournalError(
                f"the journal {path} is missing; a start never makes one. Restore it,"
                " or run `saltkeep-appliance init` for a new appliance"
            )
        self._engine = open_engine(path)
        self._open = True
        self._clock_ms = clock_ms
        self.journal_id = journal_id
        try:
            with self._transaction() as connection:
                self.verified = verify_journal(connection, journal_id)
            self.epoch, self._head = self.verified.epoch, self.verified.head
            self.policies = self.verified.policies
            self.clients = self.verified.clients
            settle(self._engine)
            self.now_ms()
        except BaseException:
            self.close()  # or its lock would outlive it
            raise

    @property
    def head(self) -> Head:
        """The last row."""
        return self._head

    @property
    def pristine(self) -> bool:
        """Whether nothing was ever issued or signed: there is no head to lose."""
        return self._head.sequence == 1

    def now_ms(self) -> int:
        """Return the policy time: the clock, never before the last row.

        Returns:
            Milliseconds since 1970.

        Raises:
            BrokenInvariantError: ``clock`` if it stepped back by over 5 s.
        """
        now_ms = self._clock_ms()
        if now_ms < self._head.time_ms - CLOCK_TOLERANCE_MS:
            raise BrokenInvariantError(
                f"the clock is {self._head.time_ms - now_ms} ms behind the journal's"
                " last row; set it right before unsealing",
                code="clock",
            )
        return max(now_ms, self._head.time_ms)

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of one row, or None where there is none."""
        if not 1 <= sequence <= self._head.sequence:
            return None
        query = sa.select(ROW.c.hash).where(ROW.c.sequence == sequence)
        with self._transaction() as connection:
            return connection.execute(query).scalar_one_or_none()

    def rows(self, *, after_sequence: int, limit: int) -> list[JournalRow]:
        """Return rows after a sequence number, in rising order."""
        with self._transaction() as connection:
            query = rows_after(after_sequence).limit(limit)
            return [JournalRow(*row) for row in connection.execute(query)]

    def verify_again(self) -> Verified:
        """Check every row and guard as a start does; the journal waits meanwhile."""
        with self._transaction() as connection:
            return verify_journal(connection, self.journal_id)

    def check_writable(self) -> None:
        """Write something that changes nothing, and sync it."""
        with self._transaction() as connection:
            connection.exec_driver_sql("PRAGMA user_version=1")

    # --- issuing --------------------------------------------------------------

    def find_issued(self, commitment: Commitment) -> IssuedRecord | None:
        """Return what was issued for a seed UUID, if anything was."""
        with self._transaction() as connection:
            return _find_issued(connection, ISSUED.c.commitment == commitment)

    def is_spent(self, commitment: Commitment) -> bool:
        """Say whether a key signed anything or was imported as spent."""
        with self._transaction() as connection:
            return bool(_spent_hashes(connection, [commitment]))

    def commit_issue(
        self,
        record: IssuedRecord,
        *,
        client: str,
        decide: Callable[[JournalView], None] = lambda _: None,
    ) -> IssuedRecord:
        """Record an address as given out; synced when this returns.

        Args:
            record: What is about to be released.
            client: Who asked.
            decide: Raises, under the lock, if the client has had its share.

        Returns:
            The record in force: an earlier one if the same was issued meanwhile.

        Raises:
            RefusedError: ``seed-uuid-known`` if the UUID is spent or was issued
                with other content.
        """
        with self._transaction() as connection:
            if _spent_hashes(connection, [record.commitment]):
                raise RefusedError("seed-uuid-known", "this seed UUID is spent")
            earlier = _find_issued(connection, ISSUED.c.commitment == record.commitment)
            if earlier is not None:
                return require_same_issue(earlier, record.user_commitment)
            decide(JournalView(client, self.now_ms(), connection))
            head = self._append(
                connection, client=client, kind="issued", payload=record.payload()
            )
            failpoint("journal.issue.before-commit")
        self._head = head
        failpoint("journal.issue.after-commit")
        return record

    # --- signing --------------------------------------------------------------

    def spent_hashes(self, commitments: Sequence[Commitment]) -> Spent:
        """Return the recorded hashes of each key that is spent, the oldest first."""
        with self._transaction() as connection:
            return _spent_hashes(connection, commitments)

    def require_not_refused(self, bundle_hash: str) -> None:
        """Repeat the earlier refusal of a bundle hash, if there was one.

        Args:
            bundle_hash: 81 trytes.
        """
        with self._transaction() as connection:
            _require_not_refused(connection, bundle_hash)

    def issued_records(self, addresses: Iterable[str]) -> dict[str, IssuedRecord]:
        """Return what was issued at each of these addresses."""
        with self._transaction() as connection:
            found = {
                address: _find_issued(connection, ISSUED.c.address == address)
                for address in addresses
            }
        return {a: record for a, record in found.items() if record is not None}

    def consult(
        self, client: str, question: Callable[[JournalView], _Answer]
    ) -> _Answer:
        """Return what a question makes of the journal as it is now."""
        with self._transaction() as connection:
            return question(JournalView(client, self.now_ms(), connection))

    def commit_signature(
        self,
        transfer: Transfer,
        *,
        own: Mapping[str, Commitment],
        client: str,
        decide: Callable[[JournalView], Leaving],
        door: Door | None = None,
    ) -> None:
        """Record every key of a transfer as spent; synced when this returns.

        All keys or none. The same transfer again changes nothing. A spent key
        (``key-spent``), an output spent meanwhile (``output-spent``) and an
        earlier refusal of the hash raise ``RefusedError``. A spent key passes only
        by a door, judged anew under the lock.

        Args:
            transfer: What is about to be signed.
            own: Commitments of the outputs that are ours, by address.
            client: Who asked.
            decide: Decides again under the lock: returns what leaves, or raises.
            door: For keys that have signed: the word of two operators.
        """
        with self._transaction() as connection:
            spent = _spent_hashes(connection, transfer.commitments)
            if is_recorded(transfer, spent):
                return
            if door is None:
                require_unspent(transfer, spent)
            spent_outputs = _spent_hashes(connection, list(own.values()))
            require_unspent_outputs(transfer, own, spent_outputs)
            _require_not_refused(connection, transfer.bundle_hash)
            second = door.pass_with(transfer, own, spent) if door else {}
            leaving = decide(JournalView(client, self.now_ms(), connection))
            failpoint("journal.sign.before-insert")
            head = self._append(
                connection,
                client=client,
                kind="signed",
                payload=signed_payload(transfer, leaving) | second,
            )
            failpoint("journal.sign.before-commit")
        self._head = head
        failpoint("journal.sign.after-commit")

    def commit_blind(
        self,
        commitment: Commitment,
        bundle_hash: str,
        *,
        client: str,
        decide: Callable[[JournalView], None],
    ) -> None:
        """Record a key as spent for a bare hash; synced when this returns.

        Args:
            commitment: Of the key.
            bundle_hash: 81 trytes.
            client: Who asked.
            decide: Raises, under the lock, if it may not be.

        Raises:
            RefusedError: ``key-spent`` if it is spent for another hash.
        """
        with self._transaction() as connection:
            spent = _spent_hashes(connection, [commitment])
            if commitment in spent:
                require_blind_again(spent[commitment], bundle_hash)
                return
            _require_not_refused(connection, bundle_hash)
            decide(JournalView(client, self.now_ms(), connection))
            payload: dict[str, object] = {
                "commitment": commitment,
                "bundle_hash": bundle_hash,
            }
            head = self._append(
                connection, client=client, kind="blind", payload=payload
            )
            failpoint("journal.blind.before-commit")
        self._head = head
        failpoint("journal.blind.after-commit")

    def find_signed(self, bundle_hash: str) -> SignedRecord | None:
        """Return a bundle that was signed, whole."""
        with self._transaction() as connection:
            payload = _payload(connection, SIGNED, SIGNED.c.bundle_hash == bundle_hash)
        return SignedRecord.parse(payload) if payload else None

    def commit_refusal(
        self, *, client: str, bundle_hashes: Sequence[str], code: str, message: str
    ) -> list[str]:
        """Record a refusal; its hashes are never signed. Synced on return.

        A hash that is signed already stays signed: only the row tells of it.

        Args:
            client: Who was refused.
            bundle_hashes: For which bundles, if any.
            code: Why, a stable word.
            message: For people.

        Returns:
            Those of the hashes that are signed: for them it is no refusal at all.
        """
        with self._transaction() as connection:
            hashes = list(dict.fromkeys(bundle_hashes))
            signed = [value for value in hashes if _is_signed(connection, value)]
            final = [
                value
                for value in hashes
                if value not in signed and _refusal_of(connection, value) is None
            ]
            payload: dict[str, object] = {"bundle_hashes": list(bundle_hashes)}
            payload |= {"code": code, "message": message, "final": final}
            head = self._append(
                connection, client=client, kind="refused", payload=payload
            )
            failpoint("journal.refuse.before-commit")
        self._head = head
        failpoint("journal.refuse.after-commit")
        return signed

    def commit_ceremony(self, *, client: str, payload: dict[str, object]) -> None:
        """Record an operator's act; synced when this returns."""
        with self._transaction() as connection:
            head = self._append(
                connection, client=client, kind="ceremony", payload=payload
            )
            failpoint("journal.ceremony.before-commit")
        self._head = head
        self.policies += policies_of(payload)
        self.clients += client_changes_of(payload)

    def commit_spent(
        self,
        commitments: Sequence[Commitment],
        *,
        client: str,
        payload: dict[str, object],
    ) -> int:
        """Record keys as spent with an unknown hash; those known stay as they are.

        Args:
            commitments: Which keys; issued here or not.
            client: Who asks.
            payload: What else the row says.

        Returns:
            How many became spent.
        """
        with self._transaction() as connection:
            known = set(_spent_hashes(connection, commitments))
            new = [c for c in dict.fromkeys(commitments) if c not in known]
            head = self._append(
                connection,
                client=client,
                kind="ceremony",
                payload=payload | {"spent": new},
            )
            failpoint("journal.spent.before-commit")
        self._head = head
        failpoint("journal.spent.after-commit")
        return len(new)

    def commit_export(
        self,
        commitment: Commitment,
        *,
        client: str,
        payload: Callable[[], dict[str, object]],
    ) -> None:
        """Record a key whose seed is about to leave: spent, hash unknown. Synced.

        Args:
            commitment: Which key; it may have signed before.
            client: Who asks.
            payload: Says under the lock what else the row says, or raises.
        """
        with self._transaction() as connection:
            n = len(_spent_hashes(connection, [commitment]).get(commitment, ()))
            export = {"export": {"commitment": commitment, "n": n}}
            head = self._append(
                connection, client=client, kind="ceremony", payload=payload() | export
            )
            failpoint("journal.export.before-commit")
        self._head = head
        failpoint("journal.export.after-commit")

    def unspent_issued(self) -> list[Commitment]:
        """Return every key that was issued and is not recorded as spent."""
        spent = sa.select(SPENT_KEY.c.commitment)
        query = sa.select(ISSUED.c.commitment).where(ISSUED.c.commitment.not_in(spent))
        with self._transaction() as connection:
            return [Commitment(found) for found in connection.execute(query).scalars()]

    def close(self) -> None:
        """Close the file; whoever still holds this object gets a fault."""
        self._open = False
        self._engine.dispose()

    # --- inside a transaction ---------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        if not self._open:
            raise JournalError("the journal is closed")
        try:
            with self._engine.begin() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            # The commit may have succeeded all the same: what is remembered of
            # the head is worth nothing until the file has been read again.
            self._open = False
            raise failure(error) from error
        except UnicodeDecodeError as error:  # SQLite quotes the damage it found
            self._open = False
            raise BrokenInvariantError(
                "journal: its schema is no text", code="journal-broken"
            ) from error

    def _append(
        self,
        connection: sa.Connection,
        *,
        client: str,
        kind: str,
        payload: dict[str, object],
    ) -> Head:
        row = next_row(
            self._head,
            now_ms=self.now_ms(),
            client=client,
            kind=kind,
            payload=payload,
        )
        _insert(connection, row)
        return Head(row.sequence, row.hash, row.time_ms)


def _payload(
    connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]
) -> str | None:
    """Return the payload of the row that one guard follows from."""
    query = sa.select(ROW.c.payload).join(table, table.c.row == ROW.c.sequence)
    found: Any = connection.execute(query.where(condition)).scalar_one_or_none()
    return None if found is None else str(found)


def _find_issued(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> IssuedRecord | None:
    payload = _payload(connection, ISSUED, condition)
    return IssuedRecord.parse(payload) if payload else None


def _spent_hashes(
    connection: sa.Connection, commitments: Sequence[Commitment]
) -> Spent:
    query = (
        sa.select(SPENT_KEY.c.commitment, SPENT_KEY.c.bundle_hash)
        .where(SPENT_KEY.c.commitment.in_(commitments))
        .order_by(SPENT_KEY.c.n)
    )
    found: dict[Commitment, tuple[str | None, ...]] = {}
    for commitment, bundle_hash in connection.execute(query):
        found[commitment] = (*found.get(commitment, ()), bundle_hash)
    return found


def _is_signed(connection: sa.Connection, bundle_hash: str) -> bool:
    condition = SIGNED.c.bundle_hash == bundle_hash
    return _payload(connection, SIGNED, condition) is not None


def _refusal_of(connection: sa.Connection, bundle_hash: str) -> str | None:
    return _payload(connection, REFUSED, REFUSED.c.bundle_hash == bundle_hash)


def _require_not_refused(connection: sa.Connection, bundle_hash: str) -> None:
    """Repeat an earlier refusal.

    Raises:
        RefusedError: With the earlier code.
    """
    payload = _refusal_of(connection, bundle_hash)
    if payload is not None:
        earlier = json.loads(payload)
        message = f"refused before: {earlier['message']}"
        raise RefusedError(earlier["code"], message)
