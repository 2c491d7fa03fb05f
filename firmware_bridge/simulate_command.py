# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-panel simulate``: a panel without a board, and a person who types."""

import contextlib
import sys
import tempfile
from pathlib import Path

import click

from firmware_bridge.errors import MessageError
from firmware_bridge.firmware_identity import firmware_hash
from firmware_bridge.simulator import INPUTS, Simulator


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keeps its state; default: a new one that is removed afterwards.",
)
@click.option("--interpreter", default=sys.executable, help="Python or MicroPython.")
@click.option(
    "--link",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A symbolic link to the device, to be made.",
)
def simulate(folder: Path | None, interpreter: str, link: Path | None) -> None:
    """Run the reference firmware on a pty; type what a person does."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        simulator = Simulator(folder, interpreter=interpreter)
        stack.callback(simulator.close)
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(simulator.device)
            stack.callback(link.unlink, missing_ok=True)
        simulator.start()
        click.echo(f"device {link or simulator.device}")
        click.echo(f"trust {firmware_hash('host').hex()}")
        for name, ways in INPUTS.items():
            click.echo(f"  {name} {'|'.join(ways)}")
        click.echo("  show | restart | quit")
        sys.stdout.flush()
        _obey(simulator)


def _obey(simulator: Simulator) -> None:
    for line in sys.stdin:
        match line.split():
            case ["quit"]:
                return
            case ["restart"]:
                simulator.start()
            case ["show"]:
                click.echo(simulator.shown() or "(nothing)")
            case [name, way]:
                try:
                    simulator.do(name, way)
                except MessageError as error:
                    click.echo(str(error))
            case _:
                click.echo("what?")
        sys.stdout.flush()
