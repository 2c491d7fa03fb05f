# SPDX-License-Identifier: Apache-2.0
"""Late value on a spent address, from the legacy API to the ledger of the nodes.

Real appliance, hub and node; two operators approve with keys of their own.
"""

import base64
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import msgspec
import pytest

from appliance.client import new_request_id
from appliance.policy_file import policy_digest
from appliance.wire import (
    ActReport,
    ApproveAct,
    Done,
    ListActs,
    PendingActs,
    SetPolicy,
    act_digest,
)
from hub.api import hub_pb2 as pb
from hub.api.grpc_server import GrpcApi
from hub.api.legacy_commands import commands
from hub.api.legacy_errors import CommandRefusedError
from hub.api.legacy_fields import Fields
from hub.api.legacy_history import HistoryCommands
from hub.api.legacy_tokens import make_token
from hub.api.ptree import Branch
from hub.config import GrpcApiSection
from hub.model import Address, BundleHash
from hub.tangle import DraftInput, DraftOutput, draft_bundle, finish, with_counter
from tests.appliance.box import sign_with
from tests.flows.world import Appliance, World, outside_address, running_world
from tests.hub.api.old_client import OldClient, Refused
from trinary.winternitz import verify

KEY = "k" * 43
DOORS = "\n[doors]\nsecond_signatures = true\nleast_bits = 70\n"
TRIES = 300_000


async def open_door(appliance: Appliance) -> None:
    """Have two operators put a policy in force that opens the door."""
    text = (appliance.folder / "policy.toml").read_text()
    text = text.replace("version = 1", "version = 2") + DOORS
    digest = policy_digest(text)
    signatures = [
        sign_with(appliance.folder, name, digest)
        for name in ("operator-1", "operator-2")
    ]
    request = SetPolicy(request_id="p", text=text, signatures=signatures)
    async with appliance.client("operator-1") as operator:
        await operator.expect(request, Done)


async def approve_what_waits(appliance: Appliance) -> None:
    """Have two operators look at the one act that waits and approve it."""
    async with appliance.client("operator-1") as operator:
        report = await operator.expect(
            ListActs(request_id=new_request_id()), PendingActs
        )
        (act,) = report.acts
        digest = act_digest(act, journal_id=report.journal_id)
        for name in ("operator-1", "operator-3"):
            approval = ApproveAct(
                request_id=new_request_id(),
                act_id=act.id,
                signature=sign_with(appliance.folder, name, digest),
            )
            await operator.expect(approval, ActReport)


@pytest.fixture
async def late(appliance: Appliance, tmp_path: Path) -> AsyncGenerator[World]:
    """A world whose hub passes both commands on, and whose policy lets it."""
    key = tmp_path / "tokens.key"
    key.write_text(KEY)
    key.chmod(0o600)
    legacy: dict[str, object] = {
        "legacy": {
            "listen": "127.0.0.1:0",
            "sign_bundle": True,
            "recover_funds": True,
            "token_key_file": str(key),
            "mining_tries": TRIES,
        }
    }
    async with running_world(appliance, tmp_path, api=legacy) as made:
        await open_door(appliance)
        yield made


async def call(world: World, name: str, **fields: str | list[str]) -> Branch:
    """Run one legacy command as its listener would."""
    table = commands(
        world.hub.store,
        issuer=world.hub.signer,
        oracle=world.hub.nodes,
        doors=world.hub.doors,
    )
    branch: Branch = []
    for key, value in fields.items():
        parts = [value] if isinstance(value, str) else value
        branch += [(key, part) for part in parts]
    return await table[name](Fields(branch))


async def said(world: World, name: str, **fields: str | list[str]) -> str:
    """Return the error a command ends with."""
    with pytest.raises(CommandRefusedError) as caught:
        await call(world, name, **fields)
    return caught.value.answers[0].value


async def spent_with_late_value(world: World, amount_i: int = 77) -> Address:
    address = await world.funded_user("alice", 1_000)
    await world.sweep()
    await world.pay_in(address, amount_i)
    return address


async def mined_out(world: World, fields: dict[str, str]) -> str:
    """Ask until it is not being mined any more."""
    answer = "Mining"
    while answer == "Mining":
        answer = await said(world, "RecoverFunds", **fields)
    return answer


async def test_late_value_is_recovered_once_two_operators_have_approved(
    late: World,
) -> None:
    address = await spent_with_late_value(late)
    payout = outside_address()
    fields = {"userId": "alice", "address": address, "payoutAddress": payout}
    assert await mined_out(late, fields) == "Awaiting approval"
    assert await said(late, "RecoverFunds", **fields) == "Awaiting approval"
    assert (await late.account("alice")).quarantined_i == 77
    await approve_what_waits(late.appliance)
    assert await call(late, "RecoverFunds", **fields) == []
    await late.devnet.tick()
    assert await late.on_tangle(payout) == 77
    assert await late.on_tangle(address) == 0
    alice = await late.account("alice")
    assert (alice.available_i, alice.quarantined_i) == (1_000, 0)
    assert await said(late, "RecoverFunds", **fields) == "Address balance is zero"
    await late.settle()
    await late.require_sound()
    rows = [
        json.loads(row.payload)
        for row in await late.appliance.journal()
        if row.kind == "signed"
    ]
    assert [row.get("n", [0]) for row in rows] == [[0], [1]]


async def test_a_recovery_goes_on_where_a_restarted_hub_left_it(
    late: World, tmp_path: Path
) -> None:
    address = await spent_with_late_value(late)
    payout = outside_address()
    fields = {"userId": "alice", "address": address, "payoutAddress": payout}
    assert await mined_out(late, fields) == "Awaiting approval"
    (before,) = (tmp_path / "recoveries").glob("*.json")
    proposed = before.read_bytes()
    await approve_what_waits(late.appliance)
    # All that a new process has: files, database, appliance.
    assert await call(late, "RecoverFunds", **fields) == []
    signed = msgspec.json.decode(before.read_bytes())
    assert signed["bundle_hash"] == msgspec.json.decode(proposed)["bundle_hash"]
    before.write_bytes(proposed)  # killed before it was noted as signed
    assert await call(late, "RecoverFunds", **fields) == []
    assert msgspec.json.decode(before.read_bytes()) == signed
    await late.require_sound()
    assert (await late.account("alice")).quarantined_i == 0  # booked once


async def test_a_recovery_that_is_proposed_goes_nowhere_else(late: World) -> None:
    address = await spent_with_late_value(late)
    fields = {
        "userId": "alice",
        "address": address,
        "payoutAddress": outside_address(),
    }
    await mined_out(late, fields)
    table = {**fields, "payoutAddress": outside_address()}
    with pytest.raises(Exception, match="already"):
        await call(late, "RecoverFunds", **table)


async def test_what_comes_after_the_bundle_was_mined_stays_where_it_is(
    late: World,
) -> None:
    address = await spent_with_late_value(late)
    payout = outside_address()
    fields = {"userId": "alice", "address": address, "payoutAddress": payout}
    await mined_out(late, fields)
    await late.pay_in(address, 5)
    assert await said(late, "RecoverFunds", **fields) == "Awaiting approval"
    await approve_what_waits(late.appliance)
    assert await call(late, "RecoverFunds", **fields) == []
    await late.devnet.tick()
    assert await late.on_tangle(payout) == 77
    assert await late.on_tangle(address) == 5
    assert (await late.account("alice")).quarantined_i == 5
    # Its key has signed as often as the policy allows.
    assert await mined_out(late, fields) == "Signing has failed"


async def test_recover_funds_answers_in_the_old_order(late: World) -> None:
    address = await spent_with_late_value(late)
    await late.user("bob")
    fresh = await late.deposit_address("bob")
    payout = outside_address()
    cases = [
        ({"userId": "bob", "address": outside_address()}, "Unknown address"),
        ({"userId": "bob", "address": address}, "Wrong user address"),
        ({"userId": "bob", "address": fresh}, "Invalid address"),
    ]
    for fields, answer in cases:
        found = await said(late, "RecoverFunds", payoutAddress=payout, **fields)
        assert found == answer
    missing = await said(late, "RecoverFunds", userId="bob", address=fresh)
    assert missing == "Missing argument"


# --- SignBundle ----------------------------------------------------------------------


async def unsigned(world: World, address: Address, amount_i: int) -> list[str]:
    """Build and mine a bundle as an exchange's own wallet would; 70 bits at least."""
    draft = draft_bundle(
        [DraftInput(address, amount_i, 2)],
        [DraftOutput(Address(outside_address()), amount_i)],
        timestamp_s=1_700_000_000,
    )
    own = await world.own(address)
    from hub.signer import Claim  # noqa: PLC0415 - this helper alone

    claims = [Claim(0, own.issued.seed_uuid, own.issued.generation)]
    progress = await world.hub.signer.mine(draft, claims, own_outputs=[], tries=TRIES)
    while progress.state == "running":
        progress = await world.hub.signer.mine(
            draft, claims, own_outputs=[], tries=TRIES
        )
    return list(finish(with_counter(draft, progress.obsolete_tag), {}))


def bundle_of(trytes: list[str]) -> BundleHash:
    from hub.tangle import read_draft  # noqa: PLC0415 - this helper alone

    return read_draft(trytes).bundle_hash


async def test_sign_bundle_needs_the_whole_bundle_a_token_and_two_operators(
    late: World,
) -> None:
    address = await spent_with_late_value(late)
    trytes = await unsigned(late, address, 77)
    bundle_hash = bundle_of(trytes)
    now_s = late.clock() // 1000

    def fields() -> dict[str, str | list[str]]:
        token = make_token(KEY.encode(), address, bundle_hash, expires_s=now_s + 60)
        return {
            "address": address,
            "bundleHash": bundle_hash,
            "authenticationToken": token,
            "trytes": trytes,
        }

    bare = fields() | {"trytes": []}
    assert await said(late, "SignBundle", **bare) == "Missing argument"
    used = fields()
    assert await said(late, "SignBundle", **used) == "Awaiting approval"
    assert await said(late, "SignBundle", **used) == "Invalid authentication"
    await approve_what_waits(late.appliance)
    ((key, signature),) = await call(late, "SignBundle", **fields())
    assert key == "signature"
    assert isinstance(signature, str)
    fragments = [signature[:2187], signature[2187:]]
    assert verify(address=address, fragments=fragments, bundle_hash=bundle_hash)


async def test_sign_bundle_refuses_other_tokens_addresses_and_bundles(
    late: World,
) -> None:
    address = await spent_with_late_value(late)
    trytes = await unsigned(late, address, 77)
    bundle_hash = bundle_of(trytes)
    now_s = late.clock() // 1000

    async def answer(token: str, **other: str | list[str]) -> str:
        fields: dict[str, str | list[str]] = {
            "address": address,
            "bundleHash": bundle_hash,
            "authenticationToken": token,
            "trytes": trytes,
        }
        return await said(late, "SignBundle", **(fields | other))

    def token(key: str = KEY, life_s: int = 60, bundle: str = bundle_hash) -> str:
        expires_s = now_s + life_s
        return make_token(
            key.encode(), address, BundleHash(bundle), expires_s=expires_s
        )

    old = "$argon2id$v=19$m=65536,t=3,p=1$" + base64.b64encode(b"k" * 32).decode()
    for wrong in (old, token("x" * 43), token(life_s=0), token(bundle="A" * 81), "sk1"):
        assert await answer(wrong) == "Invalid authentication"
    assert await answer(token(), address=outside_address()) == "Unknown address"
    await late.user("bob")
    fresh = await late.deposit_address("bob")
    assert await answer(token(), address=fresh) == "Invalid address"
    other = await unsigned(late, address, 76)
    assert await answer(token(), trytes=other) == "Signing has failed"
    assert await answer(token(), trytes=trytes[::-1]) == "Signing has failed"
    assert await answer(token(), trytes=["9"]) == "Signing has failed"


async def test_where_the_appliance_shuts_the_door_the_hub_answers_as_disabled(
    appliance: Appliance, tmp_path: Path
) -> None:
    legacy: dict[str, object] = {
        "legacy": {"listen": "127.0.0.1:0", "recover_funds": True}
    }
    async with running_world(appliance, tmp_path, api=legacy) as world:
        address = await spent_with_late_value(world)
        fields = {
            "userId": "alice",
            "address": address,
            "payoutAddress": outside_address(),
        }
        assert await said(world, "RecoverFunds", **fields) == "Cancelled"


async def test_over_grpc_both_commands_wait_for_the_same_operators(late: World) -> None:
    address = await spent_with_late_value(late)
    trytes = await unsigned(late, address, 77)
    bundle_hash = bundle_of(trytes)
    now_s = late.clock() // 1000

    def request(shown: list[str]) -> pb.SignBundleRequest:
        key = KEY.encode()
        return pb.SignBundleRequest(
            address=address,
            bundleHash=bundle_hash,
            authentication=make_token(key, address, bundle_hash, expires_s=now_s + 60),
            trytes=shown,
        )

    async with grpc_of(late) as channel:
        sign = channel.unary_unary(
            "/hub.rpc.Hub/SignBundle",
            request_serializer=pb.SignBundleRequest.SerializeToString,
            response_deserializer=pb.SignBundleReply.FromString,
        )
        for shown, answer in (([], "Missing argument"), (trytes, "Awaiting approval")):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await sign(request(shown))
            assert refusal.value.details() == answer
        await approve_what_waits(late.appliance)
        signature = (await sign(request(trytes))).signature
        with pytest.raises(Refused) as recovery:
            await OldClient(channel).call(
                "RecoverFunds",
                userId="alice",
                address=address,
                payoutAddress=outside_address(),
            )
    fragments = [signature[:2187], signature[2187:]]
    assert verify(address=address, fragments=fragments, bundle_hash=bundle_hash)
    assert recovery.value.message in {"Mining", "Signing has failed"}


@contextlib.asynccontextmanager
async def grpc_of(world: World) -> AsyncGenerator[grpc.aio.Channel]:
    table = commands(
        world.hub.store,
        issuer=world.hub.signer,
        oracle=world.hub.nodes,
        doors=world.hub.doors,
    )
    section = GrpcApiSection(enabled=True, listen="127.0.0.1:0")
    api = GrpcApi(section, table, HistoryCommands(world.hub.store))
    async with grpc.aio.insecure_channel(await api.start()) as channel:
        yield channel
    await api.stop()
