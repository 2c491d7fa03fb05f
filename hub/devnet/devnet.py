# SPDX-License-Identifier: Apache-2.0
"""The network as its operator sees it: tick, pay, reattach, misbehave.

Every method runs on the event loop that owns the node; proof of work and
hashing go to threads. Writers take turns.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from hub.devnet.attaching import Place, attach_bundle, record_of
from hub.devnet.config import ClockMs, DevnetConfig
from hub.devnet.coordinator import MAX_GATHERED, Plan, write
from hub.devnet.errors import InvalidTransactionError, UnknownTransactionError
from hub.devnet.faucet import genesis_balances, pay
from hub.devnet.faults import Fault, Faults
from hub.devnet.node import Bundle, Milestone, Node
from hub.devnet.storage import (
    FileStorage,
    MemoryStorage,
    Storage,
    StoredMilestone,
)
from hub.devnet.tangle import Record
from hub.devnet.tips import confirmable, forced_conflicts, forget_dead, offered
from hub.devnet.validation import FUTURE_DRIFT_MS, Flaw, Limits, check_transaction
from hub.devnet.zmq_feed import ZmqFeed
from trinary.bundle import Transaction
from trinary.errors import ValueRangeError

MAX_MILESTONE_AGE_MS: Final = 300_000
"""Source: HORNET 0.5.6 plugins/webapi/healthz.go, maxAllowedMilestoneAge."""


class Devnet:
    """A running network of one node.

    Args:
        config: What it was told.
        clock_ms: Milliseconds since the Unix epoch.

    Raises:
        StateFileError: The state file belongs to another network.
    """

    def __init__(self, config: DevnetConfig, *, clock_ms: ClockMs) -> None:
        self.config = config
        self.clock_ms = clock_ms
        genesis = genesis_balances(config)
        self.node = Node(
            genesis=genesis,
            dialect=config.dialect,
            storage=_storage(config, genesis),
        )
        self.feed = None if config.zmq is None else ZmqFeed(config.zmq)
        self._writing = asyncio.Lock()
        self._strangers: dict[str, str] = {}

    @property
    def faults(self) -> Faults:
        """The switches."""
        return self.node.faults

    async def start(self) -> None:
        """Write the first milestone of a new network."""
        if self.node.latest.index == 0:
            await self.tick()

    async def tick(self) -> Milestone:
        """Write one milestone and confirm what it references.

        Returns:
            The milestone.
        """
        async with self._writing:
            await self._let_strangers_in()
            plan = Plan(
                index=self.node.latest.index + 1,
                previous=self.node.latest.hash,
                tips=tuple(self._chosen()),
                min_weight_magnitude=self.config.min_weight_magnitude,
            )
            written = await asyncio.to_thread(
                write, plan, clock_ms=self._coordinator_clock()
            )
            forced = forced_conflicts(self.node, self.node.cone(plan.tips))
            stored = StoredMilestone(plan.index, written.hash, forced)
            milestone = self.node.add_milestone(written.records, milestone=stored)
            forget_dead(self.node)
            if self.feed is not None:
                self.feed.publish(self.node, milestone)
            return milestone

    async def tick_for_ever(self, *, every_s: float) -> None:
        """Tick until cancelled.

        Args:
            every_s: Seconds from one milestone's end to the next one's start.
        """
        while True:
            await asyncio.sleep(every_s)
            await self.tick()

    async def store(self, trytes: Sequence[str]) -> None:
        """Take transactions from a client, all of them or none.

        ``InvalidTransactionError`` names the rule that one of them breaks.

        Args:
            trytes: 2673 trytes each, in any order.
        """
        records = await self.checked(trytes)
        self.node.receive(records)

    async def checked(self, trytes: Sequence[str]) -> list[Record]:
        """Check transactions one by one, without storing them.

        ``InvalidTransactionError`` names the rule that one of them breaks.

        Args:
            trytes: 2673 trytes each.

        Returns:
            Them, parsed and hashed.
        """
        limits = Limits(
            min_weight_magnitude=self.config.min_weight_magnitude,
            snapshot_timestamp_s=self.config.snapshot_timestamp_s,
            now_ms=self.clock_ms(),
            future_drift_ms=FUTURE_DRIFT_MS[self.config.dialect],
        )
        return await asyncio.to_thread(_check_all, trytes, limits)

    async def deposit(self, address: str, amount_i: int) -> str:
        """Pay somebody from the faucet; the next tick confirms it.

        ``FaucetEmptyError`` when it can not pay that much.

        Args:
            address: 81 trytes.
            amount_i: In iota, above 0.

        Returns:
            The hash of the payment's tail.
        """
        async with self._writing:
            payment = pay(
                self.node,
                to=address,
                amount_i=amount_i,
                timestamp_s=self.clock_ms() // 1000,
            )
            tips = offered(self.node, count=2)
            trunk = payment.after or tips[0]
            return await self._attach(payment.txs, trunk=trunk, branch=tips[1])

    async def late_deposit(self, address: str, amount_i: int) -> Milestone:
        """Pay somebody, as to an address swept before, and confirm it at once.

        Args:
            address: 81 trytes.
            amount_i: In iota, above 0.

        Returns:
            The milestone that confirmed it.
        """
        await self.deposit(address, amount_i)
        return await self.tick()

    async def reattach(self, bundle_hash: str) -> str:
        """Attach a known bundle once more, as any stranger may.

        ``UnknownTransactionError`` when no valid bundle has this hash.

        Args:
            bundle_hash: Of a valid bundle, pending or confirmed.

        Returns:
            The hash of the new tail.
        """
        async with self._writing:
            return await self._reattach(self._find_bundle(bundle_hash))

    def is_healthy(self) -> bool:
        """Say whether the node is synced and its milestone is recent.

        Returns:
            What HORNET's health check says; the coordinator counts as the one
            peer that it asks for.
        """
        age_ms = self.clock_ms() - self.node.latest.timestamp_s * 1000
        return not self.faults.is_on(Fault.UNSYNCED) and age_ms < MAX_MILESTONE_AGE_MS

    def close(self) -> None:
        """Let go of the state file and of the publisher's port."""
        self.node.close()
        if self.feed is not None:
            self.feed.close()

    def _find_bundle(self, bundle_hash: str) -> Bundle:
        for tx_hash in self.node.tangle.by_bundle.get(bundle_hash):
            if tx_hash in self.node.bundles:
                return self.node.bundles[tx_hash]
        raise UnknownTransactionError(f"no valid bundle {bundle_hash}")

    async def _reattach(self, bundle: Bundle) -> str:
        txs = [record.tx for record in bundle.records]
        latest = self.node.latest.hash
        return await self._attach(txs, trunk=latest, branch=latest)

    async def _attach(
        self, txs: Sequence[Transaction], *, trunk: str, branch: str
    ) -> str:
        place = Place(trunk, branch, self.config.min_weight_magnitude)
        records = await asyncio.to_thread(
            attach_bundle, txs, place=place, clock_ms=self.clock_ms
        )
        self.node.receive(records)
        return records[0].hash

    async def _let_strangers_in(self) -> None:
        reattaching = self.faults.is_on(Fault.THIRD_PARTY_REATTACHMENT)
        replaying = self.faults.is_on(Fault.SECOND_CONFIRMATION)
        if not reattaching and not replaying:
            return
        for bundle in list(self.node.bundles.values()):
            if not bundle.changes or bundle.tail.hash in self._strangers.values():
                continue
            wanted = (
                replaying and self._is_refilled(bundle)
                if bundle.tail.hash in self.node.confirmations
                else reattaching
            )
            if wanted and not self._has_pending_copy(bundle):
                self._strangers[bundle.tail.tx.bundle] = await self._reattach(bundle)

    def _has_pending_copy(self, bundle: Bundle) -> bool:
        copy = self._strangers.get(bundle.tail.tx.bundle)
        return copy is not None and copy not in self.node.confirmations

    def _is_refilled(self, bundle: Bundle) -> bool:
        if self.node.confirmations[bundle.tail.hash].conflicting:
            return False
        return all(
            self.node.balances.get(address, 0) + change >= 0
            for address, change in bundle.changes.items()
        )

    def _chosen(self) -> list[str]:
        excluded: frozenset[str] = frozenset()
        if self.faults.is_on(Fault.THIRD_PARTY_REATTACHMENT):
            excluded = frozenset(
                tail
                for tail, bundle in self.node.bundles.items()
                if self._strangers.get(bundle.tail.tx.bundle, tail) != tail
            )
        return confirmable(self.node, limit=MAX_GATHERED, excluded=excluded)

    def _coordinator_clock(self) -> ClockMs:
        age_ms = int(self.faults.seconds(Fault.STALE_MILESTONE) * 1000)
        return lambda: self.clock_ms() - age_ms


def _check_all(trytes: Sequence[str], limits: Limits) -> list[Record]:
    try:
        records = [record_of(each) for each in trytes]
    except ValueRangeError as error:
        raise InvalidTransactionError(Flaw.VALUE) from error
    for record in records:
        check_transaction(record.tx, tx_hash=record.hash, limits=limits)
    return records


def _storage(config: DevnetConfig, genesis: dict[str, int]) -> Storage:
    if config.state_path is None:
        return MemoryStorage()
    owners = " ".join(f"{address};{held_i}" for address, held_i in genesis.items())
    return FileStorage(config.state_path, genesis=owners)
