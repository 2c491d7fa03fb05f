# SPDX-License-Identifier: Apache-2.0
"""Chance that can be had again: the same seed and name give the same throws."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Face = TypeVar("Face")


class Dice:
    """A stream of throws of its own, however others' throws fall between.

    Args:
        seed: Printed by the test, given again to repeat it.
        name: Who throws.
    """

    def __init__(self, seed: str, name: str) -> None:
        self._key = f"{seed}/{name}"
        self._thrown = 0

    def below(self, limit: int) -> int:
        """Throw a whole number from 0 to below ``limit``."""
        self._thrown += 1
        digest = hashlib.sha256(f"{self._key}/{self._thrown}".encode()).digest()
        return int.from_bytes(digest) % limit

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.below(1000) / 1000

    def choice(self, faces: Sequence[Face]) -> Face:
        return faces[self.below(len(faces))]
