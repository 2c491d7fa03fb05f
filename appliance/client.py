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
from channel import ChannelError, ChannelFiles
from channel.https import HttpsCarrier
from firmware_bridge.errors import BridgeError
from firmware_bridge.transport.carrier import SerialCarrier
from firmware_bridge.transport.wire_pump import BAUD, LinePlace

_PAGE_ROWS = 1000
NO_REPLY = (
    TimeoutError,
    aiohttp.ClientError,
    ChannelError,
    BridgeError,
    msgspec.DecodeError,
)
"""What ends a request without one: it may have been done."""
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

    def carrier(self, *, timeout_s: float) -> HttpsCarrier:
        """Return what carries requests there."""
        return HttpsCarrier(self.url, self.files, path=PATH, timeout_s=timeout_s)


@dataclass(frozen=True, slots=True)
class SerialEndpoint:
    """On which line an appliance is and as whom to speak to it.

    Attributes:
        place: Which line.
        key_file: File with the pre-shared key, mode 0600.
    """

    place: LinePlace
    key_file: Path

    def carrier(self, *, timeout_s: float) -> SerialCarrier:
        """Return what carries requests there."""
        return SerialCarrier(self.place, self.key_file, timeout_s=timeout_s)


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
    if config.listen.transport != "tls":
        raise ConfigError(
            f"{configuration} listens on serial lines: give --client FILE at their"
            " other end"
        )
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


def load_endpoint(path: Path) -> Endpoint | SerialEndpoint:
    """Read a client file: url, ca, certificate, key, server_spki_sha256.

    Also ``next_server_spki_sha256``, while the server's key is being changed. For an
    appliance on a serial line instead: device, key_file, and baud unless 115200.

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
        if "device" in raw:
            place = LinePlace(str(base / raw["device"]), int(raw.get("baud", BAUD)))
            return SerialEndpoint(place, base / raw["key_file"])
        files = ChannelFiles(
            base / raw["ca"],
            base / raw["certificate"],
            base / raw["key"],
            raw["server_spki_sha256"],
            raw.get("next_server_spki_sha256", ""),
        )
        return Endpoint(raw["url"], files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: needs url, ca, certificate, key, server_spki_sha256; or device"
            f" and key_file ({error})"
        ) from error


class ApplianceClient:
    """A connection to one appliance; use it with ``async with``.

    Args:
        endpoint: Where and as whom.
        timeout_s: Deadline of one request.

    Attributes:
        head: The highest head token seen; sent with every request.
    """

    def __init__(
        self, endpoint: Endpoint | SerialEndpoint, *, timeout_s: float = 150.0
    ) -> None:
        self._carrier = endpoint.carrier(timeout_s=timeout_s)
        self.head: HeadToken | None = None

    async def __aenter__(self) -> Self:
        """Look at the files.

        Returns:
            The client itself.

        Raises:
            ConfigError: If one is missing, or open to others.
        """
        try:
            await self._carrier.__aenter__()
        except (ChannelError, BridgeError) as error:
            raise ConfigError(str(error)) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._carrier.__aexit__(kind, error, traceback)

    async def ask(self, request: Request) -> Reply:
        """Send one request with the highest head seen, and return the reply.

        Args:
            request: Its ``head`` is filled in when it has none.

        Returns:
            The reply, of any type.

        Raises:
            FaultError: ``unreachable`` if no reply came.
        """
        if request.head is None and self.head is not None:
            request = msgspec.structs.replace(request, head=self.head)
        try:
            reply = decode_reply(await self._carrier.carry(encode(request)))
        except NO_REPLY as error:
            raise FaultError(
                f"no reply from {self._carrier.where}: {error}"
                f" ({type(error).__name__})",
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
