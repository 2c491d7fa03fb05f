# SPDX-License-Identifier: Apache-2.0
"""Listens as the configuration says: on a network, or on serial lines.

How a request comes is told to ``tls_listener`` and ``serial_listener``; what becomes of
it is the same on both, in ``reception``.
"""

from dataclasses import dataclass
from typing import Protocol

from appliance.reception import Reception
from appliance.serial_listener import listen_on_lines
from appliance.tls_listener import listen_on_tls


class Listening(Protocol):
    """What takes requests, until it is cleaned up."""

    async def cleanup(self) -> None:
        """Take no more requests."""


@dataclass(slots=True)
class Server(Reception):
    """Authenticates, parses, limits and answers."""

    async def start(self) -> tuple[Listening, int]:
        """Listen; raises ``ConfigError`` if [listen] names what can not be had.

        Returns:
            What listens, to be cleaned up, and the TCP port; 0 on serial lines.
        """
        if self.config.listen.transport == "serial":
            return await listen_on_lines(self), 0
        return await listen_on_tls(self)

    def where(self, port: int) -> str:
        """Say where it listens.

        Args:
            port: The TCP port it got.

        Returns:
            A URL, or the devices.
        """
        listen = self.config.listen
        if listen.transport == "serial":
            return f"serial lines {', '.join(listen.devices)}"
        return f"https://{listen.host}:{port}"
