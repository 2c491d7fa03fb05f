# SPDX-License-Identifier: Apache-2.0
"""From what the nodes show to deposits in the books.

Derived from state, never from events: an address of ours whose balance at the nodes
exceeds the ledger's is looked into, whatever was missed meanwhile. What milestones
changed only says where to look first; every address has its turn within
``full_look_s``, and with IRI nodes, which do not tell, at every tick. Each output of a
confirmed bundle is booked once, keyed by its tail, and never more than the quorum
shows to be there. One odd address never holds up the others: what no history explains
is quarantined by itself.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from failpoints import failpoint
from hub.address_rounds import PAGE_ADDRESSES, AddressRounds
from hub.clock import Clock
from hub.errors import (
    InvariantError,
    MilestoneLostError,
    NodeUnavailableError,
    RefusedError,
    SweepUnknownError,
)
from hub.history import SeenBundle, bundles_at
from hub.milestones import MilestoneFollower, batched
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
"""Addresses where books and nodes differ that are looked at again each tick."""
_UNSETTLED_TOGETHER: Final = 50
"""Few, since one whose history can not be had holds up those looked at with it."""
_PATIENCE_LOOKS: Final = 3
"""Looks that may fail one after another before the nodes must be away."""
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


class DepositMonitor:
    """Looks at our addresses: at those that milestones name, and at all in turn.

    Args:
        store: The database.
        nodes: The quorum.
        credit: When a deposit becomes spendable.
        rounds: How the look at all addresses is spread.
        clock: The time.
        keep_messages: Whether to store the messages senders left.
    """

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        *,
        credit: CreditPolicy,
        rounds: AddressRounds,
        clock: Clock,
        keep_messages: bool = False,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._credit = credit
        self._rounds = rounds
        self._clock = clock
        self._keep_messages = keep_messages
        self._milestones = MilestoneFollower(nodes)
        self._unexplained: dict[AddressId, tuple[int, int]] = {}
        self._losses_i: dict[AddressId, int] = {}
        self._unsettled: dict[AddressId, None] = {}

    async def tick(self) -> int:
        """Book what has newly arrived.

        Returns:
            How many deposits were booked.

        Raises:
            NodeUnavailableError: If nodes failed; what was booked stays booked.
        """
        reached = (await self._nodes.require_synced()).index
        looks = _Looks()
        if self._milestones.follow(reached):
            try:
                await self._look_where_named(reached, looks)
            except MilestoneLostError as error:
                _log.warning("%s: looking at every address", error)
                await self._look_everywhere(reached, looks)
            except NodeUnavailableError as error:
                looks.failure = error  # must not hold up the rounds
            await self._look_at_share(looks)
        else:
            await self._look_everywhere(reached, looks)
        if looks.failure is not None:
            raise looks.failure
        return looks.booked

    async def _look_where_named(self, reached: int, looks: "_Looks") -> None:
        """Look at addresses that new milestones touched or that are not settled.

        One look an address and tick: it counts as one sight of odd value, and it is
        as new as ``reached``, whichever milestone named the address.
        """
        async for touched in self._milestones.changes(reached):
            for texts in batched(touched, PAGE_ADDRESSES):
                async with self._store.reading() as tx:
                    ours = await tx.addresses.find_many(texts)
                await self._look_once(ours, looks, since=reached)
        for ids in batched(tuple(self._unsettled), _UNSETTLED_TOGETHER):
            async with self._store.reading() as tx:
                ours = await tx.addresses.with_ids(ids)
            await self._look_once(ours, looks, since=reached)

    async def _look_once(
        self, ours: Sequence[OwnAddress], looks: "_Looks", *, since: int
    ) -> None:
        new = [own for own in ours if own.address_id not in looks.named]
        looks.named.update(own.address_id for own in new)
        await self._try_look(new, looks, since=since)

    async def _look_at_share(self, looks: "_Looks") -> None:
        """Look at the pages whose turn it is."""
        async with self._store.reading() as tx:
            newest_id = await tx.addresses.newest_id()
        for _ in range(self._rounds.due_pages(newest_id, now_ms=self._clock())):
            async with self._store.reading() as tx:
                page = await self._rounds.page(tx)
            rest = [own for own in page if own.address_id not in looks.named]
            await self._try_look(rest, looks)
            self._rounds.turn(page)

    async def _look_everywhere(self, reached: int, looks: "_Looks") -> None:
        last_id = AddressId(0)
        while True:
            async with self._store.reading() as tx:
                page = await tx.addresses.after(last_id, limit=PAGE_ADDRESSES)
            if not page:
                break
            last_id = page[-1].address_id
            rest = [own for own in page if own.address_id not in looks.named]
            await self._try_look(rest, looks)
        self._milestones.start(reached)

    async def _try_look(
        self, ours: Sequence[OwnAddress], looks: "_Looks", *, since: int = 0
    ) -> None:
        """Look at some addresses; those that can not be looked at come again.

        Raises:
            NodeUnavailableError: If several looks in a row failed: nodes are away.
        """
        if not ours:
            return
        try:
            looks.booked += await self._look_at(ours, since=since)
        except NodeUnavailableError as error:
            self._note_unsettled(ours, {})
            looks.failure, looks.failures = error, looks.failures + 1
            if looks.failures >= _PATIENCE_LOOKS:
                raise
        else:
            looks.failures = 0

    async def _look_at(self, page: Sequence[OwnAddress], *, since: int = 0) -> int:
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
        await self._hold_unexplained([o for o in risen if o in settled], balances)
        async with self._store.reading() as tx:
            now = await tx.addresses.with_ids([own.address_id for own in risen])
        self._note_unsettled(now, balances)
        return booked

    def _note_unsettled(
        self, page: Sequence[OwnAddress], balances: Mapping[Address, int]
    ) -> None:
        """Remember where books and nodes differ, to look again at the next tick.

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
        return sum([await self._book(deposit) for deposit in new])

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


@dataclass(slots=True)
class _Looks:
    """How one tick gets on: what was booked, and what could not be looked at."""

    booked: int = 0
    failures: int = 0
    failure: NodeUnavailableError | None = None
    named: set[AddressId] = field(default_factory=set)


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
