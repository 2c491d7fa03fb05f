# SPDX-License-Identifier: Apache-2.0
"""Every key and every MAC that an appliance and a client on its line share.

One pre-shared key, 32 bytes, per client; its name on the line and in the roster is a
hash of it. It authenticates handshakes. A session's keys come from it *and* from an
X25519 exchange of keys drawn for this session alone: a line that was recorded stays
closed to who finds the pre-shared key later. The public halves are the two nonces.

All fields of a MAC have fixed sizes, and each begins with a label of its own.

Source: RFC 5869 (HKDF), RFC 7748 (X25519), NIST SP 800-38D (AES-GCM).
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from firmware_bridge.keys import hkdf, wipe

KEY_ID_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
MAC_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # of AES-GCM
_LABEL: Final = b"saltkeep/transport/v1/"
_ID: Final = _LABEL + b"id\0"
_APPLIANCE: Final = _LABEL + b"appliance\0"
_CLIENT: Final = _LABEL + b"client\0"
_TO_APPLIANCE: Final = _LABEL + b"key/to-appliance\0"
_TO_CLIENT: Final = _LABEL + b"key/to-client\0"


class SessionCipher:
    """One direction of a session: AES-256-GCM, its nonce the frame's header.

    The header holds the frame's number in its direction, which rises by one, and
    whether it is an acknowledgement: no two frames have the same, but for repetitions
    of the very same bytes.

    Args:
        key: 32 bytes; wiped here, once the library has its own copy.
    """

    def __init__(self, key: bytearray) -> None:
        self._cipher = AESGCM(bytes(key))
        wipe(key)

    def seal(self, header: bytes, payload: bytes) -> bytes:
        """Return the encrypted payload and its tag."""
        return self._cipher.encrypt(_nonce(header), payload, header)

    def open(self, header: bytes, sealed: bytes) -> bytes | None:
        """Return the plain payload; None if it is not of this session."""
        try:
            return self._cipher.decrypt(_nonce(header), sealed, header)
        except InvalidTag:
            return None

    def __repr__(self) -> str:
        """Show no key.

        Returns:
            A text for logs.
        """
        return "SessionCipher(REDACTED)"


def _nonce(header: bytes) -> bytes:
    return header.ljust(_NONCE_BYTES, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What both sides put into the handshake.

    Attributes:
        key_id: Which client, 32 bytes.
        client_public: Its X25519 key of this session, 32 bytes.
        appliance_public: The appliance's.
    """

    key_id: bytes
    client_public: bytes
    appliance_public: bytes

    @property
    def transcript(self) -> bytes:
        """All of it, 96 bytes."""
        return self.key_id + self.client_public + self.appliance_public


@dataclass(frozen=True, slots=True)
class SessionCiphers:
    """Both directions of a session."""

    to_appliance: SessionCipher
    to_client: SessionCipher


def key_id_of(key: bytes | bytearray) -> bytes:
    """Return what a pre-shared key is called, 32 bytes; it tells nothing of the key."""
    return hashlib.sha256(_ID + key).digest()


def appliance_mac(key: bytearray, greeting: Greeting) -> bytes:
    """Return what an appliance proves the key with."""
    return hmac.digest(key, _APPLIANCE + greeting.transcript, "sha256")


def client_mac(key: bytearray, greeting: Greeting) -> bytes:
    """Return what a client proves the key with."""
    return hmac.digest(key, _CLIENT + greeting.transcript, "sha256")


def public_of(private: X25519PrivateKey) -> bytes:
    """Return the public half, 32 bytes."""
    return private.public_key().public_bytes_raw()


def agree(
    key: bytearray, greeting: Greeting, private: X25519PrivateKey, *, peer: bytes
) -> SessionCiphers:
    """Derive a session's keys.

    Args:
        key: The pre-shared key.
        greeting: The handshake's values.
        private: Our X25519 key of this session.
        peer: Their public one, 32 bytes.

    Returns:
        A cipher per direction.

    Raises:
        ValueError: If their key leads to a secret that is none (all zero).
    """
    shared = bytearray(private.exchange(X25519PublicKey.from_public_bytes(peer)))
    material = shared + key
    salt = greeting.client_public + greeting.appliance_public
    ciphers = SessionCiphers(
        *(
            SessionCipher(hkdf(material, salt=salt, info=label + greeting.key_id))
            for label in (_TO_APPLIANCE, _TO_CLIENT)
        )
    )
    wipe(shared)
    wipe(material)
    return ciphers
