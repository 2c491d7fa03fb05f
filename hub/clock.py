# SPDX-License-Identifier: Apache-2.0
"""The time, as the hub counts it: milliseconds since 1970.

Only composition roots take ``system_clock_ms``; everything else is given a
``Clock``.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Tells the time in milliseconds since 1970."""


def system_clock_ms() -> int:
    """Return the operating system's time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
