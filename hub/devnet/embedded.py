# SPDX-License-Identifier: Apache-2.0
"""A devnet inside another program: for tests and the demonstration.

::

    async with running_devnet(DevnetConfig(min_weight_magnitude=1)) as devnet:
        await devnet.deposit(address, 1_000)
        await devnet.tick()
        ...  # speak to devnet.url
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from hub.devnet.config import ClockMs, DevnetConfig
from hub.devnet.devnet import Devnet
from hub.devnet.server import application


class RunningDevnet(Devnet):
    """A network that listens.

    Args:
        config: What it was told.
        clock_ms: Milliseconds since the Unix epoch.
    """

    url = ""
    """Where its node answers, with scheme and port, without a last slash."""


def system_clock_ms() -> int:
    """Read the machine's clock.

    Returns:
        Milliseconds since the Unix epoch.
    """
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def running_devnet(
    config: DevnetConfig | None = None, *, clock_ms: ClockMs = system_clock_ms
) -> AsyncIterator[RunningDevnet]:
    """Run a devnet until the block ends.

    Args:
        config: What it is told; the default gives everything to the faucet
            and ticks by hand only.
        clock_ms: The clock to believe.

    Yields:
        The network, listening, with its first milestone.
    """
    devnet = RunningDevnet(config or DevnetConfig(), clock_ms=clock_ms)
    ticking: asyncio.Task[None] | None = None
    runner = web.AppRunner(application(devnet), access_log=None, shutdown_timeout=1)
    try:
        await devnet.start()
        await runner.setup()
        site = web.TCPSite(runner, devnet.config.host, devnet.config.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        devnet.url = f"http://{host}:{port}"
        if devnet.config.tick_s is not None:
            every_s = devnet.config.tick_s
            ticking = asyncio.create_task(devnet.tick_for_ever(every_s=every_s))
        yield devnet
    finally:
        if ticking is not None:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
        await runner.cleanup()
        devnet.close()
