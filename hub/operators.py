# SPDX-License-Identifier: Apache-2.0
"""Operators of the dashboard: who they are, what they may do, how long; pure.

A session is a random token in a cookie; the database holds its SHA-256 alone. It ends
when it was idle for too long, when it is too old, and when its operator is disabled,
gets another role or another password.
"""

import enum
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, NewType

from hub.errors import OperatorNameError, PasswordRefusedError

OperatorRow = NewType("OperatorRow", int)
SessionDigest = NewType("SessionDigest", str)
"""SHA-256 of a session's token, 64 hex characters."""

_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,31}")
LEAST_PASSWORD: Final = 12
"""Characters. Source: NIST SP 800-63B-4, 3.1.1.2, asks for 8 beside a second factor
and 15 alone; strangers do not reach this listener."""
MOST_PASSWORD: Final = 256
"""Characters; no more is hashed for whoever sends it."""
_TOKEN_BYTES: Final = 32
_CSRF_LABEL: Final = b"saltkeep dashboard csrf"


class Role(enum.Enum):
    """What an operator may do; each role may what those before it may."""

    VIEWER = "viewer"
    """See money and machines."""
    OPERATOR = "operator"
    """Cancel withdrawals, reattach sweeps, read the audit."""
    ADMIN = "admin"
    """See the operators and end their sessions."""

    def may(self, needed: "Role") -> bool:
        """Say whether this role includes another."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator as stored.

    Attributes:
        row: Its row.
        name: What it logs in with, at most 32 characters.
        role: What it may do.
        password_hash: Argon2id, in its own text form.
        created_at_ms: Milliseconds since 1970.
        disabled_at_ms: Since then it can not log in; None: it can.
    """

    row: OperatorRow
    name: str
    role: Role
    password_hash: str = field(repr=False)
    created_at_ms: int
    disabled_at_ms: int | None

    @property
    def actor(self) -> str:
        """What the audit calls it."""
        return actor_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as stored.

    Attributes:
        digest: Of its token.
        operator: Whose it is, as it is now.
        peer: The address it was opened from.
        created_at_ms: Milliseconds since 1970.
        seen_at_ms: When it was last used, to about a minute.
    """

    digest: SessionDigest = field(repr=False)
    operator: Operator
    peer: str
    created_at_ms: int
    seen_at_ms: int


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lives.

    Attributes:
        idle_ms: Without a request, in milliseconds.
        absolute_ms: In all, in milliseconds.
    """

    idle_ms: int
    absolute_ms: int


def actor_of(name: str) -> str:
    """Return what the audit calls an operator.

    Args:
        name: The operator's.

    Returns:
        At most 41 characters.
    """
    return f"operator:{name}"


def parse_name(text: str) -> str:
    """Insist that a text can be an operator's name.

    Args:
        text: What was typed.

    Returns:
        The same.

    Raises:
        OperatorNameError: If it is not 1-32 characters of a-z, 0-9, ``.``, ``_`` and
            ``-``, a letter first.
    """
    if not _NAME.fullmatch(text):
        raise OperatorNameError(
            "a name has 1-32 characters of a-z, 0-9, '.', '_' and '-', a letter first"
        )
    return text


def require_password(text: str, *, name: str) -> None:
    """Insist that a password is worth hashing; it is never repeated.

    Args:
        text: What was typed.
        name: Whose it is to be.

    Raises:
        PasswordRefusedError: If it is too short, too long, or made of the name.
    """
    if not LEAST_PASSWORD <= len(text) <= MOST_PASSWORD:
        raise PasswordRefusedError(
            f"a password has {LEAST_PASSWORD}-{MOST_PASSWORD} characters"
        )
    if name in text.lower() or len(set(text)) < LEAST_PASSWORD // 3:
        raise PasswordRefusedError("this password is too easy to guess")


def fresh_token() -> str:
    """Draw a session's token: 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def csrf_of(token: str) -> str:
    """Derive what every form of a session must carry.

    Args:
        token: The session's.

    Returns:
        64 hex characters, from which the token can not be found.
    """
    return hmac.digest(token.encode(), _CSRF_LABEL, "sha256").hex()


def holds(session: Session, limits: SessionLimits, *, now_ms: int) -> bool:
    """Say whether a session is still good.

    Args:
        session: As stored.
        limits: How long it may live.
        now_ms: Milliseconds since 1970; a clock set back ends no session early.

    Returns:
        Whether its requests are let in.
    """
    idle = now_ms - session.seen_at_ms >= limits.idle_ms
    old = now_ms - session.created_at_ms >= limits.absolute_ms
    return not (idle or old) and session.operator.disabled_at_ms is None
