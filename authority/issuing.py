# SPDX-License-Identifier: Apache-2.0
"""What certificates say; pure.

A certificate is for a client or for a server, never for both: an appliance takes none
that could be either.
"""

import datetime as dt
import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_DAYS: Final = 3650
LEAF_DAYS: Final = 397
_BACKDATE: Final = dt.timedelta(minutes=5)
"""For a clock that is a little behind."""
_SERIAL_BITS: Final = 159
"""Twenty bytes whose first bit is zero. Source: RFC 5280, 4.1.2.2."""


class IssueError(Exception):
    """It is not certified; the message says why."""


class Role(enum.Enum):
    """What a certificate is for."""

    HUB = "hub"
    """A hub's, to an appliance."""
    OPERATOR = "operator"
    """A person's, to an appliance."""
    AUDITOR = "auditor"
    """Who reads an appliance's journal."""
    LEGACY_HUB = "legacy-hub"
    """An old Hub's, behind the signing gateway."""
    APPLIANCE = "appliance"
    """An appliance's listener."""
    HUB_SERVER = "hub-server"
    """A listener of a hub: an API, the metrics, the dashboard."""
    API_CLIENT = "api-client"
    """A back end's, to a hub's API."""

    @property
    def is_server(self) -> bool:
        """Whether it is shown by a listener."""
        return self in {Role.APPLIANCE, Role.HUB_SERVER}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for, once it was understood.

    Attributes:
        name: Common name.
        hosts: DNS names and IP addresses, of a server.
        key: The public key.
    """

    name: str
    hosts: tuple[str, ...]
    key: ec.EllipticCurvePublicKey


def read_request(pem: bytes) -> Wish:
    """Understand a request.

    Args:
        pem: PKCS #10.

    Returns:
        What it asks for. What else it holds is left out: this authority decides.

    Raises:
        IssueError: If it is none, its signature is wrong, or its key no P-256 key.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError) as error:
        raise IssueError(f"this is no request for a certificate: {error}") from error
    if not valid:
        raise IssueError("the request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise IssueError("the key is none on P-256")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not str(names[0].value).isprintable():
        raise IssueError("the request has not one common name")
    return Wish(str(names[0].value), _hosts_of(request), key)


def make_root(
    name: str, key: ec.EllipticCurvePrivateKey, *, serial: int, now: dt.datetime
) -> x509.Certificate:
    """Make the authority's own certificate.

    Args:
        name: Its common name.
        key: Its key.
        serial: Its number, from ``serial_of``.
        now: The time, with its zone.

    Returns:
        A root that certifies ends and no further authority.
    """
    subject = _subject(name)
    dates = now - _BACKDATE, now + dt.timedelta(days=ROOT_DAYS)
    builder = _builder(subject, subject, key.public_key(), serial=serial, dates=dates)
    basic = x509.BasicConstraints(ca=True, path_length=0)
    builder = builder.add_extension(basic, critical=True)
    builder = builder.add_extension(_usage(certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def issue(  # noqa: PLR0913 - what a certificate consists of
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    wish: Wish,
    role: Role,
    *,
    serial: int,
    days: int,
    now: dt.datetime,
) -> x509.Certificate:
    """Certify a key.

    Args:
        root: The authority's certificate.
        root_key: Its key.
        wish: What was asked for.
        role: What it is for.
        serial: Its number, from ``serial_of``.
        days: How long it holds.
        now: The time, with its zone.

    Returns:
        The certificate.

    Raises:
        IssueError: If the hosts do not fit the role, or it would outlive the root.
    """
    require_fitting(wish, role)
    until = now + dt.timedelta(days=days)
    if until > root.not_valid_after_utc:
        raise IssueError(
            f"the authority itself ends on {root.not_valid_after_utc:%Y-%m-%d}"
        )
    dates = now - _BACKDATE, until
    subject = _subject(wish.name)
    builder = _builder(subject, root.subject, wish.key, serial=serial, dates=dates)
    usages = ExtendedKeyUsageOID
    usage = usages.SERVER_AUTH if role.is_server else usages.CLIENT_AUTH
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    builder = builder.add_extension(_usage(certificates=False), critical=True)
    basic = x509.BasicConstraints(ca=False, path_length=None)
    builder = builder.add_extension(basic, critical=True)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if wish.hosts:
        names = x509.SubjectAlternativeName(names_of(wish.hosts))
        builder = builder.add_extension(names, critical=False)
    return builder.sign(root_key, hashes.SHA256())


def require_fitting(wish: Wish, role: Role) -> None:
    """Insist that a server names its hosts, and a client none.

    Args:
        wish: What is asked for.
        role: What for.

    Raises:
        IssueError: If it does not fit.
    """
    if role.is_server and not wish.hosts:
        raise IssueError(f"a certificate of role {role.value} needs hosts")
    if not role.is_server and wish.hosts:
        raise IssueError(f"a certificate of role {role.value} names no hosts")


def serial_of(random: bytes) -> int:
    """Return a serial number.

    Args:
        random: Twenty bytes of the system's own randomness.

    Returns:
        A positive number of up to twenty bytes.
    """
    number = int.from_bytes(random, "big") >> (len(random) * 8 - _SERIAL_BITS)
    return number or 1


def names_of(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return hosts as a certificate names them: IP addresses, and DNS names."""
    return [_name(host) for host in hosts]


def spki_sha256(key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a public key (SPKI), 64 hex characters."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    serial: int,
    dates: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _hosts_of(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    known = (x509.DNSName, x509.IPAddress)
    if not all(isinstance(one, known) for one in names.value):
        raise IssueError("the request names hosts that are neither DNS names nor IPs")
    return tuple(str(one.value) for one in names.value)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )
