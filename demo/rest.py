# SPDX-License-Identifier: Apache-2.0
"""The old Hub's REST dialect, as an exchange's back end speaks it."""

import json
import urllib.request
from typing import Any

_TIMEOUT_S = 60.0


class HubError(Exception):
    """The hub answered with an ``error``."""


class Hub:
    """A client of the legacy REST API.

    Args:
        url: ``http://host:port``.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, command: str, **fields: object) -> dict[str, Any]:
        """Send one command.

        Args:
            command: Its name.
            **fields: Its fields.

        Returns:
            The reply; repeated keys become lists.

        Raises:
            HubError: If the reply names an error.
        """
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            self.url,
            data=json.dumps({"command": command, **fields}).encode(),
            headers={"X-IOTA-API-Version": "1", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            reply: dict[str, Any] = json.loads(
                response.read(), object_pairs_hook=_gather
            )
        if "error" in reply:
            raise HubError(f"{command}: {reply['error']}")
        return reply


def _gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep repeated keys: the dialect writes a list that way."""
    gathered: dict[str, Any] = {}
    for key, value in pairs:
        if key in gathered:
            earlier = gathered[key]
            gathered[key] = [*(earlier if isinstance(earlier, list) else [earlier])]
            gathered[key].append(value)
        else:
            gathered[key] = value
    return gathered
