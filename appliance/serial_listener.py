# SPDX-License-Identifier: Apache-2.0
"""The listener on serial lines, for a host without a network.

A client is a pre-shared key here. Its id stands in configuration and journal where a
certificate's pin stands on TLS, so that clients are enrolled and revoked alike; the key
itself is a file of that name in a folder of its own.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError
from appliance.reception import Reception
from appliance.serial_keys import find_key
from appliance.wire import MAX_BODY_BYTES, encode
from firmware_bridge.errors import BridgeError, LineError
from firmware_bridge.transport.listener import SerialListener
from firmware_bridge.transport.parts import Rejection
from firmware_bridge.transport.session import Limits
from firmware_bridge.transport.wire_pump import LinePlace

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 32


@dataclass(slots=True)
class SerialDoor:
    """Lets those in whom the roster names and whose key file lies here.

    Attributes:
        reception: Who answers them.
    """

    reception: Reception

    def find(self, key_id: bytes) -> bytearray | None:
        """Return the pre-shared key of an id, to be wiped, if it may connect."""
        if self.reception.find(key_id.hex()) is None:
            return None
        folder = Path(self.reception.config.listen.serial_keys)
        try:
            return find_key(folder, key_id)
        except (BridgeError, OSError) as error:
            _log.warning("no key file key=%s: %s", key_id.hex(), error)
            return None

    def turned_away(self, why: str) -> None:
        """Take note of a stranger."""
        self.reception.turn_away(why)

    async def answer(self, key_id: bytes, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the reply to a request."""
        client = self.reception.find(key_id.hex())
        if client is None:  # revoked since the handshake
            status, reply = self.reception.turn_away(f"unknown key {key_id.hex()}")
        else:
            status, reply = await self.reception.answer(body, client)
        return status, encode(reply)

    def rejected(self, why: Rejection) -> bytes:
        """Return the body of the reply to a request that was not taken."""
        return encode(self.reception.reject(why.value)[1])


@dataclass(slots=True)
class SerialLines:
    """Every line that is listened on."""

    listeners: list[SerialListener] = field(default_factory=list)

    async def cleanup(self) -> None:
        """Take no more requests, send the replies under way, close the lines."""
        for listener in self.listeners:
            await listener.cleanup()


async def listen_on_lines(reception: Reception) -> SerialLines:
    """Listen on every line of [listen].

    Args:
        reception: Who answers.

    Returns:
        The lines, to be cleaned up.

    Raises:
        ConfigError: If a line can not be opened.
    """
    listen, lines = reception.config.listen, SerialLines()
    limits = Limits(
        largest_bytes=MAX_BODY_BYTES,
        most=_AT_ONCE,
        patience_s=reception.body_timeout_s,
    )
    for device in listen.devices:
        place = LinePlace(device, listen.baud)
        listener = SerialListener(place, SerialDoor(reception), limits=limits)
        try:
            listener.start()
        except LineError as error:
            await lines.cleanup()
            raise ConfigError(f"[listen] {device}: {error}") from error
        lines.listeners.append(listener)
    return lines
