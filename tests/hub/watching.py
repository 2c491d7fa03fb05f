# SPDX-License-Identifier: Apache-2.0
"""A deposit monitor and its rounds over relays of one devnet."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hub.address_rounds import AddressRounds, RoundSettings
from hub.deposit_monitor import DepositMonitor
from hub.deposits import AddressLooks
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet, system_clock_ms
from hub.model import AccountId, Address, CreditPolicy, UserId
from hub.nodes import Nodes
from hub.store import Store
from tests.hub.bookkeeping import ManualClock, open_user, trytes
from tests.hub.bookkeeping import issued as issued_address
from tests.hub.databases import Sqlite
from tests.hub.simulated_nodes import RelayNode, quorum_of

FULL_LOOK_S = 3600.0
INTERVAL_S = 60.0
FILLERS = 6
"""Addresses of nobody's interest, so that a page is not all there is."""


@dataclass
class Watch:
    """A monitor over relays of one devnet."""

    store: Store
    devnet: RunningDevnet
    relays: list[RelayNode]
    nodes: Nodes
    clock: ManualClock
    account_id: AccountId
    monitor: DepositMonitor

    def restart(self) -> None:
        """Forget what the monitor had in memory, as a new process does."""
        self.monitor = monitor_of(self.store, self.nodes)

    def rounds(self, *, page_addresses: int = 1) -> AddressRounds:
        """Return the other flow, with looks of its own, as another hub may run it."""
        return rounds_of(
            self.store, self.nodes, self.clock, page_addresses=page_addresses
        )

    async def address(self) -> Address:
        """Record one more address."""
        async with self.store.transaction() as tx:
            issued = issued_address(trytes())
            await tx.addresses.add(self.account_id, issued)
        return issued.address

    async def deposit(self, amount_i: int) -> Address:
        """Pay to a fresh address and let a milestone confirm it."""
        address = await self.address()
        await self.devnet.deposit(address, amount_i)
        await self.devnet.tick()
        return address

    async def unswept_i(self) -> int:
        async with self.store.reading() as tx:
            return (await tx.accounts.by_identifier(UserId("alice"))).unswept_i

    def forget(self) -> None:
        for relay in self.relays:
            relay.asked.clear()

    def asked_about(self) -> set[str]:
        """Return the addresses whose balances were asked for."""
        asked = self.relays[0].commands("getBalances")
        return {address for command in asked for address in command["addresses"]}


def monitor_of(store: Store, nodes: Nodes) -> DepositMonitor:
    looks = AddressLooks(store, nodes, credit=CreditPolicy.SWEEP)
    return DepositMonitor(store, nodes, looks)


def rounds_of(
    store: Store, nodes: Nodes, clock: ManualClock, *, page_addresses: int = 1
) -> AddressRounds:
    return AddressRounds(
        store,
        nodes,
        AddressLooks(store, nodes, credit=CreditPolicy.SWEEP),
        settings=RoundSettings(
            full_look_s=FULL_LOOK_S,
            interval_s=INTERVAL_S,
            page_addresses=page_addresses,
        ),
        clock=clock,
    )


@asynccontextmanager
async def watching(
    sqlite: Sqlite, *, relays: int = 1, quorum: int = 1, dialect: str = "hornet"
) -> AsyncGenerator[Watch]:
    clock = ManualClock()
    config = DevnetConfig(min_weight_magnitude=1, dialect=Dialect(dialect))
    url = sqlite.migrated()
    store = Store(url, clock=clock)
    async with running_devnet(config, clock_ms=system_clock_ms) as devnet:
        made = [RelayNode(devnet.url) for _ in range(relays)]
        async with quorum_of(
            *made, quorum=quorum, dialect=dialect, clock_ms=system_clock_ms
        ) as nodes:
            account_id = await open_user(store, "alice")
            monitor = monitor_of(store, nodes)
            watch = Watch(store, devnet, made, nodes, clock, account_id, monitor)
            for _ in range(FILLERS):
                await watch.address()
            await devnet.tick()
            await monitor.tick()  # the look at everything, after a start
            watch.forget()
            yield watch
        async with store.reading() as tx:
            assert (await tx.books.verify()).sound
    await store.close()
    sqlite.drop(url)
