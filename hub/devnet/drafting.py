# SPDX-License-Identifier: Apache-2.0
"""New bundles: from entries to signed transactions that await attachment. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from trinary.bundle import Essence, Transaction, bundle_hash
from trinary.trytes import int_from_trytes, trytes_from_int
from trinary.winternitz import FRAGMENT_TRYTES, normalise, sign

EMPTY_FRAGMENT: Final = "9" * FRAGMENT_TRYTES
EMPTY_HASH: Final = "9" * 81
EMPTY_TAG: Final = "9" * 27
_UNSIGNABLE: Final = 13


@dataclass(frozen=True, slots=True)
class Entry:
    """What one transaction of a bundle does.

    Args:
        address: 81 trytes.
        value_i: In iota, negative to spend.
        tag: 27 trytes, for the obsolete tag and the tag.
    """

    address: str
    value_i: int = 0
    tag: str = EMPTY_TAG


def draft(entries: Sequence[Entry], *, timestamp_s: int) -> list[Transaction]:
    """Make the transactions of a bundle, with its hash and no signatures.

    Args:
        entries: Index 0 first.
        timestamp_s: Seconds since the Unix epoch.

    Returns:
        Transactions, index 0 first.
    """
    essences = [
        Essence(
            address=entry.address,
            value_i=entry.value_i,
            obsolete_tag=entry.tag,
            timestamp_s=timestamp_s,
            current_index=index,
            last_index=len(entries) - 1,
        )
        for index, entry in enumerate(entries)
    ]
    return _with_hash(essences, tags=[entry.tag for entry in entries])


def make_signable(txs: Sequence[Transaction]) -> list[Transaction]:
    """Count the obsolete tag up until the normalised hash holds no 13.

    Args:
        txs: A drafted bundle, index 0 first.

    Returns:
        The same with another obsolete tag in transaction 0 and another hash.
    """
    essences = [tx.essence for tx in txs]
    tags = [tx.tag for tx in txs]
    while _UNSIGNABLE in normalise(bundle_hash(essences)):
        counted = int_from_trytes(essences[0].obsolete_tag) + 1
        tag = trytes_from_int(counted, length_trytes=len(EMPTY_TAG))
        essences[0] = replace(essences[0], obsolete_tag=tag)
    return _with_hash(essences, tags=tags)


def with_signature(
    txs: Sequence[Transaction], *, first: int, fragments: Sequence[str]
) -> list[Transaction]:
    """Put a signature's fragments into consecutive transactions.

    Args:
        txs: A bundle, index 0 first.
        first: Index of the input.
        fragments: 2187 trytes each.

    Returns:
        The bundle with the fragments.
    """
    signed = list(txs)
    for offset, fragment in enumerate(fragments):
        signed[first + offset] = replace(
            signed[first + offset], signature_message=fragment
        )
    return signed


def signature(seed: bytes, *, index: int, level: int, signed_hash: str) -> list[str]:
    """Sign a hash with a key of a seed.

    Args:
        seed: 48 bytes.
        index: Of the address.
        level: Security level, 1 to 3.
        signed_hash: 81 trytes.

    Returns:
        One fragment for each level.
    """
    return list(sign(seed, level=level, index=index, bundle_hash=signed_hash))


def _with_hash(
    essences: Sequence[Essence], *, tags: Sequence[str]
) -> list[Transaction]:
    hashed = bundle_hash(essences)
    return [
        Transaction(
            signature_message=EMPTY_FRAGMENT,
            address=essence.address,
            value_i=essence.value_i,
            obsolete_tag=essence.obsolete_tag,
            timestamp_s=essence.timestamp_s,
            current_index=essence.current_index,
            last_index=essence.last_index,
            bundle=hashed,
            trunk=EMPTY_HASH,
            branch=EMPTY_HASH,
            tag=tag,
            attachment_timestamp_ms=0,
            attachment_lower=0,
            attachment_upper=0,
            nonce=EMPTY_TAG,
        )
        for essence, tag in zip(essences, tags, strict=True)
    ]
