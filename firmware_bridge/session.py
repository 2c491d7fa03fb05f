# SPDX-License-Identifier: Apache-2.0
"""The host's handshake: both sides prove the pairing key and get session keys.

::

    host  ── HelloAsk ─────────────────────────► device
    host  ◄─ Hello (unproved) ───────────────── device
    host  ── Challenge(nonce h) ───────────────► device
    host  ◄─ Response(nonce d, boot, firmware, MAC by the key) ── device
    host  ── Proof(MAC by the key) ────────────► device
    host  ◄─ the first heartbeat of the session ─ device

The host repeats whatever is not answered and begins with a fresh nonce when a round
fails. A device in a session answers ``Hello`` but takes no challenge until it restarts,
is told ``Lock``, or has been alone on the line for a second: nobody else can end one.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from firmware_bridge.errors import MessageError, NotAuthenticError
from firmware_bridge.frames import Channel, Flags, Frame, encode
from firmware_bridge.keys import Greeting, SessionKeys, derive, device_mac, host_mac
from firmware_bridge.link import RETRIES, RETRY_S
from firmware_bridge.messages import (
    PROTOCOL,
    Challenge,
    ControlRefusal,
    Hello,
    HelloAsk,
    Message,
    Proof,
    RefusalCode,
    Response,
    decode,
)
from firmware_bridge.messages import encode as encode_message
from firmware_bridge.presence import NONCE_BYTES

Entropy: TypeAlias = Callable[[int], bytes]


class Step(Enum):
    """How far a handshake is."""

    HELLO = "hello"
    """Somebody is looked for on the line."""
    CHALLENGE = "challenge"
    """The device has to prove the key."""
    PROOF = "proof"
    """It has; our proof is under way and the session keys are in force."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """The device proved the key.

    Attributes:
        keys: The session's.
        greeting: What went into them.
        hello: What it said of itself before; model and version are unproved.
    """

    keys: SessionKeys
    greeting: Greeting
    hello: Hello


def control_frame(message: Message) -> bytes:
    """Write a message of the control channel for the line."""
    frame = Frame(message.kind, Flags.NONE, Channel.CONTROL, 0, encode_message(message))
    return encode(frame, None)


def read_control(frame: Frame) -> Message | None:
    """Read a message of the control channel.

    Args:
        frame: A frame of it.

    Returns:
        The message; None if it is none that is known.
    """
    try:
        return decode(frame.kind, frame.payload)
    except MessageError:
        return None


class Handshake:
    """One attempt to agree on a session; sans I/O.

    Args:
        key: The pairing key; read in place.
        entropy: Draws nonces.

    Attributes:
        step: How far it is.
        hello: What the device said of itself, once it did.
    """

    def __init__(self, key: bytearray, *, entropy: Entropy) -> None:
        self.step = Step.HELLO
        self.hello: Hello | None = None
        self._key = key
        self._entropy = entropy
        self._tries = 0
        self._due_s = float("-inf")
        self._says: Message = HelloAsk(protocol=PROTOCOL)

    @property
    def deadline_s(self) -> float:
        """When ``tick`` repeats something."""
        return self._due_s

    def tick(self, now_s: float) -> bytes:
        """Say, or repeat, what is due.

        Args:
            now_s: The monotonic time.

        Returns:
            Bytes for the line.
        """
        if now_s < self._due_s:
            return b""
        if self._tries > RETRIES and self.step is Step.PROOF:
            self._say(Step.CHALLENGE, Challenge(nonce=self._entropy(NONCE_BYTES)))
        self._tries += 1
        self._due_s = now_s + RETRY_S
        return control_frame(self._says)

    def receive(self, message: Message) -> Agreed | None:
        """Take a message of the control channel.

        Args:
            message: What the device said.

        Returns:
            The session's keys, once it proved its own; ``tick`` then sends the proof.

        Raises:
            NotAuthenticError: If it has another key, or none.
        """
        match message:
            case Hello() if self.step is Step.HELLO and message.protocol == PROTOCOL:
                self.hello = message
                self._say(Step.CHALLENGE, Challenge(nonce=self._entropy(NONCE_BYTES)))
            case Response() if self.step is Step.CHALLENGE:
                return self._respond(message)
            case ControlRefusal(code=RefusalCode.UNPAIRED):
                raise NotAuthenticError("the panel has no pairing key")
        return None

    def _respond(self, response: Response) -> Agreed | None:
        if (
            not isinstance(self._says, Challenge)
            or self.hello is None
            or response.host_nonce != self._says.nonce
        ):
            return None  # the answer to an older question
        greeting = Greeting(
            host_nonce=response.host_nonce,
            device_nonce=response.nonce,
            boot_id=response.boot_id,
            firmware_hash=response.firmware_hash,
        )
        if not hmac.compare_digest(device_mac(self._key, greeting), response.mac):
            raise NotAuthenticError("the panel does not have the pairing key")
        self._say(Step.PROOF, Proof(mac=host_mac(self._key, greeting)))
        return Agreed(derive(self._key, greeting), greeting, self.hello)

    def _say(self, step: Step, message: Message) -> None:
        self.step, self._says = step, message
        self._tries, self._due_s = 0, float("-inf")
