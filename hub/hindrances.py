# SPDX-License-Identifier: Apache-2.0
"""Writes down why a planned sweep is not signed, for people on any hub to read.

Only what is new, or was written some seconds ago, is written: a sweep that waits for a
window is asked for again and again.
"""

import logging
from typing import Final

from hub.clock import Clock
from hub.errors import HubError
from hub.model import Hindrance, Sweep
from hub.store import Store

_log = logging.getLogger(__name__)

DEFERRED: Final = "deferred"
"""Stands before the appliance's word for why it put a sweep off."""
UNSETTLED: Final = "inputs-not-settled"
"""Nodes do not show its inputs as they were planned."""
AGAIN_MS: Final = 10_000
"""How old the line about the same hindrance must be before it is written anew."""


class Hindrances:
    """Remembers nothing: what was written last came with the sweep.

    Args:
        store: The database.
        clock: The time.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def note(self, sweep: Sweep, *, code: str, message: str) -> None:
        """Write down what an attempt came to; a failure to do so is only logged.

        Args:
            sweep: As it was read before the attempt.
            code: A stable word.
            message: For people.
        """
        if not is_news(sweep.hindrance, code, now_ms=self._clock()):
            return
        try:
            await self._store.run(
                lambda tx: tx.sweeps.hinder(sweep.sweep_id, code=code, message=message)
            )
        except HubError as error:
            _log.info("sweep %s: not noted why: %s", sweep.plan.bundle_hash, error)


def is_news(known: Hindrance | None, code: str, *, now_ms: int) -> bool:
    """Say whether a hindrance is worth a line; pure.

    Args:
        known: The last that was written.
        code: What it is now.
        now_ms: The time.

    Returns:
        True if there is none, it is another one, or its line is old.
    """
    return known is None or known.code != code or now_ms - known.last_ms >= AGAIN_MS
