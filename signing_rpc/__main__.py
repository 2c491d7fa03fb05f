# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-signing-rpc``: serve an old Hub from an appliance."""

import asyncio
import signal
import sys
from pathlib import Path

import click

from appliance import __version__
from appliance.config_reference import reference
from appliance.errors import ApplianceError
from channel.logs import log_to_stderr
from signing_rpc.config import Config, load_config
from signing_rpc.gateway import Gateway


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Stand in for the signing server of an old Hub (signingMode remote)."""


@cli.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The gateway's TOML file.",
)
def serve(*, path: Path) -> None:
    """Run the gateway until SIGTERM."""
    log_to_stderr(as_json=False)
    try:
        asyncio.run(_serve(load_config(path)))
    except ApplianceError as error:
        click.secho(f"{error.code}: {error}", fg="red", err=True)
        sys.exit(1)


@cli.command("config-reference")
def config_reference() -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference(Config))


async def _serve(config: Config) -> None:
    gateway = Gateway(config)
    server, port = await gateway.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host = config.listen.rpartition(":")[0]
    click.echo(f"signing RPC listening on {host}:{port}")
    sys.stdout.flush()
    await stop.wait()
    await server.stop(grace=10)
    await gateway.close()


def main() -> None:
    """Entry point of ``saltkeep-signing-rpc``."""
    cli(prog_name="saltkeep-signing-rpc")


if __name__ == "__main__":
    main()
