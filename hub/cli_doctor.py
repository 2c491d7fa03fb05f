# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub doctor``: what is wrong with an installation, and the cure."""

import asyncio
import sys
from pathlib import Path

import click

from channel.findings import Finding, Level, as_json, exit_code, show
from hub.cli_hub import Options, table_width
from hub.clock import system_clock_ms
from hub.config import load
from hub.doctor import examine
from hub.errors import ConfigError


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
        click.echo(as_json(found))
    else:
        show(found, width=table_width())
    sys.exit(exit_code(found))


def _path(options: Options) -> Path:
    if options[0] is None:
        raise click.UsageError("this command needs --config FILE")
    return options[0]
