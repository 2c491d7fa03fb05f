# SPDX-License-Identifier: Apache-2.0
"""attachToTangle's work: one search after another, which may be interrupted."""

import asyncio
from collections.abc import Sequence

from hub.devnet.attaching import Place, attach_bundle
from hub.devnet.config import ClockMs
from hub.devnet.errors import InvalidTransactionError
from hub.devnet.validation import Flaw
from trinary.bundle import parse_transaction
from trinary.errors import ValueRangeError
from trinary.pow import Cancel


class PowDesk:
    """Does proof of work for clients, in a thread, one bundle at a time.

    Args:
        clock_ms: The clock to stamp attachments with.
    """

    def __init__(self, *, clock_ms: ClockMs) -> None:
        self._clock_ms = clock_ms
        self._busy = asyncio.Lock()
        self._cancel = Cancel()

    async def attach(self, trytes: Sequence[str], *, place: Place) -> list[str]:
        """Attach a bundle; trinary's ``CancelledError`` when interrupted.

        Args:
            trytes: 2673 trytes each, in any order.
            place: What it approves, and the weight.

        Returns:
            The attached trytes, tail first.

        Raises:
            InvalidTransactionError: A value is beyond the supply.
        """
        try:
            txs = [parse_transaction(each) for each in trytes]
        except ValueRangeError as error:
            raise InvalidTransactionError(Flaw.VALUE) from error
        async with self._busy:
            self._cancel = Cancel()
            records = await asyncio.to_thread(
                attach_bundle,
                txs,
                place=place,
                clock_ms=self._clock_ms,
                cancel=self._cancel,
            )
        return [record.trytes for record in records]

    def interrupt(self) -> None:
        """Stop the search that is under way, if any."""
        self._cancel.cancel()
