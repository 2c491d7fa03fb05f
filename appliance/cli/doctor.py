# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-appliance doctor``: what is wrong with a host, and the cure."""

import datetime as dt
import sys

import click

from appliance.cli.options import Options
from appliance.config import load_config
from appliance.doctor import examine
from appliance.errors import ConfigError
from channel.findings import Finding, Level, as_json, exit_code, show


@click.command()
@click.option(
    "--hsm/--no-hsm",
    default=True,
    help="Log in to the HSM and open the vault with it, as the daemon does.",
)
@click.pass_obj
def doctor(options: Options, *, hsm: bool) -> None:
    """Check this host and say how to mend it. Changes nothing.

    Run it as the daemon's user. How a running daemon is says `status`.

    Exit codes: 0 all is well, 1 a failure, 4 warnings only.
    """
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - the program's edge
    try:
        found = examine(load_config(options.require_config()), now=now, hsm=hsm)
    except ConfigError as error:
        found = [Finding(Level.FAILURE, "configuration", str(error), "correct it")]
    if options.as_json:
        click.echo(as_json(found))
    else:
        show(found, width=None)
    sys.exit(exit_code(found))
