# SPDX-License-Identifier: Apache-2.0
"""Keys for one message to the holder of an X25519 key.

An ephemeral key agrees with the recipient's; HKDF-SHA-256 over both public halves
gives as many AES-256 keys as are asked for, each good for one message only.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def agree_with(
    recipient: bytes, *, label: bytes, count: int = 1
) -> tuple[bytes, list[bytes]]:
    """Make keys that only the holder of a private key can make again.

    Args:
        recipient: Their public key, 32 bytes.
        label: What the keys are for.
        count: How many keys.

    Returns:
        The ephemeral public key, to be sent along, and the keys.

    Raises:
        ValueError: If the public key is none.
    """
    ephemeral = X25519PrivateKey.generate()
    point = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    return point, _keys(shared, label + point + recipient, count)


def agree_as(
    private: X25519PrivateKey, point: bytes, *, label: bytes, count: int = 1
) -> list[bytes]:
    """Make the keys again, as the recipient.

    Args:
        private: The recipient's key.
        point: The ephemeral public key.
        label: What the keys are for.
        count: How many keys.

    Returns:
        The keys.

    Raises:
        ValueError: If the ephemeral key is none.
    """
    shared = private.exchange(X25519PublicKey.from_public_bytes(point))
    return _keys(shared, label + point + private.public_key().public_bytes_raw(), count)


def _keys(shared: bytes, info: bytes, count: int) -> list[bytes]:
    derived = HKDF(
        algorithm=hashes.SHA256(), length=count * KEY_BYTES, salt=None, info=info
    ).derive(shared)
    return [derived[at : at + KEY_BYTES] for at in range(0, len(derived), KEY_BYTES)]
