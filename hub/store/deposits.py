# SPDX-License-Identifier: Apache-2.0
"""Deposits: each output of a confirmed bundle is booked exactly once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import Row, Select, func, insert, select, update

from hub import ledger
from hub.errors import AddressUnknownError, TransitionError
from hub.model import (
    AccountId,
    AccountKind,
    Address,
    AddressId,
    AddressState,
    BundleHash,
    CreditPolicy,
    Deposit,
    DepositId,
    DepositState,
    OwnAddress,
    SeenDeposit,
    SweepId,
    TransactionHash,
    require_transition,
)
from hub.store.addresses import Addresses
from hub.store.books import Books
from hub.store.context import Context
from hub.store.deposit_booking import arrival, events_of, posting_of, state_on_arrival
from hub.store.events import Events
from hub.store.schema import address, deposit, sweep

NO_TRANSACTION: Final = TransactionHash("9" * 81)
"""Stands for the tail and bundle of value that no transaction explains."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The deposit is booked now."""

    deposit: Deposit


@dataclass(frozen=True, slots=True)
class AlreadyRecorded:
    """The deposit was booked before; nothing was changed."""

    deposit: Deposit


@dataclass(frozen=True, slots=True)
class OwnRemainder:
    """It is the remainder of our own sweep, booked when that was signed."""

    sweep_id: SweepId


@dataclass(frozen=True, slots=True)
class Overtaken:
    """The address holds something else than was counted with; nothing was changed."""


RecordOutcome: TypeAlias = Recorded | AlreadyRecorded | OwnRemainder | Overtaken


class Deposits:
    """Queries about deposits inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._addresses = Addresses(context)
        self._books = Books(context)
        self._events = Events(context)

    async def record(
        self,
        seen: SeenDeposit,
        *,
        credit: CreditPolicy,
        balance_i: int | None = None,
    ) -> RecordOutcome:
        """Book a deposit that the quorum shows confirmed, once.

        On an open address it is credited by the policy, the owner's at once. While
        its address is an input of a planned sweep, or is quarantined, it waits for
        the sweep that takes it. On a spent address it is quarantined.

        Args:
            seen: What the Tangle shows.
            credit: The policy in force.
            balance_i: What the books must hold there before, in iota, so that nobody
                else has booked the same value; None: whatever it is.

        Returns:
            What became of it.

        Raises:
            AddressUnknownError: If the address is none of ours.
        """
        found = await self._addresses.find(seen.address)
        if found is None:
            message = f"{seen.address} is none of ours"
            raise AddressUnknownError(message)
        own = await self._addresses.by_id(found.address_id, lock=True)
        sweep_id = await self._sweep_with_remainder(seen.bundle_hash, own.address_id)
        if sweep_id is not None:
            return OwnRemainder(sweep_id)
        known = await self._find(seen, own.address_id)
        if known is not None:
            return AlreadyRecorded(known)
        if balance_i is not None and own.balance_i != balance_i:
            return Overtaken()
        if own.kind is AccountKind.OWNER:  # the hub's own, and no user to trick us
            credit = CreditPolicy.CONFIRMATION
        return Recorded(
            await self._book(seen, own, state_on_arrival(own.state, credit))
        )

    async def record_unexplained(
        self, address_id: AddressId, *, amount_i: int
    ) -> Deposit:
        """Book value that the nodes show and no transaction explains.

        An open address is quarantined with it, so that no sweep takes it before
        an operator has looked; other addresses and their deposits go on.

        Args:
            address_id: Where it lies.
            amount_i: What is there beyond the ledger's balance, in iota.

        Returns:
            The quarantined deposit.
        """
        own = await self._addresses.by_id(address_id, lock=True)
        query = select(func.count()).where(
            deposit.c.address_id == address_id, deposit.c.tail_hash == NO_TRANSACTION
        )
        seen = SeenDeposit(
            tail_hash=NO_TRANSACTION,
            bundle_hash=BundleHash(NO_TRANSACTION),
            address=own.address,
            transaction_index=(await self._connection.execute(query)).scalar_one(),
            amount_i=amount_i,
        )
        if own.state is AddressState.OPEN:
            await self._addresses.change_state([address_id], AddressState.QUARANTINED)
        return await self._book(seen, own, DepositState.QUARANTINED)

    async def release(self, deposit_id: DepositId) -> None:
        """Let a quarantined deposit take part in sweeps, as an operator decided.

        Args:
            deposit_id: A quarantined deposit on a quarantined address; one on a
                spent address needs a recovery instead.

        Raises:
            TransitionError: If the address is not quarantined.
        """
        row = (
            await self._connection.execute(
                _query().where(deposit.c.id == deposit_id).with_for_update(of=deposit)
            )
        ).one()
        held = deposit_of(row)
        require_transition(held.state, DepositState.CONFIRMED)
        own = await self._addresses.by_id(held.address_id, lock=True)
        if own.state is not AddressState.QUARANTINED:
            message = f"{own.address} is {own.state}: its deposits are not released"
            raise TransitionError(message)
        await self._set_state([deposit_id], DepositState.CONFIRMED)
        await self._books.post(
            ledger.quarantine_released(held.account_id, amount_i=held.seen.amount_i),
            reference=f"deposit {deposit_id}",
        )
        await self._events.add([arrival(held.seen, own)])
        if not await self._quarantined_on(own.address_id):
            await self._addresses.change_state([own.address_id], AddressState.OPEN)

    async def in_state(self, state: DepositState) -> list[Deposit]:
        """List deposits, the oldest first.

        Args:
            state: Only those in this state.

        Returns:
            The deposits.
        """
        return await self._all(_query().where(deposit.c.state == state.value))

    async def on(self, address_ids: Collection[AddressId]) -> list[Deposit]:
        """List the deposits on some addresses, the oldest first.

        Args:
            address_ids: Their rows.

        Returns:
            The deposits in any state.
        """
        return await self._all(_query().where(deposit.c.address_id.in_(address_ids)))

    async def known_tails(
        self, tail_hashes: Collection[TransactionHash]
    ) -> set[TransactionHash]:
        """Say which confirmed tails were booked before, for some address.

        Args:
            tail_hashes: At most some hundred.

        Returns:
            Those of which at least one output is booked.
        """
        query = select(deposit.c.tail_hash).where(deposit.c.tail_hash.in_(tail_hashes))
        return set((await self._connection.execute(query.distinct())).scalars())

    async def reserve(
        self, sweep_id: SweepId, address_ids: Collection[AddressId]
    ) -> None:
        """Tie the uncredited deposits on a sweep's inputs to it.

        Args:
            sweep_id: The sweep being planned.
            address_ids: Its inputs.
        """
        await self._connection.execute(
            update(deposit)
            .where(
                deposit.c.address_id.in_(address_ids),
                deposit.c.state == DepositState.CONFIRMED.value,
            )
            .values(sweep_id=sweep_id)
        )

    async def unreserve(self, sweep_id: SweepId) -> None:
        """Free the deposits of a refused sweep.

        Args:
            sweep_id: The sweep.
        """
        await self._connection.execute(
            update(deposit).where(deposit.c.sweep_id == sweep_id).values(sweep_id=None)
        )

    async def settle(
        self, sweep_id: SweepId, address_ids: Collection[AddressId]
    ) -> tuple[list[Deposit], list[Deposit]]:
        """Credit what a signed sweep takes; hold back what came after its plan.

        Args:
            sweep_id: The sweep being signed.
            address_ids: Its inputs.

        Returns:
            The deposits credited and those left behind.
        """
        query = _query().where(
            deposit.c.address_id.in_(address_ids),
            deposit.c.state == DepositState.CONFIRMED.value,
        )
        waiting = await self._all(query)
        taken = [d for d in waiting if d.sweep_id == sweep_id]
        left = [d for d in waiting if d.sweep_id != sweep_id]
        await self._set_state([d.deposit_id for d in taken], DepositState.CREDITED)
        await self._set_state([d.deposit_id for d in left], DepositState.QUARANTINED)
        return taken, left

    async def _book(
        self, seen: SeenDeposit, own: OwnAddress, state: DepositState
    ) -> Deposit:
        result = await self._connection.execute(
            insert(deposit)
            .returning(deposit.c.id)
            .values(
                tail_hash=seen.tail_hash,
                bundle_hash=seen.bundle_hash,
                address_id=own.address_id,
                transaction_index=seen.transaction_index,
                amount_i=seen.amount_i,
                message=seen.message,
                state=state.value,
                created_at_ms=self._context.now_ms,
            )
        )
        await self._books.post(posting_of(seen, own, state), reference=seen.tail_hash)
        await self._events.add(events_of(seen, own, state))
        return Deposit(
            deposit_id=DepositId(result.scalar_one()),
            address_id=own.address_id,
            account_id=own.account_id,
            seen=seen,
            state=state,
            sweep_id=None,
            created_at_ms=self._context.now_ms,
        )

    async def _find(self, seen: SeenDeposit, address_id: AddressId) -> Deposit | None:
        query = _query().where(
            deposit.c.tail_hash == seen.tail_hash,
            deposit.c.address_id == address_id,
            deposit.c.transaction_index == seen.transaction_index,
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else deposit_of(row)

    async def _sweep_with_remainder(
        self, bundle_hash: BundleHash, address_id: AddressId
    ) -> SweepId | None:
        query = select(sweep.c.id).where(
            sweep.c.bundle_hash == bundle_hash,
            sweep.c.remainder_address_id == address_id,
        )
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def _quarantined_on(self, address_id: AddressId) -> bool:
        query = select(deposit.c.id).where(
            deposit.c.address_id == address_id,
            deposit.c.state == DepositState.QUARANTINED.value,
        )
        return (await self._connection.execute(query)).first() is not None

    async def _set_state(
        self, deposit_ids: Sequence[DepositId], state: DepositState
    ) -> None:
        await self._connection.execute(
            update(deposit)
            .where(deposit.c.id.in_(deposit_ids))
            .values(state=state.value)
        )

    async def _all(self, query: Select[Any]) -> list[Deposit]:
        rows = await self._connection.execute(query.order_by(deposit.c.id))
        return [deposit_of(row) for row in rows]


def _query() -> Select[Any]:
    return select(deposit, address.c.address, address.c.account_id).join_from(
        deposit, address
    )


def deposit_of(row: Row[Any]) -> Deposit:
    """Read a deposit from its row, joined with its address."""
    seen = SeenDeposit(
        tail_hash=TransactionHash(row.tail_hash),
        bundle_hash=BundleHash(row.bundle_hash),
        address=Address(row.address),
        transaction_index=row.transaction_index,
        amount_i=row.amount_i,
        message=row.message,
    )
    return Deposit(
        deposit_id=DepositId(row.id),
        address_id=AddressId(row.address_id),
        account_id=AccountId(row.account_id),
        seen=seen,
        state=DepositState(row.state),
        sweep_id=None if row.sweep_id is None else SweepId(row.sweep_id),
        created_at_ms=row.created_at_ms,
    )
