# SPDX-License-Identifier: Apache-2.0
"""A sweep reserves, books and releases exactly what it was planned with."""

import dataclasses

import pytest
from sqlalchemy.exc import IntegrityError

from hub.errors import (
    InvariantError,
    PlanOutdatedError,
    TransitionError,
    WithdrawalFinalError,
)
from hub.model import (
    AccountId,
    AccountKind,
    AddressId,
    AddressState,
    CreditPolicy,
    DepositState,
    EventReason,
    SweepState,
    TransactionHash,
    WithdrawalState,
)
from hub.store import Store
from hub.store.deposits import AlreadyRecorded, OwnRemainder, Recorded
from tests.hub import bookkeeping as books


async def state_of(store: Store, address_id: AddressId) -> AddressState:
    async with store.reading() as tx:
        return (await tx.addresses.by_id(address_id)).state


async def balances_of(store: Store, account_id: AccountId) -> tuple[int, int, int, int]:
    async with store.reading() as tx:
        account = await tx.accounts.by_id(account_id)
    return (
        account.available_i,
        account.unswept_i,
        account.pending_i,
        account.quarantined_i,
    )


async def test_a_deposit_is_spendable_once_a_signed_sweep_has_taken_it(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    deposit_address = await books.give_address(store, ana)
    await books.arrive(store, deposit_address, 100)
    assert await balances_of(store, ana) == (0, 100, 0, 0)
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [deposit_address], remainder_id=rest)
    assert await state_of(store, deposit_address) is AddressState.RESERVED
    assert await balances_of(store, ana) == (0, 100, 0, 0)
    await books.sign_sweep(store, sweep_id)
    assert await state_of(store, deposit_address) is AddressState.SPENT
    assert await balances_of(store, ana) == (100, 0, 0, 0)


async def test_a_signed_sweep_pays_its_withdrawals_and_nobody_can_cancel_them(
    store: Store,
) -> None:
    ana = await books.funded_user(store, "ana", 100)
    async with store.reading() as tx:
        (source,) = await tx.addresses.sweepable(AccountKind.USER, limit=5)
    uuid = await books.request_withdrawal(store, ana, 100)
    sweep_id = await books.plan_sweep(store, [source.address_id], [uuid])
    async with store.transaction() as tx:
        with pytest.raises(WithdrawalFinalError):
            await tx.withdrawals.cancel(uuid)
    await books.sign_sweep(store, sweep_id)
    async with store.reading() as tx:
        paid = await tx.withdrawals.by_uuid(uuid)
        sweep = await tx.sweeps.by_withdrawal(uuid)
    assert paid.state is WithdrawalState.PAID
    assert (sweep.state, sweep.plan.remainder_address_id) == (SweepState.SIGNED, None)
    assert await balances_of(store, ana) == (0, 0, 0, 0)


async def test_a_refused_sweep_releases_its_inputs_withdrawals_and_deposits(
    store: Store,
) -> None:
    ana = await books.funded_user(store, "ana", 70)
    first = await books.give_address(store, ana)
    await books.arrive(store, first, 30)
    uuid = await books.request_withdrawal(store, ana, 20)
    rest = await books.hub_address(store)
    refused = await books.plan_sweep(store, [first], [uuid], rest)
    async with store.transaction() as tx:
        await tx.sweeps.refuse(refused, code="policy")
    assert await state_of(store, first) is AddressState.OPEN
    again = await books.plan_sweep(store, [first], [uuid], rest)
    await books.sign_sweep(store, again)
    assert await balances_of(store, ana) == (80, 0, 0, 0)
    async with store.transaction() as tx:
        with pytest.raises(TransitionError):
            await tx.sweeps.sign(refused, [])


async def test_a_refusal_can_bar_an_input_whose_key_is_spent(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    inputs = [await books.give_address(store, ana) for _ in range(2)]
    for address_id in inputs:
        await books.arrive(store, address_id, 5)
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, inputs, remainder_id=rest)
    async with store.transaction() as tx:
        await tx.sweeps.refuse(sweep_id, code="key-spent", quarantine=[inputs[0]])
    assert await state_of(store, inputs[0]) is AddressState.QUARANTINED
    assert await state_of(store, inputs[1]) is AddressState.OPEN


async def test_a_deposit_that_comes_between_plan_and_signature_is_quarantined(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [source], remainder_id=rest)
    late = await books.arrive(store, source, 7, credit=CreditPolicy.CONFIRMATION)
    assert isinstance(late, Recorded)
    assert late.deposit.state is DepositState.CONFIRMED  # not credited: may be lost
    await books.sign_sweep(store, sweep_id)
    assert await balances_of(store, ana) == (50, 0, 0, 7)
    async with store.reading() as tx:
        (held,) = await tx.deposits.in_state(DepositState.QUARANTINED)
    assert held.seen.amount_i == 7


async def test_w9_w14_a_deposit_to_a_spent_address_is_kept_apart_and_stops_nothing(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [source], remainder_id=rest)
    await books.sign_sweep(store, sweep_id)
    late = await books.arrive(store, source, 9)
    assert isinstance(late, Recorded)
    assert late.deposit.state is DepositState.QUARANTINED
    assert await balances_of(store, ana) == (50, 0, 0, 9)
    async with store.transaction() as tx:
        with pytest.raises(TransitionError, match="not released"):
            await tx.deposits.release(late.deposit.deposit_id)


async def test_w12_w13_value_without_history_is_held_until_released(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    odd, even = [await books.give_address(store, ana) for _ in range(2)]
    async with store.transaction() as tx:
        held = await tx.deposits.record_unexplained(odd, amount_i=150)
    await books.arrive(store, even, 10)  # others go on
    async with store.reading() as tx:
        ready = await tx.addresses.sweepable(AccountKind.USER, limit=5)
    assert [own.address_id for own in ready] == [even]
    async with store.transaction() as tx:
        await tx.deposits.release(held.deposit_id)
    assert await balances_of(store, ana) == (0, 160, 0, 0)
    assert await state_of(store, odd) is AddressState.OPEN


async def test_the_same_deposit_is_booked_once(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    first = await books.arrive(store, source, 50)
    assert isinstance(first, Recorded)
    async with store.transaction() as tx:
        again = await tx.deposits.record(
            first.deposit.seen, credit=CreditPolicy.CONFIRMATION
        )
    assert again == AlreadyRecorded(first.deposit)
    assert await balances_of(store, ana) == (0, 50, 0, 0)


async def test_our_own_remainder_is_no_deposit_and_waits_for_confirmation(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [source], remainder_id=rest)
    await books.sign_sweep(store, sweep_id)
    async with store.reading() as tx:
        sweep = await tx.sweeps.by_id(sweep_id)
        assert await tx.addresses.sweepable(AccountKind.OWNER, limit=5) == []
    seen = await books.arrive(store, rest, 50, bundle_hash=sweep.plan.bundle_hash)
    assert seen == OwnRemainder(sweep_id)
    tail = TransactionHash(books.trytes())
    async with store.transaction() as tx:
        await tx.sweeps.attach(sweep_id, tail)
        await tx.sweeps.confirm(sweep_id, tail)
    async with store.reading() as tx:
        ready = await tx.addresses.sweepable(AccountKind.OWNER, limit=5)
    assert [(own.address_id, own.balance_i) for own in ready] == [(rest, 50)]


async def test_w9_a_second_confirmed_tail_is_recorded_and_stops_nothing(
    store: Store,
) -> None:
    ana = await books.funded_user(store, "ana", 5)
    async with store.reading() as tx:
        (source,) = await tx.addresses.sweepable(AccountKind.USER, limit=1)
    uuid = await books.request_withdrawal(store, ana, 5)
    sweep_id = await books.plan_sweep(store, [source.address_id], [uuid])
    await books.sign_sweep(store, sweep_id)
    tails = [TransactionHash(books.trytes()) for _ in range(2)]
    for tail in tails:
        async with store.transaction() as tx:
            await tx.sweeps.confirm(sweep_id, tail)
    async with store.reading() as tx:
        found = await tx.tails.of_sweep(sweep_id)
        sweep = await tx.sweeps.by_id(sweep_id)
    assert {t.tail_hash for t in found if t.confirmed} == set(tails)
    assert sweep.state is SweepState.CONFIRMED


async def test_an_address_is_never_in_two_living_sweeps(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest = await books.hub_address(store)
    await books.plan_sweep(store, [source], remainder_id=rest)
    with pytest.raises(PlanOutdatedError):
        await books.plan_sweep(store, [source], remainder_id=rest)


async def test_a_plan_whose_sums_differ_is_not_stored(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest = await books.hub_address(store)
    async with store.reading() as tx:
        plan = await books.plan_of(tx, [source], [], rest)
    with pytest.raises(InvariantError):
        await store.run(
            lambda tx: tx.sweeps.plan(dataclasses.replace(plan, remainder_i=49))
        )
    assert await state_of(store, source) is AddressState.OPEN


async def test_an_input_that_still_awaits_a_remainder_is_not_planned(
    store: Store,
) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 50)
    rest, other = [await books.hub_address(store) for _ in range(2)]
    await books.plan_sweep(store, [source], remainder_id=rest)
    await books.arrive(store, rest, 8)  # a stranger pays to our remainder address
    with pytest.raises(PlanOutdatedError):
        await books.plan_sweep(store, [rest], remainder_id=other)


async def test_w19_a_remainder_of_nothing_can_not_be_stored(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 5)
    async with store.reading() as tx:
        (source,) = await tx.addresses.sweepable(AccountKind.USER, limit=1)
    uuid = await books.request_withdrawal(store, ana, 5)
    rest = await books.hub_address(store)
    async with store.reading() as tx:
        plan = await books.plan_of(tx, [source.address_id], [uuid], None)
    zero = dataclasses.replace(plan, remainder_address_id=rest)
    with pytest.raises(IntegrityError, match="no_zero_remainder"):
        await store.run(lambda tx: tx.sweeps.plan(zero))


async def test_a_planned_sweep_comes_back_whole_after_a_restart(
    store: Store, database_url: str, clock: books.ManualClock
) -> None:
    ana = await books.funded_user(store, "ana", 60)
    async with store.reading() as tx:
        (source,) = await tx.addresses.sweepable(AccountKind.USER, limit=1)
    uuids = [await books.request_withdrawal(store, ana, 20) for _ in range(2)]
    rest = await books.hub_address(store)
    async with store.transaction() as tx:
        plan = await books.plan_of(tx, [source.address_id], uuids, rest)
        plan = dataclasses.replace(plan, essence='{"whole": "bundle"}')
        await tx.sweeps.plan(plan)
    reopened = Store(database_url, clock=clock)
    async with reopened.reading() as tx:
        (found,) = await tx.sweeps.in_state(SweepState.PLANNED)
    await reopened.close()
    assert found.plan == plan


async def test_signing_writes_the_history_pollers_expect(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    source = await books.give_address(store, ana)
    await books.arrive(store, source, 30)
    rest = await books.hub_address(store)
    await books.sign_sweep(
        store, await books.plan_sweep(store, [source], remainder_id=rest)
    )
    async with store.reading() as tx:
        events = await tx.events.since(0, EventReason)
    assert [(e.reason.value, e.amount_i) for e in events] == [
        ("UA_DEPOSIT", 30),
        ("UA_SWEEP", -30),
        ("INBOUND", 30),
        ("DEPOSIT", 30),
    ]
