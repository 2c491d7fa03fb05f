# SPDX-License-Identifier: Apache-2.0
"""Events: published in an order that readers may resume from, paged and streamed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from sqlalchemy import insert

from hub.api.v1.resources import Event
from hub.client import HubClient, HubRefusedError
from hub.config import V1ApiSection
from hub.model import EventReason
from hub.publisher import Publisher
from hub.store import Store
from hub.store.events import NewEvent
from hub.store.schema import event
from tests.flows.world import free_port
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1, running_v1
from tests.hub.bookkeeping import ManualClock


async def add_events(store: Store, name: str, count: int, *, message: str = "") -> None:
    async with store.transaction() as tx:
        account_id = (await tx.accounts.ids_of([name]))[name]  # type: ignore[list-item, index]
        await tx.events.add(
            NewEvent(
                reason=EventReason.BUY,
                account_id=account_id,
                amount_i=number + 1,
                message=message,
            )
            for number in range(count)
        )


async def positions(v1: V1, query: str = "") -> list[int]:
    reply = await v1.ask("GET", f"/v1/events?limit=200{query}")
    return [one["position"] for one in reply.json["items"]]


async def test_an_event_that_becomes_visible_late_is_not_passed_over(
    store: Store,
) -> None:
    """On PostgreSQL a lower row number may commit after a higher one."""
    await books.open_user(store, "ana")
    publisher = Publisher(store)

    async def commit(row: int) -> None:
        async with store.transaction() as tx:
            owner = await tx.accounts.owner()
            await tx.accounts._connection.execute(
                insert(event).values(
                    id=row,
                    reason="BUY",
                    account_id=owner.account_id,
                    amount_i=row,
                    bundle_hash="",
                    tail_hash="",
                    withdrawal_uuid="",
                    message="",
                    created_at_ms=1,
                )
            )

    await commit(2)
    assert await publisher.publish() == 1
    async with store.reading() as tx:
        seen = await tx.published.after(0, limit=10)
    await commit(1)
    assert await publisher.publish() == 2
    async with store.reading() as tx:
        later = await tx.published.after(seen[-1].position, limit=10)
    assert [one.amount_i for one in seen + later] == [2, 1]


async def test_two_publishers_leave_no_gap_and_no_double(
    store: Store, database_url: str
) -> None:
    await books.open_user(store, "ana")
    second = Store(database_url, clock=ManualClock())
    publishers = [Publisher(store), Publisher(second)]
    for _ in range(5):
        await asyncio.gather(
            add_events(store, "ana", 20),
            publishers[0].publish(),
            publishers[1].publish(),
        )
    await publishers[0].publish()
    async with store.reading() as tx:
        found = await tx.published.after(0, limit=1000)
    await second.close()
    assert [one.position for one in found] == list(range(1, 101))


async def test_pages_go_on_where_the_last_one_ended(v1: V1) -> None:
    await books.open_user(v1.store, "ana")
    await books.open_user(v1.store, "bob")
    for name in ("ana", "bob", "ana"):
        await add_events(v1.store, name, 30)
    await v1.publisher.publish()
    seen: list[int] = []
    after = 0
    while True:
        page = (await v1.ask("GET", f"/v1/events?after={after}&limit=25")).json
        if not page["items"]:
            break
        seen += [one["position"] for one in page["items"]]
        after = page["last_position"]
    assert seen == list(range(1, 91))
    mine = await positions(v1, "&user_id=bob")
    assert mine == list(range(31, 61))
    none = (await v1.ask("GET", "/v1/events?types=sweep.signed")).json
    assert none == {"items": [], "last_position": 90}


async def test_a_withdrawals_whole_way_is_told(v1: V1) -> None:
    ana = await books.funded_user(v1.store, "ana", 10)
    uuid = await books.request_withdrawal(v1.store, ana, 4)
    async with v1.store.reading() as tx:
        (own,) = await tx.addresses.after(0, limit=1)  # type: ignore[arg-type]
    rest = await books.hub_address(v1.store)
    sweep_id = await books.plan_sweep(v1.store, [own.address_id], [uuid], rest)
    await books.sign_sweep(v1.store, sweep_id)
    async with v1.store.transaction() as tx:
        await tx.sweeps.attach(sweep_id, books.trytes())  # type: ignore[arg-type]
        await tx.sweeps.confirm(sweep_id, books.trytes())  # type: ignore[arg-type]
    await v1.publisher.publish()
    reply = await v1.ask("GET", "/v1/events")
    assert [one["type"] for one in reply.json["items"]] == [
        "deposit.confirmed",
        "deposit.credited",
        "withdrawal.requested",
        "withdrawal.planned",
        "sweep.planned",
        "withdrawal.paid",
        "address.swept",
        "hub-address.received",
        "sweep.signed",
        "sweep.attached",
        "sweep.confirmed",
        "withdrawal.confirmed",
    ]
    named = [
        one["type"] for one in reply.json["items"] if one["withdrawal_uuid"] == uuid
    ]
    assert len(named) == 4


async def take(client: HubClient, count: int, **how: Any) -> list[Event]:  # noqa: ANN401 - of events()
    found: list[Event] = []
    async with contextlib.aclosing(client.events(**how)) as events:
        async for one in events:
            found.append(one)
            if len(found) == count:
                break
    return found


async def test_a_stream_sends_what_was_and_what_comes(v1: V1) -> None:
    await books.open_user(v1.store, "ana")
    await add_events(v1.store, "ana", 3)
    async with v1.client() as client:
        taking = asyncio.create_task(take(client, 5))
        await asyncio.sleep(0)
        await add_events(v1.store, "ana", 2)
        v1.publisher.wake()
        async with asyncio.timeout(20):
            found = await taking
    assert [one.position for one in found] == [1, 2, 3, 4, 5]


async def test_filters_hold_for_the_stream_and_the_heartbeat_goes_on(
    store: Store, clock: ManualClock
) -> None:
    section = V1ApiSection(heartbeat_s=0.05)
    async with running_v1(store, clock, section=section) as v1:
        await books.open_user(store, "ana")
        await books.open_user(store, "bob")
        await add_events(store, "ana", 4)
        await add_events(store, "bob", 1)
        await v1.publisher.publish()
        async with v1.client() as client:
            found = await take(client, 1, user_id="bob", types=["transfer.received"])
            assert [one.position for one in found] == [5]
        url = f"{v1.url}/v1/events/stream?types=sweep.signed"
        headers = {"Authorization": f"Bearer {v1.key}"}
        async with v1.session.get(url, headers=headers) as reply:
            lines = [await reply.content.readline() for _ in range(8)]
        assert lines.count(b"id: 5\n") >= 2


@pytest.mark.parametrize("shown", ["x", "-1", "9" * 30, "9" * 5000, ""])
async def test_a_last_event_id_that_is_none_is_refused(v1: V1, shown: str) -> None:
    reply = await v1.ask("GET", "/v1/events/stream", headers={"Last-Event-ID": shown})
    assert (reply.status, reply.json["code"]) == (400, "request-malformed")


async def test_a_client_is_told_that_its_stream_is_refused(v1: V1) -> None:
    async with v1.client() as client:
        with pytest.raises(HubRefusedError) as refused:
            await take(client, 1, types=["odd"])
    assert refused.value.code == "request-malformed"


async def test_a_key_holds_only_so_many_streams_open(
    store: Store, clock: ManualClock
) -> None:
    section = V1ApiSection(max_streams=1)
    async with running_v1(store, clock, section=section) as v1:
        url = f"{v1.url}/v1/events/stream"
        headers = {"Authorization": f"Bearer {v1.key}"}
        async with v1.session.get(url, headers=headers) as first:
            await first.content.readline()
            second = await v1.ask("GET", "/v1/events/stream")
            assert (second.status, second.json["code"]) == (429, "rate-limited")


@contextlib.asynccontextmanager
async def idle_reader(v1: V1) -> AsyncGenerator[asyncio.StreamReader]:
    """A reader with a small window that asks and then takes nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(0)
    host, port = v1.url.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(
        f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {v1.key}\r\n\r\n".encode()
    )
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def may_stream(v1: V1) -> bool:
    headers = {"Authorization": f"Bearer {v1.key}"}
    async with v1.session.get(f"{v1.url}/v1/events/stream", headers=headers) as reply:
        return reply.status == 200


async def test_a_reader_that_takes_nothing_is_cut_and_another_misses_nothing(
    store: Store, clock: ManualClock
) -> None:
    section = V1ApiSection(stall_s=0.3, heartbeat_s=0.2, max_streams=1)
    async with running_v1(store, clock, section=section) as v1:
        await books.open_user(store, "ana")
        for _ in range(5):  # more than the sockets' buffers hold
            await add_events(store, "ana", 1000, message="9" * 2187)
        await v1.publisher.publish()
        async with idle_reader(v1) as reader:
            await reader.readline()  # its stream has begun
            assert not await may_stream(v1)
            while not await may_stream(v1):  # until its place is free again
                await asyncio.sleep(0.05)
        async with v1.client() as client:
            async with asyncio.timeout(40):
                found = await take(client, 5000)
    assert [one.position for one in found] == list(range(1, 5001))


async def test_a_stream_goes_on_after_the_hub_was_restarted(
    store: Store, clock: ManualClock
) -> None:
    port = free_port()
    await books.open_user(store, "ana")
    found: list[int] = []

    async def follow(key: str) -> None:
        async with (
            HubClient(f"http://127.0.0.1:{port}", key) as client,
            contextlib.aclosing(client.events()) as events,
        ):
            async for one in events:
                found.append(one.position)
                if one.position == 40:
                    return

    async with running_v1(store, clock, port=port) as v1:
        following = asyncio.create_task(follow(v1.key))
        await add_events(store, "ana", 20)
        while len(found) < 20:
            await asyncio.sleep(0.01)
    await add_events(store, "ana", 10)  # while nobody serves
    async with running_v1(store, clock, port=port):
        await add_events(store, "ana", 10)
        async with asyncio.timeout(20):
            await following
    assert found == list(range(1, 41))
