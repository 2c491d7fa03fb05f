# SPDX-License-Identifier: Apache-2.0
"""A request and a reply as the dialects exchange them with the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeAlias

Json: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Request:
    """One POST.

    Args:
        body: As received.
        has_version: Whether the ``X-IOTA-API-Version`` header was there.
    """

    body: bytes
    has_version: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, as JSON.

    Args:
        body: The members.
        status: HTTP status.
    """

    body: Json
    status: HTTPStatus = HTTPStatus.OK


class Api(Protocol):
    """A dialect."""

    realm: str
    """Of basic authentication."""

    async def answer(self, request: Request) -> Reply:
        """Run one command."""
