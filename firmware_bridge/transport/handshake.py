# SPDX-License-Identifier: Apache-2.0
"""Both sides prove the pre-shared key and agree on a session; no I/O.

::

    client ── HELLO(version, key id, public c) ────────► appliance
    client ◄─ CHALLENGE(public c, public a, MAC) ─────── appliance
    client ── PROOF(MAC) ──────────────────────────────► appliance
    client ◄─ READY, the first frame of the session ──── appliance

The client repeats what is not answered; the appliance answers a repeated HELLO with the
same CHALLENGE. A session there is lives on until a PROOF is right: who has no key can
not end one by saying HELLO. REFUSED is a hint that nobody vouches for.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from firmware_bridge.errors import NotAuthenticError
from firmware_bridge.frames import Channel, Flags, Frame, encode
from firmware_bridge.keys import wipe
from firmware_bridge.link import RETRIES
from firmware_bridge.transport.pairing_keys import (
    KEY_ID_BYTES,
    MAC_BYTES,
    PUBLIC_BYTES,
    Greeting,
    SessionCiphers,
    agree,
    appliance_mac,
    client_mac,
    key_id_of,
    public_of,
)

VERSION: Final = bytes([1])
_HELLO_BYTES: Final = 1 + KEY_ID_BYTES + PUBLIC_BYTES
_CHALLENGE_BYTES: Final = 2 * PUBLIC_BYTES + MAC_BYTES
FindKey: TypeAlias = Callable[[bytes], bytearray | None]


class Step(IntEnum):
    """Messages of the control channel; a panel's have other numbers."""

    HELLO = 0x41
    """A client says which key it has."""
    CHALLENGE = 0x42
    """The appliance proves that it has the same."""
    PROOF = 0x43
    """And the client."""
    REFUSED = 0x44
    """The appliance will not: the public key of the HELLO it answers."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """Both sides proved the key.

    Attributes:
        key_id: Whose it is.
        ciphers: The session's.
    """

    key_id: bytes
    ciphers: SessionCiphers


def _control(step: Step, payload: bytes) -> bytes:
    return encode(Frame(step, Flags.NONE, Channel.CONTROL, 0, payload), None)


class ClientHandshake:
    """A client's attempt to agree on a session.

    Args:
        key: The pre-shared key; read in place.
        retry_s: When to repeat what is not answered.
    """

    def __init__(self, key: bytearray, *, retry_s: float) -> None:
        self._key = key
        self._retry_s = retry_s
        self._begin()

    def _begin(self) -> None:
        self._private = X25519PrivateKey.generate()
        self._public = public_of(self._private)
        self._proving = False
        hello = VERSION + key_id_of(self._key) + self._public
        self._say(_control(Step.HELLO, hello))

    def _say(self, data: bytes) -> None:
        self._says, self._tries, self.deadline_s = data, 0, float("-inf")

    def tick(self, now_s: float) -> bytes:
        """Return what is to be said, or said again, now.

        After a proof that nothing followed it begins anew: the appliance may have
        started again in between.
        """
        if now_s < self.deadline_s:
            return b""
        if self._proving and self._tries > RETRIES:
            self._begin()
        self._tries += 1
        self.deadline_s = now_s + self._retry_s
        return self._says

    def receive(self, frame: Frame) -> Agreed | None:
        """Take a frame of the control channel.

        Args:
            frame: The frame.

        Returns:
            The session, once the appliance proved the key; ``tick`` says the proof.

        Raises:
            NotAuthenticError: If it proved another key, or refused ours.
        """
        about_us = frame.payload.startswith(self._public)
        if frame.kind == Step.REFUSED and about_us and not self._proving:
            raise NotAuthenticError("the appliance does not take this key")
        right_size = len(frame.payload) == _CHALLENGE_BYTES
        if frame.kind != Step.CHALLENGE or not about_us or not right_size:
            return None
        return None if self._proving else self._answer(frame.payload)

    def _answer(self, challenge: bytes) -> Agreed:
        theirs = challenge[PUBLIC_BYTES : 2 * PUBLIC_BYTES]
        greeting = Greeting(
            key_id=key_id_of(self._key),
            client_public=self._public,
            appliance_public=theirs,
        )
        expected = appliance_mac(self._key, greeting)
        if not hmac.compare_digest(expected, challenge[2 * PUBLIC_BYTES :]):
            raise NotAuthenticError("whoever answers does not have the key")
        self._proving = True
        self._say(_control(Step.PROOF, client_mac(self._key, greeting)))
        ciphers = agree(self._key, greeting, self._private, peer=theirs)
        return Agreed(greeting.key_id, ciphers)


@dataclass(frozen=True, slots=True)
class _Pending:
    hello: bytes
    challenge: bytes
    expected: bytes
    agreed: Agreed


class Stranger(Exception):  # noqa: N818 - an outcome, for the listener's log
    """Somebody who may not connect knocked."""


class ListenerHandshake:
    """The appliance's half: at most one that is not finished.

    Args:
        find: Returns the pre-shared key of an id, for us to wipe, if its owner may
            connect.
    """

    def __init__(self, find: FindKey) -> None:
        self._find = find
        self._pending: _Pending | None = None
        self.says = b""

    def receive(self, frame: Frame) -> Agreed | None:
        """Take a frame of the control channel; ``says`` is the answer to it.

        Args:
            frame: The frame.

        Returns:
            The session, once a client proved its key.

        Raises:
            Stranger: If somebody unknown spoke, or proved nothing.
        """
        self.says = b""
        if frame.kind == Step.HELLO and len(frame.payload) == _HELLO_BYTES:
            self._hello(frame.payload)
        elif frame.kind == Step.PROOF and self._pending is not None:
            return self._proof(self._pending, frame.payload)
        return None

    def _hello(self, hello: bytes) -> None:
        if self._pending is None or self._pending.hello != hello:
            self._pending = self._challenge(hello)
        self.says = self._pending.challenge

    def _challenge(self, hello: bytes) -> _Pending:
        version, key_id = hello[:1], hello[1 : 1 + KEY_ID_BYTES]
        theirs = hello[1 + KEY_ID_BYTES :]
        key = self._find(key_id) if version == VERSION else None
        if key is None:
            self.says = _control(Step.REFUSED, theirs)
            raise Stranger(f"unknown key {key_id.hex()}")
        private = X25519PrivateKey.generate()
        ours = public_of(private)
        greeting = Greeting(key_id=key_id, client_public=theirs, appliance_public=ours)
        try:
            ciphers = agree(key, greeting, private, peer=theirs)
            challenge = theirs + ours + appliance_mac(key, greeting)
            expected = client_mac(key, greeting)
        except ValueError as error:
            raise Stranger("a public key that is none") from error
        finally:
            wipe(key)
        said = _control(Step.CHALLENGE, challenge)
        return _Pending(hello, said, expected, Agreed(key_id, ciphers))

    def _proof(self, pending: _Pending, mac: bytes) -> Agreed:
        if not hmac.compare_digest(pending.expected, mac):
            raise Stranger(f"no proof of key {pending.agreed.key_id.hex()}")
        self._pending = None
        return pending.agreed
