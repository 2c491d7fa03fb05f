# SPDX-License-Identifier: Apache-2.0
"""A listener: an address, TLS where it is configured, and the app behind it."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from hub.config import listen_address, read_secret
from hub.errors import ConfigError

_log = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
"""How often a listener looks whether its certificate was replaced, in seconds."""
_DRAIN_S: Final = 5.0
"""How long requests in flight may take when the hub stops, in seconds."""


class TlsSection(Protocol):
    """The part of a configuration section that is about TLS."""

    @property
    def tls_certificate(self) -> Path | None:
        """PEM chain."""

    @property
    def tls_key(self) -> Path | None:
        """PEM key."""

    @property
    def client_ca(self) -> Path | None:
        """PEM of the authority of clients."""


def tls_context(section: TlsSection) -> ssl.SSLContext | None:
    """Build a listener's TLS; with it, plain HTTP is not understood.

    Args:
        section: The configuration.

    Returns:
        TLS 1.2 or later, client certificates required if an authority for them
        is configured; None for plain HTTP.
    """
    if section.tls_certificate is None or section.tls_key is None:
        return None
    read_secret(section.tls_key)  # refuses a key that others can read
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(section.tls_certificate, section.tls_key)
    if section.client_ca is not None:
        context.load_verify_locations(section.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class CertificateWatch:
    """Notices that a listener's certificate was replaced.

    The certificate is replaced after its key: once it has changed, both have.

    Args:
        section: Where the files are named.
    """

    def __init__(self, section: TlsSection) -> None:
        self._section = section
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Say whether the file is another one than last time."""
        now = self._look()
        changed = now not in {None, self._seen}
        self._seen = now or self._seen
        return changed

    def _look(self) -> tuple[int, int] | None:
        assert self._section.tls_certificate is not None
        try:
            found = self._section.tls_certificate.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


async def _renewing(
    _app: web.Application, *, context: ssl.SSLContext, section: TlsSection
) -> AsyncGenerator[None]:
    """Give new connections the new certificate; open ones end with the old one."""
    task = asyncio.create_task(_renew(context, section, CertificateWatch(section)))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _renew(
    context: ssl.SSLContext, section: TlsSection, watch: CertificateWatch
) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        if not watch.has_changed():
            continue
        try:
            tls_context(section)  # a pair that does not fit would break the live one
        except (OSError, ConfigError) as error:
            _log.error(
                "%s can not be used: %s; the one before is shown on",
                section.tls_certificate,
                error,
            )
            continue
        assert section.tls_certificate is not None
        context.load_cert_chain(section.tls_certificate, section.tls_key)
        _log.info("certificate renewed: %s", section.tls_certificate)


async def start_listener(
    app: web.Application, listen: str, section: TlsSection, *, name: str
) -> tuple[web.AppRunner, str]:
    """Serve an app.

    Args:
        app: What is served.
        listen: IP:PORT.
        section: Where TLS is configured.
        name: Of the section, for the message of an error.

    Returns:
        What to clean up at the end, and the URL.

    Raises:
        ConfigError: If the address can not be listened on.
    """
    context = tls_context(section)
    if context is not None:
        app.cleanup_ctx.append(partial(_renewing, context=context, section=section))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_S)
    await runner.setup()
    host, port = listen_address(listen)
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"[{name}] listen: {error}") from error
    scheme = "https" if context else "http"
    shown = f"[{host}]" if ":" in host else host
    return runner, f"{scheme}://{shown}:{runner.addresses[0][1]}"
