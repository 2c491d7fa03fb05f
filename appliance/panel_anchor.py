# SPDX-License-Identifier: Apache-2.0
"""The panel's counter anchors the journal: a disk put back is behind it.

Each counted row names the panel and its next count; once the row is synced the counter
is raised to it, and only then does what the row allows happen (``journal``). So what
lies on a disk is at most ``MOST_AHEAD`` ahead of the panel, and a signature that left
is never ahead of it.

That alone does not tell two histories with the same count apart: a disk that was copied
between commit and count, put back once another history has counted as far, would fit.
Therefore each start counts ``COUNTS_AT_START`` times, one more than any copy of before
can be ahead: who starts with one history leaves every other one behind, for ever (ADR
31). A journal whose panel is at another count than its rows is not signed with.
"""

import asyncio
import concurrent.futures
from dataclasses import dataclass
from typing import Final

from appliance.errors import (
    BadRequestError,
    BrokenInvariantError,
    FaultError,
    JournalError,
)
from appliance.journal import Journal
from appliance.journal_records import ENROL_PANEL
from appliance.panel_guard import PanelGuard
from appliance.threads import OwnerThread
from failpoints import failpoint

MOST_AHEAD: Final = 1
"""Counts a journal on disk may be ahead of its panel: the row being counted."""
COUNTS_AT_START: Final = MOST_AHEAD + 1
_PATIENCE_S: Final = 30.0
"""For one count, several times what the panel's own time-outs add up to."""
_STEP: Final = "panel-start"


@dataclass(frozen=True, slots=True)
class LiveCounter:
    """The armed panel's counter, for the journal's thread.

    Attributes:
        guard: Whose panel.
        loop: Where the panel lives; never the caller's thread.
        panel_id: Which panel it was when this was made.
    """

    guard: PanelGuard
    loop: asyncio.AbstractEventLoop
    panel_id: str

    def raise_to(self, value: int) -> None:
        """Raise it by one, to ``value``; blocks until the panel has stored that.

        Args:
            value: What the row that was just committed names.

        Raises:
            JournalError: ``panel`` if the panel does not say so.
        """
        if self.guard.panel_id != self.panel_id:
            raise JournalError("another panel is there now", code="panel")
        counting = self.guard.raise_counter(value)
        counted = asyncio.run_coroutine_threadsafe(counting, self.loop)
        try:
            counted.result(_PATIENCE_S)
        except FaultError as error:
            raise JournalError(f"not counted: {error}", code="panel") from error
        except (TimeoutError, concurrent.futures.CancelledError) as error:
            counted.cancel()
            raise JournalError("the panel does not count", code="panel") from error


@dataclass(frozen=True, slots=True)
class PanelAnchor:
    """Compares a journal with the panel, and has the panel count it.

    Attributes:
        guard: The panel, armed.
        journal: Open and verified.
        journal_thread: Its thread.
    """

    guard: PanelGuard
    journal: Journal
    journal_thread: OwnerThread

    @property
    def enrolled(self) -> bool:
        """Whether the journal knows the panel that is there."""
        return self.guard.panel_id in self.journal.verified.counters

    async def compare(self) -> None:
        """Hold the journal against the counter, and count what a crash left over.

        A panel that the journal does not know is not compared: see ``enrol``.

        Raises:
            FaultError: ``panel`` if it does not answer.
            BrokenInvariantError: ``head-regression`` if the panel has counted rows
                that are not here, ``panel-counter`` if it has forgotten some.
        """
        if not self.guard.configured or not self.enrolled:
            return
        panel = self.guard.panel_id
        recorded = self.journal.verified.counters[panel]
        counted = await self.guard.counter()
        if counted > recorded:
            raise BrokenInvariantError(
                f"panel {panel} has counted to {counted}, the journal ends at"
                f" {recorded}: it was put back from before, or another one signed",
                code="head-regression",
            )
        if counted < recorded - MOST_AHEAD:
            raise BrokenInvariantError(
                f"the journal ends at count {recorded}, panel {panel} says {counted}:"
                " its memory was put back",
                code="panel-counter",
            )
        if counted < recorded:
            await self.guard.raise_counter(recorded)
        failpoint("journal.panel.compared")

    async def begin(self) -> bool:
        """Count the start; every counted row is counted from here on.

        Returns:
            Whether the panel vouches for the journal's head. Where appliances share a
            journal it does not: it says nothing of the others' rows.
        """
        if not self.guard.configured or not self.enrolled:
            return False
        loop = asyncio.get_running_loop()
        counter = LiveCounter(self.guard, loop, self.guard.panel_id)
        await self.journal_thread(self.journal.count_on, counter)
        for number in range(1, COUNTS_AT_START + 1):
            await self.journal_thread(
                self.journal.commit_ceremony,
                client="panel",
                payload={"step": _STEP, "part": number, "of": COUNTS_AT_START},
            )
        return not self.journal.shared

    async def plan(self) -> list[str]:
        """Say what enrolling would do; operators compare the first line.

        Returns:
            The steps, in words.

        Raises:
            BadRequestError: If there is no panel, or the journal knows it.
        """
        if not self.guard.configured:
            raise BadRequestError("no panel is configured: set [panel] device")
        if self.enrolled:
            raise BadRequestError(f"panel {self.guard.panel_id} is enrolled")
        head, counted = self.journal.head, await self.guard.counter()
        return [
            f"1. journal panel {self.guard.panel_id}, its counter at {counted}",
            "2. have it count every signature and ceremony from there on; "
            + (
                "those of other appliances stay enrolled"
                if self.journal.shared
                else "any other panel is out"
            ),
            f"the journal ended at row {head.sequence}, {head.hash}",
        ]

    async def enrol(self, *, client: str) -> None:
        """Journal which panel there is and where it stands, and begin.

        Args:
            client: The operator who asks.
        """
        enrolled = {
            "panel": self.guard.panel_id,
            "counter": await self.guard.counter(),
            "alone": not self.journal.shared,
        }
        await self.journal_thread(
            self.journal.commit_ceremony,
            client=client,
            payload={"step": ENROL_PANEL, **enrolled},
        )
        failpoint("journal.panel.enrolled")
        await self.begin()
