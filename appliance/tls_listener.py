# SPDX-License-Identifier: Apache-2.0
"""The listener on a network: TLS 1.3 with pinned certificates on both sides.

Resumption is off (it would accept an expired client certificate), and expiry, pin
and role are checked on every request, not only at the handshake.
"""

import asyncio
from typing import Final

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.certificates import spki_sha256
from appliance.config import Client
from appliance.errors import ConfigError
from appliance.reception import SHUTDOWN_TIMEOUT_S, Answer, Reception
from appliance.wire import MAX_BODY_BYTES, PATH, encode

_KEEPALIVE_S: Final = 75.0
_CLIENT_AUTH: Final = ExtendedKeyUsageOID.CLIENT_AUTH


class _Stranger(Exception):  # noqa: N818 - control flow inside this module
    """The peer is nobody we know; the message is for our log only."""


async def listen_on_tls(reception: Reception) -> tuple[web.AppRunner, int]:
    """Listen on the network.

    Args:
        reception: Who answers.

    Returns:
        The runner, to be cleaned up, and the TCP port.

    Raises:
        ConfigError: If [listen] names what can not be had.
    """
    listen = reception.config.listen
    context = reception.appliance.life.tls.context()
    runner = web.AppRunner(
        _application(reception),
        access_log=None,
        keepalive_timeout=_KEEPALIVE_S,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
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


def _application(reception: Reception) -> web.Application:
    """Return the one-endpoint application."""

    async def answer(request: web.Request) -> web.Response:
        status, reply = await _answer(reception, request)
        return web.Response(
            status=status, body=encode(reply), content_type="application/json"
        )

    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_post(PATH, answer)
    return application


async def _answer(reception: Reception, request: web.Request) -> Answer:
    try:
        client = _authenticate(reception, request)
    except _Stranger as stranger:
        return reception.turn_away(str(stranger))
    try:
        async with asyncio.timeout(reception.body_timeout_s):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return reception.reject(web.HTTPRequestEntityTooLarge.status_code)
    except TimeoutError:
        return reception.reject(web.HTTPRequestTimeout.status_code)
    return await reception.answer(body, client)


def _authenticate(reception: Reception, request: web.Request) -> Client:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport else None
    der = tls.getpeercert(binary_form=True) if tls else None
    if der is None:
        raise _Stranger("no client certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        raise _Stranger("malformed certificate") from None
    _require_in_force(certificate, now_s=reception.appliance.clock_ms() / 1000)
    client = reception.find(spki_sha256(certificate))
    if client is None:
        raise _Stranger(f"unknown key {spki_sha256(certificate)}")
    return client


def _require_in_force(certificate: x509.Certificate, *, now_s: float) -> None:
    starts_s = certificate.not_valid_before_utc.timestamp()
    if not starts_s <= now_s < certificate.not_valid_after_utc.timestamp():
        raise _Stranger("certificate not in force")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise _Stranger("certificate without extended key usage") from None
    if list(usage.value) != [_CLIENT_AUTH]:
        raise _Stranger("certificate of another usage")
