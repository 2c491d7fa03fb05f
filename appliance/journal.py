# SPDX-License-Identifier: Apache-2.0
"""The one-time ledger: what was issued and signed, and which keys are spent.

Append-only rows, each holding the hash of the one before; beside them three
tables that are derived from the rows and guard by primary key: ``spent_key``
(a key signs one bundle hash, ever), ``issued`` and ``refused``. One transaction
writes a row and its guards, synced to disk before ``commit_*`` returns. Nothing
is ever updated or deleted.

A journal that is missing, empty, foreign or of an unknown format is fatal; only
a ceremony makes one. Every method blocks: ``appliance.server`` runs them in the
journal's own thread. Look-ups are by primary key; opening verifies every row
(about 100,000 rows a second).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from sqlalchemy import event, exc

from appliance.errors import BrokenInvariantError, JournalError, RefusedError
from appliance.intent import Commitment, Transfer
from appliance.policy import Usage
from appliance.wire import InputClaim, JournalRow, ShownTransaction
from failpoints import failpoint

FORMAT: Final = "saltkeep-journal/1"
GENESIS_HASH: Final = "0" * 64
CLOCK_TOLERANCE_MS: Final = 5_000
_ROW_LABEL: Final = b"saltkeep/journal/v1\0"

_metadata = sa.MetaData()
_header = sa.Table(
    "header",
    _metadata,
    sa.Column("format", sa.String, primary_key=True),
    sa.Column("journal_id", sa.String, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
)
_row = sa.Table(
    "row",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("client", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)
_spent_key = sa.Table(
    "spent_key",
    _metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bundle_hash", sa.String(81), nullable=True),
    sa.Column("row", sa.Integer, sa.ForeignKey("row.sequence"), nullable=False),
)
_issued = sa.Table(
    "issued",
    _metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("address", sa.String(81), nullable=False, unique=True),
    sa.Column("row", sa.Integer, sa.ForeignKey("row.sequence"), nullable=False),
)
_refused = sa.Table(
    "refused",
    _metadata,
    sa.Column("bundle_hash", sa.String(81), primary_key=True),
    sa.Column("row", sa.Integer, sa.ForeignKey("row.sequence"), nullable=False),
)
_signed = sa.Table(
    "signed",
    _metadata,
    sa.Column("bundle_hash", sa.String(81), primary_key=True),
    sa.Column("row", sa.Integer, sa.ForeignKey("row.sequence"), nullable=False),
    sa.Column("client", sa.String, nullable=False, index=True),
    sa.Column("time_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("outside_i", sa.BigInteger, nullable=False),
    sa.Column("key_count", sa.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last row.

    Attributes:
        sequence: Its number, from 1.
        hash: Its hash, hex.
        time_ms: Its time, in milliseconds since 1970.
    """

    sequence: int
    hash: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class IssuedRecord:
    """An address that was given out.

    Attributes:
        commitment: Of its seed UUID.
        address: 81 trytes.
        generation: Its salt generation.
        security_level: 1, 2 or 3.
        user_commitment: Whom the receipt names; empty for the hub's owner.
        receipt: The JWS.
    """

    commitment: Commitment
    address: str
    generation: int
    security_level: int
    user_commitment: str
    receipt: str


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A bundle that was signed, whole.

    Attributes:
        bundle_hash: 81 trytes.
        transactions: As shown.
        claims: Which key for which input.
    """

    bundle_hash: str
    transactions: tuple[ShownTransaction, ...]
    claims: tuple[InputClaim, ...]


def row_hash(row: JournalRow) -> str:
    """Return the hash a row must carry: SHA-256 over everything else in it."""
    fields = [
        row.sequence,
        row.time_ms,
        row.client,
        row.kind,
        row.payload,
        row.previous_hash,
    ]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(_ROW_LABEL + text.encode()).hexdigest()


def verify_chain(
    rows: Iterable[JournalRow], *, after: Head | None = None
) -> Head | None:
    """Check that rows follow each other unaltered; works on an export.

    Args:
        rows: In rising order.
        after: The row before the first one, if not from the beginning.

    Returns:
        The last row's head, or ``after`` where there are no rows.

    Raises:
        BrokenInvariantError: At the first row that is altered, missing,
            repeated, reordered or older than the one before it.
    """
    head = after
    for row in rows:
        sequence = head.sequence + 1 if head else 1
        previous = head.hash if head else GENESIS_HASH
        time_ms = head.time_ms if head else 0
        if row.sequence != sequence:
            _broken(f"row {sequence} expected, row {row.sequence} found")
        if row.previous_hash != previous:
            _broken(f"row {row.sequence} does not follow the row before it")
        if row.hash != row_hash(row):
            _broken(f"row {row.sequence} was altered")
        if row.time_ms < time_ms:
            _broken(f"row {row.sequence} is older than the row before it")
        head = Head(row.sequence, row.hash, row.time_ms)
    return head


def _broken(what: str) -> NoReturn:
    raise BrokenInvariantError(f"journal: {what}", code="journal-broken")


def _connect(path: Path, *, create: bool) -> sa.Engine:
    mode = "rwc" if create else "rw"
    engine = sa.create_engine(
        f"sqlite:///file:{path}?mode={mode}&uri=true",
        poolclass=sa.pool.StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:  # noqa: ANN401 - DBAPI
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


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
    """
    if path.exists():
        raise JournalError(f"{path} exists; a journal is made only once")
    engine = _connect(path, create=True)
    try:
        _metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                _header.insert().values(format=FORMAT, journal_id=journal_id, epoch=1)
            )
            _append(
                connection,
                head=None,
                now_ms=now_ms,
                client="ceremony",
                kind="ceremony",
                payload=ceremony | {"journal_id": journal_id},
            )
            for commitment in ceremony.get("never_issue", []):  # type: ignore[attr-defined]
                connection.execute(
                    _spent_key.insert().values(
                        commitment=commitment, n=0, bundle_hash=None, row=1
                    )
                )
    except exc.SQLAlchemyError as error:
        raise JournalError(f"cannot create {path}: {error}") from error
    finally:
        engine.dispose()
    path.chmod(0o600)


def _append(
    connection: sa.Connection,
    *,
    head: Head | None,
    now_ms: int,
    client: str,
    kind: str,
    payload: dict[str, object],
) -> Head:
    """Insert the next row; its time never runs backwards."""
    row = JournalRow(
        sequence=head.sequence + 1 if head else 1,
        time_ms=max(now_ms, head.time_ms if head else 0),
        client=client,
        kind=kind,
        payload=json.dumps(payload, sort_keys=True, separators=(",", ":")),
        previous_hash=head.hash if head else GENESIS_HASH,
        hash="",
    )
    digest = row_hash(row)
    connection.execute(
        _row.insert().values(
            sequence=row.sequence,
            time_ms=row.time_ms,
            client=row.client,
            kind=row.kind,
            payload=row.payload,
            previous_hash=row.previous_hash,
            hash=digest,
        )
    )
    return Head(row.sequence, digest, row.time_ms)


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
    """

    def __init__(
        self, path: Path, *, journal_id: str, clock_ms: Callable[[], int]
    ) -> None:
        if not path.is_file():
            raise JournalError(
                f"the journal {path} is missing; a start never makes one. Restore it,"
                " or run `saltkeep-appliance init` for a new appliance"
            )
        self._engine = _connect(path, create=False)
        self._open = True
        self._clock_ms = clock_ms
        self.journal_id = journal_id
        try:
            with self._engine.begin() as connection:
                self.epoch = _read_epoch(connection, journal_id)
                self._head = _verify(connection)
        except exc.SQLAlchemyError as error:
            raise JournalError(f"cannot open {path}: {error.args[0]}") from error
        self.now_ms()

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
        """Return the hash of one row, or None beyond the head."""
        query = sa.select(_row.c.hash).where(_row.c.sequence == sequence)
        with self._transaction() as connection:
            return connection.execute(query).scalar_one_or_none()

    def rows(self, *, after_sequence: int, limit: int) -> list[JournalRow]:
        """Return rows after a sequence number, in rising order."""
        with self._transaction() as connection:
            query = _rows_after(after_sequence).limit(limit)
            return [JournalRow(*row) for row in connection.execute(query)]

    # --- issuing --------------------------------------------------------------

    def find_issued(self, commitment: Commitment) -> IssuedRecord | None:
        """Return what was issued for a seed UUID, if anything was."""
        with self._transaction() as connection:
            return _find_issued(connection, _issued.c.commitment == commitment)

    def is_spent(self, commitment: Commitment) -> bool:
        """Say whether a key signed anything or was imported as spent."""
        with self._transaction() as connection:
            return bool(_spent_hashes(connection, [commitment]))

    def commit_issue(self, record: IssuedRecord, *, client: str) -> IssuedRecord:
        """Record an address as given out; synced when this returns.

        Args:
            record: What is about to be released.
            client: Who asked.

        Returns:
            The record in force: an earlier one if the same was issued meanwhile.

        Raises:
            RefusedError: ``seed-uuid-known`` if the UUID is spent or was issued
                with other content.
        """
        with self._transaction() as connection:
            earlier = _find_issued(
                connection, _issued.c.commitment == record.commitment
            )
            if earlier is not None:
                return require_same_issue(earlier, record.user_commitment)
            if _spent_hashes(connection, [record.commitment]):
                raise RefusedError("seed-uuid-known", "this seed UUID is spent")
            head = self._append(
                connection, client=client, kind="issued", payload=_issue_payload(record)
            )
            connection.execute(
                _issued.insert().values(
                    commitment=record.commitment,
                    address=record.address,
                    row=head.sequence,
                )
            )
            failpoint("journal.issue.before-commit")
        self._head = head
        failpoint("journal.issue.after-commit")
        return record

    # --- signing --------------------------------------------------------------

    def spent_hashes(
        self, commitments: Sequence[Commitment]
    ) -> dict[Commitment, str | None]:
        """Return the recorded hash of each key that is spent (None: unknown)."""
        with self._transaction() as connection:
            return _spent_hashes(connection, commitments)

    def refusal_of(self, bundle_hash: str) -> tuple[str, str] | None:
        """Return code and message if this bundle hash was refused for good."""
        with self._transaction() as connection:
            return _refusal_of(connection, bundle_hash)

    def issued_records(self, addresses: Iterable[str]) -> dict[str, IssuedRecord]:
        """Return what was issued at each of these addresses."""
        with self._transaction() as connection:
            found = {
                address: _find_issued(connection, _issued.c.address == address)
                for address in addresses
            }
        return {a: record for a, record in found.items() if record is not None}

    def usage(self, *, client: str, window_s: int) -> Usage:
        """Return what one client had signed in the window that ends now."""
        with self._transaction() as connection:
            return self._usage(connection, client, window_s)

    def commit_signature(
        self,
        transfer: Transfer,
        *,
        client: str,
        window_s: int,
        decide: Callable[[Usage], int],
    ) -> None:
        """Record every key of a transfer as spent; synced when this returns.

        All keys or none. The same transfer again changes nothing.

        Args:
            transfer: What is about to be signed.
            client: Who asked.
            window_s: The policy's window, in seconds.
            decide: Decides again under the lock: takes the client's usage,
                returns the value leaving in iota, or raises.

        Raises:
            RefusedError: ``key-spent`` if a key is spent for another hash, or
                the earlier refusal of this bundle hash.
        """
        with self._transaction() as connection:
            spent = _spent_hashes(connection, transfer.commitments)
            if is_recorded(transfer, spent):
                return
            require_unspent(transfer, spent)
            _require_not_refused(connection, transfer.bundle_hash)
            outside_i = decide(self._usage(connection, client, window_s))
            head = self._append(
                connection,
                client=client,
                kind="signed",
                payload=_signed_payload(transfer, outside_i),
            )
            failpoint("journal.sign.before-insert")
            _insert_signed(connection, transfer, head, client, outside_i)
            failpoint("journal.sign.before-commit")
        self._head = head
        failpoint("journal.sign.after-commit")

    def find_signed(self, bundle_hash: str) -> SignedRecord | None:
        """Return a bundle that was signed, whole."""
        query = (
            sa.select(_row.c.payload)
            .join(_signed, _signed.c.row == _row.c.sequence)
            .where(_signed.c.bundle_hash == bundle_hash)
        )
        with self._transaction() as connection:
            payload = connection.execute(query).scalar_one_or_none()
        if payload is None:
            return None
        data = json.loads(payload)
        return SignedRecord(
            bundle_hash,
            tuple(ShownTransaction(*fields) for fields in data["transactions"]),
            tuple(InputClaim(*fields) for fields in data["inputs"]),
        )

    def commit_refusal(
        self, *, client: str, bundle_hashes: Sequence[str], code: str, message: str
    ) -> None:
        """Record a refusal; its hashes are never signed. Synced on return.

        A hash that is signed already stays signed: only the row tells of it.
        """
        with self._transaction() as connection:
            final = [
                value
                for value in dict.fromkeys(bundle_hashes)
                if _refusal_of(connection, value) is None
                and not _is_signed(connection, value)
            ]
            payload: dict[str, object] = {"bundle_hashes": list(bundle_hashes)}
            payload |= {"code": code, "message": message, "final": final}
            head = self._append(
                connection, client=client, kind="refused", payload=payload
            )
            for value in final:
                connection.execute(
                    _refused.insert().values(bundle_hash=value, row=head.sequence)
                )
            failpoint("journal.refuse.before-commit")
        self._head = head
        failpoint("journal.refuse.after-commit")

    def commit_ceremony(self, *, client: str, payload: dict[str, object]) -> None:
        """Record an operator's act; synced when this returns."""
        with self._transaction() as connection:
            head = self._append(
                connection, client=client, kind="ceremony", payload=payload
            )
        self._head = head

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
            raise JournalError(f"the journal failed: {error.args[0]}") from error

    def _append(
        self,
        connection: sa.Connection,
        *,
        client: str,
        kind: str,
        payload: dict[str, object],
    ) -> Head:
        return _append(
            connection,
            head=self._head,
            now_ms=self.now_ms(),
            client=client,
            kind=kind,
            payload=payload,
        )

    def _usage(
        self, connection: sa.Connection, client: str, window_s: int
    ) -> Usage:
        now_ms = self.now_ms()
        query = sa.select(
            sa.func.coalesce(sa.func.sum(_signed.c.outside_i), 0),
            sa.func.coalesce(sa.func.sum(_signed.c.key_count), 0),
            sa.func.min(_signed.c.time_ms),
        ).where(
            _signed.c.client == client, _signed.c.time_ms > now_ms - window_s * 1000
        )
        outside_i, keys, oldest_ms = connection.execute(query).one()
        age_s = (now_ms - oldest_ms) / 1000 if oldest_ms is not None else 0.0
        return Usage(int(outside_i), int(keys), age_s)


def is_recorded(
    transfer: Transfer, spent: dict[Commitment, str | None]
) -> bool:
    """Say whether every key of a transfer is spent for exactly its hash."""
    return all(spent.get(c) == transfer.bundle_hash for c in transfer.commitments)


def require_unspent(transfer: Transfer, spent: dict[Commitment, str | None]) -> None:
    """Refuse a transfer any of whose keys is spent.

    Raises:
        RefusedError: ``key-spent``, with the hash it is spent for.
    """
    for entry in transfer.inputs:
        if entry.commitment in spent:
            recorded = spent[entry.commitment] or ""
            raise RefusedError(
                "key-spent",
                f"the key of input {entry.index} is spent for"
                f" {recorded or 'an unknown hash'}; it never signs another",
                recorded_bundle_hash=recorded,
            )


def require_same_issue(record: IssuedRecord, user_commitment: str) -> IssuedRecord:
    """Return an earlier issue if it is the same that is asked for now.

    Raises:
        RefusedError: ``seed-uuid-known`` if it was for somebody else.
    """
    if record.user_commitment != user_commitment:
        raise RefusedError(
            "seed-uuid-known", "this seed UUID was issued before, for somebody else"
        )
    return record


def _rows_after(sequence: int) -> sa.Select[Any]:
    columns = [_row.c[name] for name in JournalRow.__struct_fields__]
    query = sa.select(*columns).where(_row.c.sequence > sequence)
    return query.order_by(_row.c.sequence)


def _find_issued(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> IssuedRecord | None:
    query = (
        sa.select(_row.c.payload)
        .join(_issued, _issued.c.row == _row.c.sequence)
        .where(condition)
    )
    payload = connection.execute(query).scalar_one_or_none()
    return IssuedRecord(**json.loads(payload)) if payload else None


def _issue_payload(record: IssuedRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in IssuedRecord.__slots__}


def _signed_payload(transfer: Transfer, outside_i: int) -> dict[str, object]:
    return {
        "bundle_hash": transfer.bundle_hash,
        "outside_i": outside_i,
        "transactions": [
            [t.address, t.value_i, t.obsolete_tag, t.timestamp_s]
            for t in transfer.transactions
        ],
        "inputs": [[c.index, c.seed_uuid, c.generation] for c in transfer.claims],
        "commitments": list(transfer.commitments),
    }


def _insert_signed(
    connection: sa.Connection,
    transfer: Transfer,
    head: Head,
    client: str,
    outside_i: int,
) -> None:
    for commitment in transfer.commitments:
        connection.execute(
            _spent_key.insert().values(
                commitment=commitment,
                n=0,
                bundle_hash=transfer.bundle_hash,
                row=head.sequence,
            )
        )
    connection.execute(
        _signed.insert().values(
            bundle_hash=transfer.bundle_hash,
            row=head.sequence,
            client=client,
            time_ms=head.time_ms,
            outside_i=outside_i,
            key_count=len(transfer.inputs),
        )
    )


def _spent_hashes(
    connection: sa.Connection, commitments: Sequence[Commitment]
) -> dict[Commitment, str | None]:
    query = sa.select(_spent_key.c.commitment, _spent_key.c.bundle_hash).where(
        _spent_key.c.commitment.in_(commitments), _spent_key.c.n == 0
    )
    return {Commitment(row[0]): row[1] for row in connection.execute(query)}


def _refusal_of(
    connection: sa.Connection, bundle_hash: str
) -> tuple[str, str] | None:
    query = (
        sa.select(_row.c.payload)
        .join(_refused, _refused.c.row == _row.c.sequence)
        .where(_refused.c.bundle_hash == bundle_hash)
    )
    payload = connection.execute(query).scalar_one_or_none()
    if payload is None:
        return None
    data = json.loads(payload)
    return data["code"], data["message"]


def _require_not_refused(connection: sa.Connection, bundle_hash: str) -> None:
    refusal = _refusal_of(connection, bundle_hash)
    if refusal is not None:
        raise RefusedError(refusal[0], f"refused before: {refusal[1]}")


def _is_signed(connection: sa.Connection, bundle_hash: str) -> bool:
    query = sa.select(_signed.c.row).where(_signed.c.bundle_hash == bundle_hash)
    return connection.execute(query).first() is not None


def _read_epoch(connection: sa.Connection, journal_id: str) -> int:
    found = connection.execute(sa.select(_header)).all()
    if len(found) != 1 or found[0].format != FORMAT:
        _broken(f"it has no header of format {FORMAT}")
    if found[0].journal_id != journal_id:
        _broken(
            f"it is journal {found[0].journal_id}, the vault belongs to {journal_id}"
        )
    return int(found[0].epoch)


def _verify(connection: sa.Connection) -> Head:
    """Check the chain and that the guard tables say what the rows say."""
    guards = {
        "spent_key": _count(connection, _spent_key),
        "issued": _count(connection, _issued),
        "refused": _count(connection, _refused),
        "signed": _count(connection, _signed),
    }
    expected = dict.fromkeys(guards, 0)

    def checked() -> Iterator[JournalRow]:
        for fields in connection.execute(_rows_after(0)):
            row = JournalRow(*fields)
            _check_guards(connection, row, expected)
            yield row

    head = verify_chain(checked())
    if head is None:
        _broken("it holds no row")
    if guards != expected:
        _broken(f"its tables hold {guards}, its rows say {expected}")
    return head


def _count(connection: sa.Connection, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(connection.execute(query).scalar_one())


def _check_guards(
    connection: sa.Connection, row: JournalRow, expected: dict[str, int]
) -> None:
    payload = json.loads(row.payload)
    if row.kind == "signed":
        bundle_hash, commitments = payload["bundle_hash"], payload["commitments"]
        spent = _spent_hashes(connection, commitments)
        if any(spent.get(c) != bundle_hash for c in commitments) or not _is_signed(
            connection, bundle_hash
        ):
            _broken(f"the keys of row {row.sequence} are not recorded as spent")
        expected["spent_key"] += len(commitments)
        expected["signed"] += 1
    elif row.kind == "issued":
        record = _find_issued(
            connection, _issued.c.commitment == payload["commitment"]
        )
        if record is None or record.address != payload["address"]:
            _broken(f"the address of row {row.sequence} is not recorded as issued")
        expected["issued"] += 1
    elif row.kind == "refused":
        if any(_refusal_of(connection, value) is None for value in payload["final"]):
            _broken(f"the refusal of row {row.sequence} is not recorded")
        expected["refused"] += len(payload["final"])
    elif row.kind == "ceremony":
        never = payload.get("never_issue", [])
        if len(_spent_hashes(connection, never)) != len(never):
            _broken(f"the keys of row {row.sequence} are not recorded as spent")
        expected["spent_key"] += len(never)
