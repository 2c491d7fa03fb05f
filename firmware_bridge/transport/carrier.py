# SPDX-License-Identifier: Apache-2.0
"""A client's end of a serial line: it carries a request there and a reply back.

The line is opened when there is something to ask and given back soon after, so that
programs with other keys take their turn on it; one that always has something to ask
gives it back every few seconds, once its replies are in. Nothing is asked twice here:
whoever asked is told that the line failed, and may ask the very same again.
"""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from firmware_bridge.errors import BusyLineError, MessageError, NotConnectedError
from firmware_bridge.key_file import read_key
from firmware_bridge.keys import require_key, wipe
from firmware_bridge.transport.connection import Connection
from firmware_bridge.transport.wire_pump import LinePlace

_AT_ONCE: Final = 16
_LINGER_S: Final = 0.3
_TURN_S: Final = 5.0
_YIELD_S: Final = 0.3
_BUSY_S: Final = 0.05


class SerialCarrier:
    """Asks an appliance over a line; use it with ``async with``.

    Args:
        place: Which line.
        key_file: File with the pre-shared key, mode 0600; read at every handshake.
        timeout_s: How long a request may wait without any part of it moving.

    Attributes:
        where: The line, for messages.
    """

    def __init__(self, place: LinePlace, key_file: Path, *, timeout_s: float) -> None:
        self.where = f"serial line {place.device}"
        self._place = place
        self._key_file = key_file
        self._timeout_s = timeout_s
        self._gate = asyncio.Lock()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._asked = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._connection: Connection | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        """Look at the key file.

        Returns:
            The carrier itself.

        Raises:
            MessageError: If it holds no key, or is open to others.
        """
        wipe(self._key())
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the line back."""
        self._entered = False
        self._let_go()

    async def carry(self, body: bytes) -> bytes:
        """Carry a request, and return the reply; errors as ``exchange``."""
        return (await self.exchange(body))[1]

    async def exchange(self, body: bytes) -> tuple[int, bytes]:
        """Carry a request.

        Args:
            body: It.

        Returns:
            Status, as HTTP has them, and body of the reply.

        Raises:
            FaultError: If the line failed: whether it was done is not known.
            NotAuthenticError: If the appliance does not take the key, or has it not.
            NotConnectedError: Outside of ``async with``.
            TimeoutError: If nothing moved for so long.
        """
        if not self._entered:
            raise NotConnectedError("the line is not in use: use `async with`")
        async with self._slots:
            connection = await self._take()
            try:
                return await connection.exchange(body, timeout_s=self._timeout_s)
            finally:
                self._give_back()

    async def _take(self) -> Connection:
        async with asyncio.timeout(self._timeout_s), self._gate:
            await self._end_turn()
            if self._connection is None:
                self._connection = await self._open()
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None
            self._asked += 1
            self._settled.clear()
            return self._connection

    def _give_back(self) -> None:
        self._asked -= 1
        if not self._asked:
            self._settled.set()
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(_LINGER_S, self._let_go)

    async def _end_turn(self) -> None:
        """Forget a lost line; leave one to others that was ours for a while."""
        connection = self._connection
        if connection is None:
            return
        if not connection.lost and connection.age_s < _TURN_S:
            return
        await self._settled.wait()
        lost = connection.lost
        self._let_go()
        if not lost:
            await asyncio.sleep(_YIELD_S)

    def _let_go(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _open(self) -> Connection:
        """Open the line as soon as nobody else has it."""
        while True:
            key = self._key()
            try:
                return await Connection.open(self._place, key)
            except BusyLineError:
                await asyncio.sleep(_BUSY_S)
            finally:
                wipe(key)

    def _key(self) -> bytearray:
        try:
            key = read_key(self._key_file)
        except OSError as error:
            raise MessageError(f"{self._key_file}: {error.strerror}") from error
        with contextlib.ExitStack() as undo:
            undo.callback(wipe, key)
            require_key(key)
            undo.pop_all()
        return key
