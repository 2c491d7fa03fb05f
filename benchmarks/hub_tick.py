# SPDX-License-Identifier: Apache-2.0
"""A tick of the deposit monitor among few and among many watched addresses.

Each tick books a deposit on each of a hundred addresses that a milestone changed. The
nodes answer from memory and their time is taken off, so what is left is the hub and
its database. Both databases take turns.
"""

import asyncio
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import asyncpg

from benchmarks.rounds import Figure, at_most
from hub.address_rounds import STEP_S, AddressRounds, RoundSettings
from hub.clock import system_clock_ms
from hub.deposit_monitor import DepositMonitor
from hub.deposits import AddressLooks
from hub.model import Address, AddressId, BundleHash, CreditPolicy, TransactionHash
from hub.node import FoundTransaction, Milestone
from hub.store import Store
from trinary.bundle import Essence, Transaction, bundle_hash
from trinary.trytes import trytes_from_int

CHANGED: Final = 100
_BAR: Final = 1.5
_FULL_LOOK_S: Final = 3600.0
_HELD: Final = 2000
"""The first addresses have value already."""
_AMOUNT_I: Final = 1000
_STRANGER: Final = "STRANGER".ljust(81, "9")
_NOTHING: Final = "9" * 2187


class _Node:
    """A quorum of HORNET nodes that answers from memory and times itself."""

    tell_diffs = True

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.index = 1
        self.balances_i: dict[Address, int] = {}
        self._diffs: dict[int, dict[Address, int]] = {}
        self._parts: dict[str, list[FoundTransaction]] = {}
        self._serial = 0

    def pay(self, addresses: Sequence[Address]) -> None:
        """Let a new milestone confirm a deposit on each address."""
        self.index += 1
        self._parts = {}
        for address in addresses:
            self._serial += 1
            parts = _bundle(address, self._serial)
            self._parts[address] = self._parts[parts[0].content.bundle] = parts
            self.balances_i[address] = _AMOUNT_I
        self._diffs = {self.index: dict.fromkeys(addresses, _AMOUNT_I)}

    async def require_synced(self) -> Milestone:
        return Milestone(self.index, system_clock_ms() // 1000)

    async def ledger_diff(self, index: int) -> dict[Address, int]:
        return self._diffs[index]

    async def balances(
        self, addresses: Sequence[Address], *, since: int = 0
    ) -> dict[Address, int]:
        assert since <= self.index
        start_s = time.perf_counter()
        found = {address: self.balances_i.get(address, 0) for address in addresses}
        self.spent_s += time.perf_counter() - start_s
        return found

    async def transactions_at(
        self, addresses: Sequence[Address]
    ) -> list[FoundTransaction]:
        return self._found(addresses, at=set(addresses))

    async def transactions_of(
        self, bundles: Sequence[BundleHash]
    ) -> list[FoundTransaction]:
        return self._found(bundles)

    async def confirmed(
        self, tails: Sequence[TransactionHash]
    ) -> Mapping[TransactionHash, bool]:
        return dict.fromkeys(tails, True)

    def _found(
        self, names: Sequence[str], at: set[Address] | None = None
    ) -> list[FoundTransaction]:
        start_s = time.perf_counter()
        found = [
            part
            for name in names
            for part in self._parts.get(name, ())
            if at is None or part.content.address in at
        ]
        self.spent_s += time.perf_counter() - start_s
        return found


def _bundle(address: Address, serial: int) -> list[FoundTransaction]:
    """Return a bundle that pays to an address, its parts linked; not signed."""
    tag = trytes_from_int(serial, length_trytes=27)
    essences = [
        Essence(
            address=whose,
            value_i=value_i,
            obsolete_tag=tag,
            timestamp_s=1_700_000_000,
            current_index=index,
            last_index=1,
        )
        for index, (whose, value_i) in enumerate(
            [(address, _AMOUNT_I), (_STRANGER, -_AMOUNT_I)]
        )
    ]
    name = bundle_hash(essences)
    hashes = [f"{name[:80]}{letter}" for letter in "AB"]
    return [
        FoundTransaction(
            TransactionHash(hashes[essence.current_index]),
            Transaction(
                signature_message=_NOTHING,
                address=essence.address,
                value_i=essence.value_i,
                obsolete_tag=tag,
                timestamp_s=essence.timestamp_s,
                current_index=essence.current_index,
                last_index=essence.last_index,
                bundle=name,
                trunk=hashes[1],
                branch=hashes[1],
                tag=tag,
                attachment_timestamp_ms=0,
                attachment_lower=0,
                attachment_upper=0,
                nonce="9" * 27,
            ),
        )
        for essence in essences
    ]


@dataclass
class _Watched:
    """A monitor and its rounds over one database."""

    url: str
    store: Store
    node: _Node
    monitor: DepositMonitor
    rounds: AddressRounds
    newest_id: int
    now_ms: int = 0
    ticks_ms: list[float] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    rows_read: list[int] = field(default_factory=list)
    grown_kib: int = 0

    @classmethod
    async def on(cls, url: str) -> Self:
        store = Store(url, clock=system_clock_ms)
        node = _Node()
        nodes: Any = node
        looks = [
            AddressLooks(store, nodes, credit=CreditPolicy.SWEEP) for _ in range(2)
        ]
        made: Self | None = None
        rounds = AddressRounds(
            store,
            nodes,
            looks[1],
            settings=RoundSettings(full_look_s=_FULL_LOOK_S, interval_s=60.0),
            clock=lambda: made.now_ms if made is not None else 0,
        )
        async with store.reading() as tx:
            newest_id = await tx.addresses.newest_id()
        monitor = DepositMonitor(store, nodes, looks[0])
        made = cls(url, store, node, monitor, rounds, newest_id)
        for own in await made.own(range(1, _HELD + 1)):
            node.balances_i[own[1]] = own[2]
        return made

    async def own(self, ids: Sequence[int]) -> list[tuple[AddressId, Address, int]]:
        """Read addresses with their balances, some at a time."""
        found = []
        for start in range(0, len(ids), 500):
            async with self.store.reading() as tx:
                page = await tx.addresses.with_ids(
                    [AddressId(n) for n in ids[start : start + 500]]
                )
            found += [(own.address_id, own.address, own.balance_i) for own in page]
        return found

    async def tick(self, number: int) -> None:
        """Pay to a hundred fresh addresses, spread over all, and time the tick."""
        step = (self.newest_id - _HELD) // (CHANGED + 50)
        ids = [_HELD + 1 + n * step + number for n in range(CHANGED)]
        assert number < step  # never an address twice
        self.node.pay([address for _, address, _ in await self.own(ids)])
        read = await self.rows_read_so_far()
        held_kib = _resident_kib()
        self.node.spent_s, start_s = 0.0, time.perf_counter()
        booked = await self.monitor.tick()
        self.ticks_ms.append((time.perf_counter() - start_s - self.node.spent_s) * 1000)
        self.grown_kib += _resident_kib() - held_kib
        assert booked == CHANGED
        self.rows_read.append(await self.rows_read_so_far() - read)

    async def step(self) -> None:
        """Time one step of the rounds, a second after the one before."""
        self.now_ms += int(STEP_S * 1000)
        self.node.spent_s, start_s = 0.0, time.perf_counter()
        assert await self.rounds.tick() == 0
        self.steps_ms.append((time.perf_counter() - start_s - self.node.spent_s) * 1000)

    async def rows_read_so_far(self) -> int:
        """Return how many rows of addresses and accounts the database has read."""
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        try:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await asyncio.sleep(1.2)  # other sessions report once a second
            row = await connection.fetchval(
                "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables"
                "  WHERE relname IN ('address', 'account'))"
                " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
                "  WHERE relname IN ('address', 'account'))"
            )
            return int(row)
        finally:
            await connection.close()


def tick_figures(
    small: str, large: str, *, addresses: int, rounds: int
) -> Iterator[Figure]:
    """Compare ticks of two databases in turn.

    Args:
        small: URL of the one with a hundredth of the addresses.
        large: URL of the other.
        addresses: Of the large one.
        rounds: How many ticks of each count; one more goes before them.

    Yields:
        The figure.
    """
    yield asyncio.run(_compare(small, large, addresses, rounds))


async def _compare(small: str, large: str, addresses: int, rounds: int) -> Figure:
    both = [await _Watched.on(url) for url in (small, large)]
    for watched in both:
        watched.monitor._milestones.start(1)  # noqa: SLF001 - as if all was seen
    for watched in both:
        await watched.tick(0)
        await watched.step()
        watched.grown_kib = 0
    before_kib = _resident_kib()
    for number in range(1, rounds + 1):
        for watched in both:
            await watched.tick(number)
            for _ in range(10):
                await watched.step()
    grown_mib = (_resident_kib() - before_kib) / 1024
    few, many = both
    for watched in both:
        await watched.store.close()
    return at_most(
        f"a monitor's tick, {CHANGED} deposits,"
        f" {addresses:,} : {addresses // 100:,} addresses",
        _BAR,
        ours_ms=median(many.ticks_ms[1:]),
        peer_ms=median(few.ticks_ms[1:]),
        note=f"rows of addresses and accounts read {median(many.rows_read[1:]):,.0f} :"
        f" {median(few.rows_read[1:]):,.0f};"
        f" a step of the rounds {median(many.steps_ms[1:]):.1f} :"
        f" {median(few.steps_ms[1:]):.1f} ms; memory grew by {grown_mib:.1f} MB,"
        f" in ticks {many.grown_kib / 1024:.1f} : {few.grown_kib / 1024:.1f} MB",
    )


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
