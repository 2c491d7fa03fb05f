# SPDX-License-Identifier: Apache-2.0
"""The client's connection: what is sent again, when, and under which key.

A read may be repeated, and an effect under its one idempotency key. A refusal is
never repeated: the answer would be the same.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec

from hub.api.v1 import bodies
from hub.api.v1 import resources as res

_Reply = TypeVar("_Reply")
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
_RETRIED: Final = frozenset({429, 502, 503, 504})
_STREAM_SILENCE_S: Final = 60.0


class HubRefusedError(Exception):
    """The hub said no; the same request meets the same answer.

    Attributes:
        problem: What it said; ``problem.code`` is stable.
    """

    def __init__(self, problem: res.Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem

    @property
    def code(self) -> str:
        """The stable word for what was wrong."""
        return self.problem.code


class HubAwayError(Exception):
    """No answer in the time allowed: the effect may have happened or not.

    Attributes:
        idempotency_key: Repeat the same call with this key to find out; empty for a
            read.
    """

    def __init__(self, message: str, *, idempotency_key: str) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class Connection:
    """One hub and one API key; use it with ``async with``.

    Args:
        url: ``http(s)://HOST:PORT``.
        api_key: The whole key.
        tls: For a private authority or a client certificate.
        timeout_s: Of one attempt, in seconds.
        attempts: How often a request is sent at most.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        tls: ssl.SSLContext | None,
        timeout_s: float,
        attempts: int,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._tls = tls
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open it.

        Returns:
            The connection itself.
        """
        tls = True if self._tls is None else self._tls
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), headers=self._headers
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[_Reply],
        *,
        query: dict[str, Any] | None = None,
        body: bodies.Asked | None = None,
        key: str = "",
    ) -> _Reply:
        """Send a request, again while that may help.

        Args:
            method: HTTP method.
            path: Quoted.
            kind: Type of the answer.
            query: Parameters; None stands for absent.
            body: What is sent.
            key: The idempotency key of every attempt.

        Returns:
            The answer.

        Raises:
            HubRefusedError: If the hub said no.
            HubAwayError: If no attempt brought an answer.
        """
        headers = {"Idempotency-Key": key} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        pause_s, said = FIRST_PAUSE_S, "no attempt"
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            try:
                async with self._open().request(
                    method,
                    self._url + path,
                    params=given(query or {}),
                    data=None if body is None else msgspec.json.encode(body),
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                ) as reply:
                    raw = await reply.read()
            except (TimeoutError, aiohttp.ClientError) as error:
                said = str(error) or type(error).__name__
                continue
            if reply.ok:
                return msgspec.json.decode(raw, type=kind)
            problem = _problem(raw, reply.status)
            if reply.status not in _RETRIED:
                raise HubRefusedError(problem)
            said = f"{problem.code}: {problem.detail}"
            pause_s = max(pause_s, float(reply.headers.get("Retry-After", "0")))
        raise HubAwayError(said, idempotency_key=key)

    async def stream(
        self, query: dict[str, str], after: int
    ) -> AsyncGenerator[tuple[int, res.Event | None]]:
        """Read the stream of events until it breaks off.

        Args:
            query: Its filters.
            after: The last position seen.

        Yields:
            Each position, with its event unless it is a heartbeat's.

        Raises:
            HubRefusedError: If the hub will not stream this.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_STREAM_SILENCE_S)
        async with self._open().get(
            f"{self._url}/v1/events/stream",
            params=query,
            headers={"Last-Event-ID": str(after)},
            timeout=timeout,
        ) as reply:
            if reply.status in _RETRIED:
                return
            if reply.status != 200:  # noqa: PLR2004 - OK
                raise HubRefusedError(_problem(await reply.read(), reply.status))
            position, event = after, None
            async for raw in reply.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name == "id":
                    position = int(value)
                elif name == "data":
                    event = msgspec.json.decode(value, type=res.Event)
                elif not name:
                    yield position, event
                    event = None

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with`"
        return self._session


def given(query: dict[str, Any]) -> dict[str, str]:
    """Leave out what is None and write the rest as text."""
    return {name: str(value) for name, value in query.items() if value is not None}


def _problem(raw: bytes, status: int) -> res.Problem:
    try:
        return msgspec.json.decode(raw, type=res.Problem)
    except msgspec.DecodeError:
        return res.Problem(
            type="about:blank",
            title="no problem document",
            status=status,
            code="unknown",
            detail=f"status {status}",
            request_id="",
            retry=status in _RETRIED,
        )
