# SPDX-License-Identifier: Apache-2.0
"""A run beside the last one that was committed: what has become slower.

Ratios are compared, never milliseconds: each ratio has its peer in the same run, on
the same machine. ``make bench ARGS="--json benchmarks/last.json"`` writes
``last.json``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.rounds import Figure

LAST: Final = Path(__file__).with_name("last.json")
LOSS: Final = 0.15
"""A ratio that is worse by more than this share is flagged."""


def ratios_of(path: Path) -> dict[str, float]:
    """Read the ratios of a run.

    Args:
        path: As ``--json`` wrote it; need not exist.

    Returns:
        By the figure's name; empty when there is no such file.
    """
    if not path.exists():
        return {}
    run = json.loads(path.read_text())
    return {figure["name"]: figure["ratio"] for figure in run["figures"]}


def gain(figure: Figure, last: Mapping[str, float]) -> float | None:
    """Say by which share a figure is better than before.

    Args:
        figure: Of this run; its bar says which way is better.
        last: Of the run before.

    Returns:
        Positive: better; negative: worse; None when it was not measured before.
    """
    before = last.get(figure.name)
    if not before or not figure.ratio:
        return None
    now = figure.ratio
    return now / before - 1 if figure.more_is_better else before / now - 1


def losses(figures: Sequence[Figure], last: Mapping[str, float]) -> list[str]:
    """Name what has lost more than ``LOSS``.

    Args:
        figures: Of this run.
        last: Of the run before.

    Returns:
        The names.
    """
    gains = [(figure.name, gain(figure, last)) for figure in figures]
    return [name for name, share in gains if share is not None and share < -LOSS]


def drawn(figure: Figure, *, width: int = 20) -> str:
    """Draw a figure as a bar: full is what its bar asks for.

    Args:
        figure: Any.
        width: Characters of what is asked for.

    Returns:
        Blocks; a line where the bar is, dots up to it where it is missed.
    """
    share = figure.ratio / figure.wanted if figure.wanted else 0.0
    if not figure.more_is_better:
        share = 1 / share if share else 2.0
    blocks = round(min(share, 2.0) * width)
    inside = min(blocks, width)
    return "█" * inside + "·" * (width - inside) + "│" + "█" * (blocks - inside)
