# SPDX-License-Identifier: Apache-2.0
"""What the authority certifies, what it refuses, and what its log says of it."""

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authority.__main__ import cli
from authority.issuing import IssueError, Role, Wish, read_request, serial_of
from authority.register import Register
from authority.requesting import make_request

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
PASSPHRASE = b"correct horse battery"


@pytest.fixture
def register(tmp_path: Path) -> Register:
    made = Register(tmp_path / "ca")
    made.create("Test", PASSPHRASE, now=NOW)
    return made


def wish(tmp_path: Path, name: str = "hub-1", *hosts: str) -> Wish:
    pem, _ = make_request(tmp_path / f"{name}.key", name, hosts)
    return read_request(pem.encode())


def raw_request(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = builder.sign(key, hashes.SHA256())
    return pem.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("role", list(Role))
def test_a_certificate_is_for_a_client_or_for_a_server_and_for_no_authority(
    role: Role, register: Register, tmp_path: Path
) -> None:
    hosts = ("127.0.0.1", "hub.example") if role.is_server else ()
    asked = wish(tmp_path, "one", *hosts)
    line = register.issue(asked, role, PASSPHRASE, days=30, now=NOW)
    made = x509.load_pem_x509_certificate(line.certificate.encode())
    made.verify_directly_issued_by(register.root())
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    server = ExtendedKeyUsageOID.SERVER_AUTH
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    assert list(usage) == [server if role.is_server else client]
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca
    assert made.not_valid_after_utc == NOW + dt.timedelta(days=30)
    assert asked.hosts == hosts


def test_the_log_has_every_certificate_and_numbers_that_nobody_guesses(
    register: Register, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        asked = wish(tmp_path, name)
        register.issue(asked, Role.HUB, PASSPHRASE, days=30, now=NOW)
    first, second = register.issued()
    assert (first.name, second.name) == ("a", "b")
    assert first.serial != second.serial
    assert serial_of(b"\xff" * 20).bit_length() == 159
    assert serial_of(bytes(20)) == 1


def test_the_key_lies_encrypted_and_opens_by_its_passphrase_alone(
    register: Register, tmp_path: Path
) -> None:
    key = tmp_path / "ca" / "root.key"
    assert b"ENCRYPTED PRIVATE KEY" in key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(IssueError, match="passphrase is wrong"):
        register.issue(wish(tmp_path), Role.HUB, b"another one", days=1, now=NOW)
    assert list(register.issued()) == []


def test_an_authority_is_never_overwritten(register: Register) -> None:
    before = register.certificate_file.read_bytes()
    with pytest.raises(IssueError, match="there is an authority"):
        register.create("Again", PASSPHRASE, now=NOW)
    assert register.certificate_file.read_bytes() == before


def test_a_short_passphrase_makes_none(tmp_path: Path) -> None:
    with pytest.raises(IssueError, match="12 bytes"):
        Register(tmp_path / "ca").create("Test", b"short", now=NOW)
    assert not (tmp_path / "ca").exists()


@pytest.mark.parametrize(
    ("role", "hosts", "days", "told"),
    [
        (Role.APPLIANCE, (), 30, "needs hosts"),
        (Role.HUB, ("127.0.0.1",), 30, "names no hosts"),
        (Role.HUB, (), 3651, "itself ends"),
    ],
)
def test_what_does_not_fit_is_not_certified(
    role: Role,
    hosts: tuple[str, ...],
    days: int,
    told: str,
    register: Register,
    tmp_path: Path,
) -> None:
    asked = wish(tmp_path, "one", *hosts)
    with pytest.raises(IssueError, match=told):
        register.issue(asked, role, PASSPHRASE, days=days, now=NOW)
    assert list(register.issued()) == []


def test_only_a_request_signed_by_its_own_p256_key_is_understood(
    tmp_path: Path,
) -> None:
    with pytest.raises(IssueError, match="no request"):
        read_request(b"nothing")
    with pytest.raises(IssueError, match="P-256"):
        read_request(raw_request(ec.generate_private_key(ec.SECP384R1()), "x"))
    with pytest.raises(IssueError, match="P-256"):
        read_request(raw_request(rsa.generate_private_key(65537, 2048), "x"))
    with pytest.raises(IssueError, match="common name"):
        read_request(raw_request(ec.generate_private_key(ec.SECP256R1()), "a\nb"))
    pem, _ = make_request(tmp_path / "k", "hub-1", ())
    der = bytearray(
        x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER)
    )
    der[der.index(b"hub-1")] ^= 1
    forged = x509.load_der_x509_csr(bytes(der))
    with pytest.raises(IssueError, match="not signed by its own key"):
        read_request(forged.public_bytes(serialization.Encoding.PEM))


def test_a_no_at_the_question_certifies_nothing(
    register: Register, tmp_path: Path
) -> None:
    pem, pin = make_request(tmp_path / "k", "hub-1", ())
    request, out = tmp_path / "k.csr", tmp_path / "k.pem"
    request.write_text(pem)
    words = ["issue", str(tmp_path / "ca"), str(request)]
    words += ["--role", "hub", "--out", str(out)]
    said = CliRunner().invoke(cli, words, input="n\n")
    assert said.exit_code == 1
    assert pin in said.output
    assert not out.exists()
    listed = CliRunner().invoke(cli, ["--json", "list", str(tmp_path / "ca")])
    assert json.loads(listed.stdout) == []
    assert list(register.issued()) == []
