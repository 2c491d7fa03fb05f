# SPDX-License-Identifier: Apache-2.0
"""A node's hint and the hub looks at once; a lie and it finds nothing.

The hubs here poll once an hour: what they find in between they found by a hint.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
import zmq

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.model import SweepState
from tests.flows.hub_process import HubProcess
from tests.flows.world import MIN_WEIGHT_MAGNITUDE, Appliance, World, hub_table
from tests.hub.simulated_nodes import RelayNode, serving
from tests.mosquitto import Broker, free_port

AN_HOUR_S = 3600.0
PAUSE_S = 0.2
AMOUNT_I = 70


@asynccontextmanager
async def hub_listening(
    appliance: Appliance,
    folder: Path,
    node: str,
    *,
    interval_s: float = AN_HOUR_S,
    **hints: str,
) -> AsyncGenerator[HubProcess]:
    pauses: dict[str, object] = {"interval_s": interval_s}
    table = hub_table(
        appliance,
        [(node, "hornet")],
        folder,
        deposits=pauses | {"credit": "confirmation"},
        nodes={"hint_pause_s": PAUSE_S},
    )
    table["nodes"]["endpoints"][0] |= hints
    hub = HubProcess(table, folder)
    hub.start()
    try:
        yield hub
    finally:
        hub.kill()


@asynccontextmanager
async def network() -> AsyncGenerator[RunningDevnet]:
    config = DevnetConfig(
        min_weight_magnitude=MIN_WEIGHT_MAGNITUDE,
        dialect=Dialect.HORNET,
        zmq="tcp://127.0.0.1:*",
    )
    async with running_devnet(config) as devnet:
        yield devnet


async def deposit_address(hub: HubProcess) -> tuple[str, str]:
    user = f"user-{secrets.token_hex(4)}"
    await hub.ask("CreateUser", userId=user)
    return user, (await hub.ask("GetDepositAddress", userId=user))["address"]


async def until_credited(hub: HubProcess, user: str) -> None:
    while (await hub.ask("GetBalance", userId=user))["available"] != str(AMOUNT_I):
        await asyncio.sleep(0.05)


async def listened(hub: HubProcess, url: str) -> None:
    """Wait until it is connected and has looked, as it does then."""
    await until(lambda: f"listening to hints of {url}" in hub.log())
    await asyncio.sleep(1)


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.02)


async def test_a_deposit_is_credited_on_a_hint_by_zmq(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with network() as devnet:
        assert devnet.feed is not None
        zmq_url = devnet.feed.url
        async with hub_listening(
            shared_appliance, tmp_path, devnet.url, zmq=zmq_url
        ) as hub:
            await listened(hub, zmq_url)
            user, address = await deposit_address(hub)
            await devnet.deposit(address, AMOUNT_I)
            await devnet.tick()
            await until_credited(hub, user)


async def test_a_deposit_is_credited_on_a_hint_of_a_broker_that_came_late(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    broker = Broker(tmp_path)
    async with (
        network() as devnet,
        hub_listening(shared_appliance, tmp_path, devnet.url, mqtt=broker.url) as hub,
    ):
        user, address = await deposit_address(hub)
        await until(lambda: f"no hints of {broker.url}" in hub.log())
        broker.start()
        try:
            await listened(hub, broker.url)
            await devnet.deposit(address, AMOUNT_I)
            await devnet.tick()
            crediting = asyncio.create_task(until_credited(hub, user))
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                while not crediting.done():
                    await client.publish("lmsi", '{"prevSMI": 1, "smi": 2}')
                    await asyncio.sleep(0.1)
            await crediting
        finally:
            broker.stop()


async def test_without_publisher_and_broker_polling_finds_everything(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    nowhere = {
        "zmq": f"tcp://127.0.0.1:{free_port()}",
        "mqtt": f"mqtt://127.0.0.1:{free_port()}",
    }
    async with (
        network() as devnet,
        hub_listening(
            shared_appliance, tmp_path, devnet.url, interval_s=0.2, **nowhere
        ) as hub,
    ):
        user, address = await deposit_address(hub)
        await devnet.deposit(address, AMOUNT_I)
        await devnet.tick()
        await until_credited(hub, user)
        for url in nowhere.values():
            await until(lambda url=url: f"no hints of {url}" in hub.log())  # type: ignore[misc]


async def test_hints_that_lie_credit_nothing_and_drive_nobody(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    """A flood of invented milestones and deposits, and a real deposit not confirmed."""
    async with network() as devnet:
        relay = RelayNode(devnet.url)
        with zmq.Context() as context, context.socket(zmq.PUB) as liar:
            port = liar.bind_to_random_port("tcp://127.0.0.1")
            lies = f"tcp://127.0.0.1:{port}"
            async with (
                serving(relay) as url,
                hub_listening(shared_appliance, tmp_path, url, zmq=lies) as hub,
            ):
                user, address = await deposit_address(hub)
                await devnet.deposit(address, AMOUNT_I)
                await until(lambda: len(relay.commands("getNodeInfo")) > 1)
                loop = asyncio.get_running_loop()
                relay.asked.clear()
                began_s = loop.time()
                while len(relay.commands("getNodeInfo")) < 5:
                    for number in range(200):
                        liar.send_string(f"lmsi {number} {number + 1}")
                        liar.send_string(f"sn {number} {'A' * 81} {address} {'9' * 81}")
                    await asyncio.sleep(0.01)
                elapsed_s = loop.time() - began_s
                looks = len(relay.commands("getNodeInfo"))
                assert looks <= 2 + elapsed_s / PAUSE_S
                balance = await hub.ask("GetBalance", userId=user)
                assert balance["available"] == "0"


@pytest.mark.parametrize("dialect", [Dialect.HORNET], indirect=True)
async def test_an_early_look_confirms_a_sweep_and_sends_nothing(world: World) -> None:
    await world.funded_user("alice", AMOUNT_I)
    await world.hub.sweeps.tick()
    await world.hub.attachments.look()
    assert len(await world.sweeps(SweepState.SIGNED)) == 1  # not attached by a hint
    await world.hub.attachments.tick()
    known = len(world.devnet.node.tangle)
    await world.hub.attachments.look()
    assert len(world.devnet.node.tangle) == known
    await world.devnet.tick()
    await world.hub.attachments.look()
    assert len(await world.sweeps(SweepState.CONFIRMED)) == 1
