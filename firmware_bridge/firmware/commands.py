# SPDX-License-Identifier: Apache-2.0
"""What a host may ask in a session."""

import struct

from firmware_bridge.firmware import cbor, cobs, logbook, mac, question
from firmware_bridge.firmware import hal as board
from firmware_bridge.firmware.control import VERSION, Control
from firmware_bridge.firmware.guard import Guard
from firmware_bridge.firmware.memory import Memory

LOCK = 0x3B
_TEXT_ROWS = 6
_REFUSAL, _DONE = 0x3F, 0x2F
_LABEL = b"saltkeep/panel/v1/"
# Each request: its answer's type, and its fields' types by key.
_REQUESTS: dict = {
    0x20: {0: int},
    0x22: {0: int, 1: bytes, 2: bytes, 3: str, 4: int},
    0x25: {1: bytes},
    0x26: {0: int, 1: str},
    0x28: {0: int, 1: int},
    0x2A: {0: int},
    0x2C: {0: int, 1: int},
    0x2D: {0: int, 1: bytes},
    0x30: {0: int},
    0x31: {0: int},
    0x32: {0: int},
    0x34: {0: int, 1: int},
    0x36: {0: int},
    0x38: {0: int},
    0x3A: {0: int, 1: int, 2: int},
    LOCK: {},
}
Fields = dict  # by key, as in the host's ``messages``; no typing on a board


class Commands:
    """Carries requests out; answers go to the session's link."""

    def __init__(
        self,
        hal: board.Hal,
        memory: Memory,
        log: logbook.Logbook,
        guard: Guard,
        control: Control,
    ) -> None:
        self.question: question.Question | None = None
        self.bad_frames = 0
        self._hal = hal
        self._memory = memory
        self._log = log
        self._guard = guard
        self._control = control
        self._does = {
            0x20: self._status,
            0x22: self._presence,
            0x25: self._cancel,
            0x26: self._display,
            0x28: self._random,
            0x2A: self._counter,
            0x2C: self._increment,
            0x2D: self._attest,
            0x30: self._arm,
            0x31: self._disarm,
            0x32: self._zeroize,
            0x34: self._log_read,
            0x36: self._self_test,
            0x38: self._firmware,
            0x3A: self._clear,
        }

    def receive(self, kind: int, payload: bytes, now_ms: int) -> None:
        """Take the next message of the session."""
        session = self._control.session
        fields = cbor.decode(payload)
        if session is None or fields is None:
            return
        if kind == LOCK:
            session.ended = True
            return
        shape = _REQUESTS.get(kind)
        if shape is None:
            self.refuse(fields.get(0), "unknown", now_ms)
        elif not _fits(fields, shape):
            self.refuse(fields.get(0), "invalid", now_ms)
        else:
            try:
                self._does[kind](fields, now_ms)
            except OSError:
                self.refuse(fields.get(0), "memory", now_ms)

    def say(self, kind: int, fields: Fields, now_ms: int) -> None:
        """Send a message in the session, if there is one."""
        if self._control.session is not None:
            self._control.session.link.send(kind, cbor.encode(fields), now_ms)

    def refuse(self, request: object, code: str, now_ms: int) -> None:
        """Say no to a request."""
        if isinstance(request, int):
            self.say(_REFUSAL, {0: request, 1: code}, now_ms)

    def ask(self, now_ms: int) -> None:
        """See whether the person has answered."""
        if self.question is None:
            return
        said = self.question.answer(self._hal, self._memory.latched, now_ms)
        if said:
            asked = self.question
            self.question = None
            self._hal.show("")
            self._answered(asked, said, now_ms)

    def _answered(self, asked: question.Question, said: str, now_ms: int) -> None:
        fields = asked.fields
        if asked.purpose == question.CLEAR:
            if said != question.YES:
                self.refuse(fields[0], said, now_ms)
            elif self._hal.loops_open():
                self.refuse(fields[0], "loop-open", now_ms)
            elif fields[1] != self._memory.latched:
                self.refuse(fields[0], "latch-mismatch", now_ms)
            else:
                try:
                    self._guard.clear(now_ms)
                except OSError:
                    self.refuse(fields[0], "memory", now_ms)
                else:
                    self.say(_DONE, {0: fields[0]}, now_ms)
            return
        self._decided(fields, said, now_ms)

    def _decided(self, fields: Fields, said: str, now_ms: int) -> None:
        session = self._control.session
        nonce, digest, text = fields[1], fields[2], fields[3]
        if session is None or not isinstance(digest, bytes):
            return
        if not isinstance(nonce, bytes) or not isinstance(text, str):
            return
        shown = int.from_bytes(digest[:4], "big")
        try:
            kind = logbook.GRANTED if said == question.YES else logbook.DENIED
            self._log.append(kind, shown, now_ms)
        except OSError:
            said = "memory"  # what can not be written down is not granted
        if said != question.YES:
            self.say(0x24, {0: fields[0], 1: nonce, 2: said}, now_ms)
            return
        told = nonce + digest + mac.sha256(text.encode())
        evidence = mac.hmac(session.evidence, _LABEL + b"grant\0", told)
        self.say(0x23, {0: fields[0], 1: nonce, 2: digest, 3: evidence}, now_ms)

    def forget_question(self) -> None:
        """Ask no longer: the session is over."""
        if self.question is not None:
            self.question = None
            self._hal.show("")

    def _presence(self, fields: Fields, now_ms: int) -> None:
        sized = len(fields[1]) == 16 and len(fields[2]) == 32
        if not sized or _rows(fields[3]) > _TEXT_ROWS:
            self.refuse(fields[0], "invalid", now_ms)
        elif self.question is not None:
            self.refuse(fields[0], "busy", now_ms)
        else:
            self._hal.show(fields[3] + "\n" + fields[2][:4].hex() + "  YES / NO")
            self.question = question.Question(
                question.PRESENCE, fields, now_ms + min(fields[4], 120_000)
            )

    def _cancel(self, fields: Fields, now_ms: int) -> None:
        asked = self.question
        if asked is not None and asked.fields.get(1) == fields[1]:
            self.forget_question()
            self.say(0x24, {0: asked.fields[0], 1: fields[1], 2: "cancelled"}, now_ms)

    def _clear(self, fields: Fields, now_ms: int) -> None:
        if self.question is not None:
            self.refuse(fields[0], "busy", now_ms)
        elif self._guard.switch != board.MAINTENANCE:
            self.refuse(fields[0], "switch", now_ms)
        elif fields[1] != self._memory.latched or not fields[1]:
            self.refuse(fields[0], "latch-mismatch", now_ms)
        else:
            self._hal.show("CLEAR THE TAMPER LATCH?\nYES / NO")
            self.question = question.Question(
                question.CLEAR, fields, now_ms + min(fields[2], 120_000)
            )

    def _status(self, fields: Fields, now_ms: int) -> None:
        answer = {0: fields[0], 1: self._memory.latched, 2: self._guard.switch}
        answer[3] = self._memory.counter
        answer[4] = self._memory.armed
        answer[5] = self._hal.loops_open()
        answer[6] = self._log.last()
        answer[7] = self._log.first()
        answer[8] = self._log.head()
        answer[9] = self.bad_frames
        self.say(0x21, answer, now_ms)

    def _display(self, fields: Fields, now_ms: int) -> None:
        if self.question is not None:
            self.refuse(fields[0], "busy", now_ms)
            return
        self._hal.show(fields[1])
        self.say(_DONE, {0: fields[0]}, now_ms)

    def _random(self, fields: Fields, now_ms: int) -> None:
        if not 0 < fields[1] <= 64:
            self.refuse(fields[0], "invalid", now_ms)
            return
        self.say(0x29, {0: fields[0], 1: self._hal.random(fields[1])}, now_ms)

    def _counter(self, fields: Fields, now_ms: int) -> None:
        self.say(0x2B, {0: fields[0], 1: self._memory.counter}, now_ms)

    def _increment(self, fields: Fields, now_ms: int) -> None:
        memory = self._memory
        if fields[1] == memory.counter:
            memory.counter += 1
            try:
                memory.save()
            except OSError:
                memory.counter -= 1
                raise
        elif fields[1] + 1 != memory.counter:
            self.refuse(fields[0], "counter-mismatch", now_ms)
            return
        self._counter(fields, now_ms)

    def _attest(self, fields: Fields, now_ms: int) -> None:
        session = self._control.session
        if session is None or len(fields[1]) != 32:
            self.refuse(fields[0], "invalid", now_ms)
            return
        code, boot = self._control.firmware_hash, self._control.boot_id
        reason, memory = self._hal.boot_reason, self._memory
        numbers = struct.pack(">BQH", reason, memory.counter, memory.latched)
        told = fields[1] + code + boot + numbers
        proof = mac.hmac(session.evidence, _LABEL + b"attest\0", told)
        answer = {0: fields[0], 1: code, 2: boot, 3: reason}
        answer[4] = memory.counter
        answer[5] = memory.latched
        answer[6] = proof
        self.say(0x2E, answer, now_ms)

    def _arm(self, fields: Fields, now_ms: int) -> None:
        if self._hal.loops_open():
            self.refuse(fields[0], "loop-open", now_ms)
            return
        self._set_armed(fields, True, now_ms)  # noqa: FBT003

    def _disarm(self, fields: Fields, now_ms: int) -> None:
        if self._guard.switch != board.MAINTENANCE:
            self.refuse(fields[0], "switch", now_ms)
            return
        self._set_armed(fields, False, now_ms)  # noqa: FBT003

    def _set_armed(self, fields: Fields, armed: bool, now_ms: int) -> None:  # noqa: FBT001
        if self._memory.armed != armed:
            self._memory.armed = armed
            try:
                self._memory.save()
            except OSError:
                self._memory.armed = not armed
                raise
            kind = logbook.ARMED if armed else logbook.DISARMED
            self._log.append(kind, 0, now_ms)
        self.say(_DONE, {0: fields[0]}, now_ms)

    def _zeroize(self, fields: Fields, now_ms: int) -> None:
        session = self._control.session
        self._memory.key = b""
        self._memory.save()
        self._log.append(logbook.ZEROIZED, 0, now_ms)
        self.say(0x33, {0: fields[0]}, now_ms)
        if session is not None:
            session.ending = True

    def _log_read(self, fields: Fields, now_ms: int) -> None:
        found = self._log.find(fields[1])
        if found is None:
            self.refuse(fields[0], "end", now_ms)
            return
        found[0] = fields[0]
        # In LogEntry the entry's own number is key 1; ``find`` begins there too.
        self.say(0x35, found, now_ms)

    def _self_test(self, fields: Fields, now_ms: int) -> None:
        answer: Fields = {0: fields[0]}
        answer[1] = mac.sha256(b"abc")[:4] == b"\xba\x78\x16\xbf"
        key, said = b"Jefe", b"what do ya want for nothing?"  # RFC 4231, test case 2
        answer[2] = mac.hmac(key, said)[:4] == b"\x5b\xdc\xc1\x46"
        answer[3] = cobs.decode(cobs.encode(bytes(range(256)))) == bytes(range(256))
        answer[4] = self._memory.reads_back()
        answer[5] = self._hal.random(16) != self._hal.random(16)
        answer[6] = self._hal.loops_open() == 0
        self.say(0x37, answer, now_ms)

    def _firmware(self, fields: Fields, now_ms: int) -> None:
        code = self._control.firmware_hash
        self.say(0x39, {0: fields[0], 1: self._hal.model, 2: VERSION, 3: code}, now_ms)


def _rows(text: str) -> int:
    """Count the display's rows: a text may not push what is under it off the end."""
    return sum(max(1, (len(line) + 15) // 16) for line in text.split("\n"))


def _fits(fields: Fields, shape: dict[int, type]) -> bool:
    """Say whether a request has exactly the fields of its type."""
    if sorted(fields) != sorted(shape):
        return False
    return all(
        isinstance(fields[key], kind) and not isinstance(fields[key], bool)
        for key, kind in shape.items()
    )
