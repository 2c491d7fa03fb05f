# SPDX-License-Identifier: Apache-2.0
"""What a device proves about itself on connecting.

A MAC by a microcontroller without secure boot is evidence of pairing, no proof
against somebody who opens the chip: the list of trusted firmware keeps honest
mistakes out, not a laboratory.
"""

import hmac
from dataclasses import dataclass
from enum import IntEnum

from firmware_bridge.errors import NotAuthenticError
from firmware_bridge.keys import AttestedFacts, Greeting, attest_mac
from firmware_bridge.messages import AttestReply
from firmware_bridge.panel_events import Switch, Tamper


class BootReason(IntEnum):
    """Why the device started last."""

    POWER_ON = 0
    """Power came."""
    WATCHDOG = 1
    """Its program had stopped."""
    SOFT = 2
    """It was asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A checked attestation.

    Attributes:
        model: The kind of board.
        version: Of the firmware.
        firmware_hash: SHA-256 of the firmware, 32 bytes; on the list.
        boot_id: Drawn at every start, 16 bytes.
        boot_reason: Why it started.
        counter: The monotonic counter.
        tamper: What is latched. A latch does not fail ``connect``, so that it can be
            cleared in maintenance; the caller decides.
        switch: Where the key switch stands.
        armed: Whether the loops are watched.
    """

    model: str
    version: str
    firmware_hash: bytes
    boot_id: bytes
    boot_reason: BootReason
    counter: int
    tamper: Tamper
    switch: Switch
    armed: bool


def judge(
    reply: AttestReply, *, challenge: bytes, evidence: bytearray, greeting: Greeting
) -> AttestedFacts:
    """Say whether an attestation is by the device that shook hands.

    Args:
        reply: What came back.
        challenge: What was asked with, 32 bytes.
        evidence: The pairing's evidence key.
        greeting: What the handshake was about.

    Returns:
        The facts, proved. Whether they are welcome is the caller's to say.

    Raises:
        NotAuthenticError: The MAC is wrong, or it is not of this start and firmware.
    """
    facts = AttestedFacts(
        firmware_hash=reply.firmware_hash,
        boot_id=reply.boot_id,
        boot_reason=reply.boot_reason,
        counter=reply.counter,
        tamper=reply.tamper,
    )
    same = (facts.boot_id, facts.firmware_hash) == (
        greeting.boot_id,
        greeting.firmware_hash,
    )
    if not same or not hmac.compare_digest(
        attest_mac(evidence, challenge, facts), reply.mac
    ):
        raise NotAuthenticError("the attestation is not by this panel")
    return facts
