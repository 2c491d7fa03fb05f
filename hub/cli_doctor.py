# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub doctor``: what is wrong with an installation, and the cure."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hub.cli_hub import Options, table_width
from hub.clock import system_clock_ms
from hub.config import load
from hub.doctor import Finding, Level, examine
from hub.errors import ConfigError

_EXIT_FAILURE: Final = 1
_EXIT_WARNINGS: Final = 4
_COLOURS: Final = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
}


@click.command("doctor")
@click.pass_obj
def doctor(options: Options) -> None:
    """Check this installation and say how to mend it. Changes nothing.

    Exit codes: 0 all is well, 1 a failure, 4 warnings only.
    """
    path = _path(options)
    try:
        config = load(path)
    except ConfigError as error:
        found = [Finding(Level.FAILURE, "configuration", str(error), "correct it")]
    else:
        found = asyncio.run(examine(config, clock=system_clock_ms))
    if options[1]:
        click.echo(json.dumps([asdict(f) | {"level": f.level.value} for f in found]))
    else:
        _show(found)
    sys.exit(_exit_code(found))


def _path(options: Options) -> Path:
    if options[0] is None:
        raise click.UsageError("this command needs --config FILE")
    return options[0]


def _exit_code(found: list[Finding]) -> int:
    levels = {finding.level for finding in found}
    if Level.FAILURE in levels:
        return _EXIT_FAILURE
    return _EXIT_WARNINGS if Level.WARNING in levels else 0


def _show(found: list[Finding]) -> None:
    table = Table("level", "what", "found", "mend")
    for one in found:
        row = (one.level.value, one.what, one.found, one.mend)
        table.add_row(*map(escape, row), style=_COLOURS[one.level])
    Console(width=table_width()).print(table)
