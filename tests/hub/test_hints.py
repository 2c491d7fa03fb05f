# SPDX-License-Identifier: Apache-2.0
"""Hints from a real ZMQ publisher and a real MQTT broker; what they say is not read."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import zmq

from hub.config import parse
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from hub.errors import ConfigError, HintsLostError
from hub.hints import LONGEST_PAUSE_S, Source, listen_for_ever, pause_s
from hub.hints_mqtt import MqttSource
from hub.hints_zmq import ZmqSource
from tests.hub.test_config import changed
from tests.mosquitto import Broker, free_port

DEVNET = DevnetConfig(
    min_weight_magnitude=1, dialect=Dialect.HORNET, zmq="tcp://127.0.0.1:*"
)


class Rings:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    async def beyond(self, count: int) -> None:
        await until(lambda: self.count > count)


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(source: Source) -> AsyncGenerator[Rings]:
    rings = Rings()
    task = asyncio.create_task(listen_for_ever(source, rings))
    yield rings
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.stop()


def with_node(**hints: str) -> dict[str, Any]:
    return changed("nodes.endpoints", [{"url": "http://localhost:1"} | hints])


async def say(broker: Broker, topic: str, payload: str) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish(topic, payload)


async def test_a_milestone_of_a_node_rings_by_zmq() -> None:
    async with running_devnet(DEVNET) as devnet:
        assert devnet.feed is not None
        async with listening(ZmqSource(devnet.feed.url)) as rings:
            await rings.beyond(0)  # connected: something may have been missed
            while rings.count < 2:  # who has just connected may miss the first
                await devnet.tick()


async def test_the_devnet_publishes_what_nodes_do() -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        async with running_devnet(DEVNET) as devnet:
            assert devnet.feed is not None
            socket.subscribe(b"")
            socket.connect(devnet.feed.url)
            while not await asyncio.to_thread(socket.poll, 100):
                await devnet.tick()  # until it is subscribed
            await devnet.deposit("A" * 80 + "9", 5)
            milestone = await devnet.tick()
            last = f"lmhs {milestone.hash}"
            said = [await asyncio.to_thread(socket.recv_string)]
            while said[-1] != last:
                said.append(await asyncio.to_thread(socket.recv_string))
    index = milestone.index
    said = said[said.index(f"lmi {index - 1} {index}") :]
    assert said[0] == f"lmi {index - 1} {index}"
    assert said[-2:] == [f"lmsi {index - 1} {index}", f"lmhs {milestone.hash}"]
    confirmed = [line.split() for line in said[1:-2]]
    assert {tuple(fields[:2]) for fields in confirmed} == {("sn", str(index))}
    assert "A" * 80 + "9" in {fields[3] for fields in confirmed}


async def test_a_publisher_that_comes_late_is_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with listening(ZmqSource(f"tcp://127.0.0.1:{port}")) as rings:
        await until(lambda: "no hints of" in caplog.text)
        assert rings.count == 0
        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            socket.bind(f"tcp://127.0.0.1:{port}")
            await rings.beyond(0)
        caplog.clear()
        await until(lambda: "no hints of" in caplog.text)  # it went away again


async def test_a_flood_by_zmq_rings_a_few_times_only() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        async with listening(ZmqSource(f"tcp://127.0.0.1:{port}")) as rings:
            await rings.beyond(0)
            while rings.count < 2:  # until it is subscribed
                socket.send_string("lmi 1 2")
                await asyncio.sleep(0.01)
            heard = rings.count
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for number in range(20_000):
                socket.send_string(f"lmi {number} {number + 1}")
                if number % 500 == 0:
                    await asyncio.sleep(0)
            await rings.beyond(heard)
            assert rings.count <= heard + 2 + (loop.time() - began_s) / 0.05


async def test_what_is_too_long_to_be_a_hint_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        async with listening(ZmqSource(f"tcp://127.0.0.1:{port}")) as rings:
            await rings.beyond(0)
            while "no hints of" not in caplog.text:
                socket.send_string("lmi " + "9" * 100_000)
                await asyncio.sleep(0.05)
            assert rings.count == 1


async def test_a_milestone_rings_by_mqtt_and_other_topics_do_not(
    broker: Broker,
) -> None:
    broker.start()
    async with listening(MqttSource(broker.url)) as rings:
        await rings.beyond(0)
        await say(broker, "tx", '{"txHash": "A"}')
        await say(broker, "lmi", '{"prevLMI": 1, "lmi": 2, "timestamp": "now"}')
        await rings.beyond(1)
        await say(broker, "lmsi", "no JSON at all")
        await rings.beyond(2)
        assert rings.count == 3


async def test_a_broker_that_is_away_is_logged_and_found_again(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(MqttSource(broker.url)) as rings:
        await until(lambda: caplog.text.count("no hints of") == 2)
        assert "next try in 2 s" in caplog.text
        assert rings.count == 0
        broker.start()
        await rings.beyond(0)
        broker.stop()
        await until(lambda: caplog.text.count("no hints of") == 3)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_a_broker_that_floods_is_left(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.start()
    async with listening(MqttSource(broker.url)) as rings:
        await rings.beyond(0)
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for number in range(1000):
                await client.publish("lmi", str(number))
        await until(lambda: "a flood" in caplog.text)
        assert rings.count <= 102  # and once when connected


async def test_no_failure_ends_the_listening(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd:
        url = "odd"

        def __init__(self) -> None:
            self.failures = [HintsLostError("gone"), KeyError("a defect")]

        async def listen(self, _ring: Callable[[], None]) -> None:
            raise self.failures.pop(0) if self.failures else HintsLostError("still")

    async with listening(Odd()):  # type: ignore[arg-type]
        await until(lambda: "KeyError" in caplog.text)


def test_the_pause_grows_to_a_minute() -> None:
    pauses_s = [pause_s(failures) for failures in range(1, 100)]
    assert pauses_s[:4] == [1, 2, 4, 8]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("zmq", "127.0.0.1:5556"),
        ("zmq", "tcp://127.0.0.1"),
        ("zmq", "ipc:///tmp/socket"),
        ("zmq", "tcp://127.0.0.1:99999"),
        ("mqtt", "tcp://127.0.0.1:1883"),
        ("mqtt", "mqtt://user:word@127.0.0.1:1883"),
        ("mqtt", "mqtt://127.0.0.1:1883/path"),
    ],
)
def test_a_place_that_is_none_is_refused(key: str, url: str) -> None:
    with pytest.raises(ConfigError, match=rf"endpoints\.{key} must be"):
        parse(with_node(**{key: url}), folder=Path())


def test_places_for_hints_stand_beside_the_node() -> None:
    table = with_node(zmq="tcp://[::1]:5556", mqtt="mqtts://node.example:8883")
    node = parse(table, folder=Path()).nodes.endpoints[0]
    assert (node.zmq, node.mqtt) == ("tcp://[::1]:5556", "mqtts://node.example:8883")
