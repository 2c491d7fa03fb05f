# SPDX-License-Identifier: Apache-2.0
"""Carries a request to an appliance over the network, and a reply back."""

import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from channel import ChannelError, ChannelFiles, client_context

_log = logging.getLogger(__name__)


class HttpsCarrier:
    """A connection to one endpoint; use it with ``async with``.

    Args:
        url: ``https://host:port``.
        files: Certificates and pin.
        path: Of the one endpoint there.
        timeout_s: Deadline of one request.

    Attributes:
        where: The URL, for messages.
    """

    def __init__(
        self, url: str, files: ChannelFiles, *, path: str, timeout_s: float
    ) -> None:
        self.where = url
        self._path = path
        self._files = files
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._old: list[_Line] = []
        self._seen: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        """Load the files; raises ``ChannelError`` if one is missing.

        Returns:
            The carrier itself.
        """
        self._seen = self._look()
        self._line = self._new_line()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        lines = [*self._old, *([] if self._line is None else [self._line])]
        self._line, self._old = None, []
        for line in lines:
            await line.session.close()

    async def carry(self, body: bytes) -> bytes:
        """Carry a request.

        Args:
            body: It.

        Returns:
            The reply, whatever its status.

        Raises:
            ChannelError: Outside of ``async with``.
            aiohttp.ClientError: If no reply came.
            TimeoutError: If none came in time.
        """
        if self._line is None:
            raise ChannelError("the channel is not open: use `async with`")
        line = self._line = self._newest(self._line)
        line.under_way += 1
        try:
            url = self.where + self._path
            async with line.session.post(url, data=body) as response:
                return await response.read()
        finally:
            line.under_way -= 1
            await self._close_idle()

    def _newest(self, line: "_Line") -> "_Line":
        """Change over to a certificate that was replaced; what is under way goes on.

        The certificate is replaced after its key: once it has changed, both have.

        Returns:
            The line for the next request: the one there is, if nothing changed.
        """
        seen = self._look()
        if seen in {None, self._seen}:
            return line
        self._seen = seen
        try:
            fresh = self._new_line()
        except ChannelError as error:
            _log.error("the new certificate can not be used: %s", error)
            return line
        _log.info("certificate renewed: %s", self._files.certificate)
        self._old.append(line)
        return fresh

    async def _close_idle(self) -> None:
        """Close what shows an old certificate once nothing is under way there."""
        idle = [line for line in self._old if not line.under_way]
        self._old = [line for line in self._old if line.under_way]
        for line in idle:
            await line.session.close()

    def _new_line(self) -> "_Line":
        return _Line(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=client_context(self._files)),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            )
        )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._files.certificate.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


@dataclass(slots=True)
class _Line:
    """Connections that show one certificate.

    Attributes:
        session: They.
        under_way: How many requests use them.
    """

    session: aiohttp.ClientSession
    under_way: int = 0
