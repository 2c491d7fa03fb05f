# SPDX-License-Identifier: Apache-2.0
"""Tasks and processes that write at once lose no update and break no rule."""

import asyncio
import dataclasses
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.errors import InsufficientBalanceError, UserExistsError
from hub.model import (
    Address,
    CreditPolicy,
    SeedUuid,
    TransactionHash,
    UserId,
    WithdrawalUuid,
)
from hub.store import Store
from hub.store.deposits import Overtaken, Recorded
from hub.store.schema import account
from tests.hub import bookkeeping as books

WITHDRAW_AND_COUNT = """
import asyncio, sys
from hub.errors import InsufficientBalanceError
from hub.model import UserId
from hub.store import Store
from tests.hub import bookkeeping as books

async def main(url, name, attempts):
    store = Store(url, clock=books.ManualClock())
    async with store.reading() as tx:
        account = await tx.accounts.by_identifier(UserId("ana"))
    print("ready", flush=True)
    sys.stdin.readline()  # the barrier: all processes begin together
    granted = 0
    for number in range(attempts):
        uuid = f"{name:08}-0000-4000-8000-{number:012}"
        try:
            await store.run(lambda tx: tx.withdrawals.request(
                uuid, account.account_id, amount_i=1,
                payout_address=books.trytes(), tag="9" * 27))
            granted += 1
        except InsufficientBalanceError:
            pass
    await store.close()
    print(granted, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_w21_many_tasks_can_not_overdraw_an_account(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 50)

    async def take() -> bool:
        try:
            await books.request_withdrawal(store, ana, 3)
        except InsufficientBalanceError:
            return False
        return True

    granted = await asyncio.gather(*(take() for _ in range(60)))
    assert sum(granted) == 50 // 3
    async with store.reading() as tx:
        account = await tx.accounts.by_id(ana)
    assert (account.available_i, account.pending_i) == (2, 48)


async def test_w21_two_processes_on_one_file_can_not_overdraw_an_account(
    store: Store, database_url: str
) -> None:
    ana = await books.funded_user(store, "ana", 40)
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WITHDRAW_AND_COUNT,
            database_url,
            str(number),
            "30",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=root,
        )
        for number in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(p.communicate(b"go\n") for p in processes))
    granted = [int(out) for out, _ in answers]
    assert sum(granted) == 40
    async with store.reading() as tx:
        account = await tx.accounts.by_id(ana)
    assert (account.available_i, account.pending_i) == (0, 40)


async def test_one_identifier_is_given_once_whoever_asks_at_once(store: Store) -> None:
    async def create() -> bool:
        try:
            await store.run(lambda tx: tx.accounts.create(UserId("ana")))
        except UserExistsError:
            return False
        return True

    created = await asyncio.gather(*(create() for _ in range(20)))
    assert sum(created) == 1


async def test_identifiers_compare_by_bytes(store: Store) -> None:
    for name in ("ana", "Ana", "ana ", "án"):
        await books.open_user(store, name)
    with pytest.raises(UserExistsError):
        await books.open_user(store, "Ana")


async def test_identifiers_are_ordered_by_bytes(store: Store) -> None:
    for name in ("b", "B", "a", "_", "a-b", "aB", "ab", "Z", "~", "é"):
        await books.open_user(store, name)
    async with store.reading() as tx:
        rows = await tx.accounts._connection.execute(
            select(account.c.identifier)
            .where(account.c.kind == "user")
            .order_by(account.c.identifier)
        )
        names = list(rows.scalars())
    assert names == sorted(names, key=str.encode)


async def test_seed_uuids_and_withdrawals_that_differ_by_case_are_two(
    store: Store,
) -> None:
    ana = await books.funded_user(store, "ana", 10)
    one, two = (books.issued() for _ in range(2))
    lower = dataclasses.replace(two, seed_uuid=SeedUuid(one.seed_uuid.swapcase()))
    async with store.transaction() as tx:
        await tx.addresses.add(ana, one)
        await tx.addresses.add(ana, lower)
        assert await tx.addresses.find(Address(one.address.lower())) is None
    uuid = "abcdefab-0000-4000-8000-00000000000a"
    for name in (uuid, uuid.upper()):
        await books.request_withdrawal(store, ana, 1, uuid=name)
    async with store.reading() as tx:
        found = await tx.withdrawals.by_uuid(WithdrawalUuid(uuid))
        assert found.uuid == uuid


async def test_a_cancelled_task_leaves_nothing_half_done(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 10)
    entered = asyncio.Event()

    async def stall() -> None:
        async with store.transaction() as tx:
            await tx.accounts.create(UserId("half"))
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stall())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await books.request_withdrawal(store, ana, 10)  # the write lock is free again
    await books.open_user(store, "half")


async def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 10)
    async with store.reading() as tx:
        before = await tx.accounts.by_id(ana)
        await books.request_withdrawal(store, ana, 4)
        assert await tx.accounts.by_id(ana) == before


async def test_confirmed_twice_at_once_is_credited_once(store: Store) -> None:
    ana = await books.open_user(store, "ana")
    address_id = await books.give_address(store, ana)
    first = await books.arrive(store, address_id, 5)
    seen = first.deposit.seen  # type: ignore[union-attr]
    await asyncio.gather(
        *(
            store.run(lambda tx: tx.deposits.record(seen, credit=CreditPolicy.SWEEP))
            for _ in range(10)
        )
    )
    async with store.reading() as tx:
        assert (await tx.accounts.by_id(ana)).unswept_i == 5


async def test_value_counted_with_an_older_balance_is_not_booked(store: Store) -> None:
    """Two flows look: what one quarantined without a history, the other now found."""
    ana = await books.open_user(store, "ana")
    address_id = await books.give_address(store, ana)
    first = await books.arrive(store, address_id, 5)
    found = dataclasses.replace(
        first.deposit.seen,  # type: ignore[union-attr]
        tail_hash=TransactionHash(books.trytes()),
        amount_i=7,
    )
    async with store.transaction() as tx:
        await tx.deposits.record_unexplained(address_id, amount_i=7)
    outcomes = [
        await store.run(
            lambda tx, held_i=held_i: tx.deposits.record(  # type: ignore[misc]
                found, credit=CreditPolicy.SWEEP, balance_i=held_i
            )
        )
        for held_i in (5, 12)
    ]
    assert isinstance(outcomes[0], Overtaken)
    assert isinstance(outcomes[1], Recorded)
    async with store.reading() as tx:
        assert (await tx.addresses.by_id(address_id)).balance_i == 5 + 7 + 7
