# SPDX-License-Identifier: Apache-2.0
"""Passwords of the dashboard's operators, by Argon2id with its library's defaults.

Source: RFC 9106, section 4, second recommended option: what argon2-cffi takes by
default; 64 MiB for about a tenth of a second. So few are hashed at once.
"""

import asyncio
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE: Final = 2


class Passwords:
    """Hashes and checks passwords, never on the event loop's thread.

    Args:
        hasher: Other costs than the defaults, for tests.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._lanes = asyncio.Semaphore(_AT_ONCE)
        # Who has no password is compared with this one, so that it takes as long.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, text: str) -> str:
        """Hash a password that was just chosen.

        Args:
            text: As typed.

        Returns:
            Algorithm, costs, salt and hash in one text.
        """
        async with self._lanes:
            return await asyncio.to_thread(self._hasher.hash, text)

    async def fits(self, stored: str | None, text: str) -> bool:
        """Say whether a password is the stored one; takes as long without one.

        Args:
            stored: As ``hash`` returned it; None: there is no such operator.
            text: As typed.

        Returns:
            Whether they fit; never for None.
        """
        async with self._lanes:
            fits = await asyncio.to_thread(self._verify, stored or self._nobody, text)
        return fits and stored is not None

    def _verify(self, stored: str, text: str) -> bool:
        try:
            return self._hasher.verify(stored, text)
        except (VerificationError, InvalidHashError):
            return False
