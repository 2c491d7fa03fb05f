# SPDX-License-Identifier: Apache-2.0
"""Transactions that are cancelled wherever they are let go of the database."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from hub.model import UserId
from hub.store import Store, Transaction

_ROUNDS = 130
_LESS_THAN_A_LOCK_S = 4.0
"""SQLite waits 5 s for another connection's lock."""


async def write(store: Store, name: str) -> None:
    async def several(tx: Transaction) -> None:
        for number in range(20):
            await tx.accounts.create(UserId(f"{name}-{number}"))

    await store.run(several)


async def read(store: Store) -> None:
    async with store.reading() as tx:
        for _ in range(20):
            await tx.accounts.ids_of([UserId("nobody")])


async def keeping(
    kept: list[BaseException], work: Callable[[], Awaitable[None]]
) -> None:
    """Hold on to what ends the work, and so to the cursors in its traceback."""
    try:
        await work()
    except BaseException as error:
        kept.append(error)
        raise


async def test_cancelled_transactions_leave_no_lock(store: Store) -> None:
    kept: list[BaseException] = []
    for number in range(_ROUNDS):
        works = [partial(write, store, f"{twin}{number}") for twin in "ab"]
        works += [partial(read, store), partial(read, store)]
        tasks = [asyncio.create_task(keeping(kept, work)) for work in works]
        for _ in range(number):
            await asyncio.sleep(0 if number % 2 else 0.0002)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        async with asyncio.timeout(_LESS_THAN_A_LOCK_S):
            name = UserId(f"after{number}")
            await store.run(lambda tx, name=name: tx.accounts.create(name))
    assert kept
