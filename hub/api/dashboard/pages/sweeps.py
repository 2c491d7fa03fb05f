# SPDX-License-Identifier: Apache-2.0
"""Sweeps: the list, each with its bundle drawn, and sending one once more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hub.addresses import parse_address
from hub.api.dashboard.drawings import (
    BundleDrawing,
    Flow,
    Mark,
    Moment,
    draw_bundle,
    draw_line,
)
from hub.api.dashboard.pages.asked import PER_PAGE, listing, row_asked, state_asked
from hub.api.dashboard.rendering import Pages, shortened
from hub.api.dashboard.visits import Explained, Ports, Route, Visit
from hub.model import BundleHash, OwnAddress, Sweep, SweepState, Tail, Withdrawal
from hub.operators import Role
from hub.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One transaction that moves value.

    Attributes:
        index: Its place in the bundle.
        address: 81 trytes.
        amount_i: Iota, positive.
        kind: ``input``, ``payout`` or ``remainder``.
        owner: Whose address it is, if it is ours.
        uuid: The withdrawal it pays, if it is one.
    """

    index: int
    address: str
    amount_i: int
    kind: str
    owner: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """What the page of a sweep shows.

    Attributes:
        sweep: As stored.
        inputs: What it takes.
        outputs: Where that goes.
        drawing: Both as drawn.
        marks: What happened to it, on a line.
        tails: Its attachments, the newest first.
        explanation: Why it waits, if anything is to be said.
    """

    sweep: Sweep
    inputs: Sequence[Part]
    outputs: Sequence[Part]
    drawing: BundleDrawing
    marks: Sequence[Mark]
    tails: Sequence[Tail]
    explanation: Explained | None

    @property
    def moved_i(self) -> int:
        """All that it takes, in iota."""
        return sum(part.amount_i for part in self.inputs)

    @property
    def may_be_reattached(self) -> bool:
        """Whether it is signed and not confirmed."""
        return self.sweep.state in {SweepState.SIGNED, SweepState.ATTACHED}


class SweepPages:
    """List, page and reattachment.

    Args:
        ports: The rest of the hub.
        pages: Fills templates.
    """

    def __init__(self, ports: Ports, pages: Pages) -> None:
        self._ports = ports
        self._pages = pages

    def routes(self) -> list[Route]:
        """List them."""
        one = "/sweeps/{bundle}"
        return [
            Route(path="/sweeps", handler=self.show_all),
            Route(path=one, handler=self.show),
            Route(
                path=f"{one}/reattach", role=Role.OPERATOR, handler=self.ask_to_reattach
            ),
            Route(
                method="POST",
                path=f"{one}/reattach",
                role=Role.OPERATOR,
                handler=self.reattach,
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
        state = state_asked(request, SweepState)
        async with self._ports.store.reading() as tx:
            lines = await tx.glances.sweeps(
                before_row=row_asked(request), limit=PER_PAGE + 1, state=state
            )
        found = listing(request, lines, state=state, kind=SweepState)
        return self._pages.show(
            "sweeps", visit, title="Sweeps", path="/sweeps", found=found
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
            "sweep",
            visit,
            title="Sweep",
            path="/sweeps",
            found=await self._find(request, visit),
        )

    async def ask_to_reattach(
        self, request: web.Request, visit: Visit
    ) -> web.StreamResponse:
        """Say what sending it once more does.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The page.
        """
        return self._pages.show(
            "reattach",
            visit,
            title="Attach a sweep once more",
            path="/sweeps",
            found=await self._find(request, visit),
        )

    async def reattach(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Attach one once more.

        Args:
            request: Names it.
            visit: Whose.

        Returns:
            The way to its page.
        """
        name = _name_of(request)
        done = visit.done("reattach-sweep", f"sweep {name}")
        await self._ports.reattach(name, done)
        self._ports.publisher.wake()
        return web.Response(status=303, headers={"Location": f"/sweeps/{name}"})

    async def _find(self, request: web.Request, visit: Visit) -> SweepPage:
        async with self._ports.store.reading() as tx:
            sweep = await tx.sweeps.by_bundle_hash(_name_of(request))
            inputs = await _inputs_of(tx, sweep)
            paid = await tx.withdrawals.of_sweeps([sweep.sweep_id])
            rest = sweep.plan.remainder_address_id
            owns = [] if rest is None else await tx.addresses.with_ids([rest])
            tails = await tx.tails.of_sweep(sweep.sweep_id)
        outputs = outputs_of(sweep, paid, owns)
        moments = moments_of(sweep, tails, now_ms=visit.now_ms)
        return SweepPage(
            sweep=sweep,
            inputs=inputs,
            outputs=outputs,
            drawing=draw_bundle(_flows(inputs), _flows(outputs)),
            marks=draw_line(moments),
            tails=tails,
            explanation=await self._ports.explain_sweep(sweep.plan.bundle_hash),
        )


def outputs_of(
    sweep: Sweep, paid: Sequence[Withdrawal], rest: Sequence[OwnAddress]
) -> list[Part]:
    """Find out where a sweep's value goes; pure.

    Args:
        sweep: As stored.
        paid: The withdrawals it pays.
        rest: The remainder's address, if there is one.

    Returns:
        The outputs in the order of the bundle. A sweep whose stored bundle can not be
        read shows its withdrawals and its remainder all the same.
    """
    own = {one.address for one in rest}
    waiting = list(paid)
    places = {
        (entry["address"], entry["value_i"]): index
        for index, entry in reversed(list(enumerate(_entries(sweep))))
        if entry["value_i"] > 0
    }
    parts = [
        Part(
            index=places.get((one.payout_address, one.amount_i), -1),
            address=one.payout_address,
            amount_i=one.amount_i,
            kind="payout",
            uuid=one.uuid,
        )
        for one in waiting
    ]
    parts += [
        Part(
            index=places.get((address, sweep.plan.remainder_i), -1),
            address=address,
            amount_i=sweep.plan.remainder_i,
            kind="remainder",
            owner="the hub",
        )
        for address in own
    ]
    return sorted(parts, key=lambda part: (part.kind == "remainder", part.index))


def _entries(sweep: Sweep) -> list[dict[str, Any]]:
    found = json.loads(sweep.plan.essence)
    return found if isinstance(found, list) else []


def moments_of(sweep: Sweep, tails: Sequence[Tail], *, now_ms: int) -> list[Moment]:
    """Tell what happened to a sweep; pure.

    Args:
        sweep: As stored.
        tails: Its attachments.
        now_ms: Milliseconds since 1970.

    Returns:
        The moments in the order of time; ``now`` ends them while it is open.
    """
    moments = [Moment(sweep.planned_at_ms, "planned", "planned")]
    if sweep.signed_at_ms is not None:
        moments.append(Moment(sweep.signed_at_ms, "signed", "signed and booked"))
    for number, tail in enumerate(reversed(tails)):
        title = "attached once more" if number else "attached"
        if tail.confirmed:
            title += "; this attachment was confirmed"
        moments.append(Moment(tail.created_at_ms, "attached", title, tail.tail_hash))
    if sweep.confirmed_at_ms is not None:
        moments.append(Moment(sweep.confirmed_at_ms, "confirmed", "confirmed"))
    elif sweep.state is not SweepState.REFUSED:
        latest_ms = max(one.at_ms for one in moments)
        moments.append(Moment(max(now_ms, latest_ms), "now", "now"))
    return sorted(moments, key=lambda one: one.at_ms)


def _flows(parts: Sequence[Part]) -> list[Flow]:
    return [Flow(shortened(p.address), p.amount_i, p.kind) for p in parts]


async def _inputs_of(tx: Transaction, sweep: Sweep) -> list[Part]:
    ids = [spent.address_id for spent in sweep.plan.inputs]
    owns = {own.address_id: own for own in await tx.addresses.with_ids(ids)}
    return [
        Part(
            index=number,
            address=owns[spent.address_id].address,
            amount_i=spent.amount_i,
            kind="input",
            owner=owns[spent.address_id].kind.value,
        )
        for number, spent in enumerate(sweep.plan.inputs)
    ]


def _name_of(request: web.Request) -> BundleHash:
    return BundleHash(parse_address(request.match_info["bundle"], checksum=False))
