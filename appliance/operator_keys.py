# SPDX-License-Identifier: Apache-2.0
"""An operator's own signing key: made, kept in a file, used to approve.

Ed25519, in PEM, mode 0600, with a passphrase if one is given. It stays on the
operator's machine; the policy holds its public half.
"""

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from appliance.errors import ConfigError
from appliance.installation import require_private
from appliance.policy_file import Policy
from appliance.wire import OperatorSignature

_MODE = 0o600


def make_operator_key(path: Path, *, passphrase: bytes = b"") -> str:
    """Make a key and write it to a new file.

    Args:
        path: Must not exist.
        passphrase: Encrypts the file; empty: it is not encrypted.

    Returns:
        The public key as a policy names it: 32 bytes in base64.
    """
    key = Ed25519PrivateKey.generate()
    write_private_key(key, path, passphrase=passphrase)
    return public_half(key)


def load_operator_key(path: Path, *, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read a key.

    Args:
        path: Its file, mode 0600.
        passphrase: If it is encrypted.

    Returns:
        The key.

    Raises:
        ConfigError: If it is no Ed25519 key.
    """
    key = read_private_key(path, passphrase=passphrase, what="the operator key")
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key")
    return key


def write_private_key(
    key: Ed25519PrivateKey | X25519PrivateKey, path: Path, *, passphrase: bytes
) -> None:
    """Write a person's private key to a new file, PEM, mode 0600.

    Args:
        key: The key.
        path: Must not exist.
        passphrase: Encrypts the file; empty: it is not encrypted.

    Raises:
        ConfigError: If the file exists or can not be written.
    """
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def read_private_key(path: Path, *, passphrase: bytes, what: str) -> object:
    """Read a person's private key of any kind.

    Args:
        path: Its file, mode 0600.
        passphrase: If it is encrypted.
        what: Its name, for the message.

    Returns:
        The key.

    Raises:
        ConfigError: If it is missing, open to others, no key, or the passphrase is
            not the right one.
    """
    require_private(path, what=what)
    try:
        return serialization.load_pem_private_key(path.read_bytes(), passphrase or None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is no private key, or its passphrase is another one"
        ) from error


def is_encrypted(path: Path) -> bool:
    """Say whether a key file asks for a passphrase."""
    return b"ENCRYPTED" in path.read_bytes()


def public_half(key: Ed25519PrivateKey) -> str:
    """Return a public key as a policy names it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign_as_operator(
    key: Ed25519PrivateKey, digest: bytes, policy: Policy
) -> OperatorSignature:
    """Sign a digest under the name the policy has for this key.

    Args:
        key: The operator's.
        digest: Of an act or a policy.
        policy: Names the operators.

    Returns:
        The signature.

    Raises:
        ConfigError: If the policy names no such operator.
    """
    public = public_half(key)
    names = [one.name for one in policy.operators if one.key == public]
    if not names:
        raise ConfigError(
            f"the policy names no operator with key {public}; it names"
            f" {', '.join(one.name for one in policy.operators)}"
        )
    signature = base64.b64encode(key.sign(digest)).decode()
    return OperatorSignature(names[0], signature)
