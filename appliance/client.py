# SPDX-License-Identifier: Apache-2.0
"""An operator's or auditor's end of the channel; the hub has its own.

Also what the pytest fixture hands to integrators.
"""

import secrets
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec
from cryptography import x509

from appliance.certificates import spki_sha256
from appliance.config import load_config
from appliance.errors import ConfigError, FaultError
from appliance.wire import (
    PATH,
    HeadToken,
    JournalRow,
    JournalRows,
    Reply,
    Request,
    TailJournal,
    decode_reply,
    encode,
)
from channel import ChannelError, ChannelFiles, client_context

_PAGE_ROWS = 1000
_ReplyType = TypeVar("_ReplyType", bound=Reply)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an appliance is and as whom to speak to it.

    Attributes:
        url: ``https://host:port``.
        files: Certificates and pin.
    """

    url: str
    files: ChannelFiles


def endpoint_of(configuration: Path, *, name: str, port: int = 0) -> Endpoint:
    """Return the endpoint of an appliance made with ``init --softhsm``.

    Args:
        configuration: Its ``appliance.toml``.
        name: Which client certificate of its ``tls`` folder.
        port: The TCP port, where the configuration says 0.

    Returns:
        The endpoint, with the pin the configuration names.

    Raises:
        ConfigError: If the folder is not of that shape.
    """
    config = load_config(configuration)
    tls = configuration.resolve().parent / "tls"
    pins = [
        line.split('"')[1]
        for line in configuration.read_text().splitlines()
        if line.startswith("# server_spki_sha256")
    ]
    if len(pins) != 1:
        raise ConfigError(f"{configuration} names no server pin; give --client FILE")
    here = spki_sha256(  # rotated since that line was written
        x509.load_pem_x509_certificate(Path(config.listen.certificate).read_bytes())
    )
    files = ChannelFiles(
        tls / "ca.pem", tls / f"{name}.pem", tls / f"{name}.key", pins[0], here
    )
    return Endpoint(f"https://{config.listen.host}:{port or config.listen.port}", files)


def load_endpoint(path: Path) -> Endpoint:
    """Read a client file: url, ca, certificate, key, server_spki_sha256.

    Also ``next_server_spki_sha256``, while the server's key is being changed.

    Args:
        path: The TOML file; paths in it are meant from its folder.

    Returns:
        The endpoint.

    Raises:
        ConfigError: If it is missing or incomplete.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        base = path.resolve().parent
        files = ChannelFiles(
            base / raw["ca"],
            base / raw["certificate"],
            base / raw["key"],
            raw["server_spki_sha256"],
            raw.get("next_server_spki_sha256", ""),
        )
        return Endpoint(raw["url"], files)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: needs url, ca, certificate, key, server_spki_sha256 ({error})"
        ) from error


class ApplianceClient:
    """A connection to one appliance; use it with ``async with``.

    Args:
        endpoint: Where and as whom.
        timeout_s: Deadline of one request.

    Attributes:
        head: The highest head token seen; sent with every request.
    """

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 150.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self.head: HeadToken | None = None

    async def __aenter__(self) -> Self:
        """Prepare the session.

        Returns:
            The client itself.

        Raises:
            ConfigError: If certificates are missing.
        """
        try:
            context = client_context(self._endpoint.files)
        except ChannelError as error:
            raise ConfigError(str(error)) from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: Request) -> Reply:
        """Send one request with the highest head seen, and return the reply.

        Args:
            request: Its ``head`` is filled in when it has none.

        Returns:
            The reply, of any type.

        Raises:
            FaultError: ``unreachable`` if no reply came.
        """
        if self._session is None:
            raise FaultError("the client is not open: use `async with`")
        if request.head is None and self.head is not None:
            request = msgspec.structs.replace(request, head=self.head)
        try:
            async with self._session.post(
                self._endpoint.url + PATH, data=encode(request)
            ) as response:
                reply = decode_reply(await response.read())
        except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError) as error:
            raise FaultError(
                f"no reply from {self._endpoint.url}: {error} ({type(error).__name__})",
                code="unreachable",
            ) from error
        if reply.head is not None:
            self.head = _higher(self.head, reply.head)
        return reply

    async def expect(self, request: Request, kind: type[_ReplyType]) -> _ReplyType:
        """Ask, and insist on one type of reply.

        Args:
            request: What to ask.
            kind: The type.

        Returns:
            The reply.

        Raises:
            FaultError: With the reply's code and message if another came.
        """
        reply = await self.ask(request)
        if not isinstance(reply, kind):
            code = getattr(reply, "code", type(reply).__name__)
            raise FaultError(str(getattr(reply, "message", reply)), code=code)
        return reply

    async def journal(self, *, after_sequence: int = 0) -> list[JournalRow]:
        """Return every row after a sequence number; a long journal fills the memory."""
        pages = self.journal_pages(after_sequence=after_sequence)
        return [row async for page in pages for row in page]

    async def journal_pages(
        self, *, after_sequence: int = 0
    ) -> AsyncIterator[list[JournalRow]]:
        """Yield every row after a sequence number, a page at a time."""
        while True:
            request = TailJournal(
                request_id=new_request_id(),
                after_sequence=after_sequence,
                limit=_PAGE_ROWS,
            )
            rows = (await self.expect(request, JournalRows)).rows
            if rows:
                after_sequence = rows[-1].sequence
                yield rows
            if len(rows) < _PAGE_ROWS:
                return


def new_request_id() -> str:
    """Return a fresh request id."""
    return secrets.token_hex(8)


def _higher(one: HeadToken | None, other: HeadToken) -> HeadToken:
    if one is not None and (one.epoch, one.sequence) > (other.epoch, other.sequence):
        return one
    return other
