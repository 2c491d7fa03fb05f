# SPDX-License-Identifier: Apache-2.0
"""Every key and every MAC that a host and a panel share.

One pairing key, 32 bytes, is drawn at pairing. It authenticates handshakes and nothing
else; sessions and evidence have keys derived from it. All fields of a MAC have fixed
sizes, and each begins with a label of its own, so that none stands for another.

Source: RFC 5869 (HKDF), RFC 2104 (HMAC).
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from firmware_bridge.errors import MessageError

PAIRING_KEY_BYTES: Final = 32
_LABEL: Final = b"saltkeep/panel/v1/"
_DEVICE: Final = _LABEL + b"device\0"
_HOST: Final = _LABEL + b"host\0"
_PAIRED: Final = _LABEL + b"paired\0"
_ATTEST: Final = _LABEL + b"attest\0"
_GRANT: Final = _LABEL + b"grant\0"
_TO_DEVICE: Final = _LABEL + b"key/to-device\0"
_TO_HOST: Final = _LABEL + b"key/to-host\0"
_EVIDENCE: Final = _LABEL + b"key/evidence\0"
_ID: Final = _LABEL + b"id\0"
_ID_BYTES: Final = 8
_FACTS: Final = struct.Struct(">BQH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What both sides put into the handshake.

    Attributes:
        host_nonce: 16 bytes.
        device_nonce: 16 bytes.
        boot_id: 16 bytes.
        firmware_hash: 32 bytes.
    """

    host_nonce: bytes
    device_nonce: bytes
    boot_id: bytes
    firmware_hash: bytes

    @property
    def transcript(self) -> bytes:
        """All of it, 80 bytes."""
        return self.host_nonce + self.device_nonce + self.boot_id + self.firmware_hash


@dataclass(slots=True, kw_only=True)
class SessionKeys:
    """The keys of one session, in buffers that ``wipe`` overwrites.

    Attributes:
        to_device: Tags what the host sends.
        to_host: Tags what the device sends.
        evidence: The device's MACs over attestations and grants; the same in every
            session of a pairing.
    """

    to_device: bytearray
    to_host: bytearray
    evidence: bytearray

    def wipe(self) -> None:
        """Overwrite them."""
        for key in (self.to_device, self.to_host, self.evidence):
            wipe(key)

    def __repr__(self) -> str:
        """Show no key.

        Returns:
            A text for logs.
        """
        return "SessionKeys(REDACTED)"


def wipe(key: bytearray) -> None:
    """Overwrite a key where it lies."""
    key[:] = bytes(len(key))


def derive(key: bytearray, greeting: Greeting) -> SessionKeys:
    """Derive a session's keys.

    Args:
        key: The pairing key.
        greeting: The handshake's values.

    Returns:
        Three keys of 32 bytes.
    """
    salt = greeting.host_nonce + greeting.device_nonce
    bound = greeting.boot_id + greeting.firmware_hash
    return SessionKeys(
        to_device=hkdf(key, salt=salt, info=_TO_DEVICE + bound),
        to_host=hkdf(key, salt=salt, info=_TO_HOST + bound),
        evidence=hkdf(key, salt=b"", info=_EVIDENCE),
    )


def hkdf(key: bytearray, *, salt: bytes, info: bytes) -> bytearray:
    """Derive 32 bytes: HKDF-SHA256, one block.

    Args:
        key: The input keying material.
        salt: Any bytes; none stands for 32 zeros.
        info: What the result is for.

    Returns:
        32 bytes.
    """
    pseudo_random = bytearray(hmac.digest(salt or bytes(32), key, "sha256"))
    out = bytearray(hmac.digest(pseudo_random, info + b"\x01", "sha256"))
    wipe(pseudo_random)
    return out


def panel_id(key: bytearray) -> str:
    """Return what a pairing may be called in the open; it says nothing of the key.

    Args:
        key: The pairing key.

    Returns:
        16 hex digits: of the device and this pairing of it.
    """
    require_key(key)
    return hmac.digest(key, _ID, "sha256")[:_ID_BYTES].hex()


def device_mac(key: bytearray, greeting: Greeting) -> bytes:
    """Return what a device proves the pairing with."""
    return hmac.digest(key, _DEVICE + greeting.transcript, "sha256")


def host_mac(key: bytearray, greeting: Greeting) -> bytes:
    """Return what a host proves the pairing with."""
    return hmac.digest(key, _HOST + greeting.transcript, "sha256")


def paired_mac(key: bytearray, *, boot_id: bytes, firmware_hash: bytes) -> bytes:
    """Return how a device shows that it has stored a pairing key."""
    return hmac.digest(key, _PAIRED + boot_id + firmware_hash, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedFacts:
    """What an attestation's MAC covers besides the challenge.

    Attributes:
        firmware_hash: 32 bytes.
        boot_id: 16 bytes.
        boot_reason: One byte.
        counter: 64 bits.
        tamper: 16 bits.
    """

    firmware_hash: bytes
    boot_id: bytes
    boot_reason: int
    counter: int
    tamper: int


def attest_mac(evidence: bytearray, challenge: bytes, facts: AttestedFacts) -> bytes:
    """Return an attestation's MAC.

    Args:
        evidence: The pairing's evidence key.
        challenge: 32 bytes drawn by the host.
        facts: What the device says of itself.

    Returns:
        32 bytes.
    """
    numbers = _FACTS.pack(facts.boot_reason, facts.counter, facts.tamper)
    told = challenge + facts.firmware_hash + facts.boot_id + numbers
    return hmac.digest(evidence, _ATTEST + told, "sha256")


def grant_mac(evidence: bytearray, *, nonce: bytes, digest: bytes, text: str) -> bytes:
    """Return the MAC a device puts on a person's yes.

    Args:
        evidence: The pairing's evidence key.
        nonce: The question's number, 16 bytes.
        digest: What was asked about, 32 bytes.
        text: What the display showed.

    Returns:
        32 bytes.
    """
    shown = hashlib.sha256(text.encode("utf-8")).digest()
    return hmac.digest(evidence, _GRANT + nonce + digest + shown, "sha256")


def require_key(key: bytearray) -> None:
    """Refuse a pairing key of the wrong size, and the one a wiped buffer holds.

    Args:
        key: The buffer.

    Raises:
        MessageError: If it is no pairing key.
    """
    if len(key) != PAIRING_KEY_BYTES or not any(key):
        raise MessageError("a pairing key is 32 bytes that are not all zero")
