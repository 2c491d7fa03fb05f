# SPDX-License-Identifier: Apache-2.0
"""Hints by ZMQ, as IRI and HORNET publish them: one frame, a topic and its fields."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from hub.errors import HintsLostError
from hub.hints import TOPICS, Ring

_log = logging.getLogger(__name__)

_BREATH_S: Final = 0.05
"""Between two looks at what has come; what comes meanwhile is one hint."""
_MOST_TOGETHER: Final = 100
"""Messages taken at one look; a flood waits at the publisher, or is dropped there."""
_MOST_BYTES: Final = 4096
"""The longest message taken; a milestone's number takes some ten."""
_OPTIONS: Final[Mapping[int, int]] = {
    zmq.LINGER: 0,
    zmq.RCVHWM: 100,  # not CONFLATE: it would keep the last subscription only
    zmq.MAXMSGSIZE: _MOST_BYTES,
    zmq.RECONNECT_IVL: -1,  # pauses are ours: see hub.hints
    zmq.CONNECT_TIMEOUT: 10_000,
    zmq.HANDSHAKE_IVL: 10_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 60,
    zmq.TCP_KEEPALIVE_INTVL: 15,
    zmq.TCP_KEEPALIVE_CNT: 4,
}
"""Times in milliseconds; those of keep-alive in seconds."""


class ZmqSource:
    """One node's publisher.

    Args:
        url: ``tcp://host:port``.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """What it is called in the log."""
        return self._url

    async def listen(self, ring: Ring) -> NoReturn:
        """Connect, and ring for each hint and once when connected.

        Args:
            ring: Takes no time.

        Raises:
            HintsLostError: When the connection is lost or can not be made.
        """
        context = zmq.asyncio.Context()
        hearing: asyncio.Task[None] | None = None
        try:
            socket = context.socket(zmq.SUB)
            for option, value in _OPTIONS.items():
                socket.setsockopt(option, value)
            monitor = socket.get_monitor_socket()
            for topic in TOPICS:
                socket.subscribe(f"{topic} ".encode())
            socket.connect(self._url)
            hearing = asyncio.create_task(_hear(socket, ring))
            await _watch(monitor, self._connected(ring))
            socket.disable_monitor()
        except zmq.ZMQError as error:
            raise HintsLostError(f"{error}") from error
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
            context.destroy(linger=0)
        raise HintsLostError("not connected")

    def _connected(self, ring: Ring) -> Ring:
        def tell() -> None:
            _log.info("listening to hints of %s", self._url)
            ring()

        return tell


async def _hear(socket: zmq.asyncio.Socket, ring: Ring) -> None:
    while True:
        await socket.recv()
        for _ in range(_MOST_TOGETHER):
            if not await socket.poll(0):
                break
            await socket.recv()
        ring()
        await asyncio.sleep(_BREATH_S)


async def _watch(monitor: zmq.asyncio.Socket, tell: Ring) -> None:
    """Tell once the peer is there; return when it is gone."""
    while True:
        event = (await recv_monitor_message(monitor))["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            tell()
        elif event in {
            zmq.EVENT_CLOSED,
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        }:
            return
