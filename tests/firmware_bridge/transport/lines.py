# SPDX-License-Identifier: Apache-2.0
"""A listener that tells what it was asked, and clients with keys of their own."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

from firmware_bridge.transport.carrier import SerialCarrier
from firmware_bridge.transport.listener import SerialListener
from firmware_bridge.transport.pairing_keys import key_id_of
from firmware_bridge.transport.parts import Rejection
from firmware_bridge.transport.session import Limits
from firmware_bridge.transport.wire_pump import BAUD, LinePlace
from tests.simulators.cable import Cable

LIMITS = Limits(largest_bytes=1 << 20, most=32, patience_s=30)


class Guests:
    """Lets in whom it made a key for; answers with who asked and what.

    Attributes:
        held: While it is clear, a request that begins with ``hold`` waits.
        asked: Every request that came, with its client's name.
        strangers: Who was turned away.
    """

    def __init__(self, folder: Path) -> None:
        self.held = asyncio.Event()
        self.asked: list[tuple[str, bytes]] = []
        self.strangers: list[str] = []
        self._folder = folder
        self._keys: dict[bytes, tuple[str, bytes]] = {}

    def invite(self, name: str) -> Path:
        """Make a key and return its file."""
        key = secrets.token_bytes(32)
        self._keys[key_id_of(key)] = (name, key)
        path = self._folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(key)
        return path

    def find(self, key_id: bytes) -> bytearray | None:
        known = self._keys.get(key_id)
        return None if known is None else bytearray(known[1])

    def turned_away(self, why: str) -> None:
        self.strangers.append(why)

    async def answer(self, key_id: bytes, body: bytes) -> tuple[int, bytes]:
        name = self._keys[key_id][0]
        self.asked.append((name, body))
        if body.startswith(b"hold"):
            await self.held.wait()
        return 200, reply_to(name, body)

    def rejected(self, why: Rejection) -> bytes:
        return why.name.encode()


def reply_to(name: str, body: bytes) -> bytes:
    """Return what ``Guests`` answers; five times as long as the request."""
    return name.encode() + b" " + body * 5


@contextlib.asynccontextmanager
async def listening_at(
    cable: Cable, guests: Guests, *, limits: Limits = LIMITS, baud: int = BAUD
) -> AsyncGenerator[SerialListener]:
    listener = SerialListener(LinePlace(cable.near, baud), guests, limits=limits)
    listener.start()
    try:
        yield listener
    finally:
        guests.held.set()
        await listener.cleanup()


def carrier(
    cable: Cable, key: Path, *, timeout_s: float = 10, baud: int = BAUD
) -> SerialCarrier:
    return SerialCarrier(LinePlace(cable.far, baud), key, timeout_s=timeout_s)
