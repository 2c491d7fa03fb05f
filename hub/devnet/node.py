# SPDX-License-Identifier: Apache-2.0
"""The one owner of a devnet's state.

It takes transactions that passed ``validation``, judges bundles as they become
solid, and applies milestones with ``ledger``. It is not thread-safe: the event
loop owns it, and slow work (hashes, proof of work) happens before it is called.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hub.devnet.config import NULL_HASH, Dialect
from hub.devnet.faults import Faults
from hub.devnet.ledger import Move, apply, post_order
from hub.devnet.storage import Storage, StoredMilestone, StoredTransaction
from hub.devnet.tangle import Record, Tangle
from hub.devnet.validation import Verdict, check_bundle
from trinary.bundle import parse_transaction


@dataclass(frozen=True, slots=True)
class Milestone:
    """A point of confirmation.

    Args:
        index: From 1; 0 is the genesis.
        hash: Its tail's hash, 81 trytes.
        timestamp_s: When it was written, seconds since the Unix epoch.
        diff: Address to change in iota.
        confirmed: Hashes of what it references, in the order of the ledger.
    """

    index: int
    hash: str
    timestamp_s: int
    diff: Mapping[str, int]
    confirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a transaction was confirmed.

    Args:
        index: Of the milestone that references it.
        conflicting: True when its bundle moved nothing because of a conflict.
    """

    index: int
    conflicting: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """A solid, valid bundle.

    Args:
        records: Its transactions, index 0 first.
        changes: Address to iota, netted; empty when it moves no value.
    """

    records: tuple[Record, ...]
    changes: Mapping[str, int]

    @property
    def tail(self) -> Record:
        """Transaction 0."""
        return self.records[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Addresses that it spends from."""
        return tuple(r.tx.address for r in self.records if r.tx.value_i < 0)


class Node:
    """Transactions, balances and milestones of one network.

    Args:
        genesis: Address to iota at index 0; sums to the supply.
        dialect: Decides how signature fragments are collected.
        storage: Where it keeps what outlives it, and what it starts from.
    """

    def __init__(
        self, *, genesis: Mapping[str, int], dialect: Dialect, storage: Storage
    ) -> None:
        self.dialect = dialect
        self.faults = Faults()
        self.tangle = Tangle()
        self.balances = dict(genesis)
        self.milestones = [Milestone(0, NULL_HASH, 0, {})]
        self.confirmations = {NULL_HASH: Confirmation(0)}
        self.milestone_transactions: set[str] = set()
        self.bundles: dict[str, Bundle] = {}
        self.spenders: dict[str, list[str]] = {}
        self.tips: dict[str, None] = {}
        self._storage = storage
        self._restore()

    @property
    def latest(self) -> Milestone:
        """The latest milestone."""
        return self.milestones[-1]

    def receive(self, records: Iterable[Record]) -> None:
        """Keep transactions that were found valid one by one.

        Args:
            records: New or known transactions, in any order.
        """
        new = [record for record in records if record.hash not in self.tangle]
        self._storage.add(StoredTransaction(r.hash, r.trytes) for r in new)
        self._add(new)

    def add_milestone(
        self,
        records: Sequence[Record],
        *,
        milestone: StoredMilestone,
    ) -> Milestone:
        """Keep a milestone and confirm what it references.

        Args:
            records: The transactions of the milestone and of the checkpoints
                it needs.
            milestone: Its index, hash and forced conflicts.

        Returns:
            The milestone, with what it did to the balances.
        """
        stored = (StoredTransaction(r.hash, r.trytes) for r in records)
        self._storage.add(stored, milestone=milestone)
        self._add(records)
        return self._confirm(milestone)

    def cone(self, starts: Iterable[str]) -> list[str]:
        """List what a milestone on some transactions would confirm.

        Args:
            starts: Hashes to reference.

        Returns:
            Unconfirmed hashes in confirmation order.
        """
        return post_order(
            starts,
            parents_of=self.tangle.parents,
            is_visible=lambda tx_hash: tx_hash not in self.confirmations,
        )

    def moves(self, cone: Iterable[str]) -> list[Move]:
        """Pick the valid bundles of a cone.

        Args:
            cone: Hashes, in confirmation order.

        Returns:
            One move for each tail whose bundle is valid.
        """
        bundles = (self.bundles.get(tx_hash) for tx_hash in cone)
        return [Move(b.tail.hash, b.changes) for b in bundles if b is not None]

    def is_spent(self, address: str, *, forget_confirmed: bool) -> bool:
        """Say whether an address was spent from by a valid bundle.

        Args:
            address: 81 trytes.
            forget_confirmed: Count pending spends only.

        Returns:
            True from the moment that a valid bundle is solid.
        """
        tails = self.spenders.get(address, ())
        if not forget_confirmed:
            return bool(tails)
        return any(tail not in self.confirmations for tail in tails)

    def has_moved(self, bundle_hash: str) -> bool:
        """Say whether an attachment of a bundle has moved its value.

        Args:
            bundle_hash: 81 trytes.

        Returns:
            True when one is confirmed and not as conflicting.
        """
        tails = (t for t in self.tangle.by_bundle.get(bundle_hash) if t in self.bundles)
        found = (self.confirmations.get(tail) for tail in tails)
        return any(known is not None and not known.conflicting for known in found)

    def close(self) -> None:
        """Let go of the state file."""
        self._storage.close()

    def _restore(self) -> None:
        stored = self._storage.transactions()
        self._add(Record(s.hash, s.trytes, parse_transaction(s.trytes)) for s in stored)
        for milestone in self._storage.milestones():
            self._confirm(milestone)

    def _add(self, records: Iterable[Record]) -> None:
        for record in records:
            for solid in self.tangle.add(record):
                if solid.tx.current_index == 0:
                    self._judge(solid)

    def _judge(self, tail: Record) -> None:
        records = self.tangle.bundle_of(tail)
        verdict = check_bundle(
            [record.tx for record in records],
            is_tail=self.tangle.is_tail,
            fragments_anywhere=self.dialect is Dialect.HORNET,
        )
        if verdict is not Verdict.VALID:
            return
        bundle = Bundle(tuple(records), _net(records))
        self.bundles[tail.hash] = bundle
        for address in bundle.inputs:
            self.spenders.setdefault(address, []).append(tail.hash)
        self.tips[tail.hash] = None
        for approved in (records[-1].tx.trunk, records[-1].tx.branch):
            self.tips.pop(approved, None)

    def _confirm(self, stored: StoredMilestone) -> Milestone:
        cone = self.cone([stored.hash])
        outcome = apply(
            self.moves(cone),
            balances=self.balances,
            forced_conflicts=stored.forced_conflicts,
        )
        for tx_hash in cone:
            self.confirmations[tx_hash] = Confirmation(stored.index)
            self.tips.pop(tx_hash, None)
        for tail in outcome.conflicting:
            for record in self.bundles[tail].records:
                self.confirmations[record.hash] = Confirmation(
                    stored.index, conflicting=True
                )
        for address, change in outcome.diff.items():
            self.balances[address] = self.balances.get(address, 0) + change
        bundle = self.bundles[stored.hash]
        self.milestone_transactions.update(record.hash for record in bundle.records)
        timestamp_s = bundle.tail.tx.timestamp_s
        made = Milestone(
            stored.index, stored.hash, timestamp_s, outcome.diff, tuple(cone)
        )
        self.milestones.append(made)
        return made


def _net(records: Iterable[Record]) -> dict[str, int]:
    changes: dict[str, int] = {}
    for record in records:
        if record.tx.value_i:
            so_far = changes.get(record.tx.address, 0)
            changes[record.tx.address] = so_far + record.tx.value_i
    return {address: change for address, change in changes.items() if change}
