# SPDX-License-Identifier: Apache-2.0
"""Traces as a collector gets them: real programs and appliance, OTLP by HTTP."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import aiohttp
import msgspec

from hub import tracing
from hub.api.v1.bodies import NewWithdrawal
from hub.api_keys import Scope
from hub.client import HubClient
from hub.clock import system_clock_ms
from hub.config import TracingSection
from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.instruments import SPANS
from hub.store import Store
from tests.flows.collector import Collector, Told, collecting, waterfall
from tests.flows.hub_process import HubProcess
from tests.flows.world import (
    MIN_WEIGHT_MAGNITUDE,
    Appliance,
    World,
    free_port,
    hub_table,
    outside_address,
)
from tests.hub.api.v1.serving import add_key
from trinary.kerl import with_checksum

PATIENCE_S = 40.0
UUID = "6f1c09aa-2222-4333-8444-555555555555"
CLIENT = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


@asynccontextmanager
async def two_hubs(
    appliance: Appliance, folder: Path, devnet: RunningDevnet, collector: Collector
) -> AsyncGenerator[tuple[HubProcess, str]]:
    """Run two of one database: ``front`` is asked, ``back`` holds every flow."""
    hubs, port = [], free_port()
    for name in ("back", "front"):
        (folder / name).mkdir()
        quick = {"interval_s": 0.2}
        table = hub_table(
            appliance,
            [(devnet.url, "iri")],
            folder / name,
            deposits=quick | {"credit": "confirmation"},
            sweeps=quick,
            attachments=quick,
            withdrawals={"approve_above_i": 10},
            tracing={"endpoint": collector.url, "service_name": name},
        )
        table["hub"]["database_url"] = f"sqlite+aiosqlite:///{folder / 'hub.db'}"
        if name == "front":
            table["api"]["v1"] = {"listen": f"127.0.0.1:{port}"}
        hubs.append(HubProcess(table, folder / name))
    back, front = hubs
    back.start()
    front.start()
    try:
        yield back, f"http://127.0.0.1:{port}"
    finally:
        assert [front.stop(), back.stop()] == [0, 0]  # the last spans are sent


async def ticking(devnet: RunningDevnet) -> None:
    while True:
        await devnet.tick()
        await asyncio.sleep(0.3)


async def withdraw(url: str, key: str, wish: NewWithdrawal) -> None:
    """Ask as a client does that is traced itself."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Idempotency-Key": "once",
        "traceparent": "00-{}-{}-01".format(*CLIENT),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/v1/withdrawals", json=msgspec.to_builtins(wish), headers=headers
        ) as reply,
    ):
        assert reply.status == 201, await reply.text()


async def pay_out(
    back: HubProcess, url: str, folder: Path, devnet: RunningDevnet
) -> list[str]:
    """Pay one withdrawal that two keys agree on; return the keys."""
    store = Store(f"sqlite+aiosqlite:///{folder / 'hub.db'}", clock=system_clock_ms)
    keys = [await add_key(store, *Scope), await add_key(store, Scope.APPROVE)]
    await store.close()
    await back.ask("CreateUser", userId="ana")
    address = (await back.ask("GetDepositAddress", userId="ana"))["address"]
    await devnet.deposit(address, 100)
    while (await back.ask("GetBalance", userId="ana"))["available"] == "0":
        await asyncio.sleep(0.05)
    wish = NewWithdrawal(
        user_id="ana",
        amount_i=30,
        address=with_checksum(outside_address()),
        uuid=UUID,
    )
    await withdraw(url, keys[0], wish)
    async with HubClient(url, keys[0]) as maker, HubClient(url, keys[1]) as checker:
        await maker.withdraw(wish, idempotency_key="once")  # a retry tells nothing
        await checker.approve_withdrawal(UUID)
    while True:
        with closing(sqlite3.connect(folder / "hub.db")) as base:
            paid = base.execute(
                "SELECT s.state FROM sweep s JOIN withdrawal w ON w.sweep_id = s.id"
            ).fetchall()
        if paid == [("confirmed",)]:
            return keys
        await asyncio.sleep(0.05)


def secrets_of(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "hub.db")) as base:
        rows = base.execute("SELECT seed_uuid, receipt FROM address").fetchall()
    return [text for row in rows for text in row if text]


def require_nested(trace: list[Told]) -> None:
    """Every part lies inside what it is a part of, and no two steps overlap."""
    by_id = {one.span_id: one for one in trace}
    assert len(by_id) == len(trace)
    for one in trace:
        assert one.ended_ns >= one.started_ns
        if not one.parent_id:
            continue
        whole = by_id[one.parent_id]
        assert whole.started_ns <= one.started_ns, (whole, one)
        assert one.ended_ns <= whole.ended_ns, (whole, one)
    for whole in trace:
        steps = [one for one in trace if one.parent_id == whole.span_id]
        # A wait begins where a row was written, inside the step that wrote it.
        parts = [one for one in steps if not one.name.startswith("wait")]
        for before, after in itertools.pairwise(parts):
            assert before.ended_ns <= after.started_ns, (before, after)


async def test_the_trace_of_a_withdrawal_shows_every_step_on_both_sides(
    appliance: Appliance, tmp_path: Path
) -> None:
    config = DevnetConfig(min_weight_magnitude=MIN_WEIGHT_MAGNITUDE)
    async with (
        asyncio.timeout(PATIENCE_S),
        collecting() as collector,
        running_devnet(config) as devnet,
    ):
        mining = asyncio.create_task(ticking(devnet))
        async with two_hubs(appliance, tmp_path, devnet, collector) as (back, url):
            keys = await pay_out(back, url, tmp_path, devnet)
        mining.cancel()
    subject = tracing.of_withdrawal(UUID)
    trace = collector.trace(subject.trace_id)
    print(waterfall(trace))
    require_nested(trace)
    roots = [one for one in trace if not one.parent_id]
    assert [one.name for one in roots] == ["request", "withdrawal", "request"]
    assert roots[0].links == [CLIENT]
    whole = roots[1]
    assert whole.span_id == subject.root_id.hex()
    assert whole.attributes["amount_i"] == 30
    parts = [one.name for one in trace if one.parent_id == whole.span_id]
    assert [name for name in parts if name != "promote"] == [
        "wait for approval",
        "wait for a sweep",
        "plan",
        "sign",
        "wait to be attached",
        "attach",
        "wait for confirmation",
        "confirm",
    ]
    first = {one.name: one for one in reversed(trace) if one.parent_id == whole.span_id}
    for wait, step in (
        ("wait for a sweep", "plan"),
        ("wait to be attached", "attach"),
        ("wait for confirmation", "confirm"),
    ):
        assert first[wait].ended_ns == first[step].started_ns
    assert first["wait for approval"].ended_ns == roots[2].started_ns
    assert {one.service for one in trace} == {"front", "back"}
    checks = [one.name for one in trace if one.parent_id == roots[0].span_id]
    assert checks == ["check", "book"]
    asked = [one for one in trace if one.attributes.get("request") == "SignTransfer"]
    (asking,) = asked
    inside = [one for one in trace if one.parent_id == asking.span_id]
    assert [one.name for one in inside] == [
        "understand",
        "look",
        "presence",
        "derive",
        "decide",
        "journal",
        "sign",
    ]
    assert {one.attributes["peer"] for one in inside} == {"appliance"}
    assert {one.attributes["request_id"] for one in inside} == {
        asking.attributes["request_id"]
    }
    # What the appliance's own log calls the same request.
    assert (
        str(asking.attributes["request_id"]) in (appliance.folder / "log").read_text()
    )
    told = b"".join(collector.bodies)
    for secret in [*keys, *secrets_of(tmp_path)]:
        assert secret.encode() not in told


async def test_a_sweep_has_a_trace_that_its_withdrawals_link_to(
    iri_world: World,
) -> None:
    world, stack = iri_world, AsyncExitStack()
    async with stack:
        collector = await stack.enter_async_context(collecting())
        section = TracingSection(endpoint=collector.url)
        await stack.enter_async_context(tracing.exporting(section))
        await world.funded_user("ana", 100)
        await world.sweep()
        uuids = [(await world.withdraw("ana", 10))[0] for _ in range(2)]
        await world.sweep()
        (sweep,) = (await world.sweeps())[1:]
    named = tracing.of_sweep(sweep.plan.bundle_hash)
    trace = collector.trace(named.trace_id)
    require_nested(trace)
    names = [one.name for one in trace if one.parent_id in {"", named.root_id.hex()}]
    assert names[0] == "plan"
    assert names[1] == "sweep"
    assert set(names[2:]) >= {"sign", "attach", "confirm"}
    for uuid in uuids:
        paid = collector.trace(tracing.of_withdrawal(uuid).trace_id)
        (signing,) = [one for one in paid if one.name == "sign" and one.links]
        assert signing.links == [(named.trace_id.hex(), named.root_id.hex())]


async def test_a_collector_that_is_away_stops_nothing_and_its_loss_is_counted(
    iri_world: World,
) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1/traces"
    section = TracingSection(endpoint=away, timeout_s=0.2, queue=3)
    before = counted()
    async with tracing.exporting(section):
        await iri_world.funded_user("ben", 100)
        await iri_world.sweep()
    async with iri_world.hub.store.reading() as tx:
        assert (await tx.books.verify()).sound
    after = counted()
    assert after["queue-full"] > before["queue-full"]
    assert after["not-taken"] >= before["not-taken"] + section.queue
    assert after["sent"] == before["sent"]


def counted() -> dict[str, float]:
    outcomes = ("queue-full", "not-taken", "sent")
    return {name: SPANS.labels(name)._value.get() for name in outcomes}


async def test_what_is_not_sampled_is_not_sent(iri_world: World) -> None:
    async with collecting() as collector:
        section = TracingSection(endpoint=collector.url, sample=1e-15)
        before = counted()
        async with tracing.exporting(section):
            await iri_world.funded_user("cleo", 100)
            await iri_world.sweep()
    assert counted() == before
    assert collector.bodies == []
