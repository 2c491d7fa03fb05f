# SPDX-License-Identifier: Apache-2.0
"""The device's own log: a chain of hashes that can be checked from outside."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from firmware_bridge.errors import LogBrokenError


class LogKind(IntEnum):
    """What the device writes down."""

    BOOT = 1
    """It started; the value is the number of starts."""
    PAIRED = 2
    """It took a pairing key."""
    SESSION = 3
    """A host proved the pairing."""
    TAMPER = 4
    """A latch closed; the value is all that is latched."""
    CLEARED = 5
    """A latch was cleared in maintenance; the value is what was latched."""
    ARMED = 6
    """The loops are watched."""
    DISARMED = 7
    """The loops are not watched."""
    ZEROIZED = 8
    """It forgot the pairing key on command."""
    FORGOTTEN = 9
    """It forgot the pairing key: started in MAINTENANCE with the button held."""
    GRANTED = 10
    """A person said yes; the value is the digest's first four bytes."""
    DENIED = 11
    """A person said no; the value is the digest's first four bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One entry.

    Attributes:
        sequence: From 1, rising by one.
        kind: What happened; a number that is no ``LogKind`` is of newer firmware.
        value: What belongs to it, 32 bits.
        boots: How often the device had started then.
        uptime_ms: How long after that start.
        previous: The hash before, 32 bytes.
        digest: Its own hash, 32 bytes.
    """

    sequence: int
    kind: int
    value: int
    boots: int
    uptime_ms: int
    previous: bytes
    digest: bytes


def entry_digest(record: LogRecord) -> bytes:
    """Compute what an entry's hash must be.

    Args:
        record: The entry.

    Returns:
        SHA-256 over previous ‖ sequence u32 ‖ kind u8 ‖ value u32 ‖ boots u32 ‖
        uptime u64, big endian.
    """
    numbers = struct.pack(
        ">IBIIQ",
        record.sequence,
        record.kind,
        record.value,
        record.boots,
        record.uptime_ms,
    )
    return hashlib.sha256(record.previous + numbers).digest()


def require_chain(records: Sequence[LogRecord], *, head: bytes) -> None:
    """Check that entries follow from each other and end where the device says.

    Args:
        records: Oldest first. The device keeps the newest only, so the first one's
            ``previous`` is taken as it is.
        head: The hash the device told as its newest; zeros for an empty log.

    Raises:
        LogBrokenError: They do not.
    """
    previous = records[0].previous if records else bytes(32)
    sequence = records[0].sequence if records else 1
    for record in records:
        if record.sequence != sequence or record.previous != previous:
            raise LogBrokenError(f"log entry {record.sequence} is out of place")
        if entry_digest(record) != record.digest:
            raise LogBrokenError(f"log entry {record.sequence} was changed")
        previous, sequence = record.digest, sequence + 1
    if previous != head:
        raise LogBrokenError("the log does not end where the panel says")
