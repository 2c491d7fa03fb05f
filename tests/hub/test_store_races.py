# SPDX-License-Identifier: Apache-2.0
"""Separate processes on one PostgreSQL take nothing twice and lose no update.

Two processes are kept for the whole file. Each round gives both something that only
one may win, at the same moment; many rounds make it certain that they meet.
"""

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hub.model import (
    AddressState,
    BundleHash,
    SeenDeposit,
    SweepState,
    TransactionHash,
    WithdrawalState,
)
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.databases import Postgresql

ROUNDS = 15
ROOT = Path(__file__).parents[2]


@pytest.fixture
def databases(postgresql: Postgresql) -> Postgresql:
    """In this file: PostgreSQL alone."""
    return postgresql


class Racers:
    """Two processes that are given the start at once, round by round."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def round(self, *arguments: dict[str, Any]) -> list[bool]:
        """Let each process do its part; return who won."""
        for process, argument in zip(self._processes, arguments, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(argument).encode() + b"\n")
        return [json.loads(await self._line(p)) for p in self._processes]

    async def ready(self) -> None:
        for process in self._processes:
            assert await self._line(process) == b"ready\n"

    @staticmethod
    async def _line(process: asyncio.subprocess.Process) -> bytes:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            return await process.stdout.readline()

    async def stop(self) -> None:
        for process in self._processes:
            await process.communicate(b"")  # the end of its input


@pytest.fixture
async def racers(database_url: str) -> AsyncGenerator[Racers]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "tests.hub.racer", database_url]
    made = Racers(
        [
            await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, cwd=ROOT
            )
            for _ in range(2)
        ]
    )
    await made.ready()
    yield made
    await made.stop()


def uuid_of(number: int) -> str:
    return f"abcdef00-0000-4000-8000-{number:012}"


async def test_transfers_that_cross_lose_no_iota(store: Store, racers: Racers) -> None:
    ana = await books.funded_user(store, "ana", 100)
    bob = await books.funded_user(store, "bob", 100)
    there = {"role": "transfer", "source": "ana", "target": "bob", "amount_i": 1}
    back = {"role": "transfer", "source": "bob", "target": "ana", "amount_i": 3}
    for _ in range(ROUNDS):
        assert await racers.round(there, back) == [True, True]
    async with store.reading() as tx:
        first, second = await tx.accounts.by_id(ana), await tx.accounts.by_id(bob)
    assert first.available_i == 100 + 2 * ROUNDS
    assert second.available_i == 100 - 2 * ROUNDS


async def test_of_two_withdrawals_of_one_balance_one_is_granted(
    store: Store, racers: Racers
) -> None:
    for number in range(ROUNDS):
        ana = await books.funded_user(store, f"ana {number}", 5)
        wishes = [
            {
                "role": "withdraw",
                "account": ana,
                "uuid": uuid_of(2 * number + side),
                "amount_i": 4,
            }
            for side in range(2)
        ]
        assert sum(await racers.round(*wishes)) == 1
        async with store.reading() as tx:
            account = await tx.accounts.by_id(ana)
        assert (account.available_i, account.pending_i) == (1, 4)


async def test_of_two_planners_one_takes_the_withdrawal(
    store: Store, racers: Racers
) -> None:
    ana = await books.funded_user(store, "ana", 1000)
    for number in range(ROUNDS):
        uuid = await books.request_withdrawal(store, ana, 4, uuid=uuid_of(number))
        plans = []
        for _ in range(2):
            source, rest = (
                await books.hub_address(store),
                await books.hub_address(store),
            )
            await books.arrive(store, source, 10)
            plans.append({"role": "plan", "source": source, "rest": rest, "uuid": uuid})
        assert sum(await racers.round(*plans)) == 1
    async with store.reading() as tx:
        sweeps = await tx.sweeps.in_state(SweepState.PLANNED)
        taken = [paid for sweep in sweeps for paid in sweep.plan.withdrawal_ids]
    assert len(sweeps) == len(taken) == len(set(taken)) == ROUNDS


async def test_of_two_planners_one_takes_the_input(
    store: Store, racers: Racers
) -> None:
    ana = await books.funded_user(store, "ana", 1000)
    for number in range(ROUNDS):
        source = await books.hub_address(store)
        await books.arrive(store, source, 10)
        plans = []
        for side in range(2):
            uuid = uuid_of(2 * number + side)
            await books.request_withdrawal(store, ana, 4, uuid=uuid)
            rest = await books.hub_address(store)
            plans.append({"role": "plan", "source": source, "rest": rest, "uuid": uuid})
        assert sum(await racers.round(*plans)) == 1
        async with store.reading() as tx:
            own = await tx.addresses.by_id(source)
        assert own.state is AddressState.RESERVED


async def test_a_deposit_that_two_monitors_see_is_booked_once(
    store: Store, racers: Racers
) -> None:
    ana = await books.open_user(store, "ana")
    for _ in range(ROUNDS):
        address_id = await books.give_address(store, ana)
        async with store.reading() as tx:
            own = await tx.addresses.by_id(address_id)
        seen = SeenDeposit(
            tail_hash=TransactionHash(books.trytes()),
            bundle_hash=BundleHash(books.trytes()),
            address=own.address,
            transaction_index=0,
            amount_i=7,
        )
        same = {"role": "book", **dataclasses.asdict(seen)}
        assert sum(await racers.round(same, same)) == 1
    async with store.reading() as tx:
        assert (await tx.accounts.by_id(ana)).available_i == 7 * ROUNDS


async def test_a_withdrawal_is_cancelled_or_planned_and_never_both(
    store: Store, racers: Racers
) -> None:
    ana = await books.funded_user(store, "ana", 1000)
    for number in range(ROUNDS):
        uuid = await books.request_withdrawal(store, ana, 4, uuid=uuid_of(number))
        source, rest = await books.hub_address(store), await books.hub_address(store)
        await books.arrive(store, source, 10)
        cancelled, planned = await racers.round(
            {"role": "cancel", "uuid": uuid},
            {"role": "plan", "source": source, "rest": rest, "uuid": uuid},
        )
        assert cancelled != planned
        async with store.reading() as tx:
            found = await tx.withdrawals.by_uuid(uuid)
        wanted = WithdrawalState.CANCELLED if cancelled else WithdrawalState.PLANNED
        assert found.state is wanted


async def test_heads_that_two_hubs_store_at_once_never_go_back(
    store: Store, racers: Racers
) -> None:
    token = {"role": "head", "journal_id": "aa" * 16, "epoch": 1}
    for number in range(1, ROUNDS + 1):
        tokens = [
            token | {"sequence": n, "hash": f"h{n}", "mac": f"m{n}"}
            for n in (2 * number, 2 * number + 1)
        ]
        order = tokens if number % 2 else tokens[::-1]
        assert await racers.round(*order) == [True, True]
        async with store.reading() as tx:
            known = await tx.head.get()
        assert known is not None
        assert known.sequence == 2 * number + 1
