# SPDX-License-Identifier: Apache-2.0
"""The chain of the journal's rows: each holds the hash of the one before. Pure.

``verify_chain`` needs no appliance and no database: it works on an export.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from appliance.journal_schema import broken
from appliance.receipt import CHECKPOINT_TYPE, read_statement
from appliance.wire import JournalRow

GENESIS_HASH: Final = "0" * 64
_ROW_LABEL: Final = b"saltkeep/journal/v1\0"


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
        sequence = head.sequence + 1 if head else 1
        previous = head.hash if head else GENESIS_HASH
        time_ms = head.time_ms if head else 0
        if row.sequence != sequence:
            broken(f"row {sequence} expected, row {row.sequence} found")
        if row.previous_hash != previous:
            broken(f"row {row.sequence} does not follow the row before it")
        if row.hash != _hash_or_broken(row):
            broken(f"row {row.sequence} was altered")
        if row.time_ms < time_ms:
            broken(f"row {row.sequence} is older than the row before it")
        head = Head(row.sequence, row.hash, row.time_ms)
    return head


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


def require_checkpoint(
    rows: Sequence[JournalRow], statement: str, *, identity_pem: bytes
) -> None:
    """Check that a verified journal still holds what a checkpoint says.

    Args:
        rows: Verified, from the first one.
        statement: A checkpoint that was kept elsewhere.
        identity_pem: The pinned identity key; ``RefusedError`` if it did not sign.
    """
    claims = read_statement(statement, kind=CHECKPOINT_TYPE, identity_pem=identity_pem)
    sequence, digest = claims.get("sequence"), claims.get("hash")
    if not isinstance(sequence, int) or not 1 <= sequence <= len(rows):
        broken(f"a checkpoint names row {sequence}, the journal ends at {len(rows)}")
    if rows[sequence - 1].hash != digest:
        broken(f"row {sequence} is not the row that was signed")
    journal_id = json.loads(rows[0].payload).get("journal_id")
    if claims.get("journal_id") != journal_id:
        broken(f"the checkpoint is of journal {claims.get('journal_id')}")
