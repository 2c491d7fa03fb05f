# SPDX-License-Identifier: Apache-2.0
"""Attachment: linking a bundle's transactions and doing their proof of work.

Slow: call it in a thread. The kernel lets other threads run meanwhile.

Source: IRI 1.8.6 API.java, attachToTangleStatement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hub.devnet.config import ClockMs
from hub.devnet.tangle import Record
from trinary.bundle import Transaction, parse_transaction, serialise_transaction
from trinary.curl import transaction_hash
from trinary.pow import Cancel, find_nonce

UPPER_BOUND_MS: Final = (3**27 - 1) // 2
"""Attachment timestamp's upper bound: the largest value of 27 trits."""

_EMPTY_TAG: Final = "9" * 27
_NO_NONCE: Final = "9" * 27


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how to attach.

    Args:
        trunk: Hash that the head approves first, 81 trytes.
        branch: Hash that the head approves second, 81 trytes.
        min_weight_magnitude: Trailing zero trits of each hash.
    """

    trunk: str
    branch: str
    min_weight_magnitude: int


def record_of(trytes: str) -> Record:
    """Parse and hash a transaction.

    Args:
        trytes: 2673 trytes.

    Returns:
        It, with its hash.
    """
    return Record(transaction_hash(trytes), trytes, parse_transaction(trytes))


def attach_one(
    tx: Transaction, *, place: Place, clock_ms: ClockMs, cancel: Cancel | None = None
) -> Record:
    """Attach a single transaction.

    Args:
        tx: The transaction; its attachment fields are replaced.
        place: What it approves.
        clock_ms: The clock to stamp it with.
        cancel: Stops the search from another thread.

    Returns:
        The attached transaction.
    """
    stamped = replace(
        tx,
        trunk=place.trunk,
        branch=place.branch,
        tag=tx.obsolete_tag if tx.tag == _EMPTY_TAG else tx.tag,
        attachment_timestamp_ms=clock_ms(),
        attachment_lower=0,
        attachment_upper=UPPER_BOUND_MS,
        nonce=_NO_NONCE,
    )
    nonce = find_nonce(
        serialise_transaction(stamped),
        min_weight_magnitude=place.min_weight_magnitude,
        cancel=cancel,
    )
    return record_of(serialise_transaction(replace(stamped, nonce=nonce)))


def attach_bundle(
    txs: Sequence[Transaction],
    *,
    place: Place,
    clock_ms: ClockMs,
    cancel: Cancel | None = None,
) -> list[Record]:
    """Attach the transactions of a bundle, head first, each on the one before.

    Args:
        txs: In any order.
        place: What the head approves; the others approve its trunk too.
        clock_ms: The clock to stamp them with.
        cancel: Stops the search from another thread.

    Returns:
        The attached transactions, tail first.
    """
    attached: list[Record] = []
    here = place
    for tx in sorted(txs, key=lambda tx: tx.current_index, reverse=True):
        record = attach_one(tx, place=here, clock_ms=clock_ms, cancel=cancel)
        attached.append(record)
        here = replace(place, trunk=record.hash, branch=place.trunk)
    return attached[::-1]
