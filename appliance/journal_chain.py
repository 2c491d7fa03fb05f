# SPDX-License-Identifier: Apache-2.0
"""The chain of the journal's rows: each holds the hash of the one before. Pure.

``verify_chain`` needs no appliance and no database: it works on an export.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.journal_schema import broken
from appliance.receipt import CHECKPOINT_TYPE, read_statement
from appliance.wire import JournalRow

GENESIS_HASH: Final = "0" * 64
_ROW_LABEL: Final = b"saltkeep/journal/v1\0"
_DELETE: Final = b"\x7f"  # the one ASCII character that only json.dumps escapes
_encode: Final = msgspec.json.Encoder().encode


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


def row_hash(row: JournalRow) -> str:
    """Return the hash a row must carry: SHA-256 over everything else in it.

    It is over the row as a JSON list that is all ASCII, as ``json.dumps`` writes it.
    msgspec writes the same, three times as fast, unless there is something to escape.
    """
    texts = (row.client, row.kind, row.payload, row.previous_hash)
    fields = [row.sequence, row.time_ms, *texts]
    if all(type(text) is str for text in texts):
        quick = _encode(fields)
        if quick.isascii() and _DELETE not in quick:
            return hashlib.sha256(_ROW_LABEL + quick).hexdigest()
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(_ROW_LABEL + text.encode()).hexdigest()


def next_row(
    head: Head | None,
    *,
    now_ms: int,
    client: str,
    kind: str,
    payload: dict[str, object],
) -> JournalRow:
    """Return the row that follows ``head``; its time never runs backwards.

    Args:
        head: The last row, or None for the first one.
        now_ms: The time.
        client: Who asked for what it records.
        kind: ``issued``, ``signed``, ``refused`` or ``ceremony``.
        payload: What it records.

    Returns:
        The row with its hash.
    """
    row = JournalRow(
        sequence=head.sequence + 1 if head else 1,
        time_ms=max(now_ms, head.time_ms if head else 0),
        client=client,
        kind=kind,
        payload=json.dumps(payload, sort_keys=True, separators=(",", ":")),
        previous_hash=head.hash if head else GENESIS_HASH,
        hash="",
    )
    return msgspec.structs.replace(row, hash=row_hash(row))


def verify_chain(
    rows: Iterable[JournalRow], *, after: Head | None = None
) -> Head | None:
    """Check that rows follow each other unaltered; works on an export.

    The first row that is altered, missing, repeated, reordered or older than the
    one before it raises ``BrokenInvariantError``.

    Args:
        rows: In rising order.
        after: The row before the first one, if not from the beginning.

    Returns:
        The last row's head, or ``after`` where there are no rows.
    """
    head = after
    for row in rows:
        require_follows(row, head)
        if row.hash != _hash_or_broken(row):
            broken(f"row {row.sequence} was altered")
        head = Head(row.sequence, row.hash, row.time_ms)
    return head


def require_follows(row: JournalRow, head: Head | None) -> None:
    """Check that a row says of itself that it is the next one.

    Args:
        row: Its own hash is not looked at.
        head: The row before it; None if it must be the first one.
    """
    sequence = head.sequence + 1 if head else 1
    if row.sequence != sequence:
        broken(f"row {sequence} expected, row {row.sequence} found")
    if row.previous_hash != (head.hash if head else GENESIS_HASH):
        broken(f"row {row.sequence} does not follow the row before it")
    if row.time_ms < (head.time_ms if head else 0):
        broken(f"row {row.sequence} is older than the row before it")


def _hash_or_broken(row: JournalRow) -> str:
    try:
        return row_hash(row)
    except TypeError:  # a column holds what no row can, such as bytes
        broken(f"row {row.sequence} was altered")


def require_rows(rows: Sequence[JournalRow]) -> Head:
    """Check the chain of a whole journal, which holds at least one row."""
    head = verify_chain(rows)
    if head is None:
        broken("it holds no row")
    return head


@dataclass(slots=True)
class Chain:
    """A journal that is read from its first row on, and never held whole.

    Attributes:
        keep: Rows whose hash is asked for later.
        head: The last row so far.
        journal_id: What the first row says; empty before.
        hashes: The hash of each row that was to be kept.
        doors: Rows that say who may pass a dangerous door, or passed one.
    """

    keep: Collection[int] = ()
    head: Head | None = None
    journal_id: str = ""
    hashes: dict[int, str] = field(default_factory=dict)
    doors: list[JournalRow] = field(default_factory=list)

    def take(self, rows: Sequence[JournalRow]) -> None:
        """Check the next rows.

        Args:
            rows: In rising order.
        """
        self.head = verify_chain(rows, after=self.head)
        self.note(rows)

    def note(self, rows: Sequence[JournalRow]) -> None:
        """Keep what is asked of rows that were checked."""
        self.doors += [row for row in rows if _concerns_doors(row)]
        for row in rows:
            if row.sequence in self.keep:
                self.hashes[row.sequence] = row.hash
            if row.sequence == 1:
                self.journal_id = journal_id_of(row)

    def end(self) -> Head:
        """Return the last row; there must be one."""
        if self.head is None:
            broken("it holds no row")
        return self.head


class _Marks(msgspec.Struct):
    """What only a row says that passed a dangerous door, or says who may."""

    door: msgspec.Raw = msgspec.Raw()
    n: msgspec.Raw = msgspec.Raw()
    export: msgspec.Raw = msgspec.Raw()
    policy: msgspec.Raw = msgspec.Raw()


_marks_of: Final = msgspec.json.Decoder(_Marks).decode


def _concerns_doors(row: JournalRow) -> bool:
    if row.sequence == 1:
        return True
    if row.kind in {"issued", "refused", "blind"}:
        return False
    try:
        marks = _marks_of(row.payload)
    except msgspec.DecodeError:
        broken(f"row {row.sequence} says what no appliance wrote")
    return bool(marks.door or marks.n or marks.export or marks.policy)


def journal_id_of(row: JournalRow) -> str:
    """Return what the first row names; empty if it is no such row."""
    try:
        return str(json.loads(row.payload).get("journal_id", ""))
    except (ValueError, AttributeError):
        return ""


@dataclass(frozen=True, slots=True)
class CheckpointClaims:
    """What a checkpoint says, its signature checked.

    Attributes:
        journal_id: Of which journal.
        sequence: Number of the row it names.
        hash: That row's hash.
    """

    journal_id: str
    sequence: int
    hash: str


def read_checkpoint(statement: str, *, identity_pem: bytes) -> CheckpointClaims:
    """Check a checkpoint's signature.

    Args:
        statement: As it was kept.
        identity_pem: The pinned identity key; ``RefusedError`` if it did not sign.

    Returns:
        What it says; sequence 0 if it says none.
    """
    claims = read_statement(statement, kind=CHECKPOINT_TYPE, identity_pem=identity_pem)
    sequence = claims.get("sequence")
    return CheckpointClaims(
        str(claims.get("journal_id")),
        sequence if isinstance(sequence, int) else 0,
        str(claims.get("hash")),
    )


def require_claims(chain: Chain, claims: CheckpointClaims) -> None:
    """Check that a verified journal still holds what a checkpoint says.

    Args:
        chain: Read to its end; it kept the hash of the row the checkpoint names.
        claims: The checkpoint's.
    """
    last = chain.end().sequence
    if not 1 <= claims.sequence <= last:
        broken(f"a checkpoint names row {claims.sequence}, the journal ends at {last}")
    if chain.hashes.get(claims.sequence) != claims.hash:
        broken(f"row {claims.sequence} is not the row that was signed")
    if claims.journal_id != chain.journal_id:
        broken(f"the checkpoint is of journal {claims.journal_id}")


def require_checkpoint(
    rows: Sequence[JournalRow], statement: str, *, identity_pem: bytes
) -> None:
    """Check that a verified journal still holds what a checkpoint says.

    Args:
        rows: Verified, from the first one.
        statement: A checkpoint that was kept elsewhere.
        identity_pem: The pinned identity key; ``RefusedError`` if it did not sign.
    """
    claims = read_checkpoint(statement, identity_pem=identity_pem)
    chain = Chain(keep={claims.sequence}, head=Head(len(rows), "", 0))
    chain.note(rows)
    require_claims(chain, claims)
