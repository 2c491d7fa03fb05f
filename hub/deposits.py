# SPDX-License-Identifier: Apache-2.0
"""From what the nodes show to deposits in the books.

Derived from state, never from events: every address of ours whose balance at the
nodes exceeds the ledger's is looked into, whatever was missed meanwhile. Each
output of a confirmed bundle is booked once, keyed by its tail. One odd address
never holds up the others: what no history explains is quarantined by itself.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from failpoints import failpoint
from hub.model import (
    Address,
    AddressId,
    AddressState,
    BundleHash,
    CreditPolicy,
    OwnAddress,
    SeenDeposit,
    TransactionHash,
)
from hub.nodes import FoundTransaction, Nodes
from hub.store import Store
from hub.store.deposits import Recorded
from trinary.bundle import Essence, bundle_hash

_log = logging.getLogger(__name__)

PAGE_ADDRESSES: Final = 500
UNEXPLAINED_TICKS: Final = 3
"""How often value must be seen without a history before it is quarantined."""
_EMPTY_MESSAGE: Final = "9" * 2187


@dataclass(frozen=True, slots=True)
class ConfirmedBundle:
    """A bundle rebuilt from its tail along the trunk.

    Attributes:
        tail: Its transaction 0.
        transactions: In order of index, complete.
    """

    tail: TransactionHash
    transactions: tuple[FoundTransaction, ...]


def rebuild(
    tail: FoundTransaction, known: Mapping[TransactionHash, FoundTransaction]
) -> ConfirmedBundle | None:
    """Follow a tail along its trunk.

    Args:
        tail: A transaction with index 0.
        known: Everything found of its bundle, by hash.

    Returns:
        The bundle; None if a part is missing or its content does not hash to
        the bundle hash.
    """
    chain = [tail]
    while len(chain) <= tail.content.last_index:
        following = known.get(TransactionHash(chain[-1].content.trunk))
        if following is None or following.content.bundle != tail.content.bundle:
            return None
        if following.content.current_index != len(chain):
            return None
        chain.append(following)
    essences = [
        Essence(
            address=found.content.address,
            value_i=found.content.value_i,
            obsolete_tag=found.content.obsolete_tag,
            timestamp_s=found.content.timestamp_s,
            current_index=found.content.current_index,
            last_index=found.content.last_index,
        )
        for found in chain
    ]
    if bundle_hash(essences) != tail.content.bundle:
        return None
    return ConfirmedBundle(tail.hash, tuple(chain))


def deposits_in(
    bundle: ConfirmedBundle, ours: Iterable[Address], *, keep_messages: bool
) -> list[SeenDeposit]:
    """List the outputs of a bundle that go to us; pure.

    Args:
        bundle: A confirmed bundle.
        ours: Addresses looked for.
        keep_messages: Whether to keep the messages senders left.

    Returns:
        One deposit per output to one of them.
    """
    wanted = set(ours)
    return [
        SeenDeposit(
            tail_hash=bundle.tail,
            bundle_hash=BundleHash(found.content.bundle),
            address=Address(found.content.address),
            transaction_index=found.content.current_index,
            amount_i=found.content.value_i,
            message=_message(found) if keep_messages else "",
        )
        for found in bundle.transactions
        if found.content.value_i > 0 and found.content.address in wanted
    ]


class DepositMonitor:
    """Looks at every address of ours once per tick.

    Args:
        store: The database.
        nodes: The quorum.
        credit: When a deposit becomes spendable.
        keep_messages: Whether to store the messages senders left.
    """

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        *,
        credit: CreditPolicy,
        keep_messages: bool = False,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._credit = credit
        self._keep_messages = keep_messages
        self._unexplained: dict[AddressId, tuple[int, int]] = {}

    async def tick(self) -> int:
        """Book what has newly arrived.

        Returns:
            How many deposits were booked. ``NodeUnavailableError`` passes
            through: nothing was decided.
        """
        await self._nodes.require_synced()
        booked, last_id = 0, AddressId(0)
        while True:
            async with self._store.reading() as tx:
                page = await tx.addresses.after(last_id, limit=PAGE_ADDRESSES)
            if not page:
                return booked
            booked += await self._look_at(page)
            last_id = page[-1].address_id

    async def _look_at(self, page: Sequence[OwnAddress]) -> int:
        balances = await self._nodes.balances([own.address for own in page])
        risen = [own for own in page if balances.get(own.address, 0) > own.balance_i]
        self._warn_of_loss(page, balances)
        for own in page:
            if own not in risen:
                self._unexplained.pop(own.address_id, None)
        if not risen:
            return 0
        booked = await self._book_history(risen)
        await self._hold_unexplained(risen, balances)
        return booked

    async def _book_history(self, risen: Sequence[OwnAddress]) -> int:
        addresses = [own.address for own in risen]
        booked = 0
        for bundle in await self._confirmed_bundles(addresses):
            for seen in deposits_in(
                bundle, addresses, keep_messages=self._keep_messages
            ):
                booked += await self._book(seen)
        return booked

    async def _book(self, seen: SeenDeposit) -> int:
        failpoint("hub.deposit.before-record")
        outcome = await self._store.run(
            lambda tx: tx.deposits.record(seen, credit=self._credit)
        )
        failpoint("hub.deposit.after-record")
        if not isinstance(outcome, Recorded):
            return 0
        _log.info(
            "deposit %s address=%s amount_i=%d tail=%s",
            outcome.deposit.state.value,
            seen.address,
            seen.amount_i,
            seen.tail_hash,
        )
        return 1

    async def _confirmed_bundles(
        self, addresses: Sequence[Address]
    ) -> list[ConfirmedBundle]:
        touching = await self._nodes.transactions_at(addresses)
        names = {
            BundleHash(t.content.bundle) for t in touching if t.content.value_i > 0
        }
        parts = await self._nodes.transactions_of(sorted(names))
        known = {part.hash: part for part in parts}
        tails = [part for part in parts if part.content.current_index == 0]
        confirmed = await self._nodes.confirmed([tail.hash for tail in tails])
        rebuilt = [rebuild(tail, known) for tail in tails if confirmed[tail.hash]]
        return [bundle for bundle in rebuilt if bundle is not None]

    async def _hold_unexplained(
        self, risen: Sequence[OwnAddress], balances: Mapping[Address, int]
    ) -> None:
        """Quarantine value on open addresses that stays without a history."""
        for before in risen:
            async with self._store.reading() as tx:
                own = await tx.addresses.by_id(before.address_id)
            excess_i = balances[own.address] - own.balance_i
            if excess_i <= 0 or own.state is not AddressState.OPEN:
                self._unexplained.pop(own.address_id, None)
                continue
            seen_i, ticks = self._unexplained.get(own.address_id, (excess_i, 0))
            ticks = ticks + 1 if seen_i == excess_i else 1
            self._unexplained[own.address_id] = (excess_i, ticks)
            if ticks >= UNEXPLAINED_TICKS:
                await self._quarantine(own, excess_i)

    async def _quarantine(self, own: OwnAddress, excess_i: int) -> None:
        _log.error(
            "deposit without history quarantined address=%s amount_i=%d",
            own.address,
            excess_i,
        )
        await self._store.run(
            lambda tx: tx.deposits.record_unexplained(own.address_id, amount_i=excess_i)
        )
        self._unexplained.pop(own.address_id, None)

    def _warn_of_loss(
        self, page: Sequence[OwnAddress], balances: Mapping[Address, int]
    ) -> None:
        """Say loudly where value left that we did not move."""
        for own in page:
            found_i = balances.get(own.address, own.balance_i)
            if own.state is AddressState.OPEN and 0 < own.balance_i > found_i:
                # A remainder of a sweep still unconfirmed looks the same for a while.
                _log.warning(
                    "balance below the ledger address=%s ledger_i=%d nodes_i=%d",
                    own.address,
                    own.balance_i,
                    found_i,
                )


def _message(found: FoundTransaction) -> str:
    message = found.content.signature_message
    return "" if message == _EMPTY_MESSAGE else message
