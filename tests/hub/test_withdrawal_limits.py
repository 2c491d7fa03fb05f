# SPDX-License-Identifier: Apache-2.0
"""A user's limit, between the look before a withdrawal and the write of it."""

import asyncio

import pytest

from hub.errors import UserUnknownError, WithdrawalLimitError
from hub.model import UserId
from hub.store import Store, Transaction
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import (
    CheckedWithdrawal,
    WithdrawalWish,
    cancel_withdrawal,
    check_withdrawal,
    request_withdrawal,
    reserve_withdrawal,
)
from tests.hub import bookkeeping as books
from tests.hub.api.ports import SimulatedNodes
from tests.hub.bookkeeping import ManualClock

RULES = WithdrawalRules(per_user_i=100, window_ms=1_000)


def wish(amount_i: int) -> WithdrawalWish:
    return WithdrawalWish(
        user_id=UserId("ana"), amount_i=amount_i, payout_address=books.trytes()
    )


async def checked(store: Store, amount_i: int) -> CheckedWithdrawal:
    return await check_withdrawal(store, SimulatedNodes(), wish(amount_i), rules=RULES)


async def reserve(store: Store, one: CheckedWithdrawal) -> None:
    await store.run(lambda tx: reserve_withdrawal(tx, one, rules=RULES))


@pytest.fixture(autouse=True)
async def _ana(store: Store) -> None:
    await books.funded_user(store, "ana", 1_000)


async def test_of_two_that_were_looked_at_before_either_was_written_one_fits(
    store: Store,
) -> None:
    first, second = await checked(store, 60), await checked(store, 60)
    await reserve(store, first)
    with pytest.raises(WithdrawalLimitError):
        await reserve(store, second)
    await reserve(store, await checked(store, 40))


async def test_ten_at_once_take_no_more_than_the_limit(store: Store) -> None:
    asked = [
        request_withdrawal(store, SimulatedNodes(), wish(30), rules=RULES)
        for _ in range(10)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, WithdrawalLimitError)]
    granted = [one for one in answers if isinstance(one, str)]
    assert len(refused) + len(granted) == len(answers), answers
    assert 1 <= len(granted) <= 3


async def test_what_was_cancelled_after_a_look_gives_no_room_to_it(
    store: Store,
) -> None:
    first = await checked(store, 60)
    await reserve(store, first)
    looked = await checked(store, 40)
    await cancel_withdrawal(store, first.uuid)
    with pytest.raises(WithdrawalLimitError):
        await reserve(store, await checked(store, 101))
    await reserve(store, looked)
    await reserve(store, await checked(store, 60))
    with pytest.raises(WithdrawalLimitError):
        await reserve(store, await checked(store, 1))


async def test_a_cancellation_after_the_window_does_not_lift_the_limit(
    store: Store, clock: ManualClock
) -> None:
    """The counter only rises: it must not fall for what no longer counts."""
    old = await checked(store, 100)
    await reserve(store, old)
    clock.advance(by_ms=2_000)
    looked = [await checked(store, 60) for _ in range(2)]
    await cancel_withdrawal(store, old.uuid)
    await reserve(store, looked[0])
    with pytest.raises(WithdrawalLimitError):
        await reserve(store, looked[1])


async def test_a_refused_withdrawal_leaves_the_balance_as_it_was(store: Store) -> None:
    with pytest.raises(WithdrawalLimitError):
        await reserve(store, await checked(store, 101))
    async with store.reading() as tx:
        assert (await tx.accounts.by_identifier(UserId("ana"))).available_i == 1_000


async def test_an_account_that_was_rolled_back_is_not_remembered(store: Store) -> None:
    ben = UserId("ben")

    async def fail(tx: Transaction) -> None:
        await tx.accounts.create(ben)
        assert ben in await tx.accounts.ids_of([ben])
        raise UserUnknownError("rolled back")

    with pytest.raises(UserUnknownError):
        await store.run(fail)
    async with store.reading() as tx:
        assert not await tx.accounts.ids_of([ben])
