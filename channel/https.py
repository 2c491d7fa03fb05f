# SPDX-License-Identifier: Apache-2.0
"""Carries a request to an appliance over the network, and a reply back."""

from types import TracebackType
from typing import Self

import aiohttp

from channel import ChannelError, ChannelFiles, client_context


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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Load the files; raises ``ChannelError`` if one is missing.

        Returns:
            The carrier itself.
        """
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=client_context(self._files)),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        if self._session is None:
            raise ChannelError("the channel is not open: use `async with`")
        async with self._session.post(self.where + self._path, data=body) as response:
            return await response.read()
