# SPDX-License-Identifier: Apache-2.0
"""Withdrawals: the list, each with why it waits, and giving one back."""

from dataclasses import dataclass

from aiohttp import web

from hub.api.dashboard.pages.asked import PER_PAGE, listing, row_asked, state_asked
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.visits import Explained, Ports, Route, Visit
from hub.model import (
    Sweep,
    UserId,
    Withdrawal,
    WithdrawalState,
    sources_of,
)
from hub.operators import Role
from hub.store import Transaction
from hub.withdrawals import parse_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalPage:
    """What the page of a withdrawal shows.

    Attributes:
        withdrawal: As stored.
        user_id: Whose balance pays it.
        sweep: The sweep it is in, if any.
        cold: Whether it carries value to cold storage.
        explanation: Why it is not out yet, if anything is to be said.
    """

    withdrawal: Withdrawal
    user_id: UserId
    sweep: Sweep | None
    cold: bool
    explanation: Explained | None

    @property
    def word(self) -> str:
        """Its state in one word."""
        if self.sweep is not None and self.sweep.confirmed_at_ms is not None:
            return self.sweep.state.value
        return self.withdrawal.state.value

    @property
    def may_be_cancelled(self) -> bool:
        """Whether no sweep has taken it."""
        return self.withdrawal.state in sources_of(WithdrawalState.CANCELLED)


class WithdrawalPages:
    """List, page and cancellation.

    Args:
        ports: The rest of the hub.
        pages: Fills templates.
    """

    def __init__(self, ports: Ports, pages: Pages) -> None:
        self._ports = ports
        self._pages = pages

    def routes(self) -> list[Route]:
        """List them."""
        one = "/withdrawals/{uuid}"
        return [
            Route(path="/withdrawals", handler=self.show_all),
            Route(path=one, handler=self.show),
            Route(path=f"{one}/cancel", role=Role.OPERATOR, handler=self.ask_to_cancel),
            Route(
                method="POST",
                path=f"{one}/cancel",
                role=Role.OPERATOR,
                handler=self.cancel,
            ),
        ]

    async def show_all(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show the list.

        Args:
            request: With ``state`` and ``before``, or not.
            visit: Whose.

        Returns:
            The page.
        """
        state = state_asked(request, WithdrawalState)
        async with self._ports.store.reading() as tx:
            lines = await tx.glances.withdrawals(
                before_row=row_asked(request), limit=PER_PAGE + 1, state=state
            )
        found = listing(request, lines, state=state, kind=WithdrawalState)
        return self._pages.show(
            "withdrawals", visit, title="Withdrawals", path="/withdrawals", found=found
        )

    async def show(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show one.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The page.
        """
        return self._pages.show(
            "withdrawal",
            visit,
            title="Withdrawal",
            path="/withdrawals",
            found=await self._find(request),
        )

    async def ask_to_cancel(
        self, request: web.Request, visit: Visit
    ) -> web.StreamResponse:
        """Say what a cancellation would do.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The page.
        """
        return self._pages.show(
            "cancel",
            visit,
            title="Cancel a withdrawal",
            path="/withdrawals",
            found=await self._find(request),
        )

    async def cancel(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Give one back.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The way to its page.
        """
        uuid = parse_uuid(request.match_info["uuid"])

        async def work(tx: Transaction) -> None:
            await tx.withdrawals.cancel(uuid)
            await tx.audit.add(visit.done("cancel-withdrawal", f"withdrawal {uuid}"))

        await self._ports.store.run(work)
        self._ports.publisher.wake()
        return web.Response(status=303, headers={"Location": f"/withdrawals/{uuid}"})

    async def _find(self, request: web.Request) -> WithdrawalPage:
        uuid = parse_uuid(request.match_info["uuid"])
        async with self._ports.store.reading() as tx:
            withdrawal, user_id, _ = await tx.pages.withdrawal(uuid)
            sweep = None
            if withdrawal.sweep_id is not None:
                sweep = await tx.sweeps.by_id(withdrawal.sweep_id)
            cold = await tx.cold.moved_by(uuid) is not None
        return WithdrawalPage(
            withdrawal=withdrawal,
            user_id=user_id,
            sweep=sweep,
            cold=cold,
            explanation=await self._ports.explain_withdrawal(uuid),
        )
