# SPDX-License-Identifier: Apache-2.0
"""``make bench``: every figure beside its peer, measured in this run."""

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    appliance,
    argon2,
    argon2_kernel,
    bundles,
    dashboard,
    end_to_end,
    hub,
    hub_scale,
    journal,
    kernel,
    miner,
)
from benchmarks.history import LAST, LOSS, drawn, gain, losses, ratios_of
from benchmarks.rounds import Figure

SUITES: dict[str, Callable[..., Iterator[Figure]]] = {
    "kernel": kernel.measure,
    "argon2": argon2.measure,
    "appliance": appliance.measure,
    "miner": miner.measure,
    "bundles": bundles.measure,
    "end-to-end": end_to_end.measure,
    "argon2-kernel": argon2_kernel.measure,
    "journal": journal.measure,
    "hub": hub.measure,
    "hub-scale": hub_scale.measure,
    "dashboard": dashboard.measure,
}
_ROUNDS = 9
_WIDTH = 160
"""Columns, where no terminal says how many there are."""


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def main() -> int:
    """Measure, print, and say whether every bar is met and nothing is lost.

    Returns:
        0 if so, else 1.
    """
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--against",
        type=Path,
        default=LAST,
        help="a run of before, as --json wrote it; by default the committed one",
    )
    parser.add_argument(
        "--journal-rows",
        type=int,
        default=journal.ROWS,
        help="length of the longest journal of the suite `journal`",
    )
    parser.add_argument(
        "--hub-seconds",
        type=float,
        default=hub.SECONDS,
        help="length of the load of the suite `hub`",
    )
    parser.add_argument(
        "--hub-users",
        type=int,
        default=hub_scale.USERS,
        help="users of the large database of the suite `hub-scale`",
    )
    options = parser.parse_args()
    SUITES["journal"] = partial(journal.measure, rows=options.journal_rows)
    SUITES["hub"] = partial(hub.measure, seconds=options.hub_seconds)
    SUITES["hub-scale"] = partial(hub_scale.measure, users=options.hub_users)
    logging.disable(logging.WARNING)  # pyota-pow switches everything on
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    figures: list[Figure] = []
    for name in options.suites or SUITES:
        with console.status(f"measuring: {name}"):
            figures += list(SUITES[name](rounds=options.rounds))
    facts = machine()
    last = ratios_of(options.against)
    table = Table(title=", ".join(facts.values()), title_justify="left")
    for heading in ("what", "ours / ms", "peer / ms", "ratio", "bar", "", "note"):
        table.add_column(heading, justify="right" if "ms" in heading else "left")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.ours_ms:.2f}",
            f"{figure.peer_ms:.2f}",
            f"{figure.ratio:.3g}",
            figure.bar,
            "[green]met[/]" if figure.met else "[red]missed[/]",
            figure.note,
        )
    console.print(table)
    console.print(_plot(figures, last))
    if options.json:
        data = {"machine": facts, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    lost = losses(figures, last)
    for name in lost:
        console.print(f"[red]worse by more than {LOSS:.0%} than last time[/]: {name}")
    return 0 if all(figure.met for figure in figures) and not lost else 1


def _plot(figures: Sequence[Figure], last: Mapping[str, float]) -> Table:
    plot = Table("nothing .. the bar .. twice", "since last", "what", box=None)
    for figure in figures:
        colour = "green" if figure.met else "red"
        change = _change(gain(figure, last))
        plot.add_row(f"[{colour}]{drawn(figure):<41}[/]", change, figure.name)
    return plot


def _change(share: float | None) -> str:
    return "" if share is None else f"{share:+.0%}"


if __name__ == "__main__":
    sys.exit(main())
