# SPDX-License-Identifier: Apache-2.0
"""A process that races others on one database: ``python -m tests.hub.racer URL ROLE``.

It says ``ready``; then each line it reads is one round's argument, a JSON object, and
each line it writes is whether it won that round.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from hub.errors import (
    HeadConflictError,
    InsufficientBalanceError,
    PlanOutdatedError,
    WithdrawalFinalError,
)
from hub.model import (
    AccountId,
    Address,
    AddressId,
    CreditPolicy,
    HeadToken,
    SeenDeposit,
    Tag,
    UserId,
    WithdrawalUuid,
)
from hub.store import Store
from hub.store.deposits import Recorded
from hub.transfers import Transfer, process_batch
from hub.withdrawals import cancel_withdrawal
from tests.hub import bookkeeping as books

LOST = (
    InsufficientBalanceError,
    PlanOutdatedError,
    WithdrawalFinalError,
    HeadConflictError,
)


async def transfer(store: Store, *, source: str, target: str, amount_i: int) -> bool:
    legs = [Transfer(UserId(source), -amount_i), Transfer(UserId(target), amount_i)]
    await process_batch(store, legs)
    return True


async def withdraw(store: Store, *, account: int, uuid: str, amount_i: int) -> bool:
    await store.run(
        lambda tx: tx.withdrawals.request(
            WithdrawalUuid(uuid),
            AccountId(account),
            amount_i=amount_i,
            payout_address=Address(books.trytes()),
            tag=Tag("9" * 27),
        )
    )
    return True


async def plan(store: Store, *, source: int, rest: int, uuid: str) -> bool:
    async with store.reading() as tx:
        made = await books.plan_of(
            tx, [AddressId(source)], [WithdrawalUuid(uuid)], AddressId(rest)
        )
    await store.run(lambda tx: tx.sweeps.plan(made))
    return True


async def cancel(store: Store, *, uuid: str) -> bool:
    await cancel_withdrawal(store, WithdrawalUuid(uuid))
    return True


async def book(store: Store, **seen: Any) -> bool:  # noqa: ANN401
    deposit = SeenDeposit(**seen)
    credit = CreditPolicy.CONFIRMATION
    outcome = await store.run(lambda tx: tx.deposits.record(deposit, credit=credit))
    return isinstance(outcome, Recorded)


async def head(store: Store, **token: Any) -> bool:  # noqa: ANN401
    await store.run(lambda tx: tx.head.remember(HeadToken(**token)))
    return True


ROLES: dict[str, Callable[..., Awaitable[bool]]] = {
    role.__name__: role for role in (transfer, withdraw, plan, cancel, book, head)
}


async def race(url: str) -> None:
    store = Store(url, clock=books.ManualClock())
    await store.ping()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        argument = json.loads(line)
        role = ROLES[argument.pop("role")]
        try:
            won = await role(store, **argument)
        except LOST:
            won = False
        print(json.dumps(won), flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1]))
