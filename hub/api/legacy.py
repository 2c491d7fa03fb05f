# SPDX-License-Identifier: Apache-2.0
"""The HTTP of the legacy dialect: POST anywhere, 200 for every command's error.

One path through ``LegacyApi.serve``: guard, method, body, command, reply. The only
other answers are the old server's own 400 and 500, and two it lacked: 401 when a
key is configured and not shown, 413 for a body over the limit.
Source: Hub 1.4.4, common/http_server_base and hub/server/http_json_server.
"""

import hmac
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from hub.api import ptree
from hub.api.legacy_commands import Command, Refusal, attempt
from hub.api.legacy_fields import Fields
from hub.config import LegacyApiSection, read_secret

_HEADERS: Final = {"Content-Type": "text/html", "Server": "saltkeep"}


class LegacyApi:
    """Serves the commands over HTTP.

    Args:
        table: The commands by name.
        api_key: What ``X-API-Key`` must carry; None asks for no key.
        strict_version_header: Whether ``X-IOTA-API-Version: 1`` must be there.
    """

    def __init__(
        self,
        table: Mapping[str, Command],
        *,
        api_key: str | None,
        strict_version_header: bool,
    ) -> None:
        self._table = table
        self._api_key = None if api_key is None else api_key.encode()
        self._strict_version_header = strict_version_header

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one request, whatever it is.

        Args:
            request: Any method, any path.

        Returns:
            The reply; nothing a client sends makes this raise.
        """
        if not self._may_enter(request):
            return _text(401, "Unauthorized")
        if request.method != "POST":
            return _text(400, "Unknown HTTP-method")
        if self._lacks_version(request):
            return _tree(400, _error("'X-IOTA-API-Version' header must be 1"))
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _text(413, "Request body too large")
        if not body:
            return _text(500, "An error occurred: 'Empty request'")
        return await self._answer(body)

    async def _answer(self, body: bytes) -> web.Response:
        try:
            tree = ptree.read(body)
        except ptree.SyntaxRefusedError:
            return _tree(400, [("result", "Wrong request format")])
        name = None if isinstance(tree, str) else ptree.first(tree, "command")
        if isinstance(tree, str) or not isinstance(name, str):
            # the documented reply; Hub 1.4.4 itself died here
            return _tree(400, _error("'command' parameter has not been specified"))
        command = self._table.get(name)
        if command is None:
            return _tree(400, [("result", "Unknown command")])
        return _tree(200, await _run(name, command, Fields(tree)))

    def _may_enter(self, request: web.Request) -> bool:
        if self._api_key is None:
            return True
        shown = request.headers.get("X-API-Key", "").encode(errors="replace")
        return hmac.compare_digest(shown, self._api_key)

    def _lacks_version(self, request: web.Request) -> bool:
        version = request.headers.get("X-IOTA-API-Version")
        return self._strict_version_header and version != "1"


def build_app(
    section: LegacyApiSection, table: Mapping[str, Command]
) -> web.Application:
    """Build the web application; the caller serves it on ``section.listen``.

    Args:
        section: The configuration, already checked: a listener other than
            loopback has a guard.
        table: The commands by name.

    Returns:
        The application.
    """
    key_file = section.api_key_file
    api = LegacyApi(
        table,
        api_key=None if key_file is None else read_secret(key_file),
        strict_version_header=section.strict_version_header,
    )
    app = web.Application(client_max_size=section.max_body_bytes)
    app.router.add_route("*", "/{path:.*}", api.serve)
    return app


async def _run(name: str, command: Command, fields: Fields) -> ptree.Branch:
    outcome = await attempt(name, command(fields), api="legacy")
    if isinstance(outcome, Refusal):
        return [("error", answer.value) for answer in outcome.answers]
    return outcome


def _error(message: str) -> ptree.Branch:
    return [("error", message)]


def _tree(status: int, tree: ptree.Branch) -> web.Response:
    return web.Response(status=status, body=ptree.write(tree), headers=_HEADERS)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers=_HEADERS)
