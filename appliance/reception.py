# SPDX-License-Identifier: Apache-2.0
"""What is the same however a request came: who it is from, limits, and its answer.

A listener authenticates, and hands over bytes and a client; roles are looked up at
every request, so that a client that was revoked is out at once. Strangers get no
further than a refusal and cost nothing but a counter.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from appliance.config import Client, Config
from appliance.service import Appliance
from appliance.wire import MAX_BODY_BYTES, Fault, Reply, Request, decode_request

_log = logging.getLogger(__name__)
SHUTDOWN_TIMEOUT_S: Final = 10.0
_BODY_TIMEOUT_S: Final = 30.0
Answer: TypeAlias = tuple[int, Reply]
"""A status as HTTP has them, and a reply."""


@dataclass(slots=True)
class Reception:
    """Parses, limits and answers.

    Attributes:
        config: The appliance's configuration.
        appliance: Who answers.
        strangers_count: How many were turned away.
        body_timeout_s: How long a request may take to come: the whole of it on TLS,
            its next part on a serial line.
    """

    config: Config
    appliance: Appliance
    strangers_count: int = 0
    body_timeout_s: float = _BODY_TIMEOUT_S
    _working: set[asyncio.Task[Reply]] = field(default_factory=set)

    def find(self, key_id: str) -> Client | None:
        """Return whose key that is, if it may connect."""
        return self.appliance.life.roster.find(key_id)

    def turn_away(self, why: str) -> Answer:
        """Count a stranger.

        Args:
            why: For our log alone.

        Returns:
            What it is told.
        """
        self.strangers_count += 1
        _log.warning("stranger refused: %s", why)
        return 403, _fault("forbidden", "this key may not ask")

    def reject(self, status: int) -> Answer:
        """Answer a request that did not come whole.

        Args:
            status: 408, 413, 429 or 503.

        Returns:
            What the client is told.
        """
        return status, {
            408: _fault("too-slow", "the body did not come in time"),
            413: _fault("too-large", f"a request has at most {MAX_BODY_BYTES} bytes"),
            429: _fault("busy", "too many requests of yours are under way", retry=True),
            503: _fault("stopping", "it is stopping; ask the very same", retry=True),
        }[status]

    async def answer(self, body: bytes, client: Client) -> Answer:
        """Answer a request.

        Args:
            body: All of it.
            client: Whose it is.

        Returns:
            The reply.
        """
        try:
            message = decode_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return 400, _fault("bad-request", f"not understood: {error}")
        return 200, await self._work(message, client)

    async def drain(self) -> None:
        """Wait for requests under way; a signature is never cut in half."""
        if self._working:
            await asyncio.wait(self._working, timeout=SHUTDOWN_TIMEOUT_S)

    async def _work(self, message: Request, client: Client) -> Reply:
        """Answer within the deadline; the work itself is never cancelled."""
        task = asyncio.create_task(self.appliance.handle(message, client))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        timeout_s = self.config.limits.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        except TimeoutError:
            return Fault(
                request_id=message.request_id,
                code="timeout",
                message=f"not done within {timeout_s} s; ask the very same again",
                retry=True,
            )


def _fault(code: str, message: str, *, retry: bool = False) -> Fault:
    return Fault(request_id="", code=code, message=message, retry=retry)
