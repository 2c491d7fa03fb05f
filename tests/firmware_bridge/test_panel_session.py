# SPDX-License-Identifier: Apache-2.0
"""When a host stops trusting a panel, and how soon: on a simulated clock."""

import pytest

from firmware_bridge import messages
from firmware_bridge.errors import (
    CounterWentBackError,
    NotAuthenticError,
    SessionLostError,
)
from firmware_bridge.frames import Channel, Flags, Frame, encode
from firmware_bridge.keys import AttestedFacts, attest_mac
from firmware_bridge.messages import AttestReply, Heartbeat, Hello, PresenceGranted
from firmware_bridge.panel_events import Degraded, LossReason, Lost, PanelEvent
from firmware_bridge.panel_session import PanelSession, State
from firmware_bridge.session import control_frame
from tests.firmware_bridge.simulation import FIRMWARE, World

CHALLENGE = bytes(32)


class Opened:
    """A session that is open, and the device's place taken by the test."""

    def __init__(self) -> None:
        world = World(1)
        world.to_device.healthy = world.to_host.healthy = True
        while world.session is None or world.session.state is not State.OPEN:
            world.run(1)
        self.session: PanelSession = world.session
        assert self.session._keys is not None
        assert self.session._greeting is not None
        self.key = bytearray(self.session._keys.to_host)
        self.evidence = self.session._keys.evidence
        self.greeting = self.session._greeting
        self.now_s = world.now_ms / 1000
        self._sequence = 1  # the first heartbeat was the device's own

    def say(self, message: messages.Message) -> list[PanelEvent]:
        self._sequence += 1
        payload = messages.encode(message)
        frame = Frame(message.kind, Flags.NONE, Channel.PANEL, self._sequence, payload)
        return self.hear(encode(frame, self.key))

    def hear(self, line: bytes) -> list[PanelEvent]:
        self.session.take_events()
        self.session.receive(line, self.now_s)
        return self.session.take_events()

    def attested(self, **changes: object) -> AttestReply:
        facts = {
            "firmware_hash": self.greeting.firmware_hash,
            "boot_id": self.greeting.boot_id,
            "boot_reason": 0,
            "counter": 5,
            "tamper": 0,
            **changes,
        }
        mac = attest_mac(self.evidence, CHALLENGE, AttestedFacts(**facts))  # type: ignore[arg-type]
        return AttestReply(request=1, mac=mac, **facts)  # type: ignore[arg-type]


@pytest.fixture
def opened() -> Opened:
    return Opened()


def beat(counter: int = 0) -> Heartbeat:
    return Heartbeat(uptime_ms=1, tamper=0, switch=1, counter=counter, armed=True)


def test_three_heartbeats_missed_end_it_after_a_second_and_a_half(
    opened: Opened,
) -> None:
    opened.say(beat())
    opened.session.tick(opened.now_s + 1.49)
    assert opened.session.state is State.OPEN
    assert opened.session.deadline_s == pytest.approx(opened.now_s + 1.5)
    opened.session.tick(opened.now_s + 1.5)
    assert opened.session.take_events()[-1] == Lost(LossReason.HEARTBEAT)


def test_a_counter_that_goes_back_ends_it(opened: Opened) -> None:
    opened.say(beat(7))
    assert opened.say(beat(6))[-1] == Lost(LossReason.COUNTER_BACK)
    assert (opened.session.counter, opened.session.counter_told) == (7, 6)


def test_a_whole_frame_with_another_tag_ends_it(opened: Opened) -> None:
    frame = Frame(beat().kind, Flags.NONE, Channel.PANEL, 2, messages.encode(beat()))
    told = opened.hear(encode(frame, bytearray(b"k" * 32)))
    assert told == [Lost(LossReason.BAD_TAG)]


def test_a_device_that_says_it_started_anew_ends_it(opened: Opened) -> None:
    said = {
        "protocol": 1,
        "model": "m",
        "version": "1",
        "firmware_hash": FIRMWARE,
        "paired": True,
        "in_session": False,
        "switch": 1,
        "button": False,
    }
    same = Hello(boot_id=opened.greeting.boot_id, **said)  # type: ignore[arg-type]
    assert opened.hear(control_frame(same)) == []
    other = Hello(boot_id=b"another start 01", **said)  # type: ignore[arg-type]
    assert opened.hear(control_frame(other)) == [Lost(LossReason.BOOT)]


def test_an_authentic_message_that_makes_no_sense_ends_it(opened: Opened) -> None:
    assert opened.say(messages.Lock()) == [Lost(LossReason.PROTOCOL)]


def test_what_is_lost_stays_lost_and_its_keys_are_wiped(opened: Opened) -> None:
    opened.say(messages.Lock())
    assert opened.session._keys is not None
    assert not any(opened.session._keys.to_host)
    assert not any(opened.session._keys.to_device)
    assert not any(opened.evidence)
    assert opened.say(beat()) == []
    assert opened.session.state is State.LOST
    assert opened.session.take_output() is not None


def test_an_attestation_after_the_end_is_a_fault_and_no_verdict(opened: Opened) -> None:
    reply = opened.attested()
    opened.say(messages.Lock())
    with pytest.raises(SessionLostError):
        opened.session.check_attestation(CHALLENGE, reply)


def test_noise_is_told_once_it_is_too_much(opened: Opened) -> None:
    noise = b"\x05abc\x00"
    told = [event for _ in range(60) for event in opened.hear(noise)]
    assert told == [Degraded(31)]
    assert opened.session.state is State.OPEN


def test_a_grant_for_a_question_that_was_withdrawn_is_dropped(opened: Opened) -> None:
    nonce, digest = b"n" * 16, b"d" * 32
    question = messages.PresenceRequest(
        request=3, nonce=nonce, digest=digest, text="Pay", timeout_ms=1000
    )
    opened.session.send(question, opened.now_s)
    opened.session.withdraw(nonce)
    opened.say(
        PresenceGranted(request=3, nonce=nonce, digest=digest, evidence=bytes(32))
    )
    assert opened.session.take_replies() == []
    assert opened.session.state is State.OPEN


def test_a_grant_without_its_evidence_ends_it(opened: Opened) -> None:
    nonce, digest = b"n" * 16, b"d" * 32
    question = messages.PresenceRequest(
        request=3, nonce=nonce, digest=digest, text="Pay", timeout_ms=1000
    )
    opened.session.send(question, opened.now_s)
    granted = PresenceGranted(request=3, nonce=nonce, digest=digest, evidence=bytes(32))
    assert opened.say(granted) == [Lost(LossReason.PROTOCOL)]
    assert opened.session.take_replies() == []


def test_an_attestation_is_judged_by_mac_start_list_and_counter(
    opened: Opened,
) -> None:
    check = opened.session.check_attestation
    assert check(CHALLENGE, opened.attested()).counter == 5
    with pytest.raises(NotAuthenticError):
        check(b"x" * 32, opened.attested())
    with pytest.raises(NotAuthenticError):
        check(CHALLENGE, opened.attested(boot_id=bytes(16)))
    with pytest.raises(NotAuthenticError):
        check(CHALLENGE, opened.attested(firmware_hash=bytes(32)))
    with pytest.raises(CounterWentBackError):
        check(CHALLENGE, opened.attested(counter=4))
