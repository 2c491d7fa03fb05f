# SPDX-License-Identifier: Apache-2.0
"""Tokens of ``SignBundle``: for one address, one bundle, once, for a short time.

``sk1.NONCE.EXPIRY.MAC``: the MAC is HMAC-SHA256 over address, bundle hash, nonce and
expiry, each of fixed form, so that no two differ only in where one field ends.

The tokens of Hub 1.4.4 were Argon2 hashes that carried the key itself as their salt:
whoever saw one held the key. They are told apart and refused.
"""

import base64
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hub.errors import ConfigError, RefusedError
from hub.model import Address, BundleHash

VERSION: Final = "sk1"
_LABEL: Final = "saltkeep/legacy-token/v1"
_NONCE_BYTES: Final = 16
_KEY_CHARACTERS: Final = 43
_OLD_SCHEME: Final = "$argon2"
_PARTS: Final = 4
_MILLISECONDS: Final = 1000


class TokenInvalidError(RefusedError):
    """A token that opens nothing; the message says why, the reply does not."""

    code = "token-invalid"


def require_key(text: str) -> bytes:
    """Check the key of a token file.

    Args:
        text: The file's content.

    Returns:
        The key.

    Raises:
        ConfigError: If it is too short to be a random one.
    """
    if len(text) < _KEY_CHARACTERS:
        message = f"token_key_file: {_KEY_CHARACTERS} characters or more, {len(text)}"
        raise ConfigError(message)
    return text.encode()


def make_token(
    key: bytes, address: Address, bundle_hash: BundleHash, *, expires_s: int
) -> str:
    """Make a token.

    Args:
        key: Of the token file.
        address: Whose signature it is for, 81 trytes.
        bundle_hash: Of which bundle.
        expires_s: Seconds since 1970.

    Returns:
        The token, with a fresh nonce.
    """
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    mac = _mac(key, address, bundle_hash, nonce, str(expires_s))
    return ".".join((VERSION, nonce, str(expires_s), mac))


class TokenGate:
    """Admits each token once; what was used is remembered on disk until it expires.

    Args:
        key: Of the token file.
        path: Where used nonces stand; one writer.
        clock: The time in milliseconds since 1970.

    Raises:
        ConfigError: If the file can not be read or written.
    """

    def __init__(self, key: bytes, path: Path, *, clock: Callable[[], int]) -> None:
        self._key = key
        self._path = path
        self._clock = clock
        try:
            path.touch(mode=0o600)
            lines = path.read_text().splitlines()
        except OSError as error:
            message = f"{path.name}: {error.strerror}"
            raise ConfigError(message) from error
        pairs = (line.partition(" ") for line in lines)
        self._used = {nonce: int(expiry) for nonce, _, expiry in pairs if expiry}

    def admit(self, token: str, address: Address, bundle_hash: BundleHash) -> None:
        """Use a token up, or say why not.

        Args:
            token: As shown.
            address: Whose signature is asked for.
            bundle_hash: Of which bundle.

        Raises:
            TokenInvalidError: If it does not fit, was used, or has expired.
        """
        if token.startswith(_OLD_SCHEME):
            message = (
                "a token of Hub 1.4.4: it shows its key to whoever sees it. Make a new"
                " key and tokens with `saltkeep-hub token`"
            )
            raise TokenInvalidError(message)
        parts = token.split(".")
        if len(parts) != _PARTS or parts[0] != VERSION:
            raise TokenInvalidError(f"a token is {VERSION}.NONCE.EXPIRY.MAC")
        _, nonce, expiry, mac = parts
        expected = _mac(self._key, address, bundle_hash, nonce, expiry)
        if not hmac.compare_digest(mac.encode(), expected.encode()):
            raise TokenInvalidError("made with another key, or for something else")
        now_s = self._clock() // _MILLISECONDS
        if int(expiry) <= now_s:
            raise TokenInvalidError("expired")
        if nonce in self._used:
            raise TokenInvalidError("used before")
        self._remember(nonce, int(expiry), now_s)

    def _remember(self, nonce: str, expiry_s: int, now_s: int) -> None:
        """Note a nonce, synced, before its token opens anything."""
        self._used = {n: e for n, e in self._used.items() if e > now_s}
        self._used[nonce] = expiry_s
        temporary = self._path.with_name(f".{self._path.name}")
        text = "".join(f"{n} {e}\n" for n, e in self._used.items())
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)


def _mac(key: bytes, address: str, bundle_hash: str, nonce: str, expiry: str) -> str:
    fields = f"{_LABEL}\0{address}\0{bundle_hash}\0{nonce}\0{expiry}"
    digest = hmac.digest(key, fields.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
