# SPDX-License-Identifier: Apache-2.0
"""The coordinator: milestones, and the checkpoints that gather tips for them.

Simplified on purpose: one fixed key of security level 1 signs every milestone,
instead of the leaves of a Merkle tree. Clients of a node read a milestone's
index, hash, timestamp and tag, which are as on a real network; the shape is
too: ``level + 1`` transactions, the signature over the head's hash.

Source: HORNET 0.5.6 plugins/coordinator; IOTA RFC 0012 (milestone bundles).
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from hub.devnet.attaching import Place, attach_bundle, attach_one
from hub.devnet.config import ClockMs
from hub.devnet.drafting import EMPTY_HASH, Entry, draft, signature
from hub.devnet.tangle import Record
from trinary.trytes import trytes_from_int
from trinary.winternitz import address

MAX_GATHERED: Final = 64
"""Tips taken by one milestone; each but the first costs a proof of work."""

_SEED: Final = b"saltkeep devnet coordinator".ljust(48, b".")
_LEVEL: Final = 1
_CHECKPOINT_TAG: Final = "CHECKPOINT".ljust(27, "9")


@dataclass(frozen=True, slots=True)
class Plan:
    """A milestone to be written.

    Args:
        index: Its index.
        previous: The hash of the milestone before, 81 trytes.
        tips: What it should reference besides, oldest first.
        min_weight_magnitude: Of the network.
    """

    index: int
    previous: str
    tips: tuple[str, ...]
    min_weight_magnitude: int


@dataclass(frozen=True, slots=True)
class Written:
    """A milestone and the checkpoints it needs.

    Args:
        hash: The milestone's hash: its tail's.
        records: All transactions, approved before approving.
    """

    hash: str
    records: tuple[Record, ...]


@cache
def coordinator_address() -> str:
    """Derive the address that every milestone carries.

    Returns:
        81 trytes.
    """
    return address(_SEED, level=_LEVEL)


def write(plan: Plan, *, clock_ms: ClockMs) -> Written:
    """Write a milestone; slow, for a thread.

    Args:
        plan: What it references.
        clock_ms: The clock to stamp it with.

    Returns:
        Its transactions.
    """
    checkpoints = _gather(plan, clock_ms)
    tips = [record.hash for record in checkpoints] or [*plan.tips]
    place = Place(
        trunk=plan.previous,
        branch=tips[-1] if tips else plan.previous,
        min_weight_magnitude=plan.min_weight_magnitude,
    )
    tag = trytes_from_int(plan.index, length_trytes=27)
    tail, head = draft(
        [Entry(coordinator_address(), tag=tag), Entry(EMPTY_HASH, tag=tag)],
        timestamp_s=clock_ms() // 1000,
    )
    attached = attach_one(head, place=place, clock_ms=clock_ms)
    (fragment,) = signature(_SEED, index=0, level=_LEVEL, signed_hash=attached.hash)
    signed = replace(tail, signature_message=fragment)
    on_head = replace(place, trunk=attached.hash, branch=plan.previous)
    last = attach_one(signed, place=on_head, clock_ms=clock_ms)
    return Written(last.hash, (*checkpoints, attached, last))


def _gather(plan: Plan, clock_ms: ClockMs) -> list[Record]:
    """Join tips two by two; trunk first keeps their order in the ledger.

    Args:
        plan: Names the tips.
        clock_ms: The clock to stamp checkpoints with.

    Returns:
        The checkpoints; the last references every tip.
    """
    checkpoints: list[Record] = []
    for before, tip in zip(plan.tips, plan.tips[1:], strict=False):
        place = Place(
            trunk=checkpoints[-1].hash if checkpoints else before,
            branch=tip,
            min_weight_magnitude=plan.min_weight_magnitude,
        )
        entry = Entry(EMPTY_HASH, tag=_CHECKPOINT_TAG)
        txs = draft([entry], timestamp_s=clock_ms() // 1000)
        checkpoints += attach_bundle(txs, place=place, clock_ms=clock_ms)
    return checkpoints
