# SPDX-License-Identifier: Apache-2.0
"""The one-time ledger: what was issued and signed, and which keys are spent.

Append-only rows (``journal_chain``), beside them tables that follow from the rows
(``journal_records.guards_of``) and guard by primary key: a key signs one bundle
hash, ever. One transaction writes a row and its guards, synced to disk before
``commit_*`` returns. Nothing is ever updated or deleted.

A journal that is missing, empty, foreign or of an unknown format is never mended
and never made by a start; only a ceremony makes one. Opening verifies every row
and every guard, and settles on disk what a killed process may have left unsynced.

Other appliances may append to the same journal where its database is shared
(``journal_postgres``). So each transaction first reads what came since, checks it
like everything else and takes it in; a decision is made, under the lock of those who
append, on nothing older.

Every method blocks: ``appliance.lifecycle`` runs them in the journal's own thread.
After any failure of the database the object answers nothing more, since what it
remembers may be wrong: open it anew.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from appliance.errors import (
    BrokenInvariantError,
    DeferredError,
    FaultError,
    JournalError,
    RefusedError,
)
from appliance.intent import Commitment, Transfer
from appliance.journal_chain import Head, next_row
from appliance.journal_database import JournalDatabase, as_database
from appliance.journal_memory import JournalMemory, Verified
from appliance.journal_mirror import Mirror, SpentKey, make_mirror
from appliance.journal_records import (
    IssuedRecord,
    Leaving,
    SignedRecord,
    Spent,
    guards_of,
    have_more,
    is_counted,
    is_recorded,
    made_generation,
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
    ROW_MAC,
    SIGNED,
    SPENT_KEY,
    broken,
)
from appliance.journal_verification import rows_after, verify_journal, verify_rows
from appliance.journal_view import JournalView
from appliance.policy_file import SignedPolicy
from appliance.roster import ClientChange
from appliance.row_seal import RowSeal
from appliance.wire import JournalRow
from failpoints import failpoint

CLOCK_TOLERANCE_MS: Final = 5_000
_ROWS_AT_ONCE: Final = 1000
_TOLD_S: Final = 60.0
_KEYS_AT_ONCE: Final = 500
_LINES_AT_ONCE: Final = 200
_FEW_LINES: Final = 8
_SCANNED_AT_ONCE: Final = 100_000
_Answer = TypeVar("_Answer")


class Door(Protocol):
    """What lets a key sign again."""

    def pass_with(
        self, transfer: Transfer, own: Mapping[str, Commitment], spent: Spent, /
    ) -> dict[str, object]:
        """Judge under the lock and return what the row says besides, or raise."""


class PanelCounter(Protocol):
    """The monotonic counter of a panel that was enrolled."""

    @property
    def panel_id(self) -> str:
        """Which panel: 16 hex digits."""

    def raise_to(self, value: int) -> None:
        """Raise it by one, to ``value``, durably; once it is there, do nothing.

        Raises:
            JournalError: If the panel does not say that it is there.
            BrokenInvariantError: ``panel-counter`` if it stands elsewhere.
        """


def create_journal(
    place: Path | JournalDatabase,
    *,
    journal_id: str,
    now_ms: int,
    ceremony: dict[str, object],
    seal: RowSeal | None = None,
) -> None:
    """Make a new journal with its first row; part of a ceremony, never of a start.

    Args:
        place: A database, or a SQLite file; it holds no such journal yet.
        journal_id: 32 hex characters.
        now_ms: The time of the first row.
        ceremony: What the first row says. ``JournalError`` if there is one already.
        seal: Vouches for the row; an appliance takes no journal without.
    """
    row = next_row(
        None,
        now_ms=now_ms,
        client="ceremony",
        kind="ceremony",
        payload=ceremony | {"journal_id": journal_id},
    )
    _create(as_database(place), [row], journal_id=journal_id, epoch=1, seal=seal)


def import_journal(
    place: Path | JournalDatabase,
    rows: Sequence[JournalRow],
    *,
    journal_id: str,
    epoch: int,
    seal: RowSeal | None = None,
) -> None:
    """Make a journal of rows that were backed up; part of a restore only.

    Args:
        place: A database, or a SQLite file; it holds no such journal yet.
        rows: The chain, already checked, the row of the restore its last.
        journal_id: 32 hex characters.
        epoch: The new epoch. ``JournalError`` if there is one already.
        seal: Vouches for the rows; an appliance takes no journal without.
    """
    _create(as_database(place), rows, journal_id=journal_id, epoch=epoch, seal=seal)


def join_journal(
    database: JournalDatabase,
    *,
    journal_id: str,
    again: bool = False,
    seal: RowSeal | None = None,
) -> Head:
    """Make the mirror of an appliance that joins a shared journal: a ceremony.

    Every row and guard is verified and the mirror filled before this returns.

    Args:
        database: Shared; it holds the journal.
        journal_id: Of the journal.
        again: This appliance has joined before: its mirror is kept and must agree.
        seal: Says whether an appliance wrote a row; closed here.

    Returns:
        The journal's last row, for people to compare with the other appliance's.

    Raises:
        JournalError: If this appliance has a mirror already, or the database is one
            that appliances can not share.
    """
    if database.mirror is None:
        raise JournalError("this journal can not be shared: it needs PostgreSQL")
    if not again:
        make_mirror(database.mirror, journal_id=journal_id)
    try:
        joined = Journal(database, journal_id=journal_id, clock_ms=None, seal=seal)
        with closing(joined):
            return joined.head
    except BaseException:
        if not again:
            database.mirror.unlink()
        raise


def _create(
    database: JournalDatabase,
    rows: Sequence[JournalRow],
    *,
    journal_id: str,
    epoch: int,
    seal: RowSeal | None,
) -> None:
    """Make a journal of some rows; the mirror first, which knows none of them yet.

    Raises:
        database.failure: As the database fails.
    """
    if database.mirror is not None:
        make_mirror(database.mirror, journal_id=journal_id)
    header = {"format": FORMAT, "journal_id": journal_id, "epoch": epoch}
    try:
        with database.creating(journal_id) as connection:
            connection.execute(HEADER.insert().values(header))
            _insert(connection, rows, seal)
            failpoint("journal.import.before-commit")
    except BaseException as error:
        if database.mirror is not None:
            database.mirror.unlink()
        if isinstance(error, exc.SQLAlchemyError):
            raise database.failure(error) from error
        raise


def _insert(
    connection: sa.Connection, rows: Sequence[JournalRow], seal: RowSeal | None
) -> None:
    """Insert rows and every guard that follows from them, many in one statement."""
    lines: dict[sa.Table, list[dict[str, Any]]] = {ROW: []}
    for row in rows:
        lines[ROW].append(msgspec.structs.asdict(row))
        if seal is not None:
            mac = {"row": row.sequence, "mac": seal.mac(row)}
            lines.setdefault(ROW_MAC, []).append(mac)
        for table, guard in guards_of(row):
            lines.setdefault(table, []).append(guard)
    for table, found in lines.items():
        for start in range(0, len(found), _LINES_AT_ONCE):
            part = found[start : start + _LINES_AT_ONCE]
            if len(part) > _FEW_LINES:  # one round trip for all of them
                connection.execute(table.insert().values(part))
            else:  # a statement that was compiled before
                connection.execute(table.insert(), part)


class Journal:
    """An open journal, verified from its first row.

    Args:
        place: A database that holds it, or its SQLite file.
        journal_id: What the vault says it must be.
        clock_ms: The time in milliseconds since 1970; None only to read.
        seal: Vouches for rows made here, and says of those read whether an appliance
            wrote them; closed with the journal.

    Raises:
        JournalError: If it is missing, locked or unreadable.
        BrokenInvariantError: If it is empty, foreign, of an unknown format,
            altered, from the future, or not what this appliance has seen of it.
    """

    def __init__(
        self,
        place: Path | JournalDatabase,
        *,
        journal_id: str,
        clock_ms: Callable[[], int] | None,
        seal: RowSeal | None = None,
    ) -> None:
        self._seal = seal
        self._database = as_database(place)
        self._engine = self._database.open(journal_id)
        self._open = True
        self._mirror: Mirror | None = None
        self._clock_ms = clock_ms
        self._panel: PanelCounter | None = None
        self.journal_id = journal_id
        try:
            if self._database.mirror is not None:
                self._mirror = Mirror(self._database.mirror, journal_id=journal_id)
            self._memory = self._verify()
            self._own_time_ms = 0 if self.shared else self.head.time_ms
            with self._failing():
                self._database.settle(self._engine)
            if clock_ms is not None:
                self.now_ms()
        except BaseException:
            self.close()  # or its lock would outlive it
            raise

    @property
    def head(self) -> Head:
        """The last row that was seen; another appliance may have added to it."""
        return self._memory.told_head

    @property
    def verified(self) -> Verified:
        """What its rows have said so far."""
        return self._memory.told()

    @property
    def epoch(self) -> int:
        """How often it was restored, and one."""
        return self._memory.restores + 1

    @property
    def policies(self) -> Sequence[SignedPolicy]:
        """Every signed policy that took force, the first one first."""
        return self._memory.policies

    @property
    def clients(self) -> Sequence[ClientChange]:
        """Every client that was enrolled or revoked, the oldest first."""
        return self._memory.clients

    @property
    def shared(self) -> bool:
        """Whether other appliances may append to it."""
        return self._database.shared

    @property
    def pristine(self) -> bool:
        """Whether nothing was ever issued or signed: there is no head to lose."""
        return self.head.sequence == 1

    @property
    def counted_by(self) -> str:
        """Id of the panel whose counter its rows raise; empty: none does."""
        return self._panel.panel_id if self._panel else ""

    def count_on(self, panel: PanelCounter) -> None:
        """Have a panel count from now on: no counted row is done before it has.

        Args:
            panel: Enrolled here, its counter where the rows say.
        """
        self._panel = panel

    def now_ms(self) -> int:
        """Return the policy time: the clock, never before the last row.

        Returns:
            Milliseconds since 1970.

        Raises:
            BrokenInvariantError: ``clock`` if it stepped back by over 5 s.
            JournalError: ``clock-skew`` if it is over 5 s behind a row that another
                appliance may have written.
        """
        if self._clock_ms is None:
            raise JournalError("the journal was opened only to be read")
        now_ms, last_ms = self._clock_ms(), self.head.time_ms
        if now_ms < self._own_time_ms - CLOCK_TOLERANCE_MS:
            raise BrokenInvariantError(
                f"the clock is {self._own_time_ms - now_ms} ms behind the journal's"
                " last row; set it right before unsealing",
                code="clock",
            )
        if now_ms < last_ms - CLOCK_TOLERANCE_MS:
            raise JournalError(
                f"the clock is {last_ms - now_ms} ms behind the last row of another"
                " appliance: set the clocks of both right",
                code="clock-skew",
            )
        return max(now_ms, last_ms)

    def catch_up(self) -> Head:
        """Take in what other appliances have appended, and return the last row."""
        with self._transaction():
            return self.head

    def holds_presence(self, nonce: str) -> bool:
        """Say whether a row holds the presence grant with this nonce."""
        return nonce in self._memory.presences

    def hash_at(self, sequence: int) -> str | None:
        """Return the hash of one row, or None where there is none."""
        query = sa.select(ROW.c.hash).where(ROW.c.sequence == sequence)
        with self._transaction() as connection:
            if not 1 <= sequence <= self.head.sequence:
                return None
            return connection.execute(query).scalar_one_or_none()

    def rows(self, *, after_sequence: int, limit: int) -> list[JournalRow]:
        """Return rows after a sequence number, in rising order."""
        with self._transaction() as connection:
            query = rows_after(after_sequence).limit(limit)
            return [JournalRow(*row) for row in connection.execute(query)]

    def verify_again(self) -> Verified:
        """Check every row and guard as a start does; the journal waits meanwhile."""
        with self._failing():
            return self._verify().told()

    def check_writable(self) -> None:
        """Write something that changes nothing, and sync it."""
        with self._transaction(appending=True) as connection:
            self._database.probe(connection)

    # --- issuing --------------------------------------------------------------

    def find_issued(self, commitment: Commitment) -> IssuedRecord | None:
        """Return what was issued for a seed UUID, if anything was."""
        with self._transaction() as connection:
            return _find_issued(connection, ISSUED.c.commitment == commitment)

    def is_spent(self, commitment: Commitment) -> bool:
        """Say whether a key signed anything or was imported as spent."""
        with self._transaction() as connection:
            return bool(self._spent_hashes(connection, [commitment]))

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
            FaultError: ``vault-behind`` if its generation was retired meanwhile, by
                another appliance. An adopted one raises as ``require_adoptable`` does.
        """
        with self._transaction(appending=True) as connection:
            if self._spent_hashes(connection, [record.commitment]):
                raise RefusedError("seed-uuid-known", "this seed UUID is spent")
            earlier = _find_issued(connection, ISSUED.c.commitment == record.commitment)
            if earlier is not None:
                return require_same_issue(earlier, record.user_commitment)
            if record.adopted:
                self.require_adoptable(record.generation)
            elif self.shared and record.generation in self.verified.retired:
                raise FaultError(
                    f"generation {record.generation} was retired by another appliance:"
                    " bring this one's vault up to date",
                    code="vault-behind",
                )
            decide(JournalView(client, self.now_ms(), connection))
            row = self._append(
                connection, client=client, kind="issued", payload=record.payload()
            )
            failpoint("journal.issue.before-commit")
        self._take([row])
        failpoint("journal.issue.after-commit")
        return record

    def require_adoptable(self, generation: int) -> None:
        """Insist that this journal has seen all that signed with a salt here.

        Args:
            generation: Of an imported salt.

        Raises:
            RefusedError: ``not-adoptable``, if the journal was restored since the salt
                was imported: a key that is not in it may have signed after the backup.
        """
        if generation < self.verified.restored_below:
            raise RefusedError(
                "not-adoptable",
                f"this journal was restored since generation {generation} was made: a"
                " key of it that is not in the journal may have signed",
            )

    # --- signing --------------------------------------------------------------

    def spent_hashes(self, commitments: Sequence[Commitment]) -> Spent:
        """Return the recorded hashes of each key that is spent, the oldest first."""
        with self._transaction() as connection:
            return self._spent_hashes(connection, commitments)

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

        Raises:
            DeferredError: ``not-told``, if the old Hub's spent keys were not imported
                since a key was adopted: it may have signed there.
        """
        with self._transaction(appending=True) as connection:
            spent = self._spent_hashes(connection, transfer.commitments)
            if is_recorded(transfer, spent):
                return
            if door is None:
                require_unspent(transfer, spent)
            self._require_told(connection, transfer.commitments)
            outputs = [output.address for output in transfer.outputs]
            known = _issued_at(connection, outputs) | dict(own)
            spent_outputs = self._spent_hashes(connection, list(known.values()))
            require_unspent_outputs(transfer, known, spent_outputs)
            _require_not_refused(connection, transfer.bundle_hash)
            second = door.pass_with(transfer, own, spent) if door else {}
            leaving = decide(JournalView(client, self.now_ms(), connection))
            failpoint("journal.sign.before-insert")
            row = self._append(
                connection,
                client=client,
                kind="signed",
                payload=signed_payload(transfer, leaving) | second,
            )
            failpoint("journal.sign.before-commit")
        self._take([row])
        failpoint("journal.sign.after-commit")

    def _require_told(
        self, connection: sa.Connection, commitments: Sequence[Commitment]
    ) -> None:
        told_at = self._memory.told_at
        if self._memory.last_adopted <= told_at:
            return
        condition = ISSUED.c.commitment.in_(commitments) & (ISSUED.c.row > told_at)
        query = sa.select(ROW.c.payload).join_from(
            ISSUED, ROW, ISSUED.c.row == ROW.c.sequence
        )
        for payload in connection.execute(query.where(condition)).scalars():
            if IssuedRecord.parse(payload).adopted:
                raise DeferredError(
                    "not-told",
                    "an input was adopted and no spent keys were imported since: stop"
                    " the old Hub, then `import-interchange`",
                    retry_after_s=_TOLD_S,
                )

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
        with self._transaction(appending=True) as connection:
            spent = self._spent_hashes(connection, [commitment])
            if commitment in spent:
                require_blind_again(spent[commitment], bundle_hash)
                return
            _require_not_refused(connection, bundle_hash)
            decide(JournalView(client, self.now_ms(), connection))
            payload: dict[str, object] = {
                "commitment": commitment,
                "bundle_hash": bundle_hash,
            }
            row = self._append(connection, client=client, kind="blind", payload=payload)
            failpoint("journal.blind.before-commit")
        self._take([row])
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
        with self._transaction(appending=True) as connection:
            hashes = list(dict.fromkeys(bundle_hashes))
            signed = [value for value in hashes if _is_signed(connection, value)]
            final = [
                value
                for value in hashes
                if value not in signed and _refusal_of(connection, value) is None
            ]
            payload: dict[str, object] = {"bundle_hashes": list(bundle_hashes)}
            payload |= {"code": code, "message": message, "final": final}
            row = self._append(
                connection, client=client, kind="refused", payload=payload
            )
            failpoint("journal.refuse.before-commit")
        self._take([row])
        failpoint("journal.refuse.after-commit")
        return signed

    def commit_ceremony(
        self,
        *,
        client: str,
        payload: dict[str, object],
        decide: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        """Record an operator's act; synced when this returns.

        Args:
            client: Who asked.
            payload: What the row says.
            decide: Says, under the lock, what the row says besides; or raises, if it
                can no longer be done.

        Raises:
            FaultError: ``generation-taken`` if another appliance gave a new salt
                generation's number away meanwhile.
        """
        with self._transaction(appending=True) as connection:
            newest = self.verified.newest_generation
            row = self._append(
                connection,
                client=client,
                kind="ceremony",
                payload=payload | dict(decide()),
            )
            if 1 < made_generation(row) <= newest:
                raise FaultError(
                    f"generation {made_generation(row)} was made meanwhile, by another"
                    " appliance; nothing was done: begin again",
                    code="generation-taken",
                )
            failpoint("journal.ceremony.before-commit")
        self._take([row])

    def commit_spent(
        self,
        commitments: Sequence[Commitment],
        *,
        client: str,
        payload: dict[str, object],
        heard: Mapping[Commitment, frozenset[str] | None] | None = None,
    ) -> int:
        """Record keys as spent with an unknown hash; those known keep their record.

        Args:
            commitments: Which keys; issued here or not.
            client: Who asks.
            payload: What else the row says.
            heard: What else keys are said to have signed; None: nobody knows. A
                known key that signed more than is recorded gets an unknown hash
                besides: a second signature reckons with all there are.

        Returns:
            How many became spent.
        """
        heard = heard or {}
        with self._transaction(appending=True) as connection:
            asked = list(dict.fromkeys([*commitments, *heard]))
            known = self._spent_hashes(connection, asked)
            new = [c for c in dict.fromkeys(commitments) if c not in known]
            spent: dict[str, object] = {"spent": new}
            if more := have_more(heard, known):
                spent["spent_again"] = more
            row = self._append(
                connection, client=client, kind="ceremony", payload=payload | spent
            )
            failpoint("journal.spent.before-commit")
        self._take([row])
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
        with self._transaction(appending=True) as connection:
            n = len(self._spent_hashes(connection, [commitment]).get(commitment, ()))
            export = {"export": {"commitment": commitment, "n": n}}
            row = self._append(
                connection, client=client, kind="ceremony", payload=payload() | export
            )
            failpoint("journal.export.before-commit")
        self._take([row])
        failpoint("journal.export.after-commit")

    def unspent_issued(self) -> list[Commitment]:
        """Return every key that was issued and is not recorded as spent."""
        spent = sa.exists().where(SPENT_KEY.c.commitment == ISSUED.c.commitment)
        query = sa.select(ISSUED.c.commitment).where(~spent).order_by(ISSUED.c.row)
        return self._scan(query, ISSUED.c.row)

    def _scan(self, query: sa.Select[Any], row: sa.Column[Any]) -> list[Commitment]:
        found: list[Commitment] = []
        with self._transaction() as connection:
            for start in range(0, self.head.sequence, _SCANNED_AT_ONCE):
                here = row.between(start + 1, start + _SCANNED_AT_ONCE)
                found += map(
                    Commitment, connection.execute(query.where(here)).scalars()
                )
        return found

    def signed_keys(self) -> list[Commitment]:
        """Return every key that is spent, all its hashes known."""
        other = SPENT_KEY.alias()
        unknown = sa.exists().where(
            other.c.commitment == SPENT_KEY.c.commitment, other.c.bundle_hash.is_(None)
        )
        query = sa.select(SPENT_KEY.c.commitment).where(SPENT_KEY.c.n == 0, ~unknown)
        return self._scan(query.order_by(SPENT_KEY.c.row), SPENT_KEY.c.row)

    def close(self) -> None:
        """Close the database; whoever still holds this object gets a fault."""
        self._open = False
        self._engine.dispose()
        if self._mirror is not None:
            self._mirror.close()
        if self._seal is not None:
            self._seal.close()

    # --- inside a transaction ---------------------------------------------------

    def _verify(self) -> JournalMemory:
        with self._failing(), self._engine.begin() as connection:
            self._database.begin(connection, appending=False)
            return verify_journal(
                connection,
                self.journal_id,
                database=self._database,
                mirror=self._mirror,
                seal=self._seal,
            )

    @contextmanager
    def _transaction(self, *, appending: bool = False) -> Iterator[sa.Connection]:
        """Begin, and take in what was appended since; commit at the end."""
        if not self._open:
            raise JournalError("the journal is closed")
        with self._failing(), self._engine.begin() as connection:
            self._database.begin(connection, appending=appending)
            if self.shared:
                self._catch_up(connection)
            yield connection

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Say what went wrong, and answer nothing more."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            # The commit may have succeeded all the same: what is remembered of
            # the head is worth nothing until the file has been read again.
            self._open = False
            raise self._database.failure(error) from error
        except UnicodeDecodeError as error:  # SQLite quotes the damage it found
            self._open = False
            raise BrokenInvariantError(
                "journal: its schema is no text", code="journal-broken"
            ) from error
        except OSError as error:  # a connection that was lost
            self._open = False
            raise JournalError(f"the journal's database is away: {error}") from error
        except (BrokenInvariantError, JournalError):
            self._open = False
            raise

    def _catch_up(self, connection: sa.Connection) -> None:
        """Take in the rows of other appliances, checked; ours must still be there."""
        known = self.head
        query = rows_after(known.sequence - 1).limit(_ROWS_AT_ONCE)
        while True:
            found = [JournalRow(*fields) for fields in connection.execute(query)]
            ours = (known.sequence, known.hash)
            if not found or (found[0].sequence, found[0].hash) != ours:
                raise BrokenInvariantError(
                    f"the journal held row {known.sequence} before and does not now:"
                    " its database was rolled back or replaced",
                    code="head-regression",
                )
            new = found[1:]
            if not new:
                return
            try:
                verify_rows(
                    connection, new, self.journal_id, after=known, seal=self._seal
                )
                self._take(new, unproved=True)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                broken(f"it says what no appliance wrote: {type(error).__name__}")
            known = self.head
            query = rows_after(known.sequence - 1).limit(_ROWS_AT_ONCE)

    def _take(self, rows: Sequence[JournalRow], *, unproved: bool = False) -> None:
        """Remember rows that are committed: in the mirror first, synced."""
        if self._mirror is not None:
            with self._failing():
                failpoint("journal.mirror.before-commit")
                self._mirror.follow(rows)
        take = self._memory.take_unproved if unproved else self._memory.take
        for row in rows:
            take(row)
            if not unproved:
                self._raise_panel(row)

    def _raise_panel(self, row: JournalRow) -> None:
        """Have the panel count a row of ours that is committed.

        Where it does not, no later row may be written by this object: what is on disk
        would be more than one ahead of the panel (``panel_anchor``).
        """
        if self._panel is None:
            return
        payload = json.loads(row.payload)
        if not is_counted(row.kind, payload):
            return
        failpoint("journal.panel.committed")
        try:
            self._panel.raise_to(payload["counter"])
        except BaseException:
            self._open = False
            raise
        failpoint("journal.panel.raised")

    def _numbered(self, kind: str, payload: dict[str, object]) -> dict[str, object]:
        """Return what a row says, with the panel's next count where there is one."""
        if self._panel is None or not is_counted(kind, payload):
            return payload
        panel = self._panel.panel_id
        return payload | {"panel": panel, "counter": self._memory.counters[panel] + 1}

    def _append(
        self,
        connection: sa.Connection,
        *,
        client: str,
        kind: str,
        payload: dict[str, object],
    ) -> JournalRow:
        row = next_row(
            self.head,
            now_ms=self.now_ms(),
            client=client,
            kind=kind,
            payload=self._numbered(kind, payload),
        )
        self._memory.require_fresh(row)
        _insert(connection, [row], self._seal)
        self._own_time_ms = row.time_ms
        return row

    def _spent_hashes(
        self, connection: sa.Connection, commitments: Sequence[Commitment]
    ) -> Spent:
        """Ask the database which keys are spent, and the mirror whether it is so."""
        spent: list[SpentKey] = []
        for start in range(0, len(commitments), _KEYS_AT_ONCE):
            part = commitments[start : start + _KEYS_AT_ONCE]
            query = sa.select(
                SPENT_KEY.c.commitment, SPENT_KEY.c.n, SPENT_KEY.c.bundle_hash
            ).where(SPENT_KEY.c.commitment.in_(part))
            query = query.order_by(SPENT_KEY.c.n)
            spent += [(row[0], row[1], row[2]) for row in connection.execute(query)]
        if self._mirror is not None:
            self._mirror.require_same(commitments, spent)
        found: dict[Commitment, tuple[str | None, ...]] = {}
        for key, _, bundle_hash in spent:
            commitment = Commitment(key)
            found[commitment] = (*found.get(commitment, ()), bundle_hash)
        return found


def _issued_at(
    connection: sa.Connection, addresses: Sequence[str]
) -> dict[str, Commitment]:
    """Return the commitments of those of some addresses that were issued."""
    query = sa.select(ISSUED.c.address, ISSUED.c.commitment).where(
        ISSUED.c.address.in_(addresses)
    )
    return {row[0]: Commitment(row[1]) for row in connection.execute(query)}


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
