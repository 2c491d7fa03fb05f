# SPDX-License-Identifier: Apache-2.0
"""Hints of nodes: something happened, look now. What it was is not even read.

A source rings a bell and is trusted with nothing else: it may be silent, lie or shout,
and the polling goes on by itself. One that is lost, or floods, is tried again after a
pause that grows.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from hub.errors import HintsLostError

_log = logging.getLogger(__name__)

TOPICS: Final = ("lmi", "lmsi")
"""A newer milestone is known, and is solid: only they move balances.

Source: IRI 1.8.6 and HORNET 0.5.6, both by ZMQ and HORNET by MQTT.
"""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
_STEADY_S: Final = 60.0
"""A connection that lasted so long was a good one: the pauses begin anew."""

Ring = Callable[[], None]


class Source(Protocol):
    """Where hints come from."""

    @property
    def url(self) -> str:
        """What it is called in the log."""

    async def listen(self, ring: Ring) -> NoReturn:
        """Connect, and ring for each hint and once when connected.

        Args:
            ring: Takes no time.

        Raises:
            HintsLostError: When the connection is lost, can not be made, or floods.
        """


async def listen_for_ever(source: Source, ring: Ring) -> NoReturn:
    """Keep listening; no failure ends it.

    Args:
        source: Where hints come from.
        ring: Told of each.
    """
    failures = 0
    while True:
        began_s = time.monotonic()
        try:
            await source.listen(ring)
        except HintsLostError as error:
            said: object = error
        except Exception as error:  # noqa: BLE001 - no hint is worth the hub
            said = repr(error)
        if time.monotonic() - began_s >= _STEADY_S:
            failures = 0
        failures += 1
        wait_s = pause_s(failures)
        _log.warning("no hints of %s: %s; next try in %g s", source.url, said, wait_s)
        await asyncio.sleep(wait_s)


def pause_s(failures: int) -> float:
    """Return how long to wait before the next try; pure.

    Args:
        failures: How often it failed in a row, from 1.

    Returns:
        Seconds: twice as many each time, up to a minute.
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE_S)
