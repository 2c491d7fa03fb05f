# SPDX-License-Identifier: Apache-2.0
"""Sweeps: stored whole before the appliance is asked, booked when it signed.

``plan`` -> ``sign`` or ``refuse``; then ``attach`` any number of times and
``confirm``. Each is one step of the state table and everything that belongs to
it, in the caller's transaction: a crash leaves the step done or not begun.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import case, insert, select, update

from hub import ledger
from hub.errors import PlanOutdatedError, TransitionError
from hub.model import (
    AccountId,
    AddressId,
    AddressState,
    NoticeReason,
    Sweep,
    SweepId,
    SweepInput,
    SweepPlan,
    SweepState,
    TransactionHash,
    require_transition,
)
from hub.store.accounts import Accounts
from hub.store.addresses import Addresses, awaits_remainder
from hub.store.books import Books
from hub.store.context import Context
from hub.store.deposits import Deposits
from hub.store.events import Events, NewEvent
from hub.store.schema import address, sweep, sweep_input
from hub.store.sweep_events import events_of_signing
from hub.store.sweep_records import SweepRecords
from hub.store.tails import Tails

_LONGEST_CODE: Final = 64
_LONGEST_MESSAGE: Final = 1000


class Sweeps(SweepRecords):
    """The steps of a sweep inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._context = context
        self._accounts = Accounts(context)
        self._addresses = Addresses(context)
        self._books = Books(context)
        self._deposits = Deposits(context)
        self._events = Events(context)
        self._tails = Tails(context)

    async def plan(self, plan: SweepPlan) -> SweepId:
        """Store a plan and reserve what it uses.

        Args:
            plan: The whole unsigned bundle and where its value comes from. An
                input, the remainder or a withdrawal that is no longer as
                planned raises ``PlanOutdatedError``.

        Returns:
            The sweep's row, in ``planned``.
        """
        await self._books.require_open()
        await self._require_current(plan)
        result = await self._connection.execute(
            insert(sweep)
            .returning(sweep.c.id)
            .values(
                bundle_hash=plan.bundle_hash,
                state=SweepState.PLANNED.value,
                essence=plan.essence,
                signed_trytes="[]",
                remainder_address_id=plan.remainder_address_id,
                remainder_i=plan.remainder_i,
                planned_at_ms=self._context.now_ms,
                refusal_code="",
            )
        )
        sweep_id = SweepId(result.scalar_one())
        await self._reserve(sweep_id, plan)
        await self._tell(NoticeReason.SWEEP_PLANNED, plan)
        return sweep_id

    async def sign(
        self,
        sweep_id: SweepId,
        signed_trytes: Sequence[str],
        *,
        journal_sequence: int | None = None,
    ) -> None:
        """Book a sweep the moment its signatures are in our hands.

        Args:
            sweep_id: A planned sweep.
            signed_trytes: Every transaction, in the order of their index.
            journal_sequence: Where the appliance's journal stood, if it said so.
        """
        found = await self._locked(sweep_id, SweepState.SIGNED)
        input_ids = [spent.address_id for spent in found.plan.inputs]
        await self._set(
            sweep_id,
            SweepState.SIGNED,
            signed_trytes=json.dumps(list(signed_trytes)),
            signed_at_ms=self._context.now_ms,
            hindrance_code="",
            hindrance_message="",
            journal_sequence=journal_sequence,
        )
        await self._addresses.change_state(input_ids, AddressState.SPENT)
        taken, left = await self._deposits.settle(sweep_id, input_ids)
        paid = await self._withdrawals.of_sweeps([sweep_id])
        await self._withdrawals.mark_paid(sweep_id)
        credits_i: Counter[AccountId] = Counter()
        for deposit in taken:
            credits_i[deposit.account_id] += deposit.seen.amount_i
        posting = ledger.sweep_signed(
            inputs=[(spent.address_id, spent.amount_i) for spent in found.plan.inputs],
            remainder=_remainder(found.plan),
            payouts=[(p.account_id, p.amount_i) for p in paid],
            credits_i=credits_i,
        )
        await self._books.post(posting, reference=found.plan.bundle_hash)
        left_i: Counter[AccountId] = Counter()
        for deposit in left:
            left_i[deposit.account_id] += deposit.seen.amount_i
        await self._books.post(
            ledger.deposits_overtaken(left_i), reference=found.plan.bundle_hash
        )
        owners = [await self._addresses.by_id(i) for i in _addresses_of(found.plan)]
        await self._events.add(events_of_signing(found.plan, owners, taken))
        await self._tell(NoticeReason.SWEEP_SIGNED, found.plan)

    async def refuse(
        self,
        sweep_id: SweepId,
        *,
        code: str,
        message: str = "",
        quarantine: Collection[AddressId] = (),
    ) -> None:
        """Release what a sweep reserved, after the appliance's final refusal.

        Args:
            sweep_id: A planned sweep.
            code: The appliance's word.
            message: What it said, for people.
            quarantine: Inputs that must not be planned again, because their key
                is spent, say.
        """
        found = await self._locked(sweep_id, SweepState.REFUSED)
        input_ids = {spent.address_id for spent in found.plan.inputs}
        await self._set(
            sweep_id,
            SweepState.REFUSED,
            refusal_code=code,
            hindrance_code=code,
            hindrance_message=_shown(message),
            hindrance_since_ms=self._context.now_ms,
            hindrance_last_ms=self._context.now_ms,
        )
        await self._connection.execute(
            update(sweep_input)
            .where(sweep_input.c.sweep_id == sweep_id)
            .values(live=None)
        )
        barred = input_ids & set(quarantine)
        await self._addresses.change_state(barred, AddressState.QUARANTINED)
        await self._addresses.change_state(input_ids - barred, AddressState.OPEN)
        await self._deposits.unreserve(sweep_id)
        await self._withdrawals.take_out_of(sweep_id)
        await self._tell(NoticeReason.SWEEP_REFUSED, found.plan, message=code)

    async def hinder(self, sweep_id: SweepId, *, code: str, message: str) -> None:
        """Write down why a planned sweep is not signed yet.

        Args:
            sweep_id: The sweep; one that is planned no more is left as it is.
            code: The appliance's word, or that of an error.
            message: What was said, for people.
        """
        now_ms, code = self._context.now_ms, code[:_LONGEST_CODE]
        same = sweep.c.hindrance_code == code
        await self._connection.execute(
            update(sweep)
            .where(sweep.c.id == sweep_id, sweep.c.state == SweepState.PLANNED.value)
            .values(
                hindrance_code=code,
                hindrance_message=_shown(message),
                hindrance_since_ms=case(
                    (same, sweep.c.hindrance_since_ms), else_=now_ms
                ),
                hindrance_last_ms=now_ms,
            )
        )

    async def promoted(self, sweep_id: SweepId) -> None:
        """Count a promotion of one of its attachments.

        Args:
            sweep_id: The sweep.
        """
        await self._connection.execute(
            update(sweep)
            .where(sweep.c.id == sweep_id)
            .values(
                promotions=sweep.c.promotions + 1, promoted_at_ms=self._context.now_ms
            )
        )

    async def attach(self, sweep_id: SweepId, tail_hash: TransactionHash) -> None:
        """Record an attachment that was made or found.

        Args:
            sweep_id: A signed sweep; a confirmed one stays confirmed.
            tail_hash: The attachment's transaction 0.

        Raises:
            TransitionError: If the sweep is not signed.
        """
        found = await self.by_id(sweep_id, lock=True)
        if found.state is SweepState.SIGNED:
            await self._set(sweep_id, SweepState.ATTACHED)
            await self._tell(NoticeReason.SWEEP_ATTACHED, found.plan, tail=tail_hash)
        elif found.state not in {SweepState.ATTACHED, SweepState.CONFIRMED}:
            message = f"sweep {sweep_id} is {found.state}: it has no attachments"
            raise TransitionError(message)
        await self._tails.add(sweep_id, tail_hash)

    async def confirm(self, sweep_id: SweepId, tail_hash: TransactionHash) -> None:
        """Record that the quorum shows an attachment confirmed; repeatable.

        Args:
            sweep_id: A signed or attached sweep.
            tail_hash: The confirmed attachment; recorded if it was unknown. A
                second one of the same sweep is recorded likewise.
        """
        found = await self.by_id(sweep_id, lock=True)
        if found.state is not SweepState.CONFIRMED:
            require_transition(found.state, SweepState.CONFIRMED)
            now_ms = self._context.now_ms
            await self._set(sweep_id, SweepState.CONFIRMED, confirmed_at_ms=now_ms)
            await self._tell(NoticeReason.SWEEP_CONFIRMED, found.plan, tail=tail_hash)
            await self._withdrawals.tell(sweep_id, NoticeReason.WITHDRAWAL_CONFIRMED)
        await self._tails.add(sweep_id, tail_hash)
        await self._tails.mark_confirmed(tail_hash)

    async def _require_current(self, plan: SweepPlan) -> None:
        query = (
            select(
                address.c.id, address.c.balance_i, awaits_remainder().label("awaits")
            )
            .where(
                address.c.id.in_([spent.address_id for spent in plan.inputs]),
                address.c.state == AddressState.OPEN.value,
            )
            .with_for_update()
        )
        rows = await self._connection.execute(query)
        usable = {
            SweepInput(address_id=r.id, amount_i=r.balance_i)
            for r in rows
            if not r.awaits
        }
        if not plan.inputs or usable != set(plan.inputs):
            message = "the inputs are not open with the balances planned"
            raise PlanOutdatedError(message)
        if plan.remainder_address_id is not None:
            rest = await self._addresses.by_id(plan.remainder_address_id, lock=True)
            spent_ids = {spent.address_id for spent in plan.inputs}
            if rest.state is not AddressState.OPEN or rest.address_id in spent_ids:
                message = "the remainder would go to an address about to be spent"
                raise PlanOutdatedError(message)

    async def _reserve(self, sweep_id: SweepId, plan: SweepPlan) -> None:
        taken = await self._withdrawals.put_into(sweep_id, plan.withdrawal_ids)
        # Books that will not balance when it is signed must not be planned.
        ledger.sweep_signed(
            inputs=[(spent.address_id, spent.amount_i) for spent in plan.inputs],
            remainder=_remainder(plan),
            payouts=[(w.account_id, w.amount_i) for w in taken],
            credits_i={},
        )
        input_ids = [spent.address_id for spent in plan.inputs]
        await self._addresses.change_state(input_ids, AddressState.RESERVED)
        rows = [
            {
                "sweep_id": sweep_id,
                "position": position,
                "address_id": spent.address_id,
                "amount_i": spent.amount_i,
                "live": 1,
            }
            for position, spent in enumerate(plan.inputs)
        ]
        await self._connection.execute(insert(sweep_input), rows)
        await self._deposits.reserve(sweep_id, input_ids)

    async def _tell(
        self,
        reason: NoticeReason,
        plan: SweepPlan,
        *,
        tail: str = "",
        message: str = "",
    ) -> None:
        owner = await self._accounts.owner()
        event = NewEvent(
            reason=reason,
            account_id=owner.account_id,
            bundle_hash=plan.bundle_hash,
            tail_hash=tail,
            message=message,
        )
        await self._events.add([event])

    async def _locked(self, sweep_id: SweepId, target: SweepState) -> Sweep:
        found = await self.by_id(sweep_id, lock=True)
        require_transition(found.state, target)
        return found

    async def _set(
        self, sweep_id: SweepId, state: SweepState, **columns: str | int | None
    ) -> None:
        await self._connection.execute(
            update(sweep)
            .where(sweep.c.id == sweep_id)
            .values(state=state.value, **columns)
        )


def _shown(message: str) -> str:
    return message[:_LONGEST_MESSAGE].replace("\0", "")


def _remainder(plan: SweepPlan) -> tuple[AddressId, int] | None:
    if plan.remainder_address_id is None:
        return None
    return plan.remainder_address_id, plan.remainder_i


def _addresses_of(plan: SweepPlan) -> list[AddressId]:
    rest = plan.remainder_address_id
    inputs = [spent.address_id for spent in plan.inputs]
    return inputs if rest is None else [*inputs, rest]
