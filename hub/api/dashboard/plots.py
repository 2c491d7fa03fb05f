# SPDX-License-Identifier: Apache-2.0
"""Series of amounts over time as geometry for a template; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hub.api.dashboard.rendering import in_units

_LEFT: Final = 76
_TOP: Final = 10
_RIGHT: Final = 690
_BOTTOM: Final = 220
_TICKS: Final = 4
_DAY_MS: Final = 86_400_000
_ROUND: Final = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Series:
    """Amounts over time.

    Attributes:
        name: What they are.
        kind: How it is drawn: a class of the style sheet.
        points: Time in milliseconds since 1970 and iota, in the order of time.
    """

    name: str
    kind: str
    points: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the plot, or a mark below it.

    Attributes:
        at: Its coordinate.
        text: What stands beside it.
    """

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A series as drawn.

    Attributes:
        series: What it shows.
        path: Its line.
    """

    series: Series
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, 720 by 250.

    Attributes:
        curves: Each series.
        across: Amounts.
        below: Times.
    """

    curves: tuple[Curve, ...]
    across: tuple[Tick, ...]
    below: tuple[Tick, ...]


def draw_plot(every: Sequence[Series]) -> Plot | None:
    """Draw series on common axes; amounts begin at zero.

    Args:
        every: The series.

    Returns:
        The plot; None when there is nothing to draw.
    """
    points = [point for series in every for point in series.points]
    if not points:
        return None
    first_ms = min(at_ms for at_ms, _ in points)
    last_ms = max(first_ms + 1, *(at_ms for at_ms, _ in points))
    step_i = _step(max(amount for _, amount in points))
    top_i = step_i * _TICKS

    def x(at_ms: int) -> float:
        share = (at_ms - first_ms) / (last_ms - first_ms)
        return round(_LEFT + (_RIGHT - _LEFT) * share, 1)

    def y(amount_i: int) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * max(0, amount_i) / top_i, 1)

    curves = tuple(
        Curve(
            series,
            "M" + "L".join(f"{x(at_ms)} {y(i)}" for at_ms, i in series.points),
        )
        for series in every
        if series.points
    )
    across = tuple(Tick(y(step_i * n), in_units(step_i * n)) for n in range(_TICKS + 1))
    times = [first_ms + (last_ms - first_ms) * n // _TICKS for n in range(_TICKS + 1)]
    below = tuple(Tick(x(t), _short(t, last_ms - first_ms)) for t in times)
    return Plot(curves, across, below)


def _step(most_i: int) -> int:
    """Return a round step of which four reach beyond the most."""
    least = max(1, -(-most_i // _TICKS))
    size = 10 ** (len(str(least)) - 1)
    return next(int(size * r) for r in _ROUND if size * r >= least)


def _short(at_ms: int, span_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%H:%M" if span_ms <= 2 * _DAY_MS else "%d %b")
