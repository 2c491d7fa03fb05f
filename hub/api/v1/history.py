# SPDX-License-Identifier: Apache-2.0
"""What happened: deposits, sweeps and events."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub import errors
from hub.api.v1.bodies import DepositQuery, EventQuery, SweepQuery
from hub.api.v1.event_types import event_of, reasons_of
from hub.api.v1.operations import Call, Operation
from hub.api.v1.paging import read_page
from hub.api.v1.resources import (
    Deposit,
    EventPage,
    Page,
    Sweep,
    SweepInput,
    SweepTails,
    SweepTrytes,
    Tail,
)
from hub.api_keys import Scope
from hub.model import BundleHash, DepositState, SweepState, UserId
from hub.model import Deposit as StoredDeposit
from hub.model import Sweep as StoredSweep
from hub.store import Store, Transaction
from trinary.kerl import with_checksum
from trinary.trytes import is_trytes

_HASH_TRYTES = 81
_MAX_ROW = (1 << 63) - 1
_ROW_DIGITS = 19


@dataclass(frozen=True, slots=True)
class HistoryOperations:
    """What tells of the past.

    Attributes:
        store: The database.
    """

    store: Store

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="list-deposits",
                method="GET",
                path="/v1/deposits",
                summary="List deposits, the newest first.",
                scope=Scope.READ,
                query=DepositQuery,
                reply=Page[Deposit],
                read=self.list_deposits,
            ),
            Operation(
                name="get-deposit",
                method="GET",
                path="/v1/deposits/{deposit_id}",
                summary="Get a deposit.",
                scope=Scope.READ,
                reply=Deposit,
                refusals=(errors.DepositUnknownError,),
                read=self.get_deposit,
            ),
            Operation(
                name="list-sweeps",
                method="GET",
                path="/v1/sweeps",
                summary="List sweeps, the newest first.",
                scope=Scope.READ,
                query=SweepQuery,
                reply=Page[Sweep],
                read=self.list_sweeps,
            ),
            Operation(
                name="get-sweep",
                method="GET",
                path="/v1/sweeps/{bundle_hash}",
                summary="Get a sweep with its attachments.",
                scope=Scope.READ,
                reply=SweepTails,
                refusals=(errors.SweepUnknownError,),
                read=self.get_sweep,
            ),
            Operation(
                name="get-sweep-trytes",
                method="GET",
                path="/v1/sweeps/{bundle_hash}/trytes",
                summary="Get the trytes of a sweep; none before it is signed.",
                scope=Scope.READ,
                reply=SweepTrytes,
                refusals=(errors.SweepUnknownError,),
                read=self.get_sweep_trytes,
            ),
            Operation(
                name="list-events",
                method="GET",
                path="/v1/events",
                summary="Read events on from a position, the oldest first.",
                scope=Scope.READ,
                query=EventQuery,
                reply=EventPage,
                read=self.list_events,
            ),
        ]

    async def list_deposits(self, call: Call) -> Page[Deposit]:
        """List deposits."""
        asked: DepositQuery = call.query

        async def fetch(
            before: int | None, limit: int
        ) -> list[tuple[StoredDeposit, UserId]]:
            async with self.store.reading() as tx:
                return await tx.pages.deposits(
                    before_id=before,
                    limit=limit,
                    user_id=None if asked.user_id is None else UserId(asked.user_id),
                    state=None if asked.state is None else DepositState(asked.state),
                )

        return await read_page(
            asked,
            of="deposits",
            fetch=fetch,
            row_id=lambda named: named[0].deposit_id,
            show=lambda named: _deposit_of(*named),
        )

    async def get_deposit(self, call: Call) -> Deposit:
        """Get a deposit."""
        text = call.path["deposit_id"]
        digits = text.isascii() and text.isdecimal() and len(text) <= _ROW_DIGITS
        number = int(text) if digits else 0
        if not 0 < number <= _MAX_ROW:
            raise errors.DepositUnknownError("a deposit's id is a number from 1 on")
        async with self.store.reading() as tx:
            return _deposit_of(*await tx.pages.deposit(number))

    async def list_sweeps(self, call: Call) -> Page[Sweep]:
        """List sweeps."""
        asked: SweepQuery = call.query

        async def fetch(
            before: int | None, limit: int
        ) -> Sequence[tuple[StoredSweep, Sweep]]:
            async with self.store.reading() as tx:
                found = await tx.sweeps.page(
                    before_id=before,
                    limit=limit,
                    state=None if asked.state is None else SweepState(asked.state),
                )
                return [(one, await _sweep_of(tx, one)) for one in found]

        return await read_page(
            asked,
            of="sweeps",
            fetch=fetch,
            row_id=lambda pair: pair[0].sweep_id,
            show=lambda pair: pair[1],
        )

    async def get_sweep(self, call: Call) -> SweepTails:
        """Get a sweep with its tails."""
        async with self.store.reading() as tx:
            stored = await _sweep_at(tx, call)
            tails = await tx.tails.of_sweep(stored.sweep_id)
            return SweepTails(
                sweep=await _sweep_of(tx, stored),
                tails=[
                    Tail(
                        tail_hash=tail.tail_hash,
                        confirmed=tail.confirmed,
                        created_at_ms=tail.created_at_ms,
                    )
                    for tail in tails
                ],
            )

    async def get_sweep_trytes(self, call: Call) -> SweepTrytes:
        """Get a sweep's trytes."""
        async with self.store.reading() as tx:
            stored = await _sweep_at(tx, call)
        return SweepTrytes(
            bundle_hash=stored.plan.bundle_hash, trytes=list(stored.signed_trytes)
        )

    async def list_events(self, call: Call) -> EventPage:
        """Read events; one page of one consistent state."""
        asked: EventQuery = call.query
        async with self.store.reading() as tx:
            last = await tx.published.last_position()
            found = await tx.published.after(
                asked.after,
                limit=asked.limit,
                reasons=reasons_of(split_types(asked.types)),
                user_id=None if asked.user_id is None else UserId(asked.user_id),
                until=last,
            )
        if len(found) == asked.limit:
            last = found[-1].position
        return EventPage(
            items=[event_of(one) for one in found],
            last_position=max(last, asked.after),
        )


def split_types(text: str | None) -> list[str]:
    """Split a list with commas between; nothing means all."""
    return text.split(",") if text else []


async def _sweep_at(tx: Transaction, call: Call) -> StoredSweep:
    text = call.path["bundle_hash"]
    if not is_trytes(text, length=_HASH_TRYTES):
        raise errors.SweepUnknownError("a bundle hash is 81 trytes")
    return await tx.sweeps.by_bundle_hash(BundleHash(text))


async def _sweep_of(tx: Transaction, stored: StoredSweep) -> Sweep:
    plan = stored.plan
    inputs = [(await tx.addresses.by_id(one.address_id), one) for one in plan.inputs]
    paid = await tx.withdrawals.of_sweeps([stored.sweep_id])
    rest = None
    if plan.remainder_address_id is not None:
        rest = (await tx.addresses.by_id(plan.remainder_address_id)).address
    return Sweep(
        bundle_hash=plan.bundle_hash,
        state=stored.state.value,
        inputs=[
            SweepInput(address=own.address, amount_i=one.amount_i)
            for own, one in inputs
        ],
        withdrawals=[withdrawal.uuid for withdrawal in paid],
        remainder_address=rest,
        remainder_i=plan.remainder_i,
        refusal_code=stored.refusal_code or None,
        planned_at_ms=stored.planned_at_ms,
        signed_at_ms=stored.signed_at_ms,
        confirmed_at_ms=stored.confirmed_at_ms,
    )


def _deposit_of(stored: StoredDeposit, user_id: UserId) -> Deposit:
    seen = stored.seen
    return Deposit(
        deposit_id=stored.deposit_id,
        user_id=user_id,
        address=seen.address,
        address_with_checksum=with_checksum(seen.address),
        amount_i=seen.amount_i,
        state=stored.state.value,
        tail_hash=seen.tail_hash,
        bundle_hash=seen.bundle_hash,
        transaction_index=seen.transaction_index,
        message=seen.message,
        created_at_ms=stored.created_at_ms,
    )
