# SPDX-License-Identifier: Apache-2.0
"""Who may connect, and as whom the appliance listens, changed while it runs."""

import asyncio
import datetime as dt
import re
import shutil
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.certificates import (
    KeyPair,
    certificate_pem,
    make_certificate,
    public_pin,
    spki_sha256,
)
from appliance.client import ApplianceClient, Endpoint, endpoint_of
from appliance.errors import ConfigError, FaultError
from appliance.pytest_plugin import ApplianceProcess
from appliance.server import Server
from appliance.wire import (
    PATH,
    CeremonyReport,
    Done,
    Fault,
    GetStatus,
    RunCeremony,
    SealNow,
    Signed,
    StatusReport,
    decode_reply,
    encode,
)
from channel import ChannelFiles
from channel.https import HttpsCarrier
from tests.appliance.box import Box, command
from tests.appliance.bundles import bundle
from tests.appliance.conftest import copy_box
from tests.appliance.killing import anchor, kill_during

NOW = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates of the real time
TLS_STEPS = (
    "tls.key-made",
    "tls.journalled",
    "tls.certificate-written",
    "tls.key-switched",
    "tls.switched",
)


def authority(folder: Path) -> KeyPair:
    key = serialization.load_pem_private_key(
        (folder / "tls" / "ca.key").read_bytes(), None
    )
    pem = (folder / "tls" / "ca.pem").read_bytes()
    return KeyPair(x509.load_pem_x509_certificate(pem), key)


def certify(folder: Path, request: str, *, usage: x509.ObjectIdentifier) -> str:
    """Answer a certificate request as a CA does."""
    asked = x509.load_pem_x509_csr(request.encode())
    assert asked.is_signature_valid
    ca = authority(folder)
    hosts = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(minutes=5))
        .not_valid_after(NOW + dt.timedelta(days=30))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(hosts.value, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
            critical=False,
        )
        .sign(ca.key, hashes.SHA256())
    )
    return certificate_pem(certificate).decode()


class Listening:
    """A listening appliance in this process."""

    def __init__(self, box: Box, port: int, server: Server) -> None:
        self.box, self.port, self.server = box, port, server
        self.folder = box.folder

    def endpoint(self, name: str, *, next_pin: str = "") -> Endpoint:
        found = endpoint_of(self.folder / "appliance.toml", name=name, port=self.port)
        tls = self.folder / "tls"
        files = ChannelFiles(
            tls / "ca.pem",
            tls / f"{name}.pem",
            tls / f"{name}.key",
            found.files.server_spki_sha256,
            next_pin,
        )
        return Endpoint(found.url, files)

    def new_client(self, name: str) -> str:
        """Make a certificate of the private CA, and return its pin."""
        pair = make_certificate(authority(self.folder), name, server=False, now=NOW)
        pair.write(self.folder / "tls", name)
        return spki_sha256(pair.certificate)

    async def status(self, name: str, *, next_pin: str = "") -> StatusReport:
        async with ApplianceClient(self.endpoint(name, next_pin=next_pin)) as client:
            return await client.expect(GetStatus(request_id="s"), StatusReport)

    async def ceremony(self, ceremony: str, **fields: str) -> CeremonyReport:
        request = RunCeremony(request_id="c", ceremony=ceremony, **fields)
        return await self.box.expect(request, CeremonyReport, name="operator-1")

    async def fault(self, ceremony: str, **fields: str) -> str:
        request = RunCeremony(request_id="c", ceremony=ceremony, dry_run=True, **fields)
        return (await self.box.expect(request, Fault, name="operator-1")).message

    async def enrol(self, name: str, pin: str, role: str = "hub") -> None:
        """Enrol a client as two operators do."""
        act = RunCeremony(
            request_id="", ceremony="enrol-client", subject=pin, name=name, role=role
        )
        proposed = await self.box.propose(act)
        await self.box.approve(proposed, 1)
        await self.box.approve(proposed, 2)

    async def rotated_tls(self) -> tuple[str, str]:
        """Run both halves of a TLS rotation up to the certificate.

        Returns:
            The certificate and the next pin.
        """
        steps = (await self.ceremony("rotate-tls")).steps
        (request,) = [text for text in steps if "BEGIN CERTIFICATE REQUEST" in text]
        pin = re.findall("[0-9a-f]{64}", " ".join(steps))[0]
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return certify(self.folder, request, usage=usage), pin


@pytest.fixture
async def listening(box: Box) -> AsyncGenerator[Listening]:
    server = Server(box.config, box.appliance)
    runner, port = await server.start()
    yield Listening(box, port, server)
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _any_port(configure: Callable[[str, str], None]) -> None:
    configure("listen", "port = 0")


# --- clients --------------------------------------------------------------------


async def test_an_enrolled_client_connects_in_its_role_and_after_a_restart(
    listening: Listening,
) -> None:
    pin = listening.new_client("hub-2")
    with pytest.raises(FaultError, match="may not ask"):
        await listening.status("hub-2")
    await listening.enrol("hub-2", pin)
    assert (await listening.status("hub-2")).state == "ready"
    again = Box(listening.folder)
    found = again.appliance.life.roster.find(pin)
    assert found is not None
    assert (found.name, found.role) == ("hub-2", "hub")
    (row,) = [r for r in await listening.box.rows("ceremony") if pin in r.payload][1:]
    assert '"step":"enrol-client"' in row.payload.replace(" ", "")


async def test_one_operator_alone_enrols_nobody(listening: Listening) -> None:
    request = RunCeremony(
        request_id="c",
        ceremony="enrol-client",
        subject=listening.new_client("hub-2"),
        name="hub-2",
        role="hub",
    )
    fault = await listening.box.expect(request, Fault, name="operator-1")
    assert fault.code == "needs-approvals"


async def test_a_revoked_client_is_shut_out_on_its_open_connection(
    listening: Listening,
) -> None:
    async with ApplianceClient(listening.endpoint("hub")) as hub:
        await hub.expect(GetStatus(request_id="s"), StatusReport)
        await listening.ceremony("revoke-client", subject="hub")
        with pytest.raises(FaultError) as caught:
            await hub.expect(GetStatus(request_id="s"), StatusReport)
        assert caught.value.code == "forbidden"
    # The configuration still names it: the journal is what counts.
    restarted = Box(listening.folder)
    pin = restarted.clients["hub"].spki_sha256
    assert restarted.appliance.life.roster.find(pin) is None


async def test_a_revocation_holds_where_the_copy_was_lost(listening: Listening) -> None:
    await listening.ceremony("revoke-client", subject="hub")
    listening.box.appliance.life.paths.clients.unlink()
    await listening.box.close()
    again = Box(listening.folder)
    assert await again.appliance.check()
    pin = again.clients["hub"].spki_sha256
    assert again.appliance.life.roster.find(pin) is None
    await again.close()


async def test_a_certificate_is_renewed_without_a_gap(listening: Listening) -> None:
    old = listening.box.clients["hub"].spki_sha256
    pin = listening.new_client("hub-renewed")
    await listening.enrol("hub", pin)
    assert (await listening.status("hub")).state == "ready"
    assert (await listening.status("hub-renewed")).state == "ready"
    await listening.ceremony("revoke-client", subject=old)
    assert (await listening.status("hub-renewed")).state == "ready"
    with pytest.raises(FaultError):
        await listening.status("hub")


async def test_a_busy_client_changes_its_certificate_and_no_request_fails(
    listening: Listening,
) -> None:
    """The hub's own carrier: it goes on while the key it began with is shut out."""
    tls = listening.folder / "tls"
    old = listening.box.clients["hub"].spki_sha256
    shutil.copy(tls / "hub.pem", tls / "before.pem")
    shutil.copy(tls / "hub.key", tls / "before.key")
    endpoint = listening.endpoint("hub")
    answered, done = 0, asyncio.Event()
    ask = encode(GetStatus(request_id="s"))

    async def hammer(carrier: HttpsCarrier) -> None:
        nonlocal answered
        while not done.is_set():
            assert isinstance(decode_reply(await carrier.carry(ask)), StatusReport)
            answered += 1

    async with (
        HttpsCarrier(
            endpoint.url, endpoint.files, path=PATH, timeout_s=20.0
        ) as carrier,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(4):
            group.create_task(hammer(carrier))
        await listening.enrol("hub", listening.new_client("renewed"))
        before = answered
        (tls / "renewed.key").rename(tls / "hub.key")
        await asyncio.sleep(0.2)  # the pair does not fit meanwhile
        (tls / "renewed.pem").rename(tls / "hub.pem")
        while answered < before + 20:
            await asyncio.sleep(0.01)
        await listening.ceremony("revoke-client", subject=old)
        before = answered
        while answered < before + 20:
            await asyncio.sleep(0.01)
        done.set()
    with pytest.raises(FaultError):
        await listening.status("before")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "hub", "role": "auditor", "subject": "0" * 64}, "one role"),
        ({"name": "x", "role": "owner", "subject": "0" * 64}, "a role of"),
        ({"name": "x", "role": "hub", "subject": "0" * 63}, "SHA-256"),
        ({"name": "", "role": "hub", "subject": "0" * 64}, "a name"),
        ({"name": "x" * 65, "role": "hub", "subject": "0" * 64}, "1 to 64"),
        ({"name": "a\nb", "role": "hub", "subject": "0" * 64}, "printable"),
    ],
)
async def test_what_no_client_is_can_not_be_enrolled(
    listening: Listening, fields: dict[str, str], expected: str
) -> None:
    assert expected in await listening.fault("enrol-client", **fields)


async def test_a_key_has_one_owner_and_an_operator_always_stays(
    listening: Listening,
) -> None:
    taken = listening.box.clients["auditor"].spki_sha256
    message = await listening.fault(
        "enrol-client", subject=taken, name="hub-2", role="hub"
    )
    assert "auditor's already" in message
    assert "nobody here" in await listening.fault("revoke-client", subject="stranger")
    await listening.ceremony("revoke-client", subject="operator-2")
    message = await listening.fault("revoke-client", subject="operator-1")
    assert "no operator would be left" in message


async def test_a_sealed_appliance_still_knows_who_was_enrolled(
    listening: Listening,
) -> None:
    pin = listening.new_client("auditor-2")
    await listening.enrol("auditor-2", pin, role="auditor")
    seal = SealNow(request_id="s", reason="drill")
    await listening.box.expect(seal, Done, name="operator-1")
    await listening.box.close()
    again = Box(listening.folder)
    assert not await again.appliance.check()
    assert again.appliance.life.roster.find(pin) is not None


def test_a_copy_that_is_no_copy_stops_the_start(folder: Path) -> None:
    (folder / "state" / "clients.json").write_text("{}")
    with pytest.raises(ConfigError, match="nobody knows who was revoked"):
        Box(folder)


# --- the listener's key -----------------------------------------------------------


async def test_the_listener_s_key_is_rotated_without_a_failed_request(
    listening: Listening,
) -> None:
    certificate, pin = await listening.rotated_tls()
    before = listening.box.appliance.life.tls.pin
    failed: list[str] = []
    served = 0
    stop = asyncio.Event()

    async def load(*, reconnect: bool) -> None:
        nonlocal served
        endpoint = listening.endpoint("hub", next_pin=pin)
        while not stop.is_set():
            async with ApplianceClient(endpoint) as client:
                request = bundle([await listening.box.coin()])
                while True:
                    reply = await client.ask(request)
                    failed.extend([str(reply)] * (not isinstance(reply, Signed)))
                    served += 1
                    if reconnect or stop.is_set():
                        break

    workers = [asyncio.create_task(load(reconnect=each)) for each in (True, False)]
    await asyncio.sleep(1)
    await listening.ceremony("rotate-tls", subject=certificate)
    served_before = served
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*workers)
    assert not failed
    assert served > served_before > 0
    assert listening.box.appliance.life.tls.pin == pin != before
    with pytest.raises(FaultError, match="pinned"):
        await listening.status("hub")  # pins the old key alone
    assert (await listening.status("hub", next_pin=pin)).state == "ready"


async def test_a_renewed_certificate_of_the_same_key_needs_no_new_pin(
    listening: Listening,
) -> None:
    tls = listening.box.appliance.life.tls
    pair = KeyPair(
        tls.certificate,
        serialization.load_pem_private_key(Path(tls.listen.key).read_bytes(), None),
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(
        pair.certificate.subject
    )
    hosts = pair.certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    asked = request.add_extension(hosts, critical=False).sign(pair.key, hashes.SHA256())
    pem = asked.public_bytes(serialization.Encoding.PEM).decode()
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    await listening.ceremony(
        "rotate-tls", subject=certify(listening.folder, pem, usage=usage)
    )
    assert tls.certificate.serial_number != pair.certificate.serial_number
    assert (await listening.status("hub")).state == "ready"


async def test_a_certificate_that_does_not_fit_is_refused(listening: Listening) -> None:
    await listening.rotated_tls()
    steps = (await listening.ceremony("rotate-tls")).steps
    (request,) = [text for text in steps if "BEGIN CERTIFICATE REQUEST" in text]
    stranger = make_certificate(
        authority(listening.folder), "appliance", server=True, now=NOW
    )
    of_stranger = certificate_pem(stranger.certificate).decode()
    assert "another key" in await listening.fault("rotate-tls", subject=of_stranger)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    of_client = certify(listening.folder, request, usage=usage)
    assert "serverAuth" in await listening.fault("rotate-tls", subject=of_client)
    assert "PEM" in await listening.fault("rotate-tls", subject="certificate")
    listening.box.clock.offset_ms = 31 * 86_400_000
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    late = certify(listening.folder, request, usage=usage)
    assert "in force now" in await listening.fault("rotate-tls", subject=late)


@pytest.mark.slow
@pytest.mark.parametrize("step", TLS_STEPS)
async def test_a_tls_rotation_killed_at_any_step_goes_on(
    process: ApplianceProcess, step: str, tmp_path: Path
) -> None:
    asking = RunCeremony(request_id="c", ceremony="rotate-tls")
    marker = tmp_path / "reached"
    if step == "tls.key-made":
        await kill_during(process, asking, step, marker)
    process.start()
    steps = (await ask(process, asking)).steps
    process.stop()
    (request,) = [text for text in steps if "BEGIN CERTIFICATE REQUEST" in text]
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    certificate = certify(process.folder, request, usage=usage)
    pin = public_pin(x509.load_pem_x509_csr(request.encode()).public_key())
    installing = RunCeremony(request_id="c", ceremony="rotate-tls", subject=certificate)
    if step != "tls.key-made":
        await kill_during(process, installing, step, marker)
    process.start()
    if await served_pin(process) != pin:
        await ask(process, installing)
    assert await served_pin(process) == pin
    left = {path.name for path in (process.folder / "tls").glob("*.next")}
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", ["journal.ceremony.before-commit", "client.journalled"]
)
async def test_a_revocation_killed_at_any_step_holds_once_journalled(
    process: ApplianceProcess, step: str, tmp_path: Path
) -> None:
    revoking = RunCeremony(
        request_id="c", ceremony="revoke-client", subject="operator-2"
    )
    await kill_during(process, revoking, step, tmp_path / "reached")
    process.start()
    await anchor(process)
    if step == "journal.ceremony.before-commit":
        await ask(process, revoking)
    async with process.client("operator-2") as revoked:
        with pytest.raises(FaultError, match="may not ask"):
            await revoked.expect(GetStatus(request_id="s"), StatusReport)


async def ask(process: ApplianceProcess, request: RunCeremony) -> CeremonyReport:
    await anchor(process)
    async with process.client("operator-1") as operator:
        return await operator.expect(request, CeremonyReport)


async def served_pin(process: ApplianceProcess) -> str:
    """Return the pin of the key a handshake shows."""
    port = int(process.url.rsplit(":", 1)[1])
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return spki_sha256(x509.load_pem_x509_certificate(pem.encode()))


# --- verify -------------------------------------------------------------------------


async def test_verify_checks_everything_and_is_journalled(box: Box) -> None:
    await box.expect(bundle([await box.coin()]), Signed)
    request = RunCeremony(request_id="c", ceremony="verify")
    report = await box.expect(request, CeremonyReport, name="operator-1")
    assert [line.split(" ")[1] for line in report.steps] == [
        "vault:",
        "salts:",
        "identity:",
        "journal:",
        "policy:",
        "channel:",
    ]
    assert "3 rows" in report.steps[3]
    assert '"verify"' in (await box.rows("ceremony"))[-1].payload
    await box.expect(bundle([await box.coin()]), Signed)


async def test_verify_finds_a_row_altered_behind_its_back(box: Box) -> None:
    await box.expect(bundle([await box.coin()]), Signed)
    journal = box.appliance.life.require_running().journal

    def alter() -> None:
        with journal._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE row SET time_ms = time_ms + 1")

    await box.appliance.life.journal_thread(alter)
    request = RunCeremony(request_id="c", ceremony="verify")
    fault = await box.expect(request, Fault, name="operator-1")
    assert fault.code == "journal-broken"
    assert (await box.status()).state == "sealed"


async def test_verify_finds_a_vault_file_put_back(box: Box) -> None:
    path = box.appliance.life.paths.vault
    before = path.read_bytes()
    rotate = RunCeremony(request_id="c", ceremony="rotate-mac")
    await box.expect(rotate, CeremonyReport, name="operator-1")
    path.write_bytes(before)
    request = RunCeremony(request_id="c", ceremony="verify")
    fault = await box.expect(request, Fault, name="operator-1")
    assert fault.code == "vault-regression"


def test_the_commands_say_what_they_do(template: Path, tmp_path: Path) -> None:
    folder = copy_box(template, tmp_path / "one")
    shown = command(folder, "ceremony", "--help")
    for word in ("enrol-client", "revoke-client", "rotate-tls", "verify"):
        assert word in shown.stdout
    wrong = command(
        folder,
        "ceremony",
        "enrol-client",
        str(folder / "tls" / "appliance.pem"),
        "--name",
        "x",
        "--role",
        "hub",
    )
    assert wrong.returncode == 1
    assert "clientAuth" in wrong.stderr
