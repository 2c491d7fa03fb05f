# SPDX-License-Identifier: Apache-2.0
"""The devnet's own endpoints, which no real node has.

======  =========================  ==================================  ==========
Method  Path                       Body                                Reply
======  =========================  ==================================  ==========
GET     ``/devnet/faults``                                             all switches
POST    ``/devnet/faults``         ``{"name": ..., "value": ...}``     all switches
DELETE  ``/devnet/faults``                                             all, off
POST    ``/devnet/tick``                                               milestone
POST    ``/devnet/deposit``        ``{"address": ..., "amount_i": n}`` ``tail``
POST    ``/devnet/late-deposit``   the same                            milestone
POST    ``/devnet/reattach``       ``{"bundle": <hash>}``              ``tail``
======  =========================  ==================================  ==========

A milestone is ``{"index": n, "hash": ..., "timestamp_s": n, "diff": {...}}``.
``deposit`` waits for the next tick to confirm, ``late-deposit`` ticks by
itself. ``reattach`` takes pending and confirmed bundles: with the inputs
refunded, the next tick confirms the latter a second time. Mistakes answer 400
with ``{"error": text, "code": code}``. The switches are those of ``faults``.
"""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from hub.devnet.devnet import Devnet
from hub.devnet.errors import DevnetError, InvalidFaultError
from hub.devnet.faults import FaultValue
from hub.devnet.node import Milestone
from trinary.trytes import is_trytes

_ADDRESS = 81


def admin_routes(devnet: Devnet) -> list[web.RouteDef]:
    """Make the routes of the admin endpoints.

    Args:
        devnet: The network to act on.

    Returns:
        Routes for an aiohttp application.
    """
    desk = _Desk(devnet)
    return [
        web.get("/devnet/faults", _guarded(desk.faults)),
        web.post("/devnet/faults", _guarded(desk.set_fault)),
        web.delete("/devnet/faults", _guarded(desk.clear_faults)),
        web.post("/devnet/tick", _guarded(desk.tick)),
        web.post("/devnet/deposit", _guarded(desk.deposit)),
        web.post("/devnet/late-deposit", _guarded(desk.late_deposit)),
        web.post("/devnet/reattach", _guarded(desk.reattach)),
    ]


class _Desk:
    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet

    async def faults(self, _: web.Request) -> object:
        return self._devnet.faults.positions()

    async def set_fault(self, request: web.Request) -> object:
        body = await _body(request)
        self._devnet.faults.set(str(body.get("name")), _fault_value(body.get("value")))
        return self._devnet.faults.positions()

    async def clear_faults(self, _: web.Request) -> object:
        self._devnet.faults.clear()
        return self._devnet.faults.positions()

    async def tick(self, _: web.Request) -> object:
        return _milestone(await self._devnet.tick())

    async def deposit(self, request: web.Request) -> object:
        address, amount_i = await _payment(request)
        return {"tail": await self._devnet.deposit(address, amount_i)}

    async def late_deposit(self, request: web.Request) -> object:
        address, amount_i = await _payment(request)
        return _milestone(await self._devnet.late_deposit(address, amount_i))

    async def reattach(self, request: web.Request) -> object:
        body = await _body(request)
        return {"tail": await self._devnet.reattach(str(body.get("bundle")))}


def _guarded(
    run: Callable[[web.Request], Awaitable[object]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await run(request))
        except DevnetError as error:
            body = {"error": str(error), "code": error.code}
            return web.json_response(body, status=400)

    return handle


async def _body(request: web.Request) -> dict[str, object]:
    try:
        parsed = json.loads(await request.read())
    except ValueError as error:
        raise DevnetError("the body must be JSON") from error
    if not isinstance(parsed, dict):
        raise DevnetError("the body must be a JSON object")
    return parsed


async def _payment(request: web.Request) -> tuple[str, int]:
    body = await _body(request)
    address, amount_i = body.get("address"), body.get("amount_i")
    if not isinstance(address, str) or not is_trytes(address, length=_ADDRESS):
        raise DevnetError("address must be 81 trytes")
    if isinstance(amount_i, bool) or not isinstance(amount_i, int) or amount_i < 1:
        raise DevnetError("amount_i must be a whole number above 0")
    return address, amount_i


def _fault_value(value: object) -> FaultValue:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidFaultError(f"no fault takes {value!r}")


def _milestone(milestone: Milestone) -> dict[str, object]:
    return {
        "index": milestone.index,
        "hash": milestone.hash,
        "timestamp_s": milestone.timestamp_s,
        "diff": dict(milestone.diff),
    }
