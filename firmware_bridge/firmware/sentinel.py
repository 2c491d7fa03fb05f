# SPDX-License-Identifier: Apache-2.0
"""The whole device: bytes and times go in, bytes come out."""

from firmware_bridge.firmware import frame, logbook
from firmware_bridge.firmware import hal as board
from firmware_bridge.firmware import link as links
from firmware_bridge.firmware.commands import Commands
from firmware_bridge.firmware.control import Control, Session
from firmware_bridge.firmware.guard import Guard
from firmware_bridge.firmware.memory import Memory

HEARTBEAT_MS = 500
_HEARTBEAT, _TAMPER, _SWITCH = 0x10, 0x11, 0x12


class Sentinel:
    """A panel. Creating it is a start of the device."""

    def __init__(self, hal: board.Hal, now_ms: int) -> None:
        self._hal = hal
        self._start_ms = now_ms
        self.memory = Memory(hal)
        self.memory.boots += 1
        self.log = logbook.Logbook(hal, self.memory.boots)
        forget = bool(self.memory.key) and self._asked_to_forget()
        if forget:
            self.memory.key = b""
        self.memory.save()
        self.log.append(logbook.BOOT, self.memory.boots, 0)
        if self.memory.damaged:
            self.log.append(logbook.TAMPER, self.memory.latched, 0)
        if forget:
            self.log.append(logbook.FORGOTTEN, 0, 0)
        self.guard = Guard(hal, self.memory, self.log)
        self.control = Control(hal, self.memory, self.log)
        self.commands = Commands(hal, self.memory, self.log, self.guard, self.control)
        self._reader = frame.Reader()
        self._beat_ms = 0
        hal.show("")

    def step(self, now_ms: int, data: bytes) -> bytes:
        """Take bytes from the line; return those for it."""
        uptime_ms = now_ms - self._start_ms
        latched, turned = self.guard.look(uptime_ms)
        if latched:
            told = {1: self.memory.latched, 2: self.memory.counter}
            self.commands.say(_TAMPER, told, uptime_ms)
        if turned:
            self.commands.say(_SWITCH, {1: self.guard.switch}, uptime_ms)
        out = b""
        for got in self._reader.feed(data):
            out += self._frame(got, uptime_ms)
        self.commands.bad_frames = self._reader.bad
        self.commands.ask(uptime_ms)
        return out + self._session(uptime_ms)

    def deadline_ms(self, now_ms: int) -> int:
        """Return when ``step`` is due although nothing came."""
        if self.commands.question is not None:
            return now_ms + 20  # a person may press any moment
        due_ms = self._start_ms + self._beat_ms
        session = self.control.session
        if session is None:
            return now_ms + HEARTBEAT_MS
        return min(due_ms, self._start_ms + session.link.deadline_ms(self._beat_ms))

    def _asked_to_forget(self) -> bool:
        return self._hal.switch() == board.MAINTENANCE and self._hal.confirm()

    def _frame(self, got: frame.Frame, now_ms: int) -> bytes:
        session = self.control.session
        if got.chan == frame.CONTROL:
            if not got.authentic(None):
                self._reader.bad += 1
                return b""
            out = self.control.receive(got, now_ms)
            if session is None and self.control.session is not None:
                self._beat_ms = now_ms
            return out
        if session is None or not got.authentic(session.receive_key):
            self._reader.bad += 1
        elif self._news(session, got, now_ms):
            self.commands.receive(got.kind, got.payload, now_ms)
        return b""

    def _news(self, session: Session, got: frame.Frame, now_ms: int) -> bool:
        new = session.link.receive(got, now_ms) == links.NEW
        return new and not session.ending

    def _session(self, now_ms: int) -> bytes:
        session = self.control.session
        if session is None:
            return b""
        if now_ms >= self._beat_ms and not session.ending:
            self._beat_ms = now_ms + HEARTBEAT_MS
            if not session.link.waits(_HEARTBEAT):
                self._beat(now_ms)
        session.link.tick(now_ms)
        out = session.link.out
        session.link.out = b""
        finished = session.ending and session.link.idle()
        if session.link.failed or session.ended or finished:
            self.control.session = None
            self.commands.forget_question()
            self._hal.show("")
        return out

    def _beat(self, now_ms: int) -> None:
        self.commands.say(
            _HEARTBEAT,
            {
                1: now_ms,
                2: self.memory.latched,
                3: self.guard.switch,
                4: self.memory.counter,
                5: self.memory.armed,
            },
            now_ms,
        )
