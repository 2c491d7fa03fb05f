# SPDX-License-Identifier: Apache-2.0
"""The four calls of the old signing server, answered by an appliance."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import msgspec
from cryptography import x509

from appliance.certificates import spki_sha256
from appliance.client import ApplianceClient, load_endpoint, new_request_id
from appliance.durable import write_durably
from appliance.errors import ConfigError, FaultError
from appliance.installation import require_private
from appliance.wire import (
    BlindSigned,
    Deferred,
    Fault,
    GetStatus,
    HeadToken,
    Issued,
    LegacyAddress,
    Refused,
    Reply,
    Request,
    SignBlind,
    StatusReport,
)
from signing_rpc import signing_pb2 as pb
from signing_rpc.config import Config

_log = logging.getLogger(__name__)
SERVICE: Final = "signing.rpc.SigningServer"
_MAX_MESSAGE_BYTES: Final = 16_384
_Context: TypeAlias = grpc.aio.ServicerContext
_Call: TypeAlias = tuple[Callable[..., Awaitable[Any]], Any, Any]
_FAULTS: Final = {
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "blind-closed": grpc.StatusCode.PERMISSION_DENIED,
    "bad-request": grpc.StatusCode.INVALID_ARGUMENT,
}


@dataclass(slots=True)
class Gateway:
    """Answers an old Hub.

    Attributes:
        config: Where it listens and whom it asks.
    """

    config: Config
    _client: ApplianceClient = field(init=False)
    _head_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        endpoint = load_endpoint(Path(self.config.appliance))
        self._client = ApplianceClient(endpoint, timeout_s=self.config.timeout_s)
        self._client.head = _read_head(Path(self.config.head_file))

    async def start(self) -> tuple[grpc.aio.Server, int]:
        """Listen.

        Returns:
            The server, to be stopped, and the TCP port.

        Raises:
            ConfigError: If it can not listen there, or a file can not be used.
        """
        await self._client.__aenter__()
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        try:
            port = server.add_secure_port(self.config.listen, _credentials(self.config))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {self.config.listen}") from error
        await server.start()
        return server, port

    async def close(self) -> None:
        """Close the channel to the appliance."""
        await self._client.__aexit__(None, None, None)

    def _handlers(self) -> grpc.GenericRpcHandler:
        calls: dict[str, _Call] = {
            "GetAddressForUUID": (
                self._address,
                pb.GetAddressForUUIDRequest,
                pb.GetAddressForUUIDReply,
            ),
            "GetSignatureForUUID": (
                self._signature,
                pb.GetSignatureForUUIDRequest,
                pb.GetSignatureForUUIDReply,
            ),
            "GetSecurityLevel": (
                self._level,
                pb.GetSecurityLevelRequest,
                pb.GetSecurityLevelReply,
            ),
            "GetSeedForUUID": (
                self._seed,
                pb.GetSeedForUUIDRequest,
                pb.GetSeedForUUIDReply,
            ),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    call,
                    request_deserializer=asked.FromString,
                    response_serializer=answered.SerializeToString,
                )
                for name, (call, asked, answered) in calls.items()
            },
        )

    async def _address(
        self, asked: pb.GetAddressForUUIDRequest, context: _Context
    ) -> pb.GetAddressForUUIDReply:
        request = LegacyAddress(request_id=new_request_id(), seed_uuid=asked.uuid)
        reply = await self._ask(request, context)
        if not isinstance(reply, Issued):
            await _abort(reply, context)
        return pb.GetAddressForUUIDReply(address=reply.address)

    async def _level(
        self, _: pb.GetSecurityLevelRequest, context: _Context
    ) -> pb.GetSecurityLevelReply:
        reply = await self._ask(GetStatus(request_id=new_request_id()), context)
        if not isinstance(reply, StatusReport):
            await _abort(reply, context)
        if not reply.blind_level:
            await _end(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                "blind-closed: no salt generation is marked blind, or not ready"
                f" ({reply.state})",
            )
        return pb.GetSecurityLevelReply(securityLevel=reply.blind_level)

    async def _signature(
        self, asked: pb.GetSignatureForUUIDRequest, context: _Context
    ) -> pb.GetSignatureForUUIDReply:
        request = SignBlind(
            request_id=new_request_id(),
            seed_uuid=asked.uuid,
            bundle_hash=asked.bundleHash,
        )
        reply = await self._ask(request, context)
        if not isinstance(reply, BlindSigned):
            await _abort(reply, context)
        return pb.GetSignatureForUUIDReply(signature="".join(reply.fragments))

    async def _seed(self, _: pb.GetSeedForUUIDRequest, context: _Context) -> NoReturn:
        await self._require_pinned(context)
        await _end(
            context,
            grpc.StatusCode.PERMISSION_DENIED,
            "disabled: no seed leaves through this interface. Two operators of the"
            " appliance export one to an officer's key: ceremony export-seed",
        )

    async def _ask(self, request: Request, context: _Context) -> Reply:
        """Ask the appliance; the head it states is stored before the reply counts."""
        await self._require_pinned(context)
        try:
            reply = await self._client.ask(request)
        except FaultError as error:
            await _end(context, grpc.StatusCode.UNAVAILABLE, f"{error.code}: {error}")
        await self._store_head()
        _log.info(
            "call kind=%s id=%s reply=%s",
            type(request).__name__,
            request.request_id,
            type(reply).__name__,
        )
        return reply

    async def _store_head(self) -> None:
        async with self._head_lock:
            head = self._client.head
            if head is not None:
                data = msgspec.json.encode(head)
                path = Path(self.config.head_file)
                await asyncio.to_thread(write_durably, path, data)

    async def _require_pinned(self, context: _Context) -> None:
        """Let only a Hub whose public key the configuration names go on."""
        shown = context.auth_context().get("x509_pem_cert", [b""])[0]
        try:
            pin = spki_sha256(x509.load_pem_x509_certificate(shown))
        except ValueError:
            pin = ""
        if not any(hmac.compare_digest(pin, one) for one in self.config.clients):
            await _end(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                "this certificate may not call",
            )


async def _end(context: _Context, status: grpc.StatusCode, text: str) -> NoReturn:
    """End a call without an answer."""
    await context.abort(status, text)
    raise AssertionError(text)  # abort has raised


async def _abort(reply: Reply, context: _Context) -> NoReturn:
    """End a call as the appliance's answer says."""
    status, text = grpc.StatusCode.INTERNAL, "the reply is of no use here"
    match reply:
        case Refused(code=code, message=message):
            status, text = grpc.StatusCode.FAILED_PRECONDITION, f"{code}: {message}"
        case Fault(code=code, message=message) | Deferred(code=code, message=message):
            status = _FAULTS.get(code, grpc.StatusCode.UNAVAILABLE)
            text = f"{code}: {message}"
    await _end(context, status, text)


def _credentials(config: Config) -> grpc.ServerCredentials:
    """Return mutual TLS: a client certificate of the authority is required."""
    require_private(Path(config.key), what="the gateway's key")
    try:
        key, certificate, authority = (
            Path(name).read_bytes()
            for name in (config.key, config.certificate, config.client_ca)
        )
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )


def _read_head(path: Path) -> HeadToken | None:
    """Return the head kept from before.

    Args:
        path: Its file.

    Returns:
        It, or None where there never was one.

    Raises:
        ConfigError: If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=HeadToken)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{path} holds no head token: without it a rolled-back appliance would go"
            " unseen. Put it back from a backup; remove it only if there is none"
        ) from error
