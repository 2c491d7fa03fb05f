# SPDX-License-Identifier: Apache-2.0
"""Random bytes of the operating system, with those of a panel mixed in.

The system's alone are enough; the panel's can only add to them. HKDF takes both: fresh
bytes of the system as the key, a digest of all that the panel ever gave as the salt. So
whoever knows or chooses the panel's bytes, which cross the line in the clear, knows no
more of the result than without a panel.

Source: RFC 5869, 3.1, on a salt that is known or chosen by others.
"""

import hashlib
import os
import threading
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LABEL: Final = b"saltkeep/entropy/v1"
_LEAST_BYTES: Final = 32


class Entropy:
    """What is drawn where a person would not want to be guessed."""

    def __init__(self) -> None:
        self._stirred = bytes(_LEAST_BYTES)
        self._lock = threading.Lock()

    def stir(self, drawn: bytes) -> None:
        """Mix in what another source gave; it need not be secret.

        Args:
            drawn: Any number of bytes, past the source's health tests.
        """
        with self._lock:
            before = self._stirred
            self._stirred = hashlib.sha256(_LABEL + before + drawn).digest()

    def draw(self, size: int) -> bytes:
        """Return random bytes.

        Args:
            size: How many, 1 to 8160.

        Returns:
            ``size`` bytes, from fresh ones of the system.
        """
        fresh = os.urandom(max(size, _LEAST_BYTES))
        mixing = HKDF(algorithm=SHA256(), length=size, salt=self._stirred, info=_LABEL)
        return mixing.derive(fresh)
