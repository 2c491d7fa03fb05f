# SPDX-License-Identifier: Apache-2.0
"""A person's yes: to one thing, once, and soon."""

import hmac
from dataclasses import dataclass
from typing import Final

from firmware_bridge.errors import GrantError

DIGEST_BYTES: Final = 32
NONCE_BYTES: Final = 16
TEXT_BYTES: Final = 96
"""As much as the display shows, in bytes of UTF-8."""
TIMEOUT_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class PresenceGrant:
    """What ``Panel.request_presence`` returns; redeem it where the act is done.

    Attributes:
        digest: What was confirmed: the request's SHA-256, 32 bytes.
        nonce: The question's own number, 16 bytes.
        evidence: The device's MAC over nonce, digest and text, for the audit.
        expires_s: By the monotonic clock of the host.
    """

    digest: bytes
    nonce: bytes
    evidence: bytes
    expires_s: float
    _spent: bool = False

    def redeem(self, digest: bytes, *, now_s: float) -> None:
        """Spend the grant on what it was given for.

        Args:
            digest: What is about to be done, 32 bytes.
            now_s: The monotonic time; the clock given to the panel.

        Raises:
            GrantError: It was spent, it is too old, or it is for something else.
                It is spent afterwards in every case.
        """
        spent, self._spent = self._spent, True
        if spent:
            raise GrantError("this presence grant was used before")
        if now_s > self.expires_s:
            raise GrantError("this presence grant has expired")
        if not hmac.compare_digest(digest, self.digest):
            raise GrantError("this presence grant is for something else")
