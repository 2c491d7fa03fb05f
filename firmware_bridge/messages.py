# SPDX-License-Identifier: Apache-2.0
"""Everything a host and a panel can say to each other.

Type numbers below 0x10 belong to the control channel (handshake and pairing, before
there is a session), the others to the session. A request carries a number of its own
that its answer repeats.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

from firmware_bridge import flat_cbor
from firmware_bridge.errors import MessageError
from firmware_bridge.fields import flag, from_fields, number, octets, text, to_fields
from firmware_bridge.presence import DIGEST_BYTES, NONCE_BYTES, TEXT_BYTES

PROTOCOL: Final = 1
HASH_BYTES: Final = 32
MAC_BYTES: Final = 32
BOOT_ID_BYTES: Final = 16
RANDOM_MAX: Final = 64
_U8, _U16, _U32 = 0xFF, 0xFFFF, 0xFFFFFFFF
_WORD = 32


class RefusalCode(StrEnum):
    """Why a device says no."""

    UNKNOWN = "unknown"
    """It does not know this request."""
    INVALID = "invalid"
    """The request breaks a rule of its type."""
    BUSY = "busy"
    """It waits for a person already."""
    SWITCH = "switch"
    """The key switch is not where it must be."""
    BUTTON = "button"
    """The button is not held."""
    PAIRED = "paired"
    """It has a pairing key already."""
    UNPAIRED = "unpaired"
    """It has no pairing key."""
    COUNTER = "counter-mismatch"
    """The counter is not what the request takes it for."""
    LATCH = "latch-mismatch"
    """Another latch is closed than the request names."""
    LOOP = "loop-open"
    """A tamper loop is still open."""
    TAMPER = "tamper"
    """A latch is closed."""
    DENIED = "denied"
    """A person said no."""
    TIMEOUT = "timeout"
    """Nobody came."""
    END = "end"
    """There is nothing after that."""
    MEMORY = "memory"
    """It could not store what it has to store first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloAsk:
    """Host: who are you?"""

    kind: ClassVar[int] = 0x01
    protocol: int = number(1, most=_U8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Device: who it says it is; nothing of it is proved."""

    kind: ClassVar[int] = 0x02
    protocol: int = number(1, most=_U8)
    model: str = text(2, most=_WORD)
    version: str = text(3, most=_WORD)
    boot_id: bytes = octets(4, size=BOOT_ID_BYTES)
    firmware_hash: bytes = octets(5, size=HASH_BYTES)
    paired: bool = flag(6)
    in_session: bool = flag(7)
    switch: int = number(8, most=2)
    button: bool = flag(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Host: prove that you have the pairing key."""

    kind: ClassVar[int] = 0x03
    nonce: bytes = octets(1, size=NONCE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Device: here is the proof; now you."""

    kind: ClassVar[int] = 0x04
    host_nonce: bytes = octets(1, size=NONCE_BYTES)
    nonce: bytes = octets(2, size=NONCE_BYTES)
    boot_id: bytes = octets(3, size=BOOT_ID_BYTES)
    firmware_hash: bytes = octets(4, size=HASH_BYTES)
    mac: bytes = octets(5, size=MAC_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Host: mine; the session begins with its arrival."""

    kind: ClassVar[int] = 0x05
    mac: bytes = octets(1, size=MAC_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRequest:
    """Host: take this key, if a person holds the button in MAINTENANCE."""

    kind: ClassVar[int] = 0x06
    key: bytes = octets(1, size=32)

    def __repr__(self) -> str:
        """Show no key.

        Returns:
            A text for logs.
        """
        return "PairRequest(key=REDACTED)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Device: it is stored; the MAC is by the key."""

    kind: ClassVar[int] = 0x07
    boot_id: bytes = octets(1, size=BOOT_ID_BYTES)
    firmware_hash: bytes = octets(2, size=HASH_BYTES)
    mac: bytes = octets(3, size=MAC_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRefusal:
    """Device: no, before there is a session."""

    kind: ClassVar[int] = 0x0F
    code: str = text(1, most=_WORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Device: about every 500 ms."""

    kind: ClassVar[int] = 0x10
    uptime_ms: int = number(1)
    tamper: int = number(2, most=_U16)
    switch: int = number(3, most=2)
    counter: int = number(4)
    armed: bool = flag(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperEvent:
    """Device: a latch closed."""

    kind: ClassVar[int] = 0x11
    latched: int = number(1, most=_U16)
    counter: int = number(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchEvent:
    """Device: the key was turned."""

    kind: ClassVar[int] = 0x12
    position: int = number(1, most=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRead:
    """Host: how are you?"""

    kind: ClassVar[int] = 0x20
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Device: its state, with the newest entry of its log."""

    kind: ClassVar[int] = 0x21
    request: int = number(0, most=_U32)
    tamper: int = number(1, most=_U16)
    switch: int = number(2, most=2)
    counter: int = number(3)
    armed: bool = flag(4)
    loops_open: int = number(5, most=_U16)
    log_sequence: int = number(6, most=_U32)
    log_first: int = number(7, most=_U32)
    log_head: bytes = octets(8, size=HASH_BYTES)
    bad_frames: int = number(9, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceRequest:
    """Host: show this and ask a person."""

    kind: ClassVar[int] = 0x22
    request: int = number(0, most=_U32)
    nonce: bytes = octets(1, size=NONCE_BYTES)
    digest: bytes = octets(2, size=DIGEST_BYTES)
    text: str = text(3, most=TEXT_BYTES)
    timeout_ms: int = number(4, most=120_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceGranted:
    """Device: a person said yes to exactly this."""

    kind: ClassVar[int] = 0x23
    request: int = number(0, most=_U32)
    nonce: bytes = octets(1, size=NONCE_BYTES)
    digest: bytes = octets(2, size=DIGEST_BYTES)
    evidence: bytes = octets(3, size=MAC_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceDenied:
    """Device: no; ``timeout`` if nobody came."""

    kind: ClassVar[int] = 0x24
    request: int = number(0, most=_U32)
    nonce: bytes = octets(1, size=NONCE_BYTES)
    reason: str = text(2, most=_WORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceCancel:
    """Host: ask no longer; answered by a denial, ``cancelled``, if it still asked."""

    kind: ClassVar[int] = 0x25
    nonce: bytes = octets(1, size=NONCE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """Host: show this."""

    kind: ClassVar[int] = 0x26
    request: int = number(0, most=_U32)
    text: str = text(1, most=TEXT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomRead:
    """Host: draw random bytes."""

    kind: ClassVar[int] = 0x28
    request: int = number(0, most=_U32)
    size: int = number(1, most=RANDOM_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomBytes:
    """Device: here they are, raw from the source."""

    kind: ClassVar[int] = 0x29
    request: int = number(0, most=_U32)
    data: bytes = octets(1, most=RANDOM_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRead:
    """Host: where is the counter?"""

    kind: ClassVar[int] = 0x2A
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterValue:
    """Device: here; stored before it was said."""

    kind: ClassVar[int] = 0x2B
    request: int = number(0, most=_U32)
    counter: int = number(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterIncrement:
    """Host: raise it from this; one that is one higher already is left."""

    kind: ClassVar[int] = 0x2C
    request: int = number(0, most=_U32)
    expected: int = number(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestRequest:
    """Host: prove what you are."""

    kind: ClassVar[int] = 0x2D
    request: int = number(0, most=_U32)
    challenge: bytes = octets(1, size=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestReply:
    """Device: this, and a MAC over it and the challenge."""

    kind: ClassVar[int] = 0x2E
    request: int = number(0, most=_U32)
    firmware_hash: bytes = octets(1, size=HASH_BYTES)
    boot_id: bytes = octets(2, size=BOOT_ID_BYTES)
    boot_reason: int = number(3, most=2)
    counter: int = number(4)
    tamper: int = number(5, most=_U16)
    mac: bytes = octets(6, size=MAC_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Device: what was asked is done."""

    kind: ClassVar[int] = 0x2F
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Host: watch the loops."""

    kind: ClassVar[int] = 0x30
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disarm:
    """Host: watch them no longer; in MAINTENANCE only."""

    kind: ClassVar[int] = 0x31
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeroize:
    """Host: forget the pairing key."""

    kind: ClassVar[int] = 0x32
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroizeAck:
    """Device: it is overwritten; the session ends with the acknowledgement of this."""

    kind: ClassVar[int] = 0x33
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRead:
    """Host: the log's entry of this number."""

    kind: ClassVar[int] = 0x34
    request: int = number(0, most=_U32)
    sequence: int = number(1, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Device: that entry."""

    kind: ClassVar[int] = 0x35
    request: int = number(0, most=_U32)
    sequence: int = number(1, most=_U32)
    event: int = number(2, most=_U8)
    value: int = number(3, most=_U32)
    boots: int = number(4, most=_U32)
    uptime_ms: int = number(5)
    previous: bytes = octets(6, size=HASH_BYTES)
    digest: bytes = octets(7, size=HASH_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Host: test yourself."""

    kind: ClassVar[int] = 0x36
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestResult:
    """Device: which tests passed."""

    kind: ClassVar[int] = 0x37
    request: int = number(0, most=_U32)
    sha256: bool = flag(1)
    hmac: bool = flag(2)
    framing: bool = flag(3)
    memory: bool = flag(4)
    random: bool = flag(5)
    loops_closed: bool = flag(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareRead:
    """Host: what do you run?"""

    kind: ClassVar[int] = 0x38
    request: int = number(0, most=_U32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareInfo:
    """Device: this."""

    kind: ClassVar[int] = 0x39
    request: int = number(0, most=_U32)
    model: str = text(1, most=_WORD)
    version: str = text(2, most=_WORD)
    firmware_hash: bytes = octets(3, size=HASH_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearLatch:
    """Host: clear exactly this latch, if a person in MAINTENANCE says so too."""

    kind: ClassVar[int] = 0x3A
    request: int = number(0, most=_U32)
    latched: int = number(1, most=_U16)
    timeout_ms: int = number(2, most=120_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Host: the session is over; take a new handshake."""

    kind: ClassVar[int] = 0x3B


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Device: no."""

    kind: ClassVar[int] = 0x3F
    request: int = number(0, most=_U32)
    code: str = text(1, most=_WORD)


Message: TypeAlias = (
    HelloAsk
    | Hello
    | Challenge
    | Response
    | Proof
    | PairRequest
    | Paired
    | ControlRefusal
    | Heartbeat
    | TamperEvent
    | SwitchEvent
    | StatusRead
    | Status
    | PresenceRequest
    | PresenceGranted
    | PresenceDenied
    | PresenceCancel
    | Display
    | RandomRead
    | RandomBytes
    | CounterRead
    | CounterValue
    | CounterIncrement
    | AttestRequest
    | AttestReply
    | Done
    | Arm
    | Disarm
    | Zeroize
    | ZeroizeAck
    | LogRead
    | LogEntry
    | SelfTest
    | SelfTestResult
    | FirmwareRead
    | FirmwareInfo
    | ClearLatch
    | Lock
    | Refusal
)
Reply: TypeAlias = (
    Status
    | PresenceGranted
    | PresenceDenied
    | RandomBytes
    | CounterValue
    | AttestReply
    | Done
    | ZeroizeAck
    | LogEntry
    | SelfTestResult
    | FirmwareInfo
    | Refusal
)
TYPES: Final[dict[int, type[Message]]] = {kind.kind: kind for kind in Message.__args__}


def encode(message: Message) -> bytes:
    """Write a message's content; its type number is ``message.kind``.

    Args:
        message: Any message.

    Returns:
        Its payload, at most 256 bytes.

    Raises:
        MessageError: If a value is out of its bounds.
    """
    return flat_cbor.encode(to_fields(message))


def decode(kind: int, payload: bytes) -> Message:
    """Read a message.

    Args:
        kind: Its type number.
        payload: Its content.

    Returns:
        The message.

    Raises:
        MessageError: If it is not exactly one that could have been sent, or has a
            critical field that this version does not know.
    """
    message = TYPES.get(kind)
    if message is None:
        raise MessageError(f"message type {kind:#04x} is unknown")
    return from_fields(message, flat_cbor.decode(payload))
