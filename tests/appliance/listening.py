# SPDX-License-Identifier: Apache-2.0
"""A listening appliance in this process, and how its clients reach it."""

import asyncio
import contextlib
import datetime as dt
import io
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from appliance import wire
from appliance.certificates import KeyPair, make_certificate
from appliance.client import (
    ApplianceClient,
    Endpoint,
    SerialEndpoint,
    endpoint_of,
    load_endpoint,
)
from appliance.serial_keys import make_serial_key
from appliance.server import Server
from channel import ChannelFiles
from firmware_bridge.errors import NotAuthenticError
from firmware_bridge.key_file import read_key
from firmware_bridge.transport.connection import Connection
from firmware_bridge.transport.listener import SerialListener
from firmware_bridge.transport.parts import Rejection
from firmware_bridge.transport.session import Limits
from firmware_bridge.transport.wire_pump import LinePlace
from tests.appliance.box import Box
from tests.appliance.serial_box import client_file, put_on_a_line
from tests.simulators.cable import Cable

NOW = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates of the real time
STATUS = wire.encode(wire.GetStatus(request_id="s"))
TRANSPORTS = ("tls", "serial")


class Listening(ABC):
    """What both transports have."""

    def __init__(self, box: Box, server: Server) -> None:
        self.box, self.server = box, server
        self.folder = box.folder

    @abstractmethod
    def client(self, name: str) -> ApplianceClient:
        """Return a client that holds the key of ``name``."""

    @abstractmethod
    async def post_as(self, name: str, body: bytes) -> tuple[int, bytes]:
        """Send any bytes as a client, and return status and reply."""

    @abstractmethod
    async def knock(self) -> None:
        """Ask with a key that nobody enrolled, and be told nothing."""

    @abstractmethod
    def misled_client(self) -> contextlib.AbstractAsyncContextManager[ApplianceClient]:
        """Return a client that meets somebody who is not the appliance."""

    @abstractmethod
    def client_without_files(self) -> ApplianceClient:
        """Return a client whose files are missing."""

    @abstractmethod
    async def post_half(self, name: str, body: bytes) -> tuple[int, bytes] | None:
        """Send the beginning of a request and wait; None: cut off without a reply."""


class OverTls(Listening):
    """On the loopback."""

    def __init__(self, box: Box, port: int, server: Server) -> None:
        super().__init__(box, server)
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.tls = box.folder / "tls"

    def client(self, name: str) -> ApplianceClient:
        return ApplianceClient(self.endpoint(name))

    def endpoint(self, name: str) -> Endpoint:
        return endpoint_of(self.folder / "appliance.toml", name=name, port=self.port)

    async def post_as(self, name: str, body: bytes) -> tuple[int, bytes]:
        return await self.post(self.context_of(name), body)

    async def knock(self) -> None:
        authority = self.authority()
        pair = make_certificate(authority, "hub", server=False, now=NOW)
        status, body = await self.post(self.context(pair), STATUS)
        assert status == 403
        reply = wire.decode_reply(body)
        assert isinstance(reply, wire.Fault)
        assert reply.head is None  # a stranger learns nothing

    @contextlib.asynccontextmanager
    async def misled_client(self) -> AsyncGenerator[ApplianceClient]:
        files = self.endpoint("hub").files
        wrong = ChannelFiles(files.ca, files.certificate, files.key, "0" * 64)
        async with ApplianceClient(Endpoint(self.url, wrong)) as client:
            yield client

    def client_without_files(self) -> ApplianceClient:
        absent = self.folder / "none.pem"
        files = ChannelFiles(absent, absent, absent, "0" * 64)
        return ApplianceClient(Endpoint(self.url, files))

    async def post_half(self, name: str, body: bytes) -> tuple[int, bytes] | None:
        async def half() -> AsyncGenerator[bytes]:
            yield body[: len(body) // 2]
            await asyncio.sleep(1)
            yield body[len(body) // 2 :]

        connector = aiohttp.TCPConnector(ssl=self.context_of(name))
        url = self.url + wire.PATH
        async with aiohttp.ClientSession(connector=connector) as session:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(url, data=half()) as response:
                    return response.status, await response.read()
        return None

    def authority(self) -> KeyPair:
        key = serialization.load_pem_private_key(
            (self.tls / "ca.key").read_bytes(), None
        )
        pem = (self.tls / "ca.pem").read_bytes()
        return KeyPair(x509.load_pem_x509_certificate(pem), key)

    def context(self, pair: KeyPair | None) -> ssl.SSLContext:
        """Return a stranger's context: trusts the server, shows this pair."""
        context = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
        if pair is not None:
            pair.write(self.tls, "stranger")
            files = (self.tls / "stranger.pem", self.tls / "stranger.key")
            context.load_cert_chain(*files)
        return context

    def context_of(self, name: str) -> ssl.SSLContext:
        context = self.context(None)
        context.load_cert_chain(self.tls / f"{name}.pem", self.tls / f"{name}.key")
        return context

    async def post(
        self, context: ssl.SSLContext | None, body: bytes, url: str = ""
    ) -> tuple[int, bytes]:
        connector = aiohttp.TCPConnector(ssl=context or True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(
                (url or self.url) + wire.PATH, data=io.BytesIO(body)
            ) as response,
        ):
            return response.status, await response.read()


class OverSerial(Listening):
    """On a cable between two ptys."""

    def __init__(self, box: Box, cable: Cable, server: Server) -> None:
        super().__init__(box, server)
        self.cable = cable
        self.place = LinePlace(cable.far)

    def client(self, name: str) -> ApplianceClient:
        return ApplianceClient(load_endpoint(client_file(self.folder, name)))

    def key_file(self, name: str) -> Path:
        return self.folder / "clients" / f"{name}.key"

    async def connection(self, name: str) -> Connection:
        return await Connection.open(self.place, read_key(self.key_file(name)))

    async def post_as(self, name: str, body: bytes) -> tuple[int, bytes]:
        connection = await self.connection(name)
        try:
            return await connection.exchange(body, timeout_s=10)
        finally:
            connection.close()

    async def knock(self) -> None:
        make_serial_key(self.key_file("stranger"))
        with pytest.raises(NotAuthenticError, match="does not take"):
            await self.connection("stranger")

    @contextlib.asynccontextmanager
    async def misled_client(self) -> AsyncGenerator[ApplianceClient]:
        """Ask on another line, where somebody knows the key's id and not the key."""
        place = self.folder / "elsewhere"
        place.mkdir()
        limits = Limits(largest_bytes=1000, most=1, patience_s=1)
        with Cable(place) as cable:
            impostor = LinePlace(cable.near)
            listener = SerialListener(impostor, Impostor(), limits=limits)
            listener.start()
            endpoint = SerialEndpoint(LinePlace(cable.far), self.key_file("hub"))
            async with ApplianceClient(endpoint) as client:
                yield client
            await listener.cleanup()

    def client_without_files(self) -> ApplianceClient:
        absent = self.folder / "none.key"
        return ApplianceClient(SerialEndpoint(self.place, absent))

    async def post_half(self, name: str, body: bytes) -> tuple[int, bytes] | None:
        connection = await self.connection(name)
        posting = asyncio.create_task(connection.exchange(body, timeout_s=10))
        await asyncio.sleep(0)  # its first part is under way
        assert connection._session is not None
        connection._session.drop(1)
        try:
            return await posting
        finally:
            connection.close()


class Impostor:
    """Knows which id is asked for, and answers with a key of its own."""

    def find(self, _key_id: bytes) -> bytearray:
        return bytearray(b"guess" * 7)[:32]

    def turned_away(self, why: str) -> None:
        raise AssertionError(why)

    async def answer(self, _key_id: bytes, _body: bytes) -> tuple[int, bytes]:
        raise AssertionError("it learnt a request")

    def rejected(self, why: Rejection) -> bytes:
        raise AssertionError(why)


@contextlib.asynccontextmanager
async def listening_on(
    transport: str, folder: Path, *, body_timeout_s: float = 30
) -> AsyncGenerator[Listening]:
    """Run an appliance, its checks passed, and listen.

    Args:
        transport: One of ``TRANSPORTS``.
        folder: Of an appliance that was never started.
        body_timeout_s: How long a request may take to come.
    """
    async with contextlib.AsyncExitStack() as stack:
        cable = None
        if transport == "serial":
            line = folder / "line"
            line.mkdir()
            cable = stack.enter_context(Cable(line))
            put_on_a_line(folder, here=cable.near, there=cable.far)
        else:
            path = folder / "appliance.toml"
            path.write_text(re.sub("port = [0-9]+", "port = 0", path.read_text()))
        box = Box(folder)
        stack.push_async_callback(box.close)
        assert await box.appliance.check(), box.appliance.life.unready
        server = Server(box.config, box.appliance, body_timeout_s=body_timeout_s)
        runner, port = await server.start()
        stack.push_async_callback(server.drain)
        stack.push_async_callback(runner.cleanup)
        if cable is None:
            yield OverTls(box, port, server)
        else:
            yield OverSerial(box, cable, server)
