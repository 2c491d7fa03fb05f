# SPDX-License-Identifier: Apache-2.0
"""Hints by MQTT, as HORNET's plug-in publishes them: a topic and JSON, not read."""

import logging
import ssl
import time
from typing import Final, NoReturn
from urllib.parse import urlsplit

import aiomqtt

from hub.errors import HintsLostError
from hub.hints import TOPICS, Ring

_TIMEOUT_S: Final = 10.0
_KEEP_ALIVE_S: Final = 30
_MOST_HINTS: Final = 100
_WINDOW_S: Final = 10.0
"""More hints than that in so many seconds are a flood: the broker is left."""
_log = logging.getLogger(__name__)
_silent = logging.getLogger(f"{__name__}.client")
_silent.setLevel(logging.CRITICAL)  # what it has to say is in its errors


class MqttSource:
    """One broker.

    Args:
        url: ``mqtt://host:port``, or ``mqtts://`` for TLS with the system's
            authorities.
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
            HintsLostError: When the connection is lost, can not be made, or floods.
        """
        try:
            async with self._client() as client:
                await client.subscribe([(topic, 0) for topic in TOPICS])
                _log.info("listening to hints of %s", self._url)
                ring()
                await _hear(client, ring)
        except aiomqtt.MqttError as error:
            raise HintsLostError(f"{error}") from error
        raise HintsLostError("the broker went away")

    def _client(self) -> aiomqtt.Client:
        parts = urlsplit(self._url)
        assert parts.hostname
        assert parts.port
        return aiomqtt.Client(
            parts.hostname,
            parts.port,
            timeout=_TIMEOUT_S,
            keepalive=_KEEP_ALIVE_S,
            max_queued_incoming_messages=_MOST_HINTS,
            tls_context=(
                ssl.create_default_context() if parts.scheme == "mqtts" else None
            ),
            logger=_silent,
        )


async def _hear(client: aiomqtt.Client, ring: Ring) -> None:
    hints, since_s = 0, time.monotonic()
    async for _ in client.messages:
        ring()
        hints += 1
        if time.monotonic() - since_s > _WINDOW_S:
            hints, since_s = 1, time.monotonic()
        if hints > _MOST_HINTS:
            message = f"a flood, more than {_MOST_HINTS} hints in {_WINDOW_S:g} s"
            raise HintsLostError(message)
