# SPDX-License-Identifier: Apache-2.0
"""What a panel tells without being asked, and which of it must lock an appliance."""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import TypeAlias


class Switch(IntEnum):
    """Where the key switch stands."""

    OFF = 0
    """Nothing may be signed and nobody may grant."""
    RUN = 1
    """Normal work."""
    MAINTENANCE = 2
    """Pairing, and clearing a latch; nothing may be signed."""


class Tamper(IntFlag):
    """What has been disturbed since the latch was last cleared."""

    CASE = 1
    """The loop through the lid is open."""
    MESH = 2
    """The loop through the mesh or the second lid is open."""
    MEMORY = 4
    """The device found its own memory damaged."""


class LossReason(Enum):
    """Why a session is over."""

    HEARTBEAT = "heartbeat"
    """No heartbeat for three periods."""
    LINE = "line"
    """The device acknowledged nothing, however often it was told."""
    BAD_TAG = "bad-tag"
    """A whole frame came whose tag is not of this session."""
    COUNTER_BACK = "counter-back"
    """A counter lower than one told before."""
    BOOT = "boot"
    """The device started anew."""
    UNPLUGGED = "unplugged"
    """The serial line is gone."""
    PROTOCOL = "protocol"
    """An authentic message that makes no sense."""
    LOCKED = "locked"
    """We ended it ourselves."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat: about one in 500 ms.

    Attributes:
        uptime_ms: Time since the device started.
        switch: Where the key switch stands.
        tamper: What is latched.
        counter: The monotonic counter.
        armed: Whether the loops are watched.
    """

    uptime_ms: int
    switch: Switch
    tamper: Tamper
    counter: int
    armed: bool


@dataclass(frozen=True, slots=True)
class TamperSeen:
    """A latch closed, or was found closed on connecting.

    Attributes:
        latched: All that is latched now.
    """

    latched: Tamper


@dataclass(frozen=True, slots=True)
class SwitchMoved:
    """The key switch was turned.

    Attributes:
        position: Where it stands now.
    """

    position: Switch


@dataclass(frozen=True, slots=True)
class Degraded:
    """More bad frames in the last minute than a sound cable has.

    Attributes:
        bad_frames: How many.
    """

    bad_frames: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over; nothing more comes until the next ``connect``.

    Attributes:
        reason: Why.
    """

    reason: LossReason


PanelEvent: TypeAlias = Beat | TamperSeen | SwitchMoved | Degraded | Lost


def must_lock(event: PanelEvent) -> bool:
    """Say whether an appliance must stop signing on this.

    Args:
        event: What the panel told.

    Returns:
        True for a lost session, a latched tamper, and a switch that is not in RUN.
    """
    match event:
        case Beat():
            return bool(event.tamper) or event.switch is not Switch.RUN
        case SwitchMoved():
            return event.position is not Switch.RUN
        case TamperSeen() | Lost():
            return True
        case Degraded():
            return False
