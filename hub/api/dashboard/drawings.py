# SPDX-License-Identifier: Apache-2.0
"""Drawings as geometry: what templates write as SVG; pure.

Colours and fonts are the style sheet's, so that a drawing follows dark and light. Each
has its numbers in a table beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import segno

_MOST_FLOWS: Final = 12
_ROW: Final = 26
_TALL: Final = 180
_MIDDLE: Final = 360
_LEFT: Final = 205
_RIGHT: Final = 515
_BAR: Final = 10
_WIDE: Final = 720
_LINE: Final = 640


@dataclass(frozen=True, slots=True)
class Flow:
    """Value that goes into a bundle or out of it.

    Attributes:
        label: What is written beside it.
        amount_i: Iota, positive.
        kind: ``input``, ``payout``, ``remainder`` or ``more``.
    """

    label: str
    amount_i: int
    kind: str


@dataclass(frozen=True, slots=True)
class Ribbon:
    """A flow as drawn.

    Attributes:
        flow: What it shows.
        bar_y: Top of its bar.
        height: Of its bar.
        text_y: Where its label stands.
        path: The ribbon between its bar and the bundle.
    """

    flow: Flow
    bar_y: float
    height: float
    text_y: float
    path: str


@dataclass(frozen=True, slots=True)
class BundleDrawing:
    """A bundle as drawn, 720 wide.

    Attributes:
        height: Of the whole.
        inputs: On the left.
        outputs: On the right.
        bundle_height: Of the bar in the middle.
    """

    height: float
    inputs: tuple[Ribbon, ...]
    outputs: tuple[Ribbon, ...]
    bundle_height: float


def draw_bundle(inputs: Sequence[Flow], outputs: Sequence[Flow]) -> BundleDrawing:
    """Draw where a bundle's value comes from and where it goes.

    Args:
        inputs: In the order of the bundle.
        outputs: In the order of the bundle; the same sum.

    Returns:
        The drawing; of more than twelve flows a side the smallest are one.
    """
    left, right = _fewer(inputs), _fewer(outputs)
    heights = [_heights(left), _heights(right)]
    bundle = max(40.0, *(sum(side) for side in heights))
    rows = [sum(max(_ROW, one) for one in side) + 8 for side in heights]
    height = max(bundle + 16, *rows)
    return BundleDrawing(
        height=height,
        inputs=_ribbons(left, heights[0], bundle, at_x=_LEFT, to_x=_MIDDLE - 8),
        outputs=_ribbons(right, heights[1], bundle, at_x=_RIGHT, to_x=_MIDDLE + 8),
        bundle_height=bundle,
    )


def _fewer(flows: Sequence[Flow]) -> list[Flow]:
    if len(flows) <= _MOST_FLOWS:
        return list(flows)
    order = sorted(range(len(flows)), key=lambda i: flows[i].amount_i, reverse=True)
    kept = sorted(order[: _MOST_FLOWS - 1])
    rest = [flows[i] for i in order[_MOST_FLOWS - 1 :]]
    more = Flow(f"{len(rest)} more", sum(one.amount_i for one in rest), "more")
    return [*(flows[i] for i in kept), more]


def _heights(flows: Sequence[Flow]) -> list[float]:
    whole_i = max(1, sum(one.amount_i for one in flows))
    return [round(max(3.0, _TALL * one.amount_i / whole_i), 1) for one in flows]


def _ribbons(
    flows: Sequence[Flow],
    heights: Sequence[float],
    bundle: float,
    *,
    at_x: int,
    to_x: int,
) -> tuple[Ribbon, ...]:
    """Stack the flows of one side; each meets the bundle in proportion."""
    drawn = []
    scale = bundle / max(1.0, sum(heights))
    y, inner = 8.0, 8.0
    for flow, height in zip(flows, heights, strict=True):
        room = max(_ROW, height)
        bar_y = round(y + (room - height) / 2, 1)
        width = height * scale
        path = _band((at_x, bar_y, height), (to_x, inner, width))
        drawn.append(Ribbon(flow, bar_y, height, round(y + room / 2 + 4, 1), path))
        y += room
        inner = round(inner + width, 1)
    return tuple(drawn)


def _band(start: tuple[int, float, float], end: tuple[int, float, float]) -> str:
    (x0, y0, h0), (x1, y1, h1) = start, end
    x0 += _BAR if x1 > x0 else 0
    bend = (x0 + x1) / 2
    return (
        f"M{x0} {y0}C{bend} {y0} {bend} {y1} {x1} {y1}"
        f"L{x1} {y1 + h1:.1f}C{bend} {y1 + h1:.1f} {bend} {y0 + h0:.1f}"
        f" {x0} {y0 + h0:.1f}Z"
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a sweep.

    Attributes:
        at_ms: Milliseconds since 1970.
        kind: ``planned``, ``signed``, ``attached``, ``confirmed`` or ``now``.
        title: What happened.
        tail: The attachment concerned; empty: none.
    """

    at_ms: int
    kind: str
    title: str
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment as drawn.

    Attributes:
        moment: What it shows.
        number: Its place, from 1 on, as in the list below.
        x: On a line that is 720 wide.
    """

    moment: Moment
    number: int
    x: float


def draw_line(moments: Sequence[Moment]) -> list[Mark]:
    """Put moments on a time line, at least so far apart that each is seen.

    Args:
        moments: In the order of time, at least one.

    Returns:
        The marks.
    """
    first_ms, last_ms = moments[0].at_ms, moments[-1].at_ms
    span_ms = max(1, last_ms - first_ms)
    least = min(26.0, _LINE / max(1, len(moments)))
    marks: list[Mark] = []
    for number, moment in enumerate(moments, start=1):
        x = 40 + _LINE * (moment.at_ms - first_ms) / span_ms
        if marks:
            x = max(x, marks[-1].x + least)
        marks.append(Mark(moment, number, round(x, 1)))
    beyond = marks[-1].x - (_WIDE - 30)
    if beyond <= 0:
        return marks
    scale = (_WIDE - 70) / (marks[-1].x - 40)
    return [
        Mark(one.moment, one.number, round(40 + (one.x - 40) * scale, 1))
        for one in marks
    ]


@dataclass(frozen=True, slots=True)
class QrDrawing:
    """A QR code as one path.

    Attributes:
        size: Modules on each side, with the quiet zone.
        path: The dark modules.
    """

    size: int
    path: str


def draw_qr(text: str) -> QrDrawing:
    """Draw a QR code.

    Args:
        text: What it says; of trytes it takes the alphanumeric mode.

    Returns:
        The drawing, with a quiet zone of four modules. Source: ISO/IEC 18004.
    """
    code = segno.make_qr(text, error="m")
    runs = []
    rows = [bytes(row) for row in code.matrix_iter(border=4)]
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            end = x
            while end < len(row) and row[end]:
                end += 1
            if end > x:
                runs.append(f"M{x} {y}h{end - x}v1h-{end - x}z")
            x = end + 1
    return QrDrawing(len(rows), "".join(runs))
