# SPDX-License-Identifier: Apache-2.0
"""An officer's key: exported seeds are encrypted to it.

X25519, in PEM, mode 0600, with a passphrase if one is given. It stays on the
officer's machine; the policy holds its public half.
"""

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from appliance.errors import ConfigError
from appliance.operator_keys import read_private_key, write_private_key


def make_officer_key(path: Path, *, passphrase: bytes = b"") -> str:
    """Make a key and write it to a new file.

    Args:
        path: Must not exist.
        passphrase: Encrypts the file; empty: it is not encrypted.

    Returns:
        The public key as a policy names it: 32 bytes in base64.
    """
    key = X25519PrivateKey.generate()
    write_private_key(key, path, passphrase=passphrase)
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def load_officer_key(path: Path, *, passphrase: bytes = b"") -> X25519PrivateKey:
    """Read a key.

    Args:
        path: Its file, mode 0600.
        passphrase: If it is encrypted.

    Returns:
        The key.

    Raises:
        ConfigError: If it is no X25519 key.
    """
    key = read_private_key(path, passphrase=passphrase, what="the officer's key")
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path} is no X25519 key")
    return key
