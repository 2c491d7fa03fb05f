# SPDX-License-Identifier: Apache-2.0
"""Deposits: the list; each is found again on the page of its address."""

from aiohttp import web

from hub.api.dashboard.pages.asked import PER_PAGE, listing, row_asked, state_asked
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.visits import Ports, Route, Visit
from hub.model import DepositState


class DepositPages:
    """The list of deposits.

    Args:
        ports: The rest of the hub.
        pages: Fills the template.
    """

    def __init__(self, ports: Ports, pages: Pages) -> None:
        self._ports = ports
        self._pages = pages

    def routes(self) -> list[Route]:
        """List them."""
        return [Route(path="/deposits", handler=self.show_all)]

    async def show_all(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show the list.

        Args:
            request: With ``state`` and ``before``, or not.
            visit: Whose.

        Returns:
            The page.
        """
        state = state_asked(request, DepositState)
        async with self._ports.store.reading() as tx:
            lines = await tx.glances.deposits(
                before_row=row_asked(request), limit=PER_PAGE + 1, state=state
            )
        found = listing(request, lines, state=state, kind=DepositState)
        return self._pages.show(
            "deposits", visit, title="Deposits", path="/deposits", found=found
        )
