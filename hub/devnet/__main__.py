# SPDX-License-Identifier: Apache-2.0
"""``python -m hub.devnet``: a devnet of its own process.

Prints ``devnet ready on http://host:port`` when it accepts connections and
stops cleanly on SIGTERM or SIGINT.
"""

import asyncio
import signal
from pathlib import Path

import click

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from hub.devnet.errors import DevnetError

DIALECTS = [dialect.value for dialect in Dialect]


async def serve(config: DevnetConfig) -> None:
    """Run until told to stop.

    Args:
        config: What the devnet is told.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_devnet(config) as devnet:
        click.echo(f"devnet ready on {devnet.url}")
        if devnet.feed is not None:
            click.echo(f"publishes by ZMQ on {devnet.feed.url}")
        await stop.wait()


@click.command(help="Run an embedded legacy node with its own coordinator.")
@click.option("--listen", default="127.0.0.1:14265", help="HOST:PORT; port 0 is free.")
@click.option("--dialect", type=click.Choice(DIALECTS), default=DIALECTS[0])
@click.option("--mwm", default=9, help="Minimum weight magnitude, 1 to 14.")
@click.option("--tick-s", default=2.0, help="Seconds between milestones; 0: by hand.")
@click.option("--genesis-address", help="81 trytes that own the supply.")
@click.option("--faucet-i", default=0, help="The faucet's part of it, in iota.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--zmq", help="tcp://HOST:PORT to publish milestones at; * is free.")
@click.option("--remote-limit", is_flag=True, help="Refuse what strangers may not.")
def main(  # noqa: PLR0913 - one argument for each option
    *,
    listen: str,
    dialect: str,
    mwm: int,
    tick_s: float,
    genesis_address: str | None,
    faucet_i: int,
    state: Path | None,
    zmq: str | None,
    remote_limit: bool,
) -> None:
    """Run the command line.

    Raises:
        ClickException: An option's value is not usable.
    """
    host, _, port = listen.rpartition(":")
    try:
        config = DevnetConfig(
            genesis_address=genesis_address,
            faucet_i=faucet_i,
            dialect=Dialect(dialect),
            min_weight_magnitude=mwm,
            tick_s=tick_s or None,
            state_path=state,
            host=host,
            port=int(port),
            zmq=zmq,
            remote_limit=remote_limit,
        )
        asyncio.run(serve(config))
    except (DevnetError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
