# SPDX-License-Identifier: Apache-2.0
"""Timing that survives a noisy machine: rounds of all candidates, in turn."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured ratio beside its bar.

    Attributes:
        name: What is compared.
        ours_ms: Our median, in milliseconds.
        peer_ms: The peer's median, in milliseconds.
        ratio: What the bar is about.
        bar: In words, e.g. ``>= 1.2``.
        met: Whether the ratio meets it.
        note: What else was seen.
    """

    name: str
    ours_ms: float
    peer_ms: float
    ratio: float
    bar: str
    met: bool
    note: str = ""

    @property
    def more_is_better(self) -> bool:
        """Whether the bar is a least."""
        return self.bar.startswith(">")

    @property
    def wanted(self) -> float:
        """The number in the bar."""
        return float(self.bar.lstrip("<>= ").split()[0])


def medians_ms(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, float]:
    """Time every candidate once per round, in turn.

    Args:
        candidates: What to time, by name.
        rounds: How often.

    Returns:
        The median of each, in milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start_s = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start_s) * _MILLISECONDS)
    return {name: statistics.median(found) for name, found in times.items()}


def at_least(
    name: str, bar: float, *, ours_ms: float, peer_ms: float, note: str = ""
) -> Figure:
    """Return a figure whose bar is how many times faster than the peer we are."""
    ratio = peer_ms / ours_ms
    return Figure(name, ours_ms, peer_ms, ratio, f">= {bar:g}", ratio >= bar, note)


def at_most(
    name: str, bar: float, *, ours_ms: float, peer_ms: float, note: str = ""
) -> Figure:
    """Return a figure whose bar is the share of the peer's time we may take."""
    ratio = ours_ms / peer_ms
    return Figure(name, ours_ms, peer_ms, ratio, f"<= {bar:g}", ratio <= bar, note)
