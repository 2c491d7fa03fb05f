# SPDX-License-Identifier: Apache-2.0
"""The front page: how everything does, and what waits for how long."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from hub.api.dashboard.health import (
    NodesProbe,
    Tile,
    appliance_tiles,
    certificate_tile,
    nodes_tile,
)
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.visits import Ports, Route, Visit
from hub.files import expiry_s
from hub.model import DepositState
from hub.store.figures import Waiting
from hub.store.glances import WithdrawalLine

_OLDEST: Final = 10
_CERTIFICATES_MS: Final = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the database says to the front page.

    Attributes:
        latched: Why no balance may change; empty: it may.
        withdrawals: Those no signed sweep pays yet, by state.
        sweeps: Those not confirmed, by state.
        held: Deposits not credited, by state.
        oldest: The withdrawals that wait longest.
    """

    latched: str
    withdrawals: Sequence[Waiting]
    sweeps: Sequence[Waiting]
    held: Mapping[DepositState, int]
    oldest: Sequence[WithdrawalLine]


class OverviewPage:
    """The front page.

    Args:
        ports: The rest of the hub.
        pages: Fills the template.
        probe: Asks the nodes.
    """

    def __init__(self, ports: Ports, pages: Pages, probe: NodesProbe) -> None:
        self._ports = ports
        self._pages = pages
        self._probe = probe
        self._ends_ms: dict[str, int] = {}
        self._read_at_ms: int | None = None

    def routes(self) -> list[Route]:
        """List them."""
        return [Route(path="/", handler=self.show)]

    async def show(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show it.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The page.
        """
        async with self._ports.store.reading() as tx:
            found = Overview(
                latched=await tx.books.latched(),
                withdrawals=await tx.figures.withdrawals(),
                sweeps=await tx.figures.sweeps(),
                held=await tx.glances.deposits_held(),
                oldest=await tx.glances.oldest_waiting(limit=_OLDEST),
            )
        return self._pages.show(
            "overview",
            visit,
            title="Overview",
            path=request.path,
            found=found,
            tiles=await self._tiles(found, now_ms=visit.now_ms),
        )

    async def _tiles(self, found: Overview, *, now_ms: int) -> list[Tile]:
        flows = self._ports.held_flows()
        here = sum(flows.values())
        problem = await self._probe.look()
        tiles = [
            Tile(
                name="Hub", word="ok", detail=f"runs {here} of {len(flows)} flows here"
            ),
            Tile(name="Database", word="ok", detail="answers"),
            Tile(name="Books", word="latched", detail=found.latched)
            if found.latched
            else Tile(
                name="Books", word="ok", detail="balances may change", link="/balances"
            ),
            nodes_tile(problem, self._ports.node_health()),
            *appliance_tiles(self._ports.appliances()),
        ]
        certificate = certificate_tile(await self._ends(now_ms), now_ms=now_ms)
        return tiles if certificate is None else [*tiles, certificate]

    async def _ends(self, now_ms: int) -> dict[str, int]:
        """Return when certificates end; their files are read once in a while."""
        read_ms = self._read_at_ms
        if read_ms is None or now_ms - read_ms >= _CERTIFICATES_MS:
            self._read_at_ms = now_ms
            self._ends_ms = await asyncio.to_thread(_ends_ms, self._ports.certificates)
        return self._ends_ms


def _ends_ms(certificates: Mapping[str, Path]) -> dict[str, int]:
    return {name: int(expiry_s(path) * 1000) for name, path in certificates.items()}
