# SPDX-License-Identifier: Apache-2.0
"""The rules a transaction and a bundle must keep. Pure.

Sources: IRI 1.8.6 TransactionValidator.java and BundleValidator.java; HORNET
0.5.6 plugins/gossip and pkg/model/tangle/bundle.go; iota.go bundle package.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise, takewhile
from typing import Final

from hub.devnet.config import SUPPLY_I, Dialect
from hub.devnet.errors import InvalidTransactionError
from trinary.bundle import Transaction, bundle_hash
from trinary.pow import weight_magnitude
from trinary.trytes import last_trit_is_zero
from trinary.winternitz import verify

MAX_FRAGMENTS: Final = 3
"""An address has at most 3 key fragments, of 2187 trytes each."""

FUTURE_DRIFT_MS: Final = {Dialect.IRI: 2 * 60 * 60 * 1000, Dialect.HORNET: 600_000}
"""How far ahead of a node's clock an attachment may lie, in milliseconds."""


class Flaw(StrEnum):
    """Why a transaction is refused before it is stored."""

    WEIGHT = "weight-magnitude"
    """Too few trailing zero trits on its hash."""
    VALUE = "value-range"
    """More than the supply, either way."""
    ADDRESS = "address-trit"
    """It moves value and its address does not end in a zero trit."""
    TIMESTAMP = "timestamp"
    """Attached before the snapshot or too far in the future."""


class Verdict(StrEnum):
    """What is wrong with a bundle, or that nothing is."""

    VALID = "valid"
    STRUCTURE = "structure"
    """Indices, last indices or bundle hashes do not agree."""
    SUM = "sum"
    """The values do not add up to zero."""
    HASH = "bundle-hash"
    """The essence has another hash than the transactions say."""
    APPROVAL = "approval"
    """Some branch is not the head's trunk, or the head approves a non-tail."""
    SIGNATURE = "signature"
    """An input without a fitting signature."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transaction is measured against.

    Args:
        min_weight_magnitude: Trailing zero trits wanted.
        snapshot_timestamp_s: Oldest attachment, seconds since the Unix epoch.
        now_ms: The node's clock, milliseconds since the Unix epoch.
        future_drift_ms: How far ahead of ``now_ms`` an attachment may lie.
    """

    min_weight_magnitude: int
    snapshot_timestamp_s: int
    now_ms: int
    future_drift_ms: int


def check_transaction(tx: Transaction, *, tx_hash: str, limits: Limits) -> None:
    """Check one transaction by itself.

    Args:
        tx: The transaction, parsed.
        tx_hash: Its Curl-P-81 hash, 81 trytes.
        limits: What it is measured against.

    Raises:
        InvalidTransactionError: It breaks a rule; ``code`` is the ``Flaw``.
    """
    if weight_magnitude(tx_hash) < limits.min_weight_magnitude:
        raise InvalidTransactionError(Flaw.WEIGHT)
    if abs(tx.value_i) > SUPPLY_I:
        raise InvalidTransactionError(Flaw.VALUE)
    if tx.value_i and not last_trit_is_zero(tx.address):
        raise InvalidTransactionError(Flaw.ADDRESS)
    # A transaction without attachment timestamp is judged by its timestamp.
    attached_ms = tx.attachment_timestamp_ms or tx.timestamp_s * 1000
    latest_ms = limits.now_ms + limits.future_drift_ms
    if not limits.snapshot_timestamp_s * 1000 <= attached_ms <= latest_ms:
        raise InvalidTransactionError(Flaw.TIMESTAMP)


def check_bundle(
    txs: Sequence[Transaction],
    *,
    is_tail: Callable[[str], bool],
    fragments_anywhere: bool,
) -> Verdict:
    """Check a bundle whose transactions are all known.

    Args:
        txs: Its transactions as the trunk links them, index 0 first.
        is_tail: Says of a hash whether it may be approved by a bundle's head.
        fragments_anywhere: Collect signature fragments from any later
            transaction of the same address, as iota.go does, and not only
            from those that follow at once.

    Returns:
        The first thing found wrong, or ``VALID``.
    """
    if not _is_well_formed(txs):
        return Verdict.STRUCTURE
    if sum(tx.value_i for tx in txs) != 0:
        return Verdict.SUM
    if bundle_hash([tx.essence for tx in txs]) != txs[0].bundle:
        return Verdict.HASH
    if not _approves_strictly(txs, is_tail):
        return Verdict.APPROVAL
    for index, tx in enumerate(txs):
        if tx.value_i >= 0:
            continue
        if not _is_signed(txs[index:], fragments_anywhere=fragments_anywhere):
            return Verdict.SIGNATURE
    return Verdict.VALID


def _is_well_formed(txs: Sequence[Transaction]) -> bool:
    if not txs or len(txs) != txs[0].last_index + 1:
        return False
    return all(
        tx.current_index == index
        and tx.last_index == txs[0].last_index
        and tx.bundle == txs[0].bundle
        for index, tx in enumerate(txs)
    )


def _approves_strictly(
    txs: Sequence[Transaction], is_tail: Callable[[str], bool]
) -> bool:
    head = txs[-1]
    if any(tx.branch != head.trunk for tx, _ in pairwise(txs)):
        return False
    return is_tail(head.trunk) and is_tail(head.branch)


def _is_signed(from_input: Sequence[Transaction], *, fragments_anywhere: bool) -> bool:
    spend, later = from_input[0], from_input[1:]

    def belongs(tx: Transaction) -> bool:
        return tx.address == spend.address and tx.value_i == 0

    collect = filter if fragments_anywhere else takewhile
    carriers = collect(belongs, later)
    fragments = [tx.signature_message for tx in (spend, *carriers)]
    if len(fragments) > MAX_FRAGMENTS:
        return False
    return verify(address=spend.address, fragments=fragments, bundle_hash=spend.bundle)
