# SPDX-License-Identifier: Apache-2.0
"""The channel, with real clients over TLS and over a pty: who is refused, and how."""

import asyncio
import contextlib
import json
import socket
import ssl
import typing
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from appliance import wire
from appliance.certificates import (
    make_authority,
    make_certificate,
    spki_sha256,
)
from appliance.errors import ConfigError, FaultError
from appliance.roster import ClientChange
from appliance.service import ROLES
from appliance.wire import (
    AcceptHead,
    AdoptAddress,
    ApproveAct,
    CancelMining,
    Done,
    ExportSeed,
    Fault,
    FetchBundle,
    GetPolicy,
    GetStatus,
    IssueAddress,
    Issued,
    LegacyAddress,
    ListActs,
    MakeCheckpoint,
    MineBundle,
    MiningStatus,
    OperatorSignature,
    ProposeAct,
    RunCeremony,
    SealNow,
    SecondSignature,
    SetPolicy,
    SignBlind,
    SignTransfer,
    StatusReport,
    TailJournal,
    Unseal,
)
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid
from tests.appliance.listening import (
    NOW,
    STATUS,
    TRANSPORTS,
    Listening,
    OverTls,
    listening_on,
)


@pytest.fixture(params=TRANSPORTS)
async def listening(
    request: pytest.FixtureRequest, folder: Path
) -> AsyncGenerator[Listening]:
    """On each transport: what is promised is the same."""
    async with listening_on(request.param, folder) as opened:
        yield opened


@pytest.fixture
async def over_tls(folder: Path) -> AsyncGenerator[OverTls]:
    async with listening_on("tls", folder) as opened:
        assert isinstance(opened, OverTls)
        yield opened


async def handshake_fails(over_tls: OverTls, context: ssl.SSLContext) -> None:
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await over_tls.post(context, STATUS)


# --- strangers -----------------------------------------------------------------------


async def test_a_hub_is_answered(listening: Listening) -> None:
    async with listening.client("hub") as client:
        report = await client.expect(GetStatus(request_id="s"), StatusReport)
        assert report.state == "ready"
        issue = IssueAddress(request_id="i", seed_uuid=new_uuid())
        await client.expect(issue, Issued)
        assert client.head
        assert client.head.sequence == 2


async def test_a_key_that_nobody_enrolled_is_refused(listening: Listening) -> None:
    """Of our authority, and of the hub's name: only the enrolled key is known."""
    before = listening.server.strangers_count
    await listening.knock()
    assert listening.server.strangers_count == before + 1
    async with listening.client("hub") as client:  # and nobody else is kept out
        await client.expect(GetStatus(request_id="s"), StatusReport)


async def test_a_client_that_is_revoked_during_a_connection_is_refused(
    listening: Listening,
) -> None:
    async with listening.client("hub") as client:
        await client.expect(GetStatus(request_id="s"), StatusReport)
        hub = listening.box.clients["hub"]
        shut_out = ClientChange(enrolled=False, client=hub)
        listening.box.appliance.life.roster.adopt([shut_out])
        reply = await client.ask(GetStatus(request_id="s"))
        assert isinstance(reply, Fault)
        assert reply.code == "forbidden"
        assert reply.head is None
    async with listening.client("auditor") as client:
        await client.expect(GetStatus(request_id="s"), StatusReport)


# --- certificates --------------------------------------------------------------------


async def test_a_certificate_of_another_authority_is_refused(
    over_tls: OverTls,
) -> None:
    other = make_authority("Saltkeep private CA", now=NOW)
    pair = make_certificate(other, "hub", server=False, now=NOW)
    await handshake_fails(over_tls, over_tls.context(pair))


async def test_an_expired_certificate_is_refused(over_tls: OverTls) -> None:
    authority = over_tls.authority()
    pair = make_certificate(authority, "hub", server=False, now=NOW, days=-1)
    await handshake_fails(over_tls, over_tls.context(pair))


async def test_a_certificate_that_expires_during_a_connection_is_refused(
    over_tls: OverTls,
) -> None:
    """Not only at the handshake: the same connection is refused a year later."""
    async with over_tls.client("hub") as client:
        await client.expect(GetStatus(request_id="s"), StatusReport)
        over_tls.box.clock.offset_ms = 400 * 86_400_000
        reply = await client.ask(GetStatus(request_id="s"))
        assert isinstance(reply, Fault)
        assert reply.code == "forbidden"


async def test_the_server_s_certificate_is_no_client_s(over_tls: OverTls) -> None:
    context = over_tls.context(None)
    context.load_cert_chain(
        over_tls.tls / "appliance.pem", over_tls.tls / "appliance.key"
    )
    await handshake_fails(over_tls, context)


async def test_a_pinned_key_in_a_server_certificate_is_refused(
    over_tls: OverTls,
) -> None:
    pair = make_certificate(over_tls.authority(), "hub", server=True, now=NOW)
    pin = spki_sha256(pair.certificate)
    hub = msgspec.structs.replace(over_tls.box.clients["hub"], spki_sha256=pin)
    over_tls.box.appliance.life.roster.adopt([ClientChange(enrolled=True, client=hub)])
    await handshake_fails(over_tls, over_tls.context(pair))


async def test_no_certificate_is_refused(over_tls: OverTls) -> None:
    await handshake_fails(over_tls, over_tls.context(None))


async def test_tls_1_2_is_refused(over_tls: OverTls) -> None:
    context = over_tls.context_of("hub")
    assert (await over_tls.post(context, STATUS))[0] == 200
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await handshake_fails(over_tls, context)


async def test_plaintext_is_refused(over_tls: OverTls) -> None:
    with pytest.raises(aiohttp.ClientError):
        await over_tls.post(None, STATUS, url=f"http://127.0.0.1:{over_tls.port}")


async def test_no_session_is_resumed(over_tls: OverTls) -> None:
    def connect(context: ssl.SSLContext, session: ssl.SSLSession | None) -> object:
        with (
            socket.create_connection(("127.0.0.1", over_tls.port), 5) as plain,
            context.wrap_socket(
                plain, server_hostname="localhost", session=session
            ) as tls,
        ):
            length = f"content-length: {len(STATUS)}\r\n\r\n".encode()
            tls.sendall(b"POST /v1/request HTTP/1.1\r\nhost: a\r\n" + length + STATUS)
            assert b"200 OK" in tls.recv(4096)
            assert tls.version() == "TLSv1.3"
            assert not tls.session_reused
            return tls.session

    context = over_tls.context_of("hub")
    session = await asyncio.to_thread(connect, context, None)
    assert session is None or not session.has_ticket


# --- our client ----------------------------------------------------------------------


async def test_our_client_refuses_a_server_with_another_key(
    listening: Listening,
) -> None:
    """A certificate of our own authority for the same host is not enough."""
    async with listening.misled_client() as client:
        with pytest.raises(FaultError, match=r"pinned|does not have the key") as error:
            await client.ask(GetStatus(request_id="s"))
    assert error.value.code == "unreachable"


async def test_missing_files_are_said_plainly(listening: Listening) -> None:
    with pytest.raises(ConfigError, match="none"):
        async with listening.client_without_files():
            pass


async def test_many_requests_at_once_each_get_their_own_reply(
    listening: Listening,
) -> None:
    uuids = [new_uuid() for _ in range(24)]
    async with listening.client("hub") as client:
        issued = await asyncio.gather(
            *(
                client.expect(IssueAddress(request_id=f"r{n}", seed_uuid=u), Issued)
                for n, u in enumerate(uuids)
            )
        )
        again = await client.expect(
            IssueAddress(request_id="again", seed_uuid=uuids[7]), Issued
        )
    assert [one.request_id for one in issued] == [f"r{n}" for n in range(24)]
    assert len({one.address for one in issued}) == len(uuids)
    assert again.address == issued[7].address


# --- roles ---------------------------------------------------------------------------

SAMPLES = {
    GetStatus: GetStatus(request_id="r"),
    IssueAddress: IssueAddress(request_id="r", seed_uuid=new_uuid()),
    SignTransfer: bundle([Coin(new_uuid(), new_address())]),
    FetchBundle: FetchBundle(request_id="r", bundle_hash=new_address()),
    AdoptAddress: AdoptAddress(
        request_id="r", seed_uuid=new_uuid(), generation=2, address="A" * 81
    ),
    LegacyAddress: LegacyAddress(request_id="r", seed_uuid=new_uuid()),
    SignBlind: SignBlind(
        request_id="r", seed_uuid=new_uuid(), bundle_hash=new_address()
    ),
    TailJournal: TailJournal(request_id="r"),
    SealNow: SealNow(request_id="r", reason="x"),
    Unseal: Unseal(request_id="r", latch_id="x"),
    ProposeAct: ProposeAct(request_id="r", act=Unseal(request_id="", latch_id="x")),
    ListActs: ListActs(request_id="r"),
    ApproveAct: ApproveAct(
        request_id="r", act_id="x", signature=OperatorSignature("x", "x")
    ),
    SetPolicy: SetPolicy(request_id="r", text="", signatures=[]),
    GetPolicy: GetPolicy(request_id="r"),
    AcceptHead: AcceptHead(request_id="r", sequence=1, hash="x"),
    RunCeremony: RunCeremony(request_id="r", ceremony="rotate-kek", dry_run=True),
    MakeCheckpoint: MakeCheckpoint(request_id="r"),
    SecondSignature: SecondSignature(
        request_id="r",
        purpose="sign-bundle",
        transactions=[],
        bundle_hash="x",
        inputs=[],
        spent_inputs=[],
    ),
    ExportSeed: ExportSeed(request_id="r", seed_uuid="x", generation=1, officer="x"),
    MineBundle: MineBundle(request_id="r", transactions=[], inputs=[], tries=1),
    MiningStatus: MiningStatus(request_id="r", job="x"),
    CancelMining: CancelMining(request_id="r", job="x"),
}


def test_the_table_of_roles_knows_every_request() -> None:
    assert set(ROLES) == set(SAMPLES) == set(typing.get_args(wire.Request))


async def test_a_wrong_role_is_forbidden_for_every_request(
    listening: Listening,
) -> None:
    roles = {"hub": "hub", "operator": "operator-1", "auditor": "auditor"}
    for role, name in roles.items():
        async with listening.client(name) as client:
            for kind, request in SAMPLES.items():
                if role in ROLES[kind]:
                    continue
                reply = await client.ask(request)
                assert isinstance(reply, Fault), (role, kind)
                assert reply.code == "forbidden", (role, kind)
                assert not reply.retry
    assert (await listening.box.status()).state == "ready"


def test_no_request_can_carry_a_bare_hash_to_a_signature() -> None:
    """What leads to one needs every transaction, through the door as well.

    ``SignBlind`` does too, for one role that may ask nothing else.
    """
    for kind in typing.get_args(wire.Request):
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        if "bundle_hash" not in fields:
            continue
        if kind is FetchBundle:  # gives only what was signed before
            assert set(fields) == {"request_id", "head", "bundle_hash"}
            continue
        if kind is SignBlind:
            assert ROLES[kind] == {"legacy-hub"}
            continue
        assert kind in {SignTransfer, SecondSignature}
        assert fields["transactions"].required
        assert fields["transactions"].type == list[wire.ShownTransaction]
    essence = {field.name for field in msgspec.structs.fields(wire.ShownTransaction)}
    assert essence == {"address", "value_i", "obsolete_tag", "timestamp_s"}


# --- bodies --------------------------------------------------------------------------

BODIES: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", 400),
    "empty": (b"", 400),
    "not UTF-8": (b'{"kind":"\xff"}', 400),
    "no kind": (b'{"request_id":"x"}', 400),
    "unknown kind": (b'{"kind":"sign-hash","request_id":"x"}', 400),
    "a list": (b"[]", 400),
    "unknown field": (b'{"kind":"status","request_id":"x","more":1}', 400),
    "missing field": (b'{"kind":"status"}', 400),
    "wrong type": (b'{"kind":"status","request_id":5}', 400),
    "a float": (
        b'{"kind":"tail-journal","request_id":"x","limit":1.5}',
        400,
    ),
    "unknown field inside": (
        b'{"kind":"status","request_id":"x","head":{"a":1}}',
        400,
    ),
    "very deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "too large": (b" " * (wire.MAX_BODY_BYTES + 1), 413),
    "lone surrogate": (b'{"kind":"status","request_id":"\\ud800"}', 400),
}


async def test_a_body_that_is_no_request_is_answered_with_a_status(
    listening: Listening,
) -> None:
    for name, (body, expected) in BODIES.items():
        status, answer = await listening.post_as("hub", body)
        assert status == expected, (name, answer)
        reply = wire.decode_reply(answer)
        assert isinstance(reply, Fault), name
        assert not reply.retry, name
    assert (await listening.post_as("hub", STATUS))[0] == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_slow_body_does_not_hold_a_connection_for_ever(
    transport: str, folder: Path
) -> None:
    async with listening_on(transport, folder, body_timeout_s=0.2) as listening:
        reply = await listening.post_half("hub", b" " * 4000)
        if transport == "serial":  # on TLS the connection may be cut first
            assert reply is not None
        if reply is not None:
            assert reply[0] == 408
        assert (await listening.post_as("hub", STATUS))[0] == 200


# --- time ----------------------------------------------------------------------------


async def test_a_request_past_its_deadline_is_a_fault_and_its_work_goes_on(
    listening: Listening,
) -> None:
    limits = msgspec.structs.replace(
        listening.server.config.limits, request_timeout_s=0.001
    )
    listening.server.config = msgspec.structs.replace(
        listening.server.config, limits=limits
    )
    uuid = new_uuid()
    async with listening.client("hub") as client:
        reply = await client.ask(IssueAddress(request_id="i", seed_uuid=uuid))
        assert isinstance(reply, Fault)
        assert reply.code == "timeout"
        assert reply.retry
        await listening.server.drain()
        assert len(await listening.box.rows("issued")) == 1


async def test_a_client_that_goes_away_does_not_undo_a_commit(
    listening: Listening,
) -> None:
    async with listening.client("hub") as client:
        request = IssueAddress(request_id="i", seed_uuid=new_uuid())
        task = asyncio.create_task(client.ask(request))
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.05)
    await listening.server.drain()
    async with listening.client("hub") as client:
        await client.expect(request, Issued)
    assert len(await listening.box.rows("issued")) == 1


async def test_the_fixture_gives_a_ready_appliance(saltkeep_appliance: object) -> None:
    async with saltkeep_appliance.client("hub") as client:
        report = await client.expect(GetStatus(request_id="s"), StatusReport)
        assert report.state == "ready"
    async with saltkeep_appliance.client("operator-1") as client:
        await client.expect(SealNow(request_id="s", reason="drill"), Done)
    assert json.loads((saltkeep_appliance.folder / "state/seal.latch").read_text())[
        "seal"
    ]
    assert saltkeep_appliance.config_path.is_file()
    assert saltkeep_appliance.url.startswith("https://127.0.0.1:")
