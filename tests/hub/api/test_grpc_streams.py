# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that stay live: from where the dump ended, nothing lost or twice."""

import asyncio
from typing import Any

import grpc
import pytest
from sqlalchemy import insert

from hub import event_tail
from hub.event_tail import EventTail
from hub.model import CreditPolicy, EventReason
from hub.store import Store
from hub.store.events import NewEvent
from hub.store.schema import event
from tests.hub import bookkeeping as books
from tests.hub.api.conftest import Dial, Serve
from tests.hub.api.old_client import KNOWN, OldClient

LIVE: dict[str, Any] = {"live_streams": True, "poll_interval_s": 0.005}
PATIENCE_S = 30


async def read(stream: Any, count: int) -> list[Any]:  # noqa: ANN401 - a stream of bytes
    async with asyncio.timeout(PATIENCE_S * count):
        return [await stream.read() for _ in range(count)]


async def test_a_live_stream_loses_and_doubles_nothing_across_its_seam(
    store: Store, dial: Dial
) -> None:
    account_id = await books.open_user(store, "ana")
    address_id = await books.give_address(store, account_id)
    amounts = list(range(1, 61))

    async def deposit(some: list[int]) -> None:
        for amount_i in some:
            credit = CreditPolicy.CONFIRMATION
            await books.arrive(store, address_id, amount_i, credit=credit)

    await deposit(amounts[:20])
    async with dial(**LIVE) as client:
        writing = asyncio.create_task(deposit(amounts[20:]))
        stream = client.stream("BalanceSubscription", newerThan=0)
        told = await read(stream, 2 * len(amounts))
        await writing
        await books.arrive(store, address_id, 1000)  # of which one is told, last
        told += await read(stream, 1)
        stream.cancel()
    events = [KNOWN["BalanceEvent"].FromString(one) for one in told]
    of_account = [e.account.amount for e in events if e.HasField("account")]
    of_address = [e.address.amount for e in events if e.HasField("address")]
    assert of_account == amounts
    assert of_address == [*amounts, 1000]


async def test_a_live_sweep_is_told_when_it_is_signed(
    store: Store, dial: Dial, clock: books.ManualClock
) -> None:
    account_id = await books.open_user(store, "ana")
    names = []

    async def sign_one() -> None:
        address_id = await books.give_address(store, account_id)
        await books.arrive(store, address_id, 5)
        rest = await books.hub_address(store)
        sweep_id = await books.plan_sweep(store, [address_id], None, rest)
        await books.sign_sweep(store, sweep_id)
        async with store.reading() as tx:
            names.append((await tx.sweeps.by_id(sweep_id)).plan.bundle_hash)

    await sign_one()
    async with dial(**LIVE) as client:
        stream = client.stream("SweepSubscription", newerThan=0)
        told = await read(stream, 1)
        await sign_one()
        clock.advance(by_ms=-3_600_000)  # a clock set back hides nothing either
        stream_of_all = client.stream("SweepSubscription", newerThan=0)
        told += await read(stream, 1)
        again = await read(stream_of_all, 2)
        stream.cancel()
        stream_of_all.cancel()
    sweeps = [KNOWN["SweepEvent"].FromString(one).bundleHash for one in told]
    assert sweeps == names
    assert told == again


async def test_a_hub_that_stops_ends_its_live_streams(
    store: Store, serve: Serve
) -> None:
    account_id = await books.open_user(store, "ana")
    await books.arrive(store, await books.give_address(store, account_id), 5)
    async with (
        serve(live_streams=True, poll_interval_s=3600.0) as (api, target),
        grpc.aio.insecure_channel(target) as channel,
    ):
        stream = OldClient(channel).stream("BalanceSubscription", newerThan=0)
        await read(stream, 1)
        await api.stop()
        assert await read(stream, 1) == [grpc.aio.EOF]


async def test_a_row_that_is_committed_late_is_read_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on PostgreSQL, where row numbers are drawn before the commit."""
    account_id = await books.open_user(store, "ana")
    monkeypatch.setattr(event_tail, "SETTLED_S", 10.0)
    now_s = 0.0

    async def write(event_id: int) -> None:
        async with store.transaction() as tx:
            new = NewEvent(
                reason=EventReason.DEPOSIT, account_id=account_id, amount_i=0
            )
            row = tx.events._row(new) | {"id": event_id}
            await tx.events._connection.execute(insert(event), [row])

    tail = EventTail(
        store, [EventReason.DEPOSIT], newer_than_ms=0, clock_s=lambda: now_s
    )
    await write(100)
    assert await fresh_ids(tail) == [100]
    await write(105)
    await write(99)
    assert await fresh_ids(tail) == [99, 105]
    now_s = 9.0
    await write(104)
    assert await fresh_ids(tail) == [104]
    now_s = 30.0
    assert await fresh_ids(tail) == []
    await write(106)
    assert await fresh_ids(tail) == [106]
    assert tail._place == 105  # what is settled is not read again


async def fresh_ids(tail: EventTail) -> list[int]:
    return sorted(one.event_id for one in await tail.fresh())
