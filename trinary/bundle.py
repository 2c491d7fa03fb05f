# SPDX-License-Identifier: Apache-2.0
"""Transactions as text and as values, and the hash that binds a bundle.

A transaction is 2673 trytes of fixed fields. A bundle's hash covers only the
essence of each of its transactions: where value goes, how much, and in what
order; not signatures, and nothing that attaching changes.

Source: IOTA's transaction layout and bundle hash since Kerl (2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trinary.curl import TRANSACTION_TRYTES
from trinary.errors import LengthError, ValueRangeError
from trinary.kerl import kerl
from trinary.trytes import (
    HASH_TRYTES,
    int_from_trytes,
    require_trytes,
    trytes_from_int,
)

TOTAL_SUPPLY_I: Final = 2_779_530_283_277_761
"""All iota there are: (3^33 - 1) / 2, the most that 33 trits hold."""

SIGNATURE_MESSAGE_TRYTES: Final = 2187
TAG_TRYTES: Final = 27
ESSENCE_TRYTES: Final = 162
_VALUE_TRYTES: Final = 27
_NUMBER_TRYTES: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Essence:
    """What a bundle hash covers of one transaction.

    Attributes:
        address: 81 trytes.
        value_i: In iota; negative for an input.
        obsolete_tag: 27 trytes; in the first transaction also the counter that
            makes the bundle hash safe to sign.
        timestamp_s: Seconds since 1970.
        current_index: Position in the bundle, from 0.
        last_index: Position of the bundle's last transaction.
    """

    address: str
    value_i: int
    obsolete_tag: str
    timestamp_s: int
    current_index: int
    last_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction, field by field, in the order of its trytes.

    Attributes:
        signature_message: 2187 trytes: a signature fragment or a message.
        address: 81 trytes.
        value_i: In iota; negative for an input.
        obsolete_tag: 27 trytes.
        timestamp_s: Seconds since 1970; part of the bundle hash.
        current_index: Position in the bundle, from 0.
        last_index: Position of the bundle's last transaction.
        bundle: 81 trytes: the bundle hash it claims.
        trunk: 81 trytes: the next transaction of the bundle, or a tip.
        branch: 81 trytes: a tip.
        tag: 27 trytes.
        attachment_timestamp_ms: Milliseconds since 1970.
        attachment_lower: Lower bound of the attachment time.
        attachment_upper: Upper bound of the attachment time.
        nonce: 27 trytes: the proof of work.
    """

    signature_message: str
    address: str
    value_i: int
    obsolete_tag: str
    timestamp_s: int
    current_index: int
    last_index: int
    bundle: str
    trunk: str
    branch: str
    tag: str
    attachment_timestamp_ms: int
    attachment_lower: int
    attachment_upper: int
    nonce: str

    @property
    def essence(self) -> Essence:
        """What the bundle hash covers of this transaction."""
        return Essence(
            address=self.address,
            value_i=self.value_i,
            obsolete_tag=self.obsolete_tag,
            timestamp_s=self.timestamp_s,
            current_index=self.current_index,
            last_index=self.last_index,
        )


_FIELD_TRYTES: Final = {
    "signature_message": SIGNATURE_MESSAGE_TRYTES,
    "address": HASH_TRYTES,
    "value": _VALUE_TRYTES,
    "obsolete_tag": TAG_TRYTES,
    "timestamp": _NUMBER_TRYTES,
    "current_index": _NUMBER_TRYTES,
    "last_index": _NUMBER_TRYTES,
    "bundle": HASH_TRYTES,
    "trunk": HASH_TRYTES,
    "branch": HASH_TRYTES,
    "tag": TAG_TRYTES,
    "attachment_timestamp": _NUMBER_TRYTES,
    "attachment_lower": _NUMBER_TRYTES,
    "attachment_upper": _NUMBER_TRYTES,
    "nonce": TAG_TRYTES,
}


def parse_transaction(trytes: str) -> Transaction:
    """Read a transaction.

    Every transaction read is written back to the same trytes. What is checked
    is what nodes check of one transaction's form; whether its numbers make
    sense in a bundle is not.

    Args:
        trytes: 2673 trytes.

    Returns:
        Its fields.
    """
    require_trytes(trytes, length=TRANSACTION_TRYTES, what="transaction")
    field: dict[str, str] = {}
    at = 0
    for name, length in _FIELD_TRYTES.items():
        field[name] = trytes[at : at + length]
        at += length
    return Transaction(
        signature_message=field["signature_message"],
        address=field["address"],
        value_i=_require_value(int_from_trytes(field["value"])),
        obsolete_tag=field["obsolete_tag"],
        timestamp_s=int_from_trytes(field["timestamp"]),
        current_index=int_from_trytes(field["current_index"]),
        last_index=int_from_trytes(field["last_index"]),
        bundle=field["bundle"],
        trunk=field["trunk"],
        branch=field["branch"],
        tag=field["tag"],
        attachment_timestamp_ms=int_from_trytes(field["attachment_timestamp"]),
        attachment_lower=int_from_trytes(field["attachment_lower"]),
        attachment_upper=int_from_trytes(field["attachment_upper"]),
        nonce=field["nonce"],
    )


def serialise_transaction(tx: Transaction) -> str:
    """Write a transaction.

    Args:
        tx: Its fields.

    Returns:
        2673 trytes.
    """
    return "".join(
        (
            _text("signature_message", tx.signature_message),
            essence_trytes(tx.essence),
            _text("bundle", tx.bundle),
            _text("trunk", tx.trunk),
            _text("branch", tx.branch),
            _text("tag", tx.tag),
            _number("attachment_timestamp", tx.attachment_timestamp_ms),
            _number("attachment_lower", tx.attachment_lower),
            _number("attachment_upper", tx.attachment_upper),
            _text("nonce", tx.nonce),
        )
    )


def essence_trytes(essence: Essence) -> str:
    """Write what a bundle hash covers of one transaction.

    Args:
        essence: The fields covered.

    Returns:
        162 trytes, as they stand in the transaction.
    """
    return "".join(
        (
            _text("address", essence.address),
            _number("value", _require_value(essence.value_i)),
            _text("obsolete_tag", essence.obsolete_tag),
            _number("timestamp", essence.timestamp_s),
            _number("current_index", essence.current_index),
            _number("last_index", essence.last_index),
        )
    )


def bundle_hash(essences: Sequence[Essence]) -> str:
    """Compute a bundle's hash.

    Args:
        essences: One per transaction, from the bundle's first to its last.

    Returns:
        81 trytes. Whether it is safe to sign is not asked here.

    Raises:
        LengthError: There are none, or a text field has another length.
    """
    if not essences:
        msg = "bundle: expected at least one transaction, got none"
        raise LengthError(msg)
    return kerl("".join(essence_trytes(essence) for essence in essences))


def _text(name: str, trytes: str) -> str:
    """Check a field of text.

    Args:
        name: The field's name.
        trytes: Its content.

    Returns:
        The content itself.
    """
    return require_trytes(trytes, length=_FIELD_TRYTES[name], what=name)


def _number(name: str, value: int) -> str:
    """Write a field of a number.

    Args:
        name: The field's name.
        value: Its content.

    Returns:
        As many trytes as the field has.
    """
    return trytes_from_int(value, length_trytes=_FIELD_TRYTES[name])


def _require_value(value_i: int) -> int:
    """Refuse more iota than there are.

    The field has 81 trits; the network uses the lowest 33 and wants the others
    zero, which is the same bound.

    Args:
        value_i: In iota.

    Returns:
        The value itself.

    Raises:
        ValueRangeError: It is beyond the total supply, up or down.
    """
    if not -TOTAL_SUPPLY_I <= value_i <= TOTAL_SUPPLY_I:
        msg = f"value: expected at most {TOTAL_SUPPLY_I} either way"
        raise ValueRangeError(msg)
    return value_i
