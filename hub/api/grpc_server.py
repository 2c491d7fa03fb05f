# SPDX-License-Identifier: Apache-2.0
"""``hub.rpc.Hub`` over gRPC: the commands of the REST dialect, in typed messages.

One path for every call: admit, read the message, attempt the command, write the
reply or the refusal. A subscription tells what there is and ends; where streams are
live it goes on, from exactly there, until the client or the hub ends it.
"""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeAlias

import grpc
from google.protobuf.message import Message

from hub.api import hub_pb2 as pb
from hub.api.grpc_errors import DETAILS_KEY, ending_of
from hub.api.grpc_messages import (
    UNARY,
    Call,
    balance_event,
    branch_of,
    fill,
    sweep_event,
)
from hub.api.legacy_commands import Command, Refusal, attempt
from hub.api.legacy_fields import Fields
from hub.api.legacy_history import HistoryCommands
from hub.api.listener import CertificateWatch, tls_context
from hub.api.ptree import Branch
from hub.config import GrpcApiSection, listen_address, read_secret
from hub.errors import ConfigError

SERVICE: Final = "hub.rpc.Hub"
_log = logging.getLogger(__name__)
_API_KEY: Final = "x-api-key"
_GRACE_S: Final = 5.0
_Context: TypeAlias = grpc.aio.ServicerContext


class Lines(Protocol):
    """A reader of one history."""

    async def fresh(self) -> list[Branch]:
        """Return what was not returned before, the oldest first."""


_Subscribe: TypeAlias = Callable[[Fields], Lines]


class GrpcApi:
    """Serves the commands over gRPC.

    Args:
        section: The configuration, already checked: a listener other than
            loopback has a guard.
        table: The commands by name.
        history: What subscriptions read.
    """

    def __init__(
        self,
        section: GrpcApiSection,
        table: Mapping[str, Command],
        history: HistoryCommands,
    ) -> None:
        self._section = section
        self._table = table
        self._history = history
        self._stopping = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        key_file = section.api_key_file
        self._api_key = None if key_file is None else read_secret(key_file).encode()

    async def start(self) -> str:
        """Listen.

        Returns:
            HOST:PORT it listens on.

        Raises:
            ConfigError: If it can not listen there, or a file can not be used.
        """
        section = self._section
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", section.max_message_bytes),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=section.max_concurrent_calls,
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        credentials = _credentials(section)
        try:
            if credentials is None:
                port = server.add_insecure_port(section.listen)
            else:
                port = server.add_secure_port(section.listen, credentials)
        except RuntimeError as error:
            raise ConfigError(f"[api.grpc] listen: {section.listen}") from error
        await server.start()
        self._server = server
        host, _ = listen_address(section.listen)
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Let calls under way end, live streams at once."""
        self._stopping.set()
        if self._server is not None:
            await self._server.stop(grace=_GRACE_S)

    def _handlers(self) -> grpc.GenericRpcHandler:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(name, call),
                request_deserializer=call.request.FromString,
                response_serializer=call.reply.SerializeToString,
            )
            for name, call in UNARY.items()
        }
        handlers["BalanceSubscription"] = grpc.unary_stream_rpc_method_handler(
            self._telling(
                "BalanceSubscription", self._history.balances_since, balance_event
            ),
            request_deserializer=pb.BalanceSubscriptionRequest.FromString,
            response_serializer=pb.BalanceEvent.SerializeToString,
        )
        handlers["SweepSubscription"] = grpc.unary_stream_rpc_method_handler(
            self._telling("SweepSubscription", self._history.sweeps_since, sweep_event),
            request_deserializer=pb.SweepSubscriptionRequest.FromString,
            response_serializer=pb.SweepEvent.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _answering(
        self, name: str, call: Call
    ) -> Callable[[Message, _Context], Awaitable[Message]]:
        async def answer(request: Message, context: _Context) -> Message:
            await self._admit(context)
            command = self._table[name]
            outcome = await attempt(
                name, command(Fields(call.read(request))), api="grpc"
            )
            if isinstance(outcome, Refusal):
                await self._refuse(outcome, context)
            return fill(call.reply(), outcome, call.names)

        return answer

    def _telling(
        self, name: str, subscribe: _Subscribe, write: Callable[[Branch], Message]
    ) -> Callable[[Message, _Context], AsyncIterator[Message]]:
        async def tell(request: Message, context: _Context) -> AsyncIterator[Message]:
            await self._admit(context)
            fields = Fields(branch_of(request))
            lines = await self._done(name, _begin(subscribe, fields), context)
            while True:
                for line in await self._done(name, lines.fresh(), context):
                    yield write(line)
                if not self._section.live_streams or await self._stops():
                    return

        return tell

    async def _done(self, name: str, work: Awaitable[Any], context: _Context) -> Any:  # noqa: ANN401 - what the work returns
        outcome = await attempt(name, work, api="grpc")
        if isinstance(outcome, Refusal):
            await self._refuse(outcome, context)
        return outcome

    async def _stops(self) -> bool:
        """Wait until it is time to look again; True if the hub is stopping."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._section.poll_interval_s):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _admit(self, context: _Context) -> None:
        """Let only a caller who shows the configured key go on."""
        if self._api_key is None:
            return
        shown = dict(context.invocation_metadata()).get(_API_KEY, "")
        if not hmac.compare_digest(shown.encode(errors="replace"), self._api_key):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Unauthorized")

    async def _refuse(self, refusal: Refusal, context: _Context) -> NoReturn:
        ending = ending_of(refusal.answers[0], style=self._section.error_details)
        metadata = () if ending.details is None else ((DETAILS_KEY, ending.details),)
        await context.abort(ending.status, ending.message, metadata)
        raise AssertionError(refusal)  # abort has raised


async def _begin(subscribe: _Subscribe, fields: Fields) -> Lines:
    return subscribe(fields)


def _credentials(section: GrpcApiSection) -> grpc.ServerCredentials | None:
    """Return the listener's TLS; a client certificate is required with ``client_ca``.

    Returns:
        Its certificate and key, or None for plain HTTP/2.

    Raises:
        ConfigError: If a file can not be read, or others can read the key.
    """
    if section.tls_certificate is None or section.tls_key is None:
        return None
    watch = CertificateWatch(section)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Say what has changed, before a handshake; None: nothing.

        Returns:
            The new certificates, if there are any that fit.
        """
        if not watch.has_changed():
            return None
        try:
            tls_context(section)  # refuses a pair that does not fit
            return _certificates(section)
        except (OSError, ConfigError) as error:
            _log.error("the new certificate can not be used: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        _certificates(section),
        renewed,
        require_client_authentication=section.client_ca is not None,
    )


def _certificates(section: GrpcApiSection) -> grpc.ServerCertificateConfiguration:
    assert section.tls_key is not None
    assert section.tls_certificate is not None
    key = read_secret(section.tls_key).encode()
    authority = None if section.client_ca is None else _read(section.client_ca)
    return grpc.ssl_server_certificate_configuration(
        [(key, _read(section.tls_certificate))], root_certificates=authority
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path.name}: {error.strerror}") from error
