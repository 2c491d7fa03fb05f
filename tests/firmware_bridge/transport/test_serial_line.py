# SPDX-License-Identifier: Apache-2.0
"""Requests over a pty: whose reply is whose, turns, and lines that break."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from firmware_bridge.errors import (
    BridgeError,
    LineError,
    MessageError,
    NoAnswerError,
    NotAuthenticError,
)
from firmware_bridge.key_file import read_key
from firmware_bridge.transport.connection import Connection
from firmware_bridge.transport.listener import SerialListener
from firmware_bridge.transport.session import Limits
from firmware_bridge.transport.wire_pump import LinePlace
from tests.firmware_bridge.transport.lines import (
    LIMITS,
    Guests,
    carrier,
    listening_at,
    reply_to,
)
from tests.simulators.cable import Cable


@pytest.fixture
async def cable(tmp_path: Path) -> AsyncGenerator[Cable]:
    with Cable(tmp_path) as plugged:
        yield plugged


@pytest.fixture
def guests(tmp_path: Path) -> Generator[Guests]:
    return Guests(tmp_path)


@pytest.fixture
async def listener(cable: Cable, guests: Guests) -> AsyncGenerator[SerialListener]:
    async with listening_at(cable, guests) as started:
        yield started


@pytest.mark.parametrize("size_bytes", [0, 1, 1013, 1014, 1015, 2034, 100_000])
@pytest.mark.usefixtures("listener")
async def test_a_request_of_any_size_comes_whole(
    cable: Cable, guests: Guests, size_bytes: int
) -> None:
    body = bytes(n % 251 for n in range(size_bytes))
    async with carrier(cable, guests.invite("hub")) as hub:
        assert await hub.exchange(body) == (200, reply_to("hub", body))


@pytest.mark.usefixtures("listener")
async def test_a_short_question_is_answered_while_a_long_one_is_worked_on(
    cable: Cable, guests: Guests
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        long = asyncio.create_task(hub.carry(b"hold"))
        assert await hub.carry(b"status") == reply_to("hub", b"status")
        assert not long.done()
        guests.held.set()
        assert await long == reply_to("hub", b"hold")


@pytest.mark.usefixtures("listener")
async def test_a_short_reply_overtakes_a_long_one_on_the_line(
    cable: Cable, guests: Guests
) -> None:
    ended = []

    async def ask(body: bytes) -> None:
        await hub.carry(body)
        ended.append(len(body))

    async with carrier(cable, guests.invite("hub")) as hub:
        await asyncio.gather(ask(b"x" * 200_000), ask(b"status"))
    assert ended == [6, 200_000]


@pytest.mark.usefixtures("listener")
async def test_clients_take_turns_on_one_line(cable: Cable, guests: Guests) -> None:
    """One that never stops asking does not keep the others out."""
    async with (
        carrier(cable, guests.invite("hub")) as hub,
        carrier(cable, guests.invite("operator")) as operator,
    ):

        async def never_stop() -> None:
            while True:
                await hub.carry(b"again")

        busy = [asyncio.create_task(never_stop()) for _ in range(3)]
        await asyncio.sleep(0.2)
        for _ in range(2):
            assert await operator.carry(b"seal") == reply_to("operator", b"seal")
        assert not any(task.done() for task in busy)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    names = [name for name, _ in guests.asked]
    assert {"hub", "operator"} == set(names)


@pytest.mark.usefixtures("listener")
async def test_a_reply_is_never_told_to_the_next_client(
    cable: Cable, guests: Guests
) -> None:
    """The hub goes away while its request is worked on; the auditor comes."""
    hub_key = read_key(guests.invite("hub"))
    hub = await Connection.open(LinePlace(cable.far), hub_key)
    lost = asyncio.create_task(hub.exchange(b"hold this", timeout_s=10))
    while not guests.asked:
        await asyncio.sleep(0.01)
    hub.close()
    with pytest.raises(LineError):
        await lost
    auditor_key = read_key(guests.invite("auditor"))
    auditor = await Connection.open(LinePlace(cable.far), auditor_key)
    waiting = asyncio.create_task(auditor.exchange(b"hold too", timeout_s=10))
    while len(guests.asked) < 2:
        await asyncio.sleep(0.01)
    guests.held.set()  # both are done; they had the same number on the line
    assert await waiting == (200, reply_to("auditor", b"hold too"))
    auditor.close()


@pytest.mark.usefixtures("listener")
async def test_a_request_given_up_is_worked_on_and_not_answered(
    cable: Cable, guests: Guests
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        given_up = asyncio.create_task(hub.carry(b"hold"))
        while not guests.asked:
            await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        guests.held.set()
        before = cable.carried_bytes[cable.near]
        assert await hub.carry(b"next") == reply_to("hub", b"next")
        assert cable.carried_bytes[cable.near] - before < 400


@pytest.mark.usefixtures("listener")
async def test_what_is_too_large_is_refused_before_it_has_come(
    cable: Cable, guests: Guests
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        body = b"x" * (LIMITS.largest_bytes + 1)
        assert await hub.exchange(body) == (413, b"TOO_LARGE")
        for _ in range(40):  # what was left of it would take turns with these
            assert await hub.carry(b"next") == reply_to("hub", b"next")
        assert cable.carried_bytes[cable.far] < 20_000


async def test_too_many_requests_at_once_are_put_off(
    cable: Cable, guests: Guests
) -> None:
    few = Limits(largest_bytes=1000, most=2, patience_s=30)
    async with (
        listening_at(cable, guests, limits=few),
        carrier(cable, guests.invite("hub")) as hub,
    ):
        held = [asyncio.create_task(hub.exchange(b"hold")) for _ in range(2)]
        while len(guests.asked) < 2:
            await asyncio.sleep(0.01)
        assert await hub.exchange(b"third") == (429, b"TOO_MANY")
        guests.held.set()
        assert [(await one)[0] for one in held] == [200, 200]
        assert (await hub.exchange(b"fourth"))[0] == 200


async def test_a_listener_that_starts_again_is_found_again(
    cable: Cable, guests: Guests
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        async with listening_at(cable, guests):
            await hub.carry(b"one")
        async with listening_at(cable, guests):
            with pytest.raises(LineError):  # the session died with the listener
                await hub.carry(b"two")
            assert await hub.carry(b"two") == reply_to("hub", b"two")


async def test_what_is_under_way_is_answered_before_a_listener_stops(
    cable: Cable, guests: Guests
) -> None:
    listener = SerialListener(LinePlace(cable.near), guests, limits=LIMITS)
    listener.start()
    async with carrier(cable, guests.invite("hub")) as hub:
        under_way = asyncio.create_task(hub.exchange(b"hold"))
        while not guests.asked:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(listener.cleanup())
        assert await hub.exchange(b"late") == (503, b"STOPPING")
        guests.held.set()
        assert await under_way == (200, reply_to("hub", b"hold"))
        await stopping
    assert guests.asked == [("hub", b"hold")]


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("end", ["near", "far"])
async def test_an_adapter_pulled_out_ends_the_request_and_comes_back(
    cable: Cable, guests: Guests, end: str
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        asked = asyncio.create_task(hub.carry(b"hold"))
        while not guests.asked:
            await asyncio.sleep(0.01)
        cable.unplug(getattr(cable, end))
        with pytest.raises(LineError):
            await asked
        cable.plug(getattr(cable, end))
        guests.held.set()
        assert await until_answered(hub.carry, b"again") == reply_to("hub", b"again")


@pytest.mark.usefixtures("listener")
async def test_a_client_without_the_key_learns_nothing_and_ends_nothing(
    cable: Cable, guests: Guests, tmp_path: Path
) -> None:
    (tmp_path / "else").mkdir()
    stranger = read_key(Guests(tmp_path / "else").invite("hub"))
    with pytest.raises(NotAuthenticError):
        await Connection.open(LinePlace(cable.far), stranger)
    assert len(guests.strangers) == 1
    assert not guests.asked


async def test_a_line_with_nobody_on_it_is_a_fault(
    cable: Cable, guests: Guests
) -> None:
    async with carrier(cable, guests.invite("hub")) as hub:
        with pytest.raises(NoAnswerError):
            await hub.carry(b"anybody?")


async def test_a_key_file_open_to_others_is_refused(
    cable: Cable, guests: Guests
) -> None:
    key = guests.invite("hub")
    key.chmod(0o640)
    with pytest.raises(MessageError, match="0600"):
        async with carrier(cable, key):
            pass
    key.chmod(0o600)
    key.write_bytes(bytes(31))
    with pytest.raises(MessageError, match="32 bytes"):
        async with carrier(cable, key):
            pass


async def until_answered(carry: object, body: bytes) -> bytes:
    """Ask the very same again until it is answered."""
    async with asyncio.timeout(20):
        while True:
            try:
                reply: bytes = await carry(body)  # type: ignore[operator]
            except (BridgeError, TimeoutError):
                await asyncio.sleep(0.1)
            else:
                return reply
