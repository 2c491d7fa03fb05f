# SPDX-License-Identifier: Apache-2.0
"""How often a log-in may fail, by name and by address; pure but for what it counts.

It lives in one process: several hubs each grant the whole allowance.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_REMEMBERED: Final = 10_000
"""Names and addresses; the one that failed longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often a log-in may fail.

    Attributes:
        failures: At once.
        again_ms: One more after each so many milliseconds.
    """

    failures: int
    again_ms: int


PER_NAME: Final = Allowance(failures=10, again_ms=60_000)
PER_ADDRESS: Final = Allowance(failures=20, again_ms=15_000)


class FailureLimiter:
    """Counts failures of one kind.

    Args:
        allowance: For each name, or for each address.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def is_open(self, key: str, *, now_ms: int) -> bool:
        """Say whether somebody may try.

        Args:
            key: A name, or an address.
            now_ms: Milliseconds since 1970.

        Returns:
            Whether fewer have failed than may.
        """
        return self._level(key, now_ms) <= self._allowance.failures - 1

    def failed(self, key: str, *, now_ms: int) -> None:
        """Count a failure, or a try whose end is not known yet.

        Args:
            key: A name, or an address.
            now_ms: Milliseconds since 1970.
        """
        self._failed[key] = self._level(key, now_ms) + 1, now_ms
        self._failed.move_to_end(key)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of who is in now.

        Args:
            key: A name, or an address.
        """
        self._failed.pop(key, None)

    def _level(self, key: str, now_ms: int) -> float:
        level, at_ms = self._failed.get(key, (0.0, now_ms))
        mended = max(0, now_ms - at_ms) / self._allowance.again_ms
        return max(0.0, level - mended)
