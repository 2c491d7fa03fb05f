# SPDX-License-Identifier: Apache-2.0
"""The search: one match leads to its page, several are listed."""

import re
from typing import Final
from urllib.parse import quote

from aiohttp import web

from hub.addresses import parse_address
from hub.api.dashboard.rendering import Pages
from hub.api.dashboard.visits import Ports, Route, Visit
from hub.store import Transaction
from hub.store.glances import Match

_MOST: Final = 25
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRYTES: Final = re.compile(r"[9A-Z]{81}([9A-Z]{9})?")
_HASH: Final = 81
_PLACES: Final = {
    "withdrawal": "/withdrawals/",
    "address": "/addresses/",
    "sweep": "/sweeps/",
    "user": "/users/",
}


class SearchPage:
    """Finds users, addresses, bundles and withdrawals by their names.

    Args:
        ports: The rest of the hub.
        pages: Fills the template.
    """

    def __init__(self, ports: Ports, pages: Pages) -> None:
        self._ports = ports
        self._pages = pages

    def routes(self) -> list[Route]:
        """List them."""
        return [Route(path="/search", handler=self.search)]

    async def search(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Look up a name.

        Args:
            request: With ``q``.
            visit: Whose.

        Returns:
            The way to the only match, or the matches.
        """
        text = request.query.get("q", "").strip()[:200]
        async with self._ports.store.reading() as tx:
            matches = await _matches(tx, text) if text else []
        places = [(one, place_of(one)) for one in matches]
        named = [place for one, place in places if one.about.startswith("its ")]
        chosen = named if len(named) == 1 else [place for _, place in places]
        if len(chosen) == 1 and chosen[0]:
            return web.Response(status=303, headers={"Location": chosen[0]})
        return self._pages.show(
            "search", visit, title="Search", path=request.path, text=text, places=places
        )


async def _matches(tx: Transaction, text: str) -> list[Match]:
    found = await tx.glances.users_named(text, limit=_MOST)
    if _UUID.fullmatch(text.lower()):
        found += await tx.glances.withdrawal_named(text.lower())
    if _TRYTES.fullmatch(text):
        with_checksum = len(text) > _HASH
        name = parse_address(text, checksum=True) if with_checksum else text
        found += await tx.glances.trytes_named(name, limit=_MOST)
    return list(dict.fromkeys(found))


def place_of(match: Match) -> str:
    """Return the page of a match.

    Args:
        match: As found.

    Returns:
        Its path; empty: it has no page.
    """
    place = _PLACES.get(match.kind)
    return place + quote(match.name, safe="") if place else ""
