# SPDX-License-Identifier: Apache-2.0
"""How long each step of one request took; travels back in the reply."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """A stop-watch with named laps."""

    def __init__(self) -> None:
        self.elapsed_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of the block to the step ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - start) * 1000
            total_ms = self.elapsed_ms.get(name, 0.0) + spent_ms
            self.elapsed_ms[name] = round(total_ms, 3)
