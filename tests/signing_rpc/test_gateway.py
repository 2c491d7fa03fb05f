# SPDX-License-Identifier: Apache-2.0
"""An old Hub's signing RPC, spoken by a real gRPC client over mutual TLS."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from appliance.certificates import (
    certificate_pem,
    make_authority,
    make_certificate,
    spki_sha256,
)
from appliance.errors import ConfigError
from appliance.intent import commit
from appliance.journal_records import IssuedRecord
from appliance.policy_file import policy_digest
from appliance.pytest_plugin import ApplianceProcess
from appliance.server import Server
from appliance.wire import (
    BlindSigned,
    CeremonyReport,
    Deferred,
    Done,
    Fault,
    IssueAddress,
    LegacyAddress,
    Refused,
    RunCeremony,
    SetPolicy,
    SignBlind,
    Signed,
)
from signing_rpc.config import load_config
from signing_rpc.gateway import Gateway
from tests.appliance.box import Box, sign_with
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid
from tests.appliance.killing import anchor
from tests.appliance.old_salt import tell
from tests.appliance.test_enrolment import authority as own
from trinary.winternitz import used_fragments_contain_13, verify

ROOT = Path(__file__).parents[2]
HUB = json.loads((ROOT / "tests" / "vectors" / "vectors-hub.json").read_text())
NOW = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates of the real time
KILLED = (
    "blind.derived",
    "journal.blind.before-commit",
    "journal.blind.after-commit",
    "blind.committed",
)


def stub() -> dict[str, tuple[Any, Any]]:
    """Messages built from the old server's published names and numbers alone."""
    fields = {
        "GetAddressForUUID": ([("uuid", 1, "s")], [("address", 1, "s")]),
        "GetSignatureForUUID": (
            [("uuid", 1, "s"), ("bundleHash", 2, "s")],
            [("signature", 1, "s")],
        ),
        "GetSecurityLevel": ([("uuid", 1, "s")], [("securityLevel", 1, "u")]),
        "GetSeedForUUID": ([("uuid", 1, "s")], [("seed", 1, "s")]),
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="old_hub.proto", package="old.hub", syntax="proto3"
    )
    kinds = {"s": 9, "u": 13}  # TYPE_STRING, TYPE_UINT32
    for call, shapes in fields.items():
        for suffix, shape in zip(("Request", "Reply"), shapes, strict=True):
            message = file.message_type.add(name=call + suffix)
            for name, number, kind in shape:
                message.field.add(name=name, number=number, type=kinds[kind], label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        call: tuple(
            message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"old.hub.{call}{suffix}")
            )
            for suffix in ("Request", "Reply")
        )
        for call in fields
    }


STUB = stub()


@dataclass
class OldHub:
    """An old Hub in signing mode remote."""

    box: Box
    port: int
    tls: Path
    gateway: Gateway

    async def call(self, name: str, *, files: str = "old-hub", **fields: str) -> Any:  # noqa: ANN401
        asked, answered = STUB[name]
        credentials = grpc.ssl_channel_credentials(
            root_certificates=(self.tls / "ca.pem").read_bytes(),
            private_key=(self.tls / f"{files}.key").read_bytes(),
            certificate_chain=(self.tls / f"{files}.pem").read_bytes(),
        )
        async with grpc.aio.secure_channel(
            f"localhost:{self.port}", credentials
        ) as channel:
            method = channel.unary_unary(
                f"/signing.rpc.SigningServer/{name}",
                request_serializer=asked.SerializeToString,
                response_deserializer=answered.FromString,
            )
            return await method(asked(**fields), timeout=20)

    async def error(self, name: str, **fields: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(name, **fields)
        return caught.value.code(), caught.value.details() or ""


def signable_hash(seed: str = "") -> str:
    """Return a hash whose normalised fragments hold no 13."""
    letters = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    while True:
        text = "".join(letters[byte % 27] for byte in os.urandom(81 - len(seed)))
        if not used_fragments_contain_13(seed + text, level=2):
            return seed + text


async def import_blind(box: Box, *, argon2: str = "argon2id 1 256") -> None:
    source = box.folder / "old.salt"
    source.write_text(HUB["salt"])
    source.chmod(0o600)
    act = RunCeremony(
        request_id="",
        ceremony="import-salt",
        subject=str(source),
        security_level=2,
        argon2=argon2,
        blind=True,
    )
    proposed = await box.propose(act)
    assert "bare hashes" in proposed.acts[0].shown[-1]
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)


def add_legacy_client(folder: Path) -> None:
    """Make certificates of the gateway, and name its client key in the files."""
    tls = folder / "tls"
    authority = make_authority("Old hub CA", now=NOW)
    for name, server in (("rpc", True), ("old-hub", False), ("other-hub", False)):
        hosts = ("localhost",) if server else ()
        pair = make_certificate(authority, name, server=server, now=NOW, hosts=hosts)
        pair.write(tls / "rpc", name)
        if name == "old-hub":
            pin = spki_sha256(pair.certificate)
    (tls / "rpc" / "ca.pem").write_bytes(certificate_pem(authority.certificate))
    pair = make_certificate(own(folder), "gateway", server=False, now=NOW)
    pair.write(tls, "gateway")
    path = folder / "appliance.toml"
    gateway_pin = spki_sha256(pair.certificate)
    path.write_text(
        path.read_text() + '\n[[clients]]\nname = "old"\nrole = "legacy-hub"\n'
        f'spki_sha256 = "{gateway_pin}"\n'
    )
    (folder / "rpc.toml").write_text(
        'listen = "127.0.0.1:0"\ncertificate = "tls/rpc/rpc.pem"\n'
        'key = "tls/rpc/rpc.key"\nclient_ca = "tls/rpc/ca.pem"\n'
        f'clients = ["{pin}"]\nappliance = "gateway.toml"\nhead_file = "head.json"\n'
    )


def name_appliance(folder: Path, port: int) -> None:
    """Write the gateway's client file."""
    text = (folder / "appliance.toml").read_text()
    pin = re.findall('server_spki_sha256 = "([0-9a-f]+)"', text)[0]
    (folder / "gateway.toml").write_text(
        f'url = "https://127.0.0.1:{port}"\nca = "tls/ca.pem"\n'
        'certificate = "tls/gateway.pem"\nkey = "tls/gateway.key"\n'
        f'server_spki_sha256 = "{pin}"\n'
    )


@contextlib.asynccontextmanager
async def serving(box: Box) -> AsyncGenerator[OldHub]:
    server = Server(box.config, box.appliance)
    runner, port = await server.start()
    name_appliance(box.folder, port)
    gateway = Gateway(load_config(box.folder / "rpc.toml"))
    rpc, rpc_port = await gateway.start()
    yield OldHub(box, rpc_port, box.folder / "tls" / "rpc", gateway)
    await rpc.stop(None)
    await gateway.close()
    await runner.cleanup()


@pytest.fixture
async def old_hub(folder: Path) -> AsyncGenerator[OldHub]:
    add_legacy_client(folder)
    text = (folder / "appliance.toml").read_text()
    text = re.sub("port = [0-9]+", "port = 0", text)
    (folder / "appliance.toml").write_text(text)
    opened = Box(folder)
    assert await opened.appliance.check(), opened.appliance.life.unready
    await import_blind(opened)
    async with serving(opened) as hub:
        yield hub
    await opened.close()


# --- the four calls -------------------------------------------------------------


@pytest.mark.slow
async def test_the_old_hub_s_own_known_answer(folder: Path) -> None:
    """At full cost, as its database has it: address and whole signature."""
    add_legacy_client(folder)
    opened = Box(folder)
    assert await opened.appliance.check()
    await import_blind(opened, argon2="argon2id 4 131072")
    assert await opened.appliance.check(), opened.appliance.life.unready
    head = opened.appliance.life.require_running().heads
    head.anchored = True
    async with serving(opened) as hub:
        uuid = HUB["seed_uuid"]
        address = await hub.call("GetAddressForUUID", uuid=uuid)
        assert address.address == HUB["address"]["2"]
        level = await hub.call("GetSecurityLevel", uuid=uuid)
        assert level.securityLevel == 2
        signed = await hub.call(
            "GetSignatureForUUID", uuid=uuid, bundleHash=HUB["bundle_hash"]
        )
        assert signed.signature == HUB["signature_level_2"]
    await opened.close()


async def test_an_address_is_the_same_every_time_and_is_journalled(
    old_hub: OldHub,
) -> None:
    uuid = new_uuid()
    first = await old_hub.call("GetAddressForUUID", uuid=uuid)
    second = await old_hub.call("GetAddressForUUID", uuid=uuid)
    assert first.address == second.address
    rows = [r for r in await old_hub.box.rows("issued") if first.address in r.payload]
    assert len(rows) == 1
    assert rows[0].client == "old"


async def test_a_key_signs_one_hash_for_ever(old_hub: OldHub) -> None:
    uuid, bundle_hash = new_uuid(), signable_hash()
    address = (await old_hub.call("GetAddressForUUID", uuid=uuid)).address
    signed = await old_hub.call(
        "GetSignatureForUUID", uuid=uuid, bundleHash=bundle_hash
    )
    fragments = [signed.signature[:2187], signed.signature[2187:]]
    assert verify(address=address, fragments=fragments, bundle_hash=bundle_hash)
    again = await old_hub.call("GetSignatureForUUID", uuid=uuid, bundleHash=bundle_hash)
    assert again.signature == signed.signature
    status, text = await old_hub.error(
        "GetSignatureForUUID", uuid=uuid, bundleHash=signable_hash()
    )
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert text.startswith("key-spent: ")
    # Its address is still told: an old Hub asks for it at every start.
    assert (await old_hub.call("GetAddressForUUID", uuid=uuid)).address == address


async def test_the_inputs_of_one_bundle_each_sign_its_hash(old_hub: OldHub) -> None:
    bundle_hash = signable_hash()
    for _ in range(3):
        await old_hub.call(
            "GetSignatureForUUID", uuid=new_uuid(), bundleHash=bundle_hash
        )
    rows = await old_hub.box.rows("blind")
    assert [json.loads(row.payload)["bundle_hash"] for row in rows] == [bundle_hash] * 3


async def test_many_asking_at_once_get_one_hash(old_hub: OldHub) -> None:
    uuid = new_uuid()
    hashes = [signable_hash() for _ in range(6)]
    results = await asyncio.gather(
        *(
            old_hub.call("GetSignatureForUUID", uuid=uuid, bundleHash=one)
            for one in hashes
        ),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert len(refused) == 5
    assert len(await old_hub.box.rows("blind")) == 1


async def test_no_seed_leaves(old_hub: OldHub) -> None:
    status, text = await old_hub.error("GetSeedForUUID", uuid=new_uuid())
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "ceremony export-seed" in text


@pytest.mark.parametrize(
    ("uuid", "bundle_hash", "code"),
    [
        ("short", HUB["bundle_hash"], "seed-uuid"),
        (HUB["seed_uuid"], "A" * 80, "hash"),
        (HUB["seed_uuid"], "", "hash"),
        (HUB["seed_uuid"], "a" * 81, "hash"),
    ],
    ids=["uuid", "short", "empty", "letters"],
)
async def test_what_is_none_is_refused(
    old_hub: OldHub, uuid: str, bundle_hash: str, code: str
) -> None:
    status, text = await old_hub.error(
        "GetSignatureForUUID", uuid=uuid, bundleHash=bundle_hash
    )
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert text.startswith(f"{code}: ")


async def test_a_hash_that_lays_a_key_bare_is_refused(old_hub: OldHub) -> None:
    letters = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    while True:
        text = "".join(letters[byte % 27] for byte in os.urandom(81))
        if used_fragments_contain_13(text, level=2):
            break
    _, told = await old_hub.error(
        "GetSignatureForUUID", uuid=new_uuid(), bundleHash=text
    )
    assert told.startswith("thirteen-in-hash: ")


# --- who may call ---------------------------------------------------------------


async def test_only_a_pinned_hub_may_call(old_hub: OldHub) -> None:
    status, text = await old_hub.error(
        "GetAddressForUUID", files="other-hub", uuid=new_uuid()
    )
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "may not call" in text
    with pytest.raises(grpc.aio.AioRpcError):
        async with grpc.aio.secure_channel(
            f"localhost:{old_hub.port}",
            grpc.ssl_channel_credentials((old_hub.tls / "ca.pem").read_bytes()),
        ) as channel:
            await channel.unary_unary("/signing.rpc.SigningServer/GetSecurityLevel")(
                b"", timeout=5
            )
    with pytest.raises(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(f"localhost:{old_hub.port}") as channel:
            await channel.unary_unary("/signing.rpc.SigningServer/GetSecurityLevel")(
                b"", timeout=5
            )


@pytest.mark.parametrize("name", ["hub", "operator-1", "auditor"])
async def test_no_other_role_reaches_the_blind_door(old_hub: OldHub, name: str) -> None:
    for request in (
        SignBlind(request_id="x", seed_uuid=new_uuid(), bundle_hash=signable_hash()),
        LegacyAddress(request_id="x", seed_uuid=new_uuid()),
    ):
        fault = await old_hub.box.expect(request, Fault, name=name)
        assert fault.code == "forbidden"


async def test_the_legacy_role_reaches_nothing_else(old_hub: OldHub) -> None:
    coin = await old_hub.box.coin()
    for request in (
        bundle([coin]),
        IssueAddress(request_id="x", seed_uuid=new_uuid()),
    ):
        fault = await old_hub.box.expect(request, Fault, name="old")
        assert fault.code == "forbidden"


async def test_only_the_blind_generation_is_served(box: Box) -> None:
    """The keys of the generation that issues are out of an old Hub's reach."""
    legacy = msgspec.structs.replace(box.clients["hub"], name="old", role="legacy-hub")
    coin = await box.coin()
    request = SignBlind(
        request_id="x", seed_uuid=coin.seed_uuid, bundle_hash=signable_hash()
    )
    shut = await box.appliance.handle(request, legacy)
    assert isinstance(shut, Fault)
    assert shut.code == "blind-closed"
    await import_blind(box)
    refused = await box.appliance.handle(request, legacy)
    assert isinstance(refused, Refused)
    assert refused.code == "other-generation"
    assert not await box.rows("blind")
    await box.expect(bundle([coin]), Signed)


async def test_an_address_that_its_seed_does_not_give_seals_and_signs_nothing(
    box: Box,
) -> None:
    await import_blind(box)
    legacy = msgspec.structs.replace(box.clients["hub"], name="old", role="legacy-hub")
    uuid, running = new_uuid(), box.appliance.life.require_running()
    record = IssuedRecord(commit(uuid), new_address(), 2, 2, "", "r")
    await box.appliance.life.journal_thread(
        running.journal.commit_issue, record, client="old"
    )
    request = SignBlind(request_id="x", seed_uuid=uuid, bundle_hash=signable_hash())
    fault = await box.appliance.handle(request, legacy)
    assert isinstance(fault, Fault)
    assert fault.code == "derivations-disagree"
    assert (await box.status()).state == "sealed"


async def test_a_key_of_the_blind_door_is_spent_for_whole_bundles_too(
    old_hub: OldHub,
) -> None:
    uuid = new_uuid()
    address = (await old_hub.call("GetAddressForUUID", uuid=uuid)).address
    coin = Coin(uuid, address, 100, 2)
    await old_hub.call("GetSignatureForUUID", uuid=uuid, bundleHash=signable_hash())
    assert (await old_hub.box.refused(bundle([coin]))).code == "key-spent"
    other = new_uuid()
    address = (await old_hub.call("GetAddressForUUID", uuid=other)).address
    request = bundle([Coin(other, address, 100, 2)])
    waits = await old_hub.box.expect(request, Deferred)
    assert waits.code == "not-told"  # the old Hub may have signed with it elsewhere
    await tell(old_hub.box, [])
    await old_hub.box.expect(request, Signed)
    _, text = await old_hub.error(
        "GetSignatureForUUID", uuid=other, bundleHash=signable_hash()
    )
    assert text.startswith("key-spent: ")


async def test_value_to_an_address_of_the_blind_door_is_never_ours(
    old_hub: OldHub,
) -> None:
    """Who held the old salt could take a remainder from there."""
    theirs = (await old_hub.call("GetAddressForUUID", uuid=new_uuid())).address
    request = bundle([await old_hub.box.coin()], [Output(theirs, 100, own=True)])
    assert (await old_hub.box.refused(request)).code == "own-output"


async def test_retire_shuts_the_door(old_hub: OldHub) -> None:
    assert "2 (blind)" in (await old_hub.box.status()).generations
    retire = RunCeremony(request_id="c", ceremony="retire", subject="2")
    await old_hub.box.expect(retire, CeremonyReport, name="operator-1")
    status, text = await old_hub.error("GetAddressForUUID", uuid=new_uuid())
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert "blind-closed" in text
    assert (await old_hub.error("GetSecurityLevel", uuid=""))[1].startswith("blind")


async def test_what_another_appliance_shut_signs_nothing_new_here(
    old_hub: OldHub,
) -> None:
    """This vault still calls the generation blind: the journal says more."""
    uuid, first = new_uuid(), signable_hash()
    signed = await old_hub.call("GetSignatureForUUID", uuid=uuid, bundleHash=first)
    running = old_hub.box.appliance.life.require_ready()
    await old_hub.box.appliance.life.journal_thread(
        running.journal.commit_ceremony,
        client="operator-1",
        payload={"step": "retire", "generation": 2, "blind": False},
    )
    rows = len(await old_hub.box.rows())
    _, text = await old_hub.error(
        "GetSignatureForUUID", uuid=new_uuid(), bundleHash=signable_hash()
    )
    assert text.startswith("vault-behind: ")
    assert len(await old_hub.box.rows()) == rows
    again = await old_hub.call("GetSignatureForUUID", uuid=uuid, bundleHash=first)
    assert again == signed


# --- policy ---------------------------------------------------------------------


async def set_policy(box: Box, lines: str) -> None:
    text = (
        (box.folder / "policy.toml").read_text().replace("version = 1", "version = 2")
    )
    head, _, operators = text.partition("[[operators]]")
    text = f"{head}{lines}\n\n[[operators]]{operators}"
    signatures = [
        sign_with(box.folder, f"operator-{n}", policy_digest(text)) for n in (1, 2)
    ]
    request = SetPolicy(request_id="p", text=text, signatures=signatures)
    await box.expect(request, Done, name="operator-1")


@pytest.mark.parametrize(
    "lines",
    [
        "[roles.legacy-hub]\nmax_outside_per_bundle_i = 5",
        "[roles.legacy-hub]\nauthorise_above_i = 5",
        f'deny = ["{"9" * 81}"]',
    ],
)
async def test_a_policy_that_no_bare_hash_can_keep_shuts_the_door(
    old_hub: OldHub, lines: str
) -> None:
    await set_policy(old_hub.box, lines)
    _, text = await old_hub.error(
        "GetSignatureForUUID", uuid=new_uuid(), bundleHash=signable_hash()
    )
    assert text.startswith("policy-blind: ")


async def test_keys_in_a_window_are_counted_here_too(old_hub: OldHub) -> None:
    await set_policy(old_hub.box, "[roles.legacy-hub]\nmax_keys_per_window = 2")
    for _ in range(2):
        await old_hub.call(
            "GetSignatureForUUID", uuid=new_uuid(), bundleHash=signable_hash()
        )
    status, text = await old_hub.error(
        "GetSignatureForUUID", uuid=new_uuid(), bundleHash=signable_hash()
    )
    assert status is grpc.StatusCode.UNAVAILABLE
    assert text.startswith("keys-window: ")


# --- crashes and restarts -------------------------------------------------------


async def test_the_gateway_keeps_the_head_and_anchors_with_it(old_hub: OldHub) -> None:
    await old_hub.call("GetAddressForUUID", uuid=new_uuid())
    kept = json.loads((old_hub.box.folder / "head.json").read_text())
    assert kept["sequence"] == (await old_hub.box.status()).sequence
    again = Gateway(load_config(old_hub.box.folder / "rpc.toml"))
    assert again._client.head is not None
    (old_hub.box.folder / "head.json").write_text("{}")
    with pytest.raises(ConfigError, match="rolled-back"):
        Gateway(load_config(old_hub.box.folder / "rpc.toml"))


@pytest.fixture
def blind_process(process: ApplianceProcess) -> Iterator[ApplianceProcess]:
    add_legacy_client(process.folder)

    async def prepare() -> None:
        opened = Box(process.folder)
        assert await opened.appliance.check()
        await import_blind(opened)
        await opened.close()

    asyncio.run(prepare())
    yield process
    process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", KILLED)
def test_killed_while_signing_blind_it_signs_no_second_hash(
    blind_process: ApplianceProcess, failpoint: str, tmp_path: Path
) -> None:
    uuid, first, second = new_uuid(), signable_hash(), signable_hash()
    marker = tmp_path / "reached"

    async def killed() -> None:
        async with blind_process.client("gateway") as client:
            request = SignBlind(request_id="x", seed_uuid=uuid, bundle_hash=first)
            asked = asyncio.create_task(client.ask(request))
            deadline_s = time.monotonic() + 20
            while not marker.exists():
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.02)
            blind_process.kill()
            asked.cancel()
            with contextlib.suppress(BaseException):
                await asked

    async def afterwards() -> bool:
        """Say whether the second hash was signed; the first must then not be."""
        await anchor(blind_process)
        async with blind_process.client("gateway") as client:
            other = SignBlind(request_id="x", seed_uuid=uuid, bundle_hash=second)
            reply = await client.ask(other)
            meant = SignBlind(request_id="x", seed_uuid=uuid, bundle_hash=first)
            again = await client.ask(meant)
        assert {type(reply), type(again)} == {BlindSigned, Refused}
        return isinstance(reply, BlindSigned)

    blind_process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    blind_process.start()
    asyncio.run(anchored(blind_process))
    asyncio.run(killed())
    blind_process.environment = {}
    blind_process.start()
    committed = failpoint in KILLED[2:]
    assert asyncio.run(afterwards()) is not committed


async def anchored(process: ApplianceProcess) -> None:
    await anchor(process)


# --- the program and its proto --------------------------------------------------


async def test_the_program_serves_and_ends_by_itself(old_hub: OldHub) -> None:
    config = old_hub.box.folder / "rpc.toml"
    served = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signing_rpc", "serve", "--config", str(config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert served.stdout is not None
    async with asyncio.timeout(20):
        line = (await served.stdout.readline()).decode()
    assert line.startswith("signing RPC listening on 127.0.0.1:")
    port = int(line.rsplit(":", 1)[1])
    other = OldHub(old_hub.box, port, old_hub.tls, old_hub.gateway)
    assert (await other.call("GetSecurityLevel", uuid="")).securityLevel == 2
    served.terminate()
    async with asyncio.timeout(20):
        assert await served.wait() == 0


@pytest.mark.parametrize(
    "change",
    ['listen = "127.0.0.1:0"\nlisten2 = 1', 'clients = ["00"]', "not toml"],
)
def test_a_wrong_configuration_is_one_clear_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "rpc.toml"
    path.write_text(change)
    done = subprocess.run(
        [sys.executable, "-m", "signing_rpc", "serve", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("config: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_generated_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "scripts" / "generate-protos", str(tmp_path)], check=True, cwd=ROOT
    )
    for name in ("signing_rpc/signing_pb2", "hub/api/hub_pb2"):
        for made in (Path(f"{name}.py"), Path(f"{name}.pyi")):
            assert (tmp_path / made).read_text() == (ROOT / made).read_text()
