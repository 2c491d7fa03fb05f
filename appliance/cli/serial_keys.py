# SPDX-License-Identifier: Apache-2.0
"""Keys of clients on serial lines."""

from pathlib import Path

import click

from appliance.cli.options import EXIT_FAILED, Options, fail, say
from appliance.config import load_config
from appliance.errors import ConfigError
from appliance.serial_keys import (
    install_serial_key,
    make_serial_key,
    serial_key_id,
)


@click.group("serial-key")
def serial_key() -> None:
    """Keys of clients on a serial line.

    \b
      saltkeep-appliance serial-key make hub.key                on the client's host
      saltkeep-appliance --config FILE serial-key install hub.key    on the appliance's

    Neither lets anybody in: [[clients]] or `ceremony enrol-client ID` does.
    """  # noqa: D301 - click's mark against wrapping


@serial_key.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def make(path: Path) -> None:
    """Draw a key into the new file PATH, and print its id."""
    try:
        made = make_serial_key(path)
        say(made, id=made)
    except ConfigError as error:
        fail(error, code=EXIT_FAILED)


@serial_key.command("id")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def show_id(path: Path) -> None:
    """Print the id of the key in PATH."""
    try:
        found = serial_key_id(path)
        say(found, id=found)
    except ConfigError as error:
        fail(error, code=EXIT_FAILED)


@serial_key.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def install(options: Options, *, path: Path) -> None:
    """Copy the key in PATH into the folder that [listen] names, and print its id."""
    try:
        folder = load_config(options.require_config()).listen.serial_keys
        if not folder:
            raise ConfigError("[listen] names no serial_keys")  # noqa: TRY301 - one end
        installed = install_serial_key(path, Path(folder))
        say(installed, id=installed)
    except ConfigError as error:
        fail(error, code=EXIT_FAILED)
