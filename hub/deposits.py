# SPDX-License-Identifier: Apache-2.0
"""From what the nodes show to deposits in the books.

Derived from state, never from events: an address of ours whose balance at the nodes
exceeds the ledger's is looked into, whatever was missed meanwhile. What milestones
changed only says where to look first; every address has its turn within
``full_look_s``, and with IRI nodes, which do not tell, at every tick. Each output of a
confirmed bundle is booked once, keyed by its tail, and never more than the quorum
shows to be there. One odd address never holds up the others: what no history explains
is quarantined by itself.

Who looks where, and when: ``deposit_monitor`` (what milestones name) and
``address_rounds`` (every address in its turn).
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from failpoints import failpoint
from hub.errors import (
    InvariantError,
    NodeUnavailableError,
    RefusedError,
    SweepUnknownError,
)
from hub.history import SeenBundle, bundles_at
from hub.milestones import batched
from hub.model import (
    Address,
    AddressId,
    AddressState,
    BundleHash,
    CreditPolicy,
    Deposit,
    OwnAddress,
    SeenDeposit,
    SweepState,
)
from hub.node import FoundTransaction
from hub.nodes import Nodes
from hub.store import Store, Transaction
from hub.store.deposits import NO_TRANSACTION, Recorded

_log = logging.getLogger(__name__)

UNEXPLAINED_TICKS: Final = 3
"""How often value must be seen without a history before it is quarantined."""
MOST_UNSETTLED: Final = 2000
"""Addresses where books and nodes differ that are looked at again each time."""
_UNSETTLED_TOGETHER: Final = 50
"""Few, since one whose history can not be had holds up those looked at with it."""
_EMPTY_MESSAGE: Final = "9" * 2187


def deposits_in(
    bundle: SeenBundle, ours: Iterable[Address], *, keep_messages: bool
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


def new_deposits(
    seen: Sequence[SeenDeposit], recorded: Collection[Deposit], *, excess_i: int
) -> list[SeenDeposit]:
    """Choose which deposits on one address are to be booked; pure.

    Value that had no history when it arrived was booked without one. When nodes
    find the history again it must not count twice.

    Args:
        seen: What confirmed bundles sent there; our own remainders left out.
        recorded: What is booked for the address.
        excess_i: By how much the quorum's balance exceeds the ledger's, in iota.

    Returns:
        Those not booked yet, at most ``excess_i`` together; none if they do not
        fit, since then nodes contradict themselves.
    """
    known = {(d.seen.tail_hash, d.seen.transaction_index) for d in recorded}
    new = [s for s in seen if (s.tail_hash, s.transaction_index) not in known]
    if sum(s.amount_i for s in new) > excess_i:
        for deposit in recorded:
            if deposit.seen.tail_hash == NO_TRANSACTION:
                amounts_i = [s.amount_i for s in new]
                if deposit.seen.amount_i in amounts_i:
                    del new[amounts_i.index(deposit.seen.amount_i)]
    return new if sum(s.amount_i for s in new) <= excess_i else []


class AddressLooks:
    """Compares addresses with the nodes and books what has come.

    Two flows look, each with looks of its own and maybe on another hub: what one has
    booked meanwhile is found out by the address's balance, in the transaction that
    books.

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
        self._losses_i: dict[AddressId, int] = {}
        self._unsettled: dict[AddressId, None] = {}

    def unsettled(self) -> Iterator[Sequence[AddressId]]:
        """Give the addresses where books and nodes differed, a few at a time."""
        return batched(tuple(self._unsettled), _UNSETTLED_TOGETHER)

    async def look(
        self, ours: Sequence[OwnAddress], *, since: int = 0, judge: bool = True
    ) -> int:
        """Look at some addresses; those that can not be looked at stay unsettled.

        Args:
            ours: At most some hundred.
            since: Only balances of this milestone or a later one count.
            judge: Whether value without a history has now been seen once more;
                looks that may come in quick succession do not judge.

        Returns:
            How many deposits were booked.

        Raises:
            NodeUnavailableError: If too few nodes told what was asked.
        """
        if not ours:
            return 0
        try:
            return await self._look_at(ours, since=since, judge=judge)
        except NodeUnavailableError:
            self._note_unsettled(ours, {})
            raise

    async def _look_at(
        self, page: Sequence[OwnAddress], *, since: int, judge: bool
    ) -> int:
        awaiting = await self._awaiting_remainder()  # before balances: they only grow
        balances = await self._nodes.balances(
            [own.address for own in page], since=since
        )
        settled = [own for own in page if own.address_id not in awaiting]
        await self._warn_of_loss(settled, balances)
        risen = [own for own in page if balances.get(own.address, 0) > own.balance_i]
        for address_id in {own.address_id for own in page if own not in risen}:
            self._unexplained.pop(address_id, None)
        self._note_unsettled(page, balances)
        if not risen:
            return 0
        booked = await self._book_history(risen)
        if judge:
            await self._hold_unexplained([o for o in risen if o in settled], balances)
        async with self._store.reading() as tx:
            now = await tx.addresses.with_ids([own.address_id for own in risen])
        self._note_unsettled(now, balances)
        return booked

    def _note_unsettled(
        self, page: Sequence[OwnAddress], balances: Mapping[Address, int]
    ) -> None:
        """Remember where books and nodes differ, to look again the next time.

        No milestone names such an address a second time. Of more than some thousand
        the rest waits for its turn in the rounds.
        """
        for own in page:
            if balances.get(own.address) == own.balance_i:
                self._unsettled.pop(own.address_id, None)
            elif len(self._unsettled) < MOST_UNSETTLED:
                self._unsettled[own.address_id] = None

    async def _awaiting_remainder(self) -> set[AddressId | None]:
        """Return addresses whose ledger is ahead of the nodes: a sweep is on its way.

        Returns:
            The remainder addresses of signed sweeps that are not confirmed.
        """
        async with self._store.reading() as tx:
            sweeps = await tx.sweeps.in_state(SweepState.SIGNED, SweepState.ATTACHED)
        return {sweep.plan.remainder_address_id for sweep in sweeps}

    async def _book_history(self, risen: Sequence[OwnAddress]) -> int:
        bundles = await bundles_at(self._nodes, [own.address for own in risen])
        confirmed = [bundle for bundle in bundles if bundle.confirmed]
        booked = 0
        for own in risen:
            seen = [
                deposit
                for bundle in confirmed
                for deposit in deposits_in(
                    bundle, [own.address], keep_messages=self._keep_messages
                )
            ]
            try:
                booked += await self._book_address(own, seen)
            except (InvariantError, RefusedError):  # concerns this address alone
                _log.critical("address %s not booked", own.address, exc_info=True)
        return booked

    async def _book_address(self, own: OwnAddress, seen: Sequence[SeenDeposit]) -> int:
        async with self._store.reading() as tx:
            current = await tx.addresses.by_id(own.address_id)
            recorded = await tx.deposits.on([own.address_id])
            foreign = [s for s in seen if not await _is_remainder(tx, s, own)]
        if not new_deposits(foreign, recorded, excess_i=_sum_i(foreign)):
            return 0
        # Asked after the confirmations, so that it holds at least what they moved.
        balances = await self._nodes.balances([own.address])
        excess_i = balances.get(own.address, 0) - current.balance_i
        new = new_deposits(foreign, recorded, excess_i=excess_i)
        if not new:
            _log.error(
                "deposits not booked address=%s: nodes list more than the %d i that"
                " they show beyond the ledger",
                own.address,
                excess_i,
            )
        booked, balance_i = 0, current.balance_i
        for deposit in new:
            if await self._book(deposit, balance_i=balance_i):
                booked, balance_i = booked + 1, balance_i + deposit.amount_i
        return booked

    async def _book(self, seen: SeenDeposit, *, balance_i: int) -> bool:
        """Book a deposit on an address that still holds what was counted with.

        Returns:
            Whether it was; else the other flow, a sweep or another hub came first,
            and the address is looked at again.
        """
        failpoint("hub.deposit.before-record")
        outcome = await self._store.run(
            lambda tx: tx.deposits.record(
                seen, credit=self._credit, balance_i=balance_i
            )
        )
        failpoint("hub.deposit.after-record")
        if not isinstance(outcome, Recorded):
            return False
        _log.info(
            "deposit %s address=%s amount_i=%d tail=%s",
            outcome.deposit.state.value,
            seen.address,
            seen.amount_i,
            seen.tail_hash,
        )
        return True

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
        async def hold(tx: Transaction) -> bool:
            current = await tx.addresses.by_id(own.address_id, lock=True)
            if (current.state, current.balance_i) != (own.state, own.balance_i):
                return False  # a sweep or another hub came first: look again
            await tx.deposits.record_unexplained(own.address_id, amount_i=excess_i)
            return True

        failpoint("hub.deposit.before-quarantine")
        if await self._store.run(hold):
            _log.error(
                "deposit without history quarantined address=%s amount_i=%d",
                own.address,
                excess_i,
            )
        self._unexplained.pop(own.address_id, None)

    async def _warn_of_loss(
        self, addresses: Sequence[OwnAddress], balances: Mapping[Address, int]
    ) -> None:
        """Say loudly, once, where value left that we did not move.

        From a spent address: somebody replayed its old sweep after a refund.
        """
        for before in addresses:
            found_i = balances.get(before.address, before.balance_i)
            if before.balance_i <= found_i:
                self._losses_i.pop(before.address_id, None)
                continue
            async with self._store.reading() as tx:
                own = await tx.addresses.by_id(before.address_id)
            is_new = self._losses_i.get(own.address_id) != found_i
            if own.balance_i > found_i and is_new:
                self._losses_i[own.address_id] = found_i
                _log.error(
                    "value is gone that we did not move address=%s state=%s"
                    " ledger_i=%d nodes_i=%d",
                    own.address,
                    own.state.value,
                    own.balance_i,
                    found_i,
                )


async def _is_remainder(tx: Transaction, seen: SeenDeposit, own: OwnAddress) -> bool:
    """Say whether a deposit is what a sweep of ours sent back, booked when signed."""
    try:
        sweep = await tx.sweeps.by_bundle_hash(seen.bundle_hash)
    except SweepUnknownError:
        return False
    return sweep.plan.remainder_address_id == own.address_id


def _sum_i(deposits: Iterable[SeenDeposit]) -> int:
    return sum(deposit.amount_i for deposit in deposits)


def _message(found: FoundTransaction) -> str:
    message = found.content.signature_message
    return "" if message == _EMPTY_MESSAGE else message
