# SPDX-License-Identifier: Apache-2.0
"""How everything does, as tiles: a word, what to know, and where to look; pure.

``NodesProbe`` is the exception: it asks the nodes, never twice at once, and never lets
a page wait for them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hub.errors import HubError
from hub.node_health import NodeHealth
from hub.signer import StatusReport

_PATIENCE_S: Final = 0.1
_FRESH_S: Final = 5.0
_WARN_MS: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One part of the whole.

    Attributes:
        name: What it is.
        word: How it does, in a word that ``rendering.TONES`` knows.
        detail: What else to know.
        link: The page that says more; empty: none.
    """

    name: str
    word: str
    detail: str = ""
    link: str = ""


class NodesProbe:
    """Remembers whether a quorum of nodes is synchronised.

    Args:
        synced: Asks the nodes; raises when no quorum is.
    """

    def __init__(self, synced: Callable[[], Awaitable[object]]) -> None:
        self._synced = synced
        self._task: asyncio.Task[None] | None = None
        self._asked_s = -_FRESH_S
        self.problem: str | None = None
        """What is wrong; empty: nothing; None: no answer has come yet."""

    async def look(self) -> str | None:
        """Ask if the last answer is old, and wait a moment for it.

        Returns:
            ``problem``.
        """
        now_s = asyncio.get_running_loop().time()
        if self._task is None and now_s - self._asked_s >= _FRESH_S:
            self._asked_s = now_s
            self._task = asyncio.create_task(self._ask())
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.shield(self._task)
        return self.problem

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            await self._synced()
            self.problem = ""
        except HubError as error:
            self.problem = str(error)
        finally:
            self._task = None


def node_word(node: NodeHealth) -> str:
    """Say how a node does, in one word."""
    if node.failures or node.last_answer_ms is None:
        return "away" if node.failures else "unknown"
    return "behind" if node.stale else "ok"


def nodes_tile(problem: str | None, nodes: Sequence[NodeHealth]) -> Tile:
    """Show the nodes as one.

    Args:
        problem: As ``NodesProbe`` says.
        nodes: Each of them.

    Returns:
        The tile.
    """
    good = sum(node_word(node) == "ok" for node in nodes)
    detail = problem or f"{good} of {len(nodes)} answer and are up to date"
    word = {None: "unknown", "": "ok"}.get(problem, "unready")
    return Tile(name="Nodes", word=word, detail=detail, link="/nodes")


def appliance_tiles(reports: Mapping[str, StatusReport | None]) -> list[Tile]:
    """Show each appliance, its HSM and its panel.

    Args:
        reports: What each last said, by its place; None: nothing.

    Returns:
        The tiles, three for one that answers.
    """
    tiles = []
    for place, report in reports.items():
        if report is None:
            tiles.append(Tile(name="Appliance", word="away", detail=place))
            continue
        detail = report.reason or f"can sign; {place}"
        tiles.append(
            Tile(
                name="Appliance",
                word=report.state,
                detail=detail,
                link="/appliances",
            )
        )
        tiles += [_hsm_tile(report), _panel_tile(report)]
    return tiles


def _hsm_tile(report: StatusReport) -> Tile:
    trouble = report.reason.startswith(("hsm", "pin"))
    running = report.state == "ready" and not trouble
    word = "ok" if running else "unready" if trouble else "unknown"
    return Tile(name="HSM", word=word, detail=report.hsm, link="/appliances")


def _panel_tile(report: StatusReport) -> Tile:
    code = report.reason.partition(":")[0]
    if "panel" in code or code == "tamper":
        return Tile(name="Panel", word="unready", detail=report.reason)
    if report.state != "ready":
        return Tile(name="Panel", word="unknown", detail="the appliance is not ready")
    detail = "nothing is missing that the policy asks for"
    return Tile(name="Panel", word="ok", detail=detail, link="/appliances")


def certificate_tile(ends_ms: Mapping[str, int], *, now_ms: int) -> Tile | None:
    """Show the certificate that ends first; None: there is none.

    Args:
        ends_ms: When each ends, by its setting; 0: it can not be read.
        now_ms: Milliseconds since 1970.

    Returns:
        The tile.
    """
    if not ends_ms:
        return None
    setting, first_ms = min(ends_ms.items(), key=lambda one: one[1])
    if first_ms <= now_ms:
        return Tile(name="Certificates", word="unready", detail=f"{setting} has ended")
    days = (first_ms - now_ms) // 86_400_000
    word = "ok" if first_ms - now_ms > _WARN_MS else "behind"
    detail = f"{setting} ends first, in {days} days"
    return Tile(name="Certificates", word=word, detail=detail)
