# SPDX-License-Identifier: Apache-2.0
"""Addresses, users, machines, what waits for people, balances, and who did what."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from hub.addresses import parse_address
from hub.api.dashboard.drawings import draw_qr
from hub.api.dashboard.errors import FormInvalidError
from hub.api.dashboard.health import NodesProbe, node_word
from hub.api.dashboard.pages.asked import PER_PAGE, row_asked
from hub.api.dashboard.plots import Series, draw_plot
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.visits import Ports, Route, Visit
from hub.errors import AddressUnknownError, HubError
from hub.model import SweepState, UserId, WithdrawalState
from hub.operators import Role
from hub.signer import ActAsked
from hub.store.samples import HOUR_MS, STEP_MS
from trinary.kerl import with_checksum

_FEW: Final = 25
_ACTS_S: Final = 2.0
"""How long a page waits for the appliance to list its acts, in seconds."""
_DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Span:
    """A time that balances are shown over.

    Attributes:
        name: In the address line.
        length_ms: In milliseconds.
        step_ms: Between two points, in milliseconds.
    """

    name: str
    length_ms: int
    step_ms: int


SPANS: Final = (
    Span("day", _DAY_MS, STEP_MS),
    Span("week", 7 * _DAY_MS, HOUR_MS),
    Span("month", 31 * _DAY_MS, 4 * HOUR_MS),
    Span("year", 366 * _DAY_MS, 2 * _DAY_MS),
)


class RecordPages:
    """Pages that only show.

    Args:
        ports: The rest of the hub.
        pages: Fills templates.
        probe: Asks the nodes.
    """

    def __init__(self, ports: Ports, pages: Pages, probe: NodesProbe) -> None:
        self._ports = ports
        self._pages = pages
        self._probe = probe

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(path="/addresses/{address}", handler=self.address),
            Route(path="/users/{name}", handler=self.user),
            Route(path="/nodes", handler=self.nodes),
            Route(path="/appliances", handler=self.appliances),
            Route(path="/approvals", handler=self.approvals),
            Route(path="/balances", handler=self.balances),
            Route(path="/audit", role=Role.OPERATOR, handler=self.audit),
            Route(path="/operators", role=Role.ADMIN, handler=self.operators),
        ]

    async def address(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show an address of ours with its QR code.

        Args:
            request: Names it by 81 trytes.
            visit: Whose.

        Returns:
            The page.

        Raises:
            AddressUnknownError: If it is none of ours.
        """
        text = parse_address(request.match_info["address"], checksum=False)
        async with self._ports.store.reading() as tx:
            own = await tx.addresses.find(text)
            if own is None:
                raise AddressUnknownError("this address is none of ours")
            owner = await tx.accounts.by_id(own.account_id)
            deposits = await tx.glances.deposits(
                before_row=None, limit=_FEW, address_id=own.address_id
            )
            sweeps = await tx.glances.sweeps_touching(own.address_id, limit=_FEW)
        checked = with_checksum(text)
        return self._pages.show(
            "address",
            visit,
            title="Address",
            path=request.path,
            own=own,
            owner=owner,
            checked=checked,
            qr=draw_qr(checked),
            deposits=deposits,
            sweeps=sweeps,
        )

    async def user(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show an account: balances, addresses, deposits and withdrawals.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The page.
        """
        name = UserId(request.match_info["name"])
        async with self._ports.store.reading() as tx:
            account = await tx.accounts.by_identifier(name)
            addresses = await tx.pages.addresses(
                before_id=None, limit=_FEW, user_id=name
            )
            deposits = await tx.glances.deposits(
                before_row=None, limit=_FEW, account_id=account.account_id
            )
            withdrawals = await tx.glances.withdrawals(
                before_row=None, limit=_FEW, account_id=account.account_id
            )
        return self._pages.show(
            "user",
            visit,
            title="User",
            path=request.path,
            account=account,
            addresses=addresses,
            deposits=deposits,
            withdrawals=withdrawals,
        )

    async def nodes(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show each node as this hub has met it.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The page.
        """
        problem = await self._probe.look()
        nodes = [(node_word(one), one) for one in self._ports.node_health()]
        return self._pages.show(
            "nodes",
            visit,
            title="Nodes",
            path=request.path,
            nodes=nodes,
            problem=problem,
        )

    async def appliances(
        self, request: web.Request, visit: Visit
    ) -> web.StreamResponse:
        """Show what each appliance last said.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The page.
        """
        return self._pages.show(
            "appliances",
            visit,
            title="Appliances",
            path=request.path,
            reports=self._ports.appliances(),
        )

    async def approvals(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show what waits for a person, and what exactly is asked.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The page.
        """
        states = (
            WithdrawalState.AWAITING_APPROVAL,
            WithdrawalState.AWAITING_AUTHORISATION,
        )
        async with self._ports.store.reading() as tx:
            waiting = [
                await tx.glances.withdrawals(
                    before_row=None, limit=PER_PAGE, state=state
                )
                for state in states
            ]
            sweeps = await tx.glances.sweeps(
                before_row=None, limit=PER_PAGE, state=SweepState.PLANNED
            )
        asked = [
            (one, await self._ports.explain_sweep(one.bundle_hash)) for one in sweeps
        ]
        return self._pages.show(
            "approvals",
            visit,
            title="Approvals",
            path=request.path,
            to_approve=waiting[0],
            to_authorise=waiting[1],
            sweeps=asked,
            acts=await self._acts(),
        )

    async def _acts(self) -> Sequence[ActAsked] | str:
        """Ask the appliance which acts wait.

        Returns:
            The acts, or why they are not known here.
        """
        if self._ports.acts is None:
            return (
                "This hub may not ask for them: set auditor_certificate and"
                " auditor_key in [reconciler]."
            )
        try:
            async with asyncio.timeout(_ACTS_S):
                return await self._ports.acts()
        except (HubError, TimeoutError) as error:
            return f"The appliance did not say: {error}"

    async def balances(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show what was held and owed over a time.

        Args:
            request: With ``span``, or not.
            visit: Whose.

        Returns:
            The page.

        Raises:
            FormInvalidError: If there is no such span.
        """
        wanted = request.query.get("span", "day")
        span = next((one for one in SPANS if one.name == wanted), None)
        if span is None:
            raise FormInvalidError("there is no such span")
        since_ms = visit.now_ms - span.length_ms
        async with self._ports.store.reading() as tx:
            books = await tx.samples.balances(since_ms=since_ms, step_ms=span.step_ms)
            found = await tx.samples.reserves(since_ms=since_ms, step_ms=span.step_ms)
        sides = [
            Series("held", "assets", [(one.at_ms, one.assets_i) for one in books]),
            Series("owed", "owed", [(one.at_ms, one.liabilities_i) for one in books]),
        ]
        reserves = [
            Series("on the Tangle", "assets", [(o.at_ms, o.tangle_i) for o in found]),
            Series("in the books", "owed", [(one.at_ms, one.books_i) for one in found]),
        ]
        return self._pages.show(
            "balances",
            visit,
            title="Balances",
            path=request.path,
            span=span.name,
            spans=[one.name for one in SPANS],
            books=books[::-1],
            reserves=found[::-1],
            books_plot=draw_plot(sides),
            reserves_plot=draw_plot(reserves),
        )

    async def audit(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show who did what, the newest first.

        Args:
            request: With ``before``, or not.
            visit: Whose.

        Returns:
            The page.
        """
        async with self._ports.store.reading() as tx:
            lines = await tx.audit.page(
                before_id=row_asked(request), limit=PER_PAGE + 1
            )
        more = f"/audit?before={lines[PER_PAGE - 1].row}" if lines[PER_PAGE:] else ""
        return self._pages.show(
            "audit",
            visit,
            title="Audit",
            path=request.path,
            lines=lines[:PER_PAGE],
            more=more,
        )

    async def operators(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show who may use the dashboard, and who has used it lately.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The page.
        """
        async with self._ports.store.reading() as tx:
            operators = await tx.operators.all()
            sessions = await tx.operators.sessions(limit=PER_PAGE)
        return self._pages.show(
            "operators",
            visit,
            title="Operators",
            path=request.path,
            operators=operators,
            sessions=sessions,
        )
