# SPDX-License-Identifier: Apache-2.0
"""A session with a panel, as the host sees it: bytes and times in, decisions out.

Every decision to stop trusting a panel is taken here, without I/O: the driver
(``panel``) moves bytes and keeps deadlines. A session that is lost stays lost; the
driver begins another one with a fresh handshake.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from firmware_bridge.attestation import Attestation, BootReason, judge
from firmware_bridge.errors import (
    CounterWentBackError,
    MessageError,
    NotAuthenticError,
    SessionLostError,
    UntrustedFirmwareError,
)
from firmware_bridge.frames import BadFrame, Channel, Frame, FrameDecoder
from firmware_bridge.keys import (
    Greeting,
    SessionKeys,
    grant_mac,
    require_key,
)
from firmware_bridge.link import Arrived, FrameAlarm, Link
from firmware_bridge.messages import (
    AttestReply,
    CounterValue,
    Heartbeat,
    Hello,
    Lock,
    Message,
    PresenceDenied,
    PresenceGranted,
    PresenceRequest,
    RefusalCode,
    Reply,
    SwitchEvent,
    TamperEvent,
    decode,
    encode,
)
from firmware_bridge.panel_events import (
    Beat,
    Degraded,
    LossReason,
    Lost,
    PanelEvent,
    Switch,
    SwitchMoved,
    Tamper,
    TamperSeen,
)
from firmware_bridge.session import Agreed, Entropy, Handshake, read_control

HEARTBEAT_S: Final = 0.5
MISSED_HEARTBEATS: Final = 3
_NEVER: Final = float("inf")


class State(Enum):
    """How far a session is."""

    GREETING = "greeting"
    """The handshake is under way."""
    OPEN = "open"
    """Both sides proved the key; requests can be made."""
    LOST = "lost"
    """Over, for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What a session holds a panel to.

    Attributes:
        trusted_firmware: Hashes that may run there.
        counter_at_least: The highest counter known before.
        bad_frames_per_minute: More, and ``Degraded`` is told.
    """

    trusted_firmware: frozenset[bytes]
    counter_at_least: int = 0
    bad_frames_per_minute: int = 30


class PanelSession:
    """One session, from the first hello to its end.

    Args:
        key: The pairing key, read in place until the session is open; the caller
            wipes it.
        expectations: What the panel is held to.
        entropy: Draws nonces.
        now_s: The monotonic time.

    Attributes:
        state: How far it is.
        reason: Why it is over, once it is.
        counter: The highest counter told so far.
        counter_told: The one told last, which may be lower.
        switch: Where the key switch stands, as told last.
        tamper: What is latched, as told last.
        armed: Whether the loops are watched, as told last.
    """

    def __init__(
        self,
        key: bytearray,
        *,
        expectations: Expectations,
        entropy: Entropy,
        now_s: float,
    ) -> None:
        require_key(key)
        self.state = State.GREETING
        self.reason = LossReason.LOCKED
        self.counter = expectations.counter_at_least
        self.counter_told = self.counter
        self.switch = Switch.OFF
        self.tamper = Tamper(0)
        self.armed = False
        self._expectations = expectations
        self._handshake = Handshake(key, entropy=entropy)
        self._decoder = FrameDecoder()
        self._alarm = FrameAlarm(per_minute=expectations.bad_frames_per_minute)
        self._keys: SessionKeys | None = None
        self._greeting: Greeting | None = None
        self._hello: Hello | None = None
        self._link: Link | None = None
        self._beat_due_s = _NEVER
        self._out = bytearray()
        self._events: list[PanelEvent] = []
        self._replies: list[Reply] = []
        self._questions: dict[bytes, PresenceRequest] = {}
        self.tick(now_s)

    def receive(self, data: bytes, now_s: float) -> None:
        """Take bytes from the line.

        Args:
            data: Any bytes.
            now_s: The monotonic time.

        Raises:
            NotAuthenticError: During the handshake: it has another key, or none.
        """
        rest = data
        while rest and self.state is not State.LOST:
            arrival, rest = self._decoder.feed_until_frame(rest)
            if isinstance(arrival, BadFrame):
                self._bad(arrival, now_s)
            elif arrival is not None:
                self._frame(arrival, now_s)

    def tick(self, now_s: float) -> None:
        """Do what is due.

        Args:
            now_s: The monotonic time.
        """
        if self.state is State.GREETING and now_s >= self._handshake.deadline_s:
            self._out += self._handshake.tick(now_s)
        if self._link is None or self.state is not State.OPEN:
            return
        self._link.tick(now_s)
        if self._link.failed:
            self.lose(LossReason.LINE)
        elif now_s >= self._beat_due_s:
            self.lose(LossReason.HEARTBEAT)

    @property
    def deadline_s(self) -> float:
        """When ``tick`` has something to do; infinity for never."""
        if self.state is State.GREETING:
            return self._handshake.deadline_s
        if self._link is None or self.state is State.LOST:
            return _NEVER
        return min(self._link.deadline_s, self._beat_due_s)

    def take_output(self) -> bytes:
        """Return the bytes for the line, once."""
        if self._link is not None:
            self._out += self._link.take_output()
        out = bytes(self._out)
        self._out.clear()
        return out

    def take_events(self) -> list[PanelEvent]:
        """Return what the panel told, once."""
        events, self._events = self._events, []
        return events

    def take_replies(self) -> list[Reply]:
        """Return the answers to requests, once."""
        replies, self._replies = self._replies, []
        return replies

    def send(self, message: Message, now_s: float) -> None:
        """Queue a request.

        Args:
            message: The request, with a number of its own.
            now_s: The monotonic time.

        Raises:
            MessageError: If there is no session, or a value is out of its bounds.
        """
        if self._link is None or self.state is not State.OPEN:
            raise MessageError("there is no session to ask in")
        if isinstance(message, PresenceRequest):
            self._questions[message.nonce] = message
        self._link.send(message.kind, encode(message), now_s=now_s)

    def withdraw(self, nonce: bytes) -> None:
        """Take no grant for this question any more."""
        self._questions.pop(nonce, None)

    def say_lock(self, now_s: float) -> None:
        """Tell the device that the session is over; ``lose`` ends it here."""
        if self.state is State.OPEN:
            self.send(Lock(), now_s)

    @property
    def idle(self) -> bool:
        """Whether the device has acknowledged everything."""
        return self._link is None or self._link.idle

    def lose(self, reason: LossReason) -> None:
        """End the session here and wipe its keys.

        Args:
            reason: Why; told as ``Lost`` if the session was open.
        """
        if self.state is State.LOST:
            return
        if self.state is State.OPEN:
            self._events.append(Lost(reason))
        self.state, self.reason = State.LOST, reason
        self._decoder.keys.clear()
        self._questions.clear()
        if self._keys is not None:
            self._keys.wipe()

    def check_attestation(self, challenge: bytes, reply: AttestReply) -> Attestation:
        """Judge an attestation.

        Args:
            challenge: What was asked with, 32 bytes.
            reply: What came back.

        Returns:
            What it proves.

        Raises:
            SessionLostError: The session ended meanwhile.
            NotAuthenticError: Its MAC is wrong, or it is not of this session's start.
            UntrustedFirmwareError: The firmware is not on the list.
            CounterWentBackError: The counter is lower than it was.
        """
        greeting, hello, keys = self._greeting, self._hello, self._keys
        if self.state is not State.OPEN:
            raise SessionLostError(self.reason.value)  # its keys are gone: no verdict
        if greeting is None or hello is None or keys is None:
            raise NotAuthenticError("there is no session")
        facts = judge(
            reply, challenge=challenge, evidence=keys.evidence, greeting=greeting
        )
        if facts.firmware_hash not in self._expectations.trusted_firmware:
            raise UntrustedFirmwareError(facts.firmware_hash)
        if facts.counter < self.counter:
            raise CounterWentBackError(facts.counter, self.counter)
        self.counter = facts.counter
        return Attestation(
            model=hello.model,
            version=hello.version,
            firmware_hash=facts.firmware_hash,
            boot_id=facts.boot_id,
            boot_reason=BootReason(facts.boot_reason),
            counter=facts.counter,
            tamper=Tamper(facts.tamper),
            switch=self.switch,
            armed=self.armed,
        )

    def _bad(self, reason: BadFrame, now_s: float) -> None:
        if self._alarm.count(now_s):
            self._events.append(Degraded(self._expectations.bad_frames_per_minute + 1))
        if reason is BadFrame.TAG and self.state is State.OPEN:
            self.lose(LossReason.BAD_TAG)

    def _frame(self, frame: Frame, now_s: float) -> None:
        if frame.channel is Channel.CONTROL:
            self._control(frame, now_s)
        elif self._link is not None and frame.channel is Channel.PANEL:
            if self.state is State.GREETING:
                self.state = State.OPEN  # its first authentic frame: it has the keys
                self._beat_due_s = now_s + HEARTBEAT_S * MISSED_HEARTBEATS
            if self._link.receive(frame, now_s=now_s) is Arrived.NEW:
                self._message(frame, now_s)

    def _control(self, frame: Frame, now_s: float) -> None:
        message = read_control(frame)
        if message is None:
            return
        if self.state is State.OPEN:
            self._greeted_again(message)
            return
        agreed = self._handshake.receive(message)
        if agreed is not None:
            self._agree(agreed)
        self._out += self._handshake.tick(now_s)

    def _agree(self, agreed: Agreed) -> None:
        if self._keys is not None:
            self._keys.wipe()
        self._keys, self._greeting = agreed.keys, agreed.greeting
        self._hello = agreed.hello
        self._link = Link(Channel.PANEL, key=agreed.keys.to_device)
        self._decoder.keys[Channel.PANEL] = agreed.keys.to_host

    def _greeted_again(self, message: Message) -> None:
        """End the session when the device says it started anew.

        Nobody proved that; whoever can say it could have cut the cable as well.
        """
        if not isinstance(message, Hello) or self._greeting is None:
            return
        if message.boot_id != self._greeting.boot_id:
            self.lose(LossReason.BOOT)

    def _message(self, frame: Frame, now_s: float) -> None:
        try:
            message = decode(frame.kind, frame.payload)
        except MessageError:
            self.lose(LossReason.PROTOCOL)
            return
        match message:
            case Heartbeat():
                self._beat(message, now_s)
            case TamperEvent():
                self._latched(message.latched, message.counter)
            case SwitchEvent():
                self._turned(message.position)
            case PresenceGranted():
                self._granted(message)
            case _ if isinstance(message, Reply):
                self._answered(message)
            case _:
                self.lose(LossReason.PROTOCOL)

    def _answered(self, reply: Reply) -> None:
        if isinstance(reply, CounterValue) and not self._counted(reply.counter):
            return
        if isinstance(reply, PresenceDenied):
            self.withdraw(reply.nonce)
        self._replies.append(reply)

    def _beat(self, beat: Heartbeat, now_s: float) -> None:
        self._beat_due_s = now_s + HEARTBEAT_S * MISSED_HEARTBEATS
        self._latched(beat.tamper, beat.counter)
        self._turned(beat.switch)
        if self.state is not State.OPEN:
            return
        self.armed = beat.armed
        self._events.append(
            Beat(beat.uptime_ms, self.switch, self.tamper, beat.counter, beat.armed)
        )

    def _counted(self, counter: int) -> bool:
        self.counter_told = counter
        if counter < self.counter:
            self.lose(LossReason.COUNTER_BACK)
            return False
        self.counter = counter
        return True

    def _latched(self, latched: int, counter: int) -> None:
        if not self._counted(counter):
            return
        if latched & ~self.tamper:
            self._events.append(TamperSeen(Tamper(latched)))
        self.tamper = Tamper(latched)

    def _turned(self, position: int) -> None:
        switch = Switch(position)
        if switch is not self.switch:
            self._events.append(SwitchMoved(switch))
        self.switch = switch

    def _granted(self, granted: PresenceGranted) -> None:
        """Take a grant for a question that is open, once, and for nothing else."""
        asked = self._questions.pop(granted.nonce, None)
        if asked is None or self._keys is None:
            return  # withdrawn: the person was too late
        evidence = grant_mac(
            self._keys.evidence,
            nonce=asked.nonce,
            digest=asked.digest,
            text=asked.text,
        )
        mine = (asked.request, asked.digest, evidence)
        if self.tamper:  # it was said before the latch closed, and heard after
            refused = RefusalCode.TAMPER.value
            self._replies.append(
                PresenceDenied(request=asked.request, nonce=asked.nonce, reason=refused)
            )
        elif mine == (granted.request, granted.digest, granted.evidence):
            self._replies.append(granted)
        else:
            self.lose(LossReason.PROTOCOL)
