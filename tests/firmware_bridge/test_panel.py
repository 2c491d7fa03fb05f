# SPDX-License-Identifier: Apache-2.0
"""The client against the reference firmware in its own process, over a real pty."""

import asyncio
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest

from firmware_bridge.device_log import LogKind
from firmware_bridge.errors import (
    CounterWentBackError,
    DeviceRefusedError,
    GrantError,
    LineError,
    MessageError,
    NoAnswerError,
    NotAuthenticError,
    NotConnectedError,
    PairingRefusedError,
    PresenceDeniedError,
    PresenceTimeoutError,
    SessionLostError,
    UntrustedFirmwareError,
)
from firmware_bridge.pairing import hello, pair
from firmware_bridge.panel import Panel, PanelSettings
from firmware_bridge.panel_events import (
    LossReason,
    Lost,
    PanelEvent,
    Switch,
    SwitchMoved,
    Tamper,
    TamperSeen,
    must_lock,
)
from tests.firmware_bridge.conftest import Desk
from tests.firmware_bridge.firmwares import SIMULATOR_HASH, Bench

DIGEST = bytes(range(32))
_Event = TypeVar("_Event")


async def first(events: AsyncIterator[PanelEvent], kind: type[_Event]) -> _Event:
    """Return the next event of a kind."""
    async with asyncio.timeout(20):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError("the events ended")


async def shows(bench: Bench, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in bench.shown():
            await asyncio.sleep(0.01)


async def press(bench: Bench, button: str, asking: asyncio.Task[object]) -> None:
    """Press until it was noticed: the device looks when it gets to it."""
    while not asking.done():
        bench.set(**{button: "up"})
        await asyncio.sleep(0.03)
        bench.set(**{button: "down"})
        await asyncio.wait([asking], timeout=0.5)


async def test_a_paired_panel_attests_and_answers(desk: Desk) -> None:
    key = bytearray(desk.key)
    attested = await desk.panel.connect(key)
    assert not any(key), "the pairing key is wiped"
    assert attested.firmware_hash == SIMULATOR_HASH
    assert (attested.switch, attested.tamper) == (Switch.RUN, Tamper(0))
    assert await desk.panel.counter_read() == 0
    assert await desk.panel.counter_increment() == 1
    assert await desk.panel.counter_increment(expected=1) == 2
    assert await desk.panel.counter_increment(expected=1) == 2, "repeated: left there"
    with pytest.raises(DeviceRefusedError, match="counter-mismatch"):
        await desk.panel.counter_increment(expected=0)
    drawn = await desk.panel.random(100)
    assert len(drawn) == 100
    assert drawn != await desk.panel.random(100)
    await desk.panel.display("Zoë says hello")
    assert desk.bench.shown() == "Zoë says hello"
    assert (await desk.panel.self_test()).passed
    assert (await desk.panel.firmware()).firmware_hash == SIMULATOR_HASH
    kinds = [record.kind for record in await desk.panel.read_log()]
    assert kinds == [LogKind.BOOT, LogKind.PAIRED, LogKind.SESSION]


async def test_a_person_s_yes_is_good_once_and_for_what_was_shown(desk: Desk) -> None:
    await desk.connect()
    asking = asyncio.create_task(desk.panel.request_presence(DIGEST, "Pay 5 Gi"))
    await shows(desk.bench, "Pay 5 Gi\n00010203")
    await press(desk.bench, "yes", asking)
    grant = await asking
    with pytest.raises(GrantError):
        grant.redeem(bytes(32), now_s=time.monotonic())
    with pytest.raises(GrantError, match="used before"):
        grant.redeem(DIGEST, now_s=time.monotonic())
    # A button that stays down says nothing to the next question.
    with pytest.raises(PresenceTimeoutError):
        await desk.panel.request_presence(DIGEST, "And again", timeout_s=1)
    desk.bench.set(yes="up")
    again = asyncio.create_task(desk.panel.request_presence(DIGEST, "Once more"))
    await shows(desk.bench, "Once more")
    await press(desk.bench, "yes", again)
    (await again).redeem(DIGEST, now_s=time.monotonic())


async def test_a_text_can_not_push_the_digest_off_the_display(
    plain_desk: Desk,
) -> None:
    await plain_desk.connect()
    for text in ("Pay 1 i" + "\n" * 6, "x" * 81 + "\nx"):
        with pytest.raises(DeviceRefusedError, match="invalid"):
            await plain_desk.panel.request_presence(DIGEST, text)


async def test_a_grant_expires(plain_desk: Desk) -> None:
    await plain_desk.connect()
    asking = asyncio.create_task(plain_desk.panel.request_presence(DIGEST, "Pay"))
    await shows(plain_desk.bench, "Pay")
    await press(plain_desk.bench, "yes", asking)
    with pytest.raises(GrantError, match="expired"):
        (await asking).redeem(DIGEST, now_s=time.monotonic() + 31)


async def test_a_person_s_no_is_a_no_and_off_asks_nobody(plain_desk: Desk) -> None:
    bench, panel = plain_desk.bench, plain_desk.panel
    await plain_desk.connect()
    asking = asyncio.create_task(panel.request_presence(DIGEST, "Pay"))
    await shows(bench, "Pay")
    bench.set(no="down")
    with pytest.raises(PresenceDeniedError) as denied:
        await asking
    assert denied.value.reason == "denied"
    bench.set(no="up", switch="off")
    with pytest.raises(PresenceDeniedError, match="switch"):
        await panel.request_presence(DIGEST, "Pay")


async def test_cancelling_a_question_clears_the_display(plain_desk: Desk) -> None:
    await plain_desk.connect()
    asking = asyncio.create_task(plain_desk.panel.request_presence(DIGEST, "Pay"))
    await shows(plain_desk.bench, "Pay")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        while plain_desk.bench.shown():
            await asyncio.sleep(0.01)
    await plain_desk.panel.counter_read()  # and the session goes on


async def test_a_latch_is_told_at_once_and_outlives_a_power_cut(desk: Desk) -> None:
    events = desk.panel.watch()
    await desk.connect()
    await desk.panel.arm()
    desk.bench.set(case="open")
    seen = await first(events, TamperSeen)
    assert seen.latched == Tamper.CASE
    assert must_lock(seen)
    desk.bench.set(case="closed")
    desk.bench.stop()
    assert (await first(events, Lost)).reason in {LossReason.HEARTBEAT, LossReason.LINE}
    desk.bench.start()
    attested = await desk.connect()
    assert attested.tamper == Tamper.CASE
    assert attested.armed
    with pytest.raises(PresenceDeniedError, match="tamper"):
        await desk.panel.request_presence(DIGEST, "Pay")


async def test_a_latch_is_cleared_by_host_switch_and_person_together(
    plain_desk: Desk,
) -> None:
    bench, panel = plain_desk.bench, plain_desk.panel
    events = panel.watch()
    await plain_desk.connect()
    await panel.arm()
    bench.set(mesh="open")
    await first(events, TamperSeen)
    with pytest.raises(DeviceRefusedError, match="switch"):
        await panel.clear_latch(Tamper.MESH)
    bench.set(switch="maintenance")
    await first(events, SwitchMoved)
    with pytest.raises(DeviceRefusedError, match="latch-mismatch"):
        await panel.clear_latch(Tamper.CASE)
    for button, refusal in (("no", "denied"), ("yes", "loop-open")):
        clearing = asyncio.create_task(panel.clear_latch(Tamper.MESH))
        await shows(bench, "CLEAR THE TAMPER LATCH?")
        await press(bench, button, clearing)
        with pytest.raises(DeviceRefusedError, match=refusal):
            await clearing
        bench.set(**{button: "up"})
    bench.set(mesh="closed")
    await asyncio.sleep(0.2)  # a "no" still down would answer the next question
    clearing = asyncio.create_task(panel.clear_latch(Tamper.MESH))
    await shows(bench, "CLEAR THE TAMPER LATCH?")
    await press(bench, "yes", clearing)
    await clearing
    assert (await panel.attest()).tamper == Tamper(0)
    assert LogKind.CLEARED in [record.kind for record in await panel.read_log()]


async def test_disarming_needs_maintenance_and_arming_closed_loops(
    plain_desk: Desk,
) -> None:
    bench, panel = plain_desk.bench, plain_desk.panel
    events = panel.watch()
    bench.set(case="open")
    await plain_desk.connect()
    with pytest.raises(DeviceRefusedError, match="loop-open"):
        await panel.arm()
    bench.set(case="closed")
    await asyncio.sleep(0.1)
    await panel.arm()
    with pytest.raises(DeviceRefusedError, match="switch"):
        await panel.disarm()
    bench.set(switch="maintenance")
    moved = await first(events, SwitchMoved)
    while moved.position is not Switch.MAINTENANCE:  # RUN was told on connecting
        moved = await first(events, SwitchMoved)
    assert must_lock(moved)
    await panel.disarm()
    bench.set(case="open")
    await asyncio.sleep(0.1)
    assert (await panel.attest()).tamper == Tamper(0)


async def test_a_cable_pulled_is_told_and_asking_is_a_fault(plain_desk: Desk) -> None:
    events = plain_desk.panel.watch()
    await plain_desk.connect()
    plain_desk.bench.stop()
    plain_desk.bench.unplug()
    assert (await first(events, Lost)).reason is LossReason.UNPLUGGED
    with pytest.raises(NotConnectedError):
        await plain_desk.panel.counter_read()


async def test_a_restarted_device_needs_a_new_session(plain_desk: Desk) -> None:
    events = plain_desk.panel.watch()
    boot = (await plain_desk.connect()).boot_id
    asking = asyncio.create_task(
        plain_desk.panel.request_presence(DIGEST, "Pay", timeout_s=20)
    )
    await shows(plain_desk.bench, "Pay")
    plain_desk.bench.stop()
    plain_desk.bench.start()
    with pytest.raises(SessionLostError):
        await asking
    assert (await first(events, Lost)).reason in {LossReason.HEARTBEAT, LossReason.LINE}
    assert (await plain_desk.connect()).boot_id != boot


async def test_a_flash_put_back_to_yesterday_is_noticed(plain_desk: Desk) -> None:
    bench = plain_desk.bench
    yesterday = (bench.folder / "state").read_bytes()
    await plain_desk.connect()
    assert await plain_desk.panel.counter_increment() == 1
    await plain_desk.panel.lock()
    bench.stop()
    (bench.folder / "state").write_bytes(yesterday)
    bench.start()
    with pytest.raises(CounterWentBackError):
        await plain_desk.connect()
    assert not plain_desk.panel.connected


@pytest.mark.parametrize("damage", ["a byte", "all", "taken away"])
async def test_a_damaged_memory_is_a_latch_and_no_new_device(
    plain_desk: Desk, damage: str
) -> None:
    bench = plain_desk.bench
    bench.stop()
    state = bench.folder / "state"
    stored = bytearray(state.read_bytes())
    stored[9] ^= 1
    if damage == "taken away":
        state.unlink()
    else:
        state.write_bytes(stored if damage == "a byte" else b"")
    bench.start()
    with pytest.raises(NotAuthenticError):
        await plain_desk.connect()
    bench.set(switch="maintenance", yes="down")
    key = bytearray(secrets.token_bytes(32))
    await pair(bench.device, key)
    assert (await plain_desk.panel.connect(key)).tamper == Tamper.MEMORY
    kinds = [record.kind for record in await plain_desk.panel.read_log()]
    assert LogKind.TAMPER in kinds


async def test_zeroizing_forgets_the_pairing_and_keeps_the_rest(
    plain_desk: Desk,
) -> None:
    events = plain_desk.panel.watch()
    await plain_desk.connect()
    await plain_desk.panel.counter_increment()
    await plain_desk.panel.zeroize()
    assert (await first(events, Lost)).reason is LossReason.LOCKED
    with pytest.raises((NotAuthenticError, NoAnswerError)):
        await plain_desk.connect()
    assert plain_desk.key not in (plain_desk.bench.folder / "state").read_bytes()
    plain_desk.bench.set(switch="maintenance", yes="down")
    key = bytearray(secrets.token_bytes(32))
    await pair(plain_desk.bench.device, key)
    assert (await plain_desk.panel.connect(key)).counter == 1


async def test_pairing_needs_the_switch_the_button_and_no_pairing(
    new_panel: Bench,
) -> None:
    key = secrets.token_bytes(32)
    with pytest.raises(NoAnswerError, match="switch"):
        await pair(new_panel.device, bytearray(key), timeout_s=0.5)
    new_panel.set(switch="maintenance")
    with pytest.raises(NoAnswerError, match="button"):
        await pair(new_panel.device, bytearray(key), timeout_s=0.5)
    new_panel.set(yes="down")
    paired = await pair(new_panel.device, bytearray(key))
    assert paired.firmware_hash == SIMULATOR_HASH
    with pytest.raises(PairingRefusedError, match="paired"):
        await pair(new_panel.device, bytearray(secrets.token_bytes(32)))
    # A start with MAINTENANCE and the button forgets it: the way out without the host.
    new_panel.stop()
    new_panel.start()
    async with asyncio.timeout(10):
        while (await hello(new_panel.device)).paired:
            await asyncio.sleep(0.05)
    await pair(new_panel.device, bytearray(key))


async def test_another_key_or_firmware_is_refused(plain_desk: Desk) -> None:
    with pytest.raises(NotAuthenticError):
        await plain_desk.panel.connect(bytearray(secrets.token_bytes(32)))
    with pytest.raises(MessageError):
        await plain_desk.panel.connect(bytearray(32))
    stranger = Panel(
        PanelSettings(
            device=plain_desk.bench.device, trusted_firmware=frozenset({bytes(32)})
        )
    )
    with pytest.raises(UntrustedFirmwareError) as refused:
        await stranger.connect(bytearray(plain_desk.key))
    assert refused.value.firmware_hash == SIMULATOR_HASH
    assert not stranger.connected


async def test_a_second_host_can_not_open_the_line(plain_desk: Desk) -> None:
    await plain_desk.connect()
    with pytest.raises(LineError):
        await hello(plain_desk.bench.device)
    with pytest.raises(LineError):
        await hello("/dev/null")
    with pytest.raises(LineError):
        await hello("/nowhere")


async def test_a_host_that_died_can_come_back_within_the_handshake(
    plain_desk: Desk,
) -> None:
    """The device holds on to a session until nobody has acknowledged for a second."""
    script = (
        "import asyncio, os, sys;"
        "from firmware_bridge.panel import Panel, PanelSettings;"
        "s = PanelSettings(device=sys.argv[1],"
        " trusted_firmware=frozenset({bytes.fromhex(sys.argv[2])}));"
        "asyncio.run(Panel(s).connect(bytearray.fromhex(sys.stdin.read())));"
        "os.kill(os.getpid(), 9)"
    )
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, plain_desk.bench.device, SIMULATOR_HASH.hex()],
        input=plain_desk.key.hex().encode(),
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert died.returncode == -9
    await plain_desk.connect()


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
async def test_opening_and_closing_leaves_the_modem_lines_alone(
    plain_panel: Bench, tmp_path: Path
) -> None:
    trace = tmp_path / "ioctls"
    script = (
        "import sys; from firmware_bridge.serial_line import SerialLine;"
        "SerialLine(sys.argv[1], baud=115200).close()"
    )
    await asyncio.to_thread(
        subprocess.run,
        [
            *("strace", "-o", trace, "-e", "trace=ioctl"),
            *(sys.executable, "-c", script, plain_panel.device),
        ],
        check=True,
        cwd=Path(__file__).parents[2],
    )
    calls = trace.read_text()
    assert "TIOCEXCL" in calls, "the trace shows what was asked for"
    assert not any(call in calls for call in ("TIOCMBIS", "TIOCMBIC", "TIOCMSET"))
