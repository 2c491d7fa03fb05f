# SPDX-License-Identifier: Apache-2.0
"""A client's end of the channel to an appliance: TLS 1.3 with a pinned server.

A leaf: imports nothing of ours; the hub and the operators' command line share it.
The private CA says "made here", the host name must match, and the server's public
key must be the pinned one: all three are checked inside the handshake, before a
byte of a request leaves.
"""

import hashlib
import hmac
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization


class ChannelError(Exception):
    """The files of a channel are missing or do not fit each other."""

    code = "channel"


@dataclass(frozen=True, slots=True)
class ChannelFiles:
    """What a client needs to reach an appliance.

    Attributes:
        ca: PEM path of the private CA.
        certificate: PEM path of the client certificate (clientAuth).
        key: PEM path of its private key.
        server_spki_sha256: Pin of the server's public key, 64 hex characters.
        next_server_spki_sha256: Pin of the key it is about to change to, if any.
    """

    ca: Path
    certificate: Path
    key: Path
    server_spki_sha256: str
    next_server_spki_sha256: str = ""


def client_context(files: ChannelFiles) -> ssl.SSLContext:
    """Return a context that completes a handshake with the pinned server only.

    Args:
        files: Certificates, key and pin.

    Returns:
        A context for asyncio and aiohttp.

    Raises:
        ChannelError: If a file is missing, the key is open to others, or key and
            certificate do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if files.key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ChannelError(f"{files.key} is open to others: make it mode 0600")
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise ChannelError(
            f"cannot use {files.ca}, {files.certificate} and {files.key}: {error}"
        ) from error
    pins = (files.server_spki_sha256, files.next_server_spki_sha256)
    context.sslobject_class = _pinned([pin for pin in pins if pin])
    return context


def _pinned(pins: Sequence[str]) -> type[ssl.SSLObject]:
    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            der = self.getpeercert(binary_form=True)
            if der is None or not any(
                hmac.compare_digest(_spki_sha256(der), pin) for pin in pins
            ):
                raise ssl.SSLCertVerificationError(
                    "the server's public key is not the pinned one"
                )

    return PinnedObject


def _spki_sha256(der: bytes) -> str:
    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()
