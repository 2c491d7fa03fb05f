# SPDX-License-Identifier: Apache-2.0
"""Handshake and pairing, seen from the device."""

from firmware_bridge.firmware import cbor, frame, logbook, mac
from firmware_bridge.firmware import hal as board
from firmware_bridge.firmware.link import Link
from firmware_bridge.firmware.memory import Memory

VERSION = "1.0.0"
PROTOCOL = 1
_LABEL = b"saltkeep/panel/v1/"
_HELLO_ASK, _HELLO, _CHALLENGE, _RESPONSE, _PROOF = 1, 2, 3, 4, 5
_PAIR, _PAIRED, _REFUSAL = 6, 7, 15


class Session:
    """The keys and the link of a session."""

    def __init__(self, key: bytes, salt: bytes, bound: bytes) -> None:
        self.receive_key = mac.hkdf(key, salt, _LABEL + b"key/to-device\0" + bound)
        self.link = Link(mac.hkdf(key, salt, _LABEL + b"key/to-host\0" + bound))
        self.evidence = mac.hkdf(key, b"", _LABEL + b"key/evidence\0")
        self.ending = False  # once everything is acknowledged
        self.ended = False


class Control:
    """Answers the control channel; ``session`` is there once a host proved itself."""

    def __init__(self, hal: board.Hal, memory: Memory, log: logbook.Logbook) -> None:
        self.boot_id = hal.random(16)
        self.firmware_hash = hal.firmware_hash()
        self.session: Session | None = None
        self._hal = hal
        self._memory = memory
        self._log = log
        self._host_nonce = b""
        self._device_nonce = b""

    def receive(self, got: frame.Frame, now_ms: int) -> bytes:
        """Take a frame of the control channel and return the answer for the line."""
        fields = cbor.decode(got.payload)
        if fields is None:
            return b""
        if got.kind == _HELLO_ASK:
            return self._hello()
        value = fields.get(1)
        if not isinstance(value, bytes) or len(fields) != 1 or self.session is not None:
            return b""
        if got.kind == _CHALLENGE and len(value) == 16:
            return self._challenged(value)
        if got.kind == _PROOF and self._host_nonce:
            self._proved(value, now_ms)
        elif got.kind == _PAIR and len(value) == 32:
            return self._pair(value, now_ms)
        return b""

    def _hello(self) -> bytes:
        return _say(
            _HELLO,
            {
                1: PROTOCOL,
                2: self._hal.model,
                3: VERSION,
                4: self.boot_id,
                5: self.firmware_hash,
                6: bool(self._memory.key),
                7: self.session is not None,
                8: self._hal.switch(),
                9: self._hal.confirm(),
            },
        )

    def _challenged(self, nonce: bytes) -> bytes:
        if not self._memory.key:
            return _say(_REFUSAL, {1: "unpaired"})
        if nonce != self._host_nonce:
            self._host_nonce = nonce
            self._device_nonce = self._hal.random(16)
        proof = mac.hmac(self._memory.key, _LABEL + b"device\0", self._transcript())
        return _say(
            _RESPONSE,
            {
                1: nonce,
                2: self._device_nonce,
                3: self.boot_id,
                4: self.firmware_hash,
                5: proof,
            },
        )

    def _proved(self, proof: bytes, now_ms: int) -> None:
        expected = mac.hmac(self._memory.key, _LABEL + b"host\0", self._transcript())
        if not mac.same(expected, proof):
            return
        salt = self._host_nonce + self._device_nonce
        bound = self.boot_id + self.firmware_hash
        self.session = Session(self._memory.key, salt, bound)
        self._host_nonce = b""  # a proof is good once
        try:
            self._log.append(logbook.SESSION, 0, now_ms)
        except OSError:
            pass  # a full disk may not keep a host away from the latch

    def _transcript(self) -> bytes:
        nonces = self._host_nonce + self._device_nonce
        return nonces + self.boot_id + self.firmware_hash

    def _pair(self, key: bytes, now_ms: int) -> bytes:
        refused = self._pairing_refused(key)
        if refused:
            return _say(_REFUSAL, {1: refused})
        if not self._memory.key:
            self._memory.key = key
            try:
                self._memory.save()
            except OSError:
                self._memory.key = b""
                return _say(_REFUSAL, {1: "memory"})
            self._log.append(logbook.PAIRED, 0, now_ms)
        told = self.boot_id + self.firmware_hash
        proof = mac.hmac(key, _LABEL + b"paired\0", told)
        return _say(_PAIRED, {1: self.boot_id, 2: self.firmware_hash, 3: proof})

    def _pairing_refused(self, key: bytes) -> str:
        if self._hal.switch() != board.MAINTENANCE:
            return "switch"
        if not self._hal.confirm():
            return "button"
        if key == bytes(32):
            return "invalid"
        # The same key again is the host repeating what it has no answer to.
        if self._memory.key and not mac.same(self._memory.key, key):
            return "paired"
        return ""


def _say(kind: int, fields: dict) -> bytes:
    return frame.encode(kind, 0, frame.CONTROL, 0, cbor.encode(fields), None)
