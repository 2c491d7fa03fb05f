# SPDX-License-Identifier: Apache-2.0
"""Token buckets: how often a key may ask; pure.

They live in one process: several hubs each grant the whole allowance.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often a key may ask.

    Attributes:
        rate_per_s: Requests per second in the long run.
        burst: Requests at once after a pause.
    """

    rate_per_s: float
    burst: int


class Buckets:
    """One bucket per key, full when it is first seen.

    Args:
        allowance: Of each key.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._levels: dict[Hashable, tuple[float, int]] = {}

    def take(self, owner: Hashable, *, now_ms: int) -> float:
        """Take one token.

        Args:
            owner: Whose bucket.
            now_ms: Milliseconds since 1970; a clock set back adds nothing.

        Returns:
            0 when it was taken; else how long to wait, in seconds.
        """
        most = float(self._allowance.burst)
        level, at_ms = self._levels.get(owner, (most, now_ms))
        elapsed_s = max(0, now_ms - at_ms) / _MILLISECONDS
        level = min(most, level + elapsed_s * self._allowance.rate_per_s)
        if level < 1:
            self._levels[owner] = level, now_ms
            return (1 - level) / self._allowance.rate_per_s
        self._levels[owner] = level - 1, now_ms
        return 0.0
