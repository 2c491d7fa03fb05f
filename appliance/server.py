# SPDX-License-Identifier: Apache-2.0
"""The listener: TLS 1.3 with pinned certificates on both sides, one endpoint.

Resumption is off (it would accept an expired client certificate), and expiry, pin
and role are checked on every request, not only at the handshake. Strangers get no
further than the handshake or a 403 and cost nothing but a counter.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.certificates import spki_sha256
from appliance.config import Client, Config
from appliance.errors import ConfigError
from appliance.service import Appliance
from appliance.wire import (
    MAX_BODY_BYTES,
    PATH,
    Fault,
    Reply,
    Request,
    decode_request,
    encode,
)

_log = logging.getLogger(__name__)
_CERTIFICATE: Final = "saltkeep.certificate"
_SHUTDOWN_TIMEOUT_S: Final = 10.0
_KEEPALIVE_S: Final = 75.0
_BODY_TIMEOUT_S: Final = 30.0
_CLIENT_AUTH: Final = ExtendedKeyUsageOID.CLIENT_AUTH


class _Stranger(Exception):  # noqa: N818 - control flow inside this module
    """The peer is nobody we know; the message is for our log only."""


@dataclass(slots=True)
class Server:
    """Authenticates, parses, limits and answers.

    Attributes:
        config: The appliance's configuration.
        appliance: Who answers.
    """

    config: Config
    appliance: Appliance
    strangers_count: int = 0
    _working: set[asyncio.Task[Reply]] = field(default_factory=set)

    def application(self) -> web.Application:
        """Return the one-endpoint application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post(PATH, self._answer)
        return application

    async def start(self) -> tuple[web.AppRunner, int]:
        """Listen.

        Returns:
            The runner, to be cleaned up, and the TCP port.

        Raises:
            ConfigError: If [listen] names what can not be had.
        """
        listen = self.config.listen
        context = self.appliance.life.tls.context()
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        site = web.TCPSite(runner, listen.host, listen.port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"[listen] cannot listen on {listen.host}:{listen.port}:"
                f" {error.strerror or error}"
            ) from error
        return runner, int(runner.addresses[0][1])

    async def drain(self) -> None:
        """Wait for requests under way; a signature is never cut in half."""
        if self._working:
            await asyncio.wait(self._working, timeout=_SHUTDOWN_TIMEOUT_S)

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            client = self._authenticate(request)
        except _Stranger as stranger:
            self.strangers_count += 1
            _log.warning("stranger refused: %s", stranger)
            return _response(403, _fault("forbidden", "this certificate may not ask"))
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body = await request.read()
            message = decode_request(body)
        except web.HTTPRequestEntityTooLarge:
            text = f"a request has at most {MAX_BODY_BYTES} bytes"
            return _response(413, _fault("too-large", text))
        except TimeoutError:
            return _response(408, _fault("too-slow", "the body did not come in time"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _response(400, _fault("bad-request", f"not understood: {error}"))
        return _response(200, await self._work(message, client))

    async def _work(self, message: Request, client: Client) -> Reply:
        """Answer within the deadline; the work itself is never cancelled."""
        task = asyncio.create_task(self.appliance.handle(message, client))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        timeout_s = self.config.limits.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        except TimeoutError:
            return Fault(
                request_id=message.request_id,
                code="timeout",
                message=f"not done within {timeout_s} s; ask the very same again",
                retry=True,
            )

    def _authenticate(self, request: web.Request) -> Client:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport else None
        der = tls.getpeercert(binary_form=True) if tls else None
        if der is None:
            raise _Stranger("no client certificate")
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            raise _Stranger("malformed certificate") from None
        self._require_in_force(certificate)
        client = self.appliance.life.roster.find(spki_sha256(certificate))
        if client is None:
            raise _Stranger(f"unknown key {spki_sha256(certificate)}")
        return client

    def _require_in_force(self, certificate: x509.Certificate) -> None:
        now_s = self.appliance.clock_ms() / 1000
        starts_s = certificate.not_valid_before_utc.timestamp()
        if not starts_s <= now_s < certificate.not_valid_after_utc.timestamp():
            raise _Stranger("certificate not in force")
        try:
            usage = certificate.extensions.get_extension_for_class(
                x509.ExtendedKeyUsage
            )
        except x509.ExtensionNotFound:
            raise _Stranger("certificate without extended key usage") from None
        if list(usage.value) != [_CLIENT_AUTH]:
            raise _Stranger("certificate of another usage")


def _fault(code: str, message: str) -> Fault:
    return Fault(request_id="", code=code, message=message, retry=False)


def _response(status: int, reply: Reply) -> web.Response:
    return web.Response(
        status=status, body=encode(reply), content_type="application/json"
    )
