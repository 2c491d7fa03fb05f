# SPDX-License-Identifier: Apache-2.0
"""Stop and wait: each message of a session once and in order, or the session ends."""

from firmware_bridge.firmware import frame

RETRY_MS = 200
RETRIES = 5
NEW = 1
REPEATED = 2
ACKNOWLEDGED = 3
STALE = 4


class Link:
    """One session's channel, seen from the device."""

    def __init__(self, key: bytes) -> None:
        self.failed = False
        self.out = b""
        self._key = key
        self._waiting: list[tuple[int, bytes]] = []
        self._data = b""
        self._tries = 0
        self._due_ms = 0
        self._sent = 0
        self._received = 0

    def send(self, kind: int, payload: bytes, now_ms: int) -> None:
        """Queue a message."""
        self._waiting.append((kind, payload))
        self._next(now_ms)

    def waits(self, kind: int) -> bool:
        """Say whether a message of this type waits for its turn."""
        return any(waiting[0] == kind for waiting in self._waiting)

    def idle(self) -> bool:
        """Say whether everything was acknowledged."""
        return not self._data and not self._waiting

    def receive(self, got: frame.Frame, now_ms: int) -> int:
        """Take an authentic frame and say what it is."""
        if got.flags & frame.ACK:
            if not self._data or got.seq != self._sent:
                return STALE
            self._data = b""
            self._next(now_ms)
            return ACKNOWLEDGED
        if got.seq == self._received + 1:
            self._received = got.seq
            self._acknowledge(got.seq)
            return NEW
        if got.seq == self._received and got.seq:
            self._acknowledge(got.seq)
            return REPEATED
        return STALE

    def tick(self, now_ms: int) -> None:
        """Repeat what is due, and give up after the last time."""
        if not self._data or now_ms < self._due_ms:
            return
        if self._tries > RETRIES:
            self.failed = True
            return
        self.out += self._data
        self._tries += 1
        self._due_ms = now_ms + RETRY_MS

    def deadline_ms(self, otherwise: int) -> int:
        """Return when ``tick`` has something to do."""
        return self._due_ms if self._data else otherwise

    def _acknowledge(self, seq: int) -> None:
        self.out += frame.encode(0, frame.ACK, frame.PANEL, seq, b"", self._key)

    def _next(self, now_ms: int) -> None:
        if self._data or not self._waiting:
            return
        kind, payload = self._waiting.pop(0)
        self._sent += 1
        data = frame.encode(kind, 0, frame.PANEL, self._sent, payload, self._key)
        self._data = data
        self.out += data
        self._tries = 1
        self._due_ms = now_ms + RETRY_MS
