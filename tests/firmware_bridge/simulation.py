# SPDX-License-Identifier: Apache-2.0
"""Host and device in one process, a bad cable between them, and a simulated clock.

Both ends are the real ones: ``PanelSession`` and the firmware's ``Sentinel``. What is
said here about them is checked all along, see ``World.check``.
"""

import heapq
import itertools
from dataclasses import dataclass, field

import pytest

from firmware_bridge.errors import BridgeError
from firmware_bridge.firmware.commands import Commands
from firmware_bridge.firmware.hal import MAINTENANCE, RUN, Hal
from firmware_bridge.firmware.link import Link as DeviceLink
from firmware_bridge.firmware.memory import NAME, Memory
from firmware_bridge.firmware.sentinel import Sentinel
from firmware_bridge.frames import Frame
from firmware_bridge.link import Link
from firmware_bridge.messages import (
    CounterIncrement,
    CounterRead,
    CounterValue,
    PresenceGranted,
    PresenceRequest,
    RandomRead,
)
from firmware_bridge.panel_events import LossReason
from firmware_bridge.panel_session import Expectations, PanelSession, State
from tests.firmware_bridge.faults import Dice, Injector

FIRMWARE = bytes(range(32))
Told = dict[bytes, list[tuple[int, bytes]]]
SETTLING_MS = 2_000  # what the cable still holds comes out, late
RECOVERY_MS = 8_000
STEPS_MAX = 40_000


class MemoryBoard(Hal):
    """A board whose flash and pins are in memory."""

    model = "memory"

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.flash: dict[str, bytes] = {}
        self.position = RUN
        self.opened = 0
        self.yes = False
        self.shown = ""

    def switch(self) -> int:
        return self.position

    def loops_open(self) -> int:
        return self.opened

    def confirm(self) -> bool:
        return self.yes

    def deny(self) -> bool:
        return False

    def show(self, text: str) -> None:
        self.shown = text

    def random(self, size: int) -> bytes:
        return self.dice.bytes(size)

    def load(self, name: str) -> bytes | None:
        return self.flash.get(name)

    def store(self, name: str, data: bytes) -> None:
        self.flash[name] = data

    def firmware_hash(self) -> bytes:
        return FIRMWARE


@dataclass
class Ledger:
    """Who said what in which session, and who believed it."""

    sent: Told = field(default_factory=dict)
    believed: Told = field(default_factory=dict)

    def say(self, key: bytes, kind: int, payload: bytes) -> None:
        self.sent.setdefault(key, []).append((kind, payload))

    def believe(self, key: bytes, kind: int, payload: bytes) -> None:
        heard = self.believed.setdefault(key, [])
        heard.append((kind, payload))
        said = self.sent.get(key, [])
        assert heard[-1] == said[len(heard) - 1 : len(heard)][0], "not said in order"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Watch both ends' links; nothing is replaced."""
    book = Ledger()
    send, device_send = Link.send, DeviceLink.send
    message, command = PanelSession._message, Commands.receive

    def host_says(self: Link, kind: int, payload: bytes, *, now_s: float) -> None:
        book.say(bytes(self._key), kind, payload)
        send(self, kind, payload, now_s=now_s)

    def device_says(self: DeviceLink, kind: int, payload: bytes, now_ms: int) -> None:
        book.say(self._key, kind, payload)
        device_send(self, kind, payload, now_ms)

    def host_believes(self: PanelSession, frame: Frame, now_s: float) -> None:
        assert self._keys is not None
        book.believe(bytes(self._keys.to_host), frame.kind, frame.payload)
        message(self, frame, now_s)

    def device_believes(self: Commands, kind: int, payload: bytes, now_ms: int) -> None:
        assert self._control.session is not None
        book.believe(self._control.session.receive_key, kind, payload)
        command(self, kind, payload, now_ms)

    monkeypatch.setattr(Link, "send", host_says)
    monkeypatch.setattr(DeviceLink, "send", device_says)
    monkeypatch.setattr(PanelSession, "_message", host_believes)
    monkeypatch.setattr(Commands, "receive", device_believes)
    return book


class World:
    """A paired device, a host that connects again and again, and bad luck."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.now_ms = 1000
        self.key = bytearray(self.dice.bytes(32))
        self.board = MemoryBoard(self.dice)
        new = Memory(self.board)
        new.key, new.armed = bytes(self.key), True
        new.save()
        self.device = Sentinel(self.board, self.now_ms)
        odds = self.dice.choose((3, 6, 20, 60))
        self.to_device = Injector(self.dice, odds)
        self.to_host = Injector(self.dice, odds)
        self.session: PanelSession | None = None
        self.plugged = True
        self.opened = 0
        self.answers = 0
        self.counter = 0
        self.granted: set[bytes] = set()
        self.asked: dict[bytes, bytes] = {}
        self.confirmed: set[bytes] = set()
        self.sessions = 0
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._line: list[tuple[int, int, str, bytes]] = []
        self._since_ms = 0
        self._retry_ms = 0

    def run(self, duration_ms: int) -> None:
        """Let time pass, with whatever happens in it."""
        end_ms = self.now_ms + duration_ms
        for _ in range(STEPS_MAX):
            if self.now_ms >= end_ms:
                return
            self._step(end_ms)
        pytest.fail("it goes round in circles")

    def misfortune(self) -> None:  # noqa: C901 - a table
        """Do one thing that a person or a fault does, at random."""
        match self.dice.below(18):
            case 0:
                self.reboot()
            case 1:
                self.unplug()
            case 2:
                self.board.opened |= 1 + self.dice.below(2)
            case 3:
                self.board.opened = 0
            case 4:
                self.board.position = self.dice.choose((RUN, RUN, 0, MAINTENANCE))
            case 5 | 6 | 7:
                self.board.yes = not self.board.yes
            case 8:
                if self.session is not None:
                    self.session.say_lock(self.now_ms / 1000)
                    self.session.lose(LossReason.LOCKED)
            case _:
                self.ask()

    def reboot(self) -> None:
        """Cut the power: what is stored is all that is left."""
        self.board.yes = False  # or MAINTENANCE with it would forget the key
        self.device = Sentinel(self.board, self.now_ms)

    def unplug(self) -> None:
        self.plugged = not self.plugged
        self._line.clear()
        if not self.plugged and self.session is not None:
            self.session.lose(LossReason.UNPLUGGED)

    def ask(self) -> None:
        """Ask for something, if there is a session."""
        session = self.session
        if session is None or session.state is not State.OPEN:
            return
        number, now_s = next(self._numbers), self.now_ms / 1000
        match self.dice.below(4):
            case 0:
                nonce, digest = self.dice.bytes(16), self.dice.bytes(32)
                self.asked[nonce] = digest
                question = PresenceRequest(
                    request=number,
                    nonce=nonce,
                    digest=digest,
                    text=nonce.hex(),
                    timeout_ms=3000,
                )
                session.send(question, now_s)
            case 1:
                session.send(
                    CounterIncrement(request=number, expected=session.counter), now_s
                )
            case 2:
                session.send(RandomRead(request=number, size=8), now_s)
            case _:
                session.send(CounterRead(request=number), now_s)

    def recover(self) -> None:
        """Mend everything: the link must come back by itself, and the latch be told."""
        self.to_device.healthy = self.to_host.healthy = True
        self.plugged = True
        self.board.position = RUN
        self.board.yes = False
        self.run(SETTLING_MS)
        answered = self.answers
        end_ms = self.now_ms + RECOVERY_MS
        while self.answers == answered and self.now_ms < end_ms:
            self.run(250)
            if self.session is not None and self.session.state is State.OPEN:
                read = CounterRead(request=next(self._numbers))
                self.session.send(read, self.now_ms / 1000)
        assert self.answers > answered, "the link did not come back"
        assert self.session is not None
        assert int(self.session.tamper) == self.opened, "the host does not know it all"
        assert self.session.counter == self.device.memory.counter

    def check(self) -> None:
        """Check what must hold at any time.

        The order of messages is checked by the ledger as they are believed.
        """
        self.opened |= self.device.memory.latched
        assert self.device.memory.latched == self.opened, "a latch was lost"
        stored = Memory(self.board)
        assert stored.latched == self.opened, "a latch is not stored"
        assert self.device.memory.counter >= self.counter, "the counter went back"
        assert stored.key == bytes(self.key), NAME

    def _step(self, end_ms: int) -> None:
        due = [end_ms, self.device.deadline_ms(self.now_ms)]
        if self._line:
            due.append(self._line[0][0])
        if self.session is not None and self.session.state is not State.LOST:
            due.append(self._host_ms(self.session.deadline_s))
        self.now_ms = max(self.now_ms, min(due))
        if min(due) > self.now_ms - 1 and self.now_ms not in due:
            self.now_ms += 1
        self._watch_the_person()
        to_host, to_device = self._arrivals()
        self._put("host", self.device.step(self.now_ms, to_device), self.to_host)
        self._host(to_host)
        self.check()

    def _watch_the_person(self) -> None:
        """A button that is down confirms what the display shows at that time."""
        if self.board.yes and not self.device.memory.latched:
            self.confirmed.add(self.board.shown.partition("\n")[0].encode())

    def _arrivals(self) -> tuple[bytes, bytes]:
        to_host, to_device = b"", b""
        while self._line and self._line[0][0] <= self.now_ms:
            _, _, where, data = heapq.heappop(self._line)
            if where == "host":
                to_host += data
            else:
                to_device += data
        return to_host, to_device

    def _put(self, where: str, data: bytes, injector: Injector) -> None:
        for delay_ms, hit in injector.pass_on(data):
            if self.plugged:
                item = (self.now_ms + delay_ms, next(self._order), where, hit)
                heapq.heappush(self._line, item)

    def _host_ms(self, deadline_s: float) -> int:
        if deadline_s == float("inf"):
            return self.now_ms + 1000
        return self.now_ms if deadline_s < 0 else int(deadline_s * 1000) + 1

    def _host(self, data: bytes) -> None:
        now_s = self.now_ms / 1000
        session = self.session
        late = self.now_ms - self._since_ms > 5000
        if session is None or session.state is State.LOST:
            self._connect(now_s)
            return
        if late and session.state is State.GREETING:
            session.lose(LossReason.LOCKED)
            return
        try:
            session.receive(data, now_s)
            session.tick(now_s)
        except BridgeError:
            session.lose(LossReason.PROTOCOL)
        self._put("device", session.take_output(), self.to_device)
        session.take_events()
        for reply in session.take_replies():
            self.answers += 1
            if isinstance(reply, CounterValue):
                self.counter = max(self.counter, reply.counter)
            if isinstance(reply, PresenceGranted):
                self._grant(reply)

    def _grant(self, reply: PresenceGranted) -> None:
        assert reply.nonce not in self.granted, "a grant was accepted twice"
        assert self.asked[reply.nonce] == reply.digest, "a grant for something else"
        assert reply.nonce.hex().encode() in self.confirmed, "nobody said yes to this"
        assert self.session is not None
        assert not self.session.tamper, "granted with a latch known to be closed"
        self.granted.add(reply.nonce)

    def _connect(self, now_s: float) -> None:
        if not self.plugged or self.now_ms < self._retry_ms:
            return
        self._retry_ms = self.now_ms + 100
        self._since_ms = self.now_ms
        self.sessions += 1
        self.session = PanelSession(
            self.key,
            expectations=Expectations(
                trusted_firmware=frozenset({FIRMWARE}), counter_at_least=self.counter
            ),
            entropy=self.dice.bytes,
            now_s=now_s,
        )
        self._put("device", self.session.take_output(), self.to_device)


def play(seed: int) -> World:
    """Run one random sequence of faults and the recovery from it."""
    world = World(seed)
    for _ in range(6 + world.dice.below(12)):
        world.run(world.dice.below(700))
        world.misfortune()
    world.recover()
    return world
