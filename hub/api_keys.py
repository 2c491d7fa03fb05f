# SPDX-License-Identifier: Apache-2.0
"""API keys: made, read and compared; pure.

A key is ``saltkeep_<id>_<secret>``: the id finds its row, the prefix lets scanners
find a key that leaked. The secret has 256 random bits, so that one SHA-256 hides it:
slow hashes are for passwords that somebody can guess.
"""

import base64
import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NewType

from hub.errors import ApiKeyInvalidError

KeyId = NewType("KeyId", str)
"""A key's public name, 12 hex characters."""
ApiKeyRow = NewType("ApiKeyRow", int)

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_SHAPE: Final = re.compile(r"saltkeep_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class Scope(enum.Enum):
    """What a key may do; no scope contains another."""

    READ = "read"
    """See everything but keys, webhooks and the audit."""
    DEPOSIT = "deposit"
    """Open users and give them deposit addresses."""
    WITHDRAW = "withdraw"
    """Request, check, authorise and cancel withdrawals."""
    APPROVE = "approve"
    """Approve withdrawals that another key has asked for."""
    TRANSFER = "transfer"
    """Move tokens between users."""
    ADMIN = "admin"
    """Keys, webhooks and the audit; moves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as stored: never its secret.

    Attributes:
        row: Its row.
        key_id: Its public name.
        name: What its owner calls it.
        digest: SHA-256 of the whole key, hex.
        scopes: What it may do.
        created_at_ms: Milliseconds since 1970.
        expires_at_ms: From then on it is refused; None: never.
        revoked_at_ms: Milliseconds since 1970, once revoked.
        last_used_at_ms: Milliseconds since 1970, to about a minute.
    """

    row: ApiKeyRow
    key_id: KeyId
    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    last_used_at_ms: int | None


@dataclass(frozen=True, slots=True)
class FreshKey:
    """A key that was just made; its text is shown once and kept nowhere.

    Attributes:
        key_id: Its public name.
        text: The whole key.
    """

    key_id: KeyId
    text: str

    def __repr__(self) -> str:
        """Return the name without the secret."""
        return f"FreshKey({self.key_id})"


def make_key() -> FreshKey:
    """Draw a key from the operating system's generator."""
    key_id = KeyId(secrets.token_hex(_ID_BYTES))
    drawn = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    return FreshKey(key_id, f"saltkeep_{key_id}_{drawn.rstrip('=')}")


def key_id_of(text: str) -> KeyId | None:
    """Read the public name out of a key.

    Args:
        text: What a client showed.

    Returns:
        The name; None when it has not the shape of a key.
    """
    found = _SHAPE.fullmatch(text)
    return KeyId(found[1]) if found else None


def digest_of(text: str) -> str:
    """Hash a key for the database.

    Args:
        text: The whole key.

    Returns:
        SHA-256 in hex.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def require_valid(key: ApiKey | None, text: str, *, now_ms: int) -> ApiKey:
    """Insist that a key is the stored one and still holds.

    Args:
        key: As stored, if there is one.
        text: What the client showed.
        now_ms: Milliseconds since 1970.

    Returns:
        The key.

    Raises:
        ApiKeyInvalidError: One error for every reason: a stranger learns nothing.
    """
    stored = "" if key is None else key.digest
    same = hmac.compare_digest(stored, digest_of(text))
    if key is None or not same or not holds(key, now_ms=now_ms):
        raise ApiKeyInvalidError("no valid API key was shown")
    return key


def holds(key: ApiKey, *, now_ms: int) -> bool:
    """Say whether a key is neither revoked nor expired.

    Args:
        key: As stored.
        now_ms: Milliseconds since 1970.

    Returns:
        Whether it may be used.
    """
    expired = key.expires_at_ms is not None and key.expires_at_ms <= now_ms
    return key.revoked_at_ms is None and not expired


def scopes_to_text(scopes: Iterable[Scope]) -> str:
    """Write scopes for the database, in one order."""
    return " ".join(sorted(scope.value for scope in scopes))


def scopes_from_text(text: str) -> frozenset[Scope]:
    """Read scopes as the database holds them."""
    return frozenset(Scope(word) for word in text.split())
