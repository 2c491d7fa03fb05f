# SPDX-License-Identifier: Apache-2.0
"""Withdrawals that need the exchange's own signature, from ``/v1`` to the Tangle.

Real appliance with a policy that asks for authorisations, real hub, devnet.
"""

import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.authorisation import AUTHORISATION_TYPE
from appliance.policy_file import policy_digest
from appliance.wire import Done, SetPolicy
from hub import service
from hub.api.v1.app import build_app
from hub.api.v1.bodies import NewWithdrawal
from hub.api_keys import Scope
from hub.client import HubClient
from hub.config import V1ApiSection
from hub.model import SweepState, WithdrawalState
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import WithdrawalWish, request_withdrawal
from tests.appliance.box import sign_with
from tests.flows.world import (
    NETWORK,
    Appliance,
    World,
    outside_address,
    running_world,
)
from tests.hub.api.v1.serving import add_key
from trinary.kerl import with_checksum

THRESHOLD_I = 50
RULES = WithdrawalRules(authorise_above_i=THRESHOLD_I)
ISSUER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
UUID = "11111111-2222-4333-8444-555555555555"
TAG = "9" * 27


async def require_authorisations(appliance: Appliance) -> None:
    pem = ISSUER.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    issuer = (
        f'{{id = "exchange", algorithm = "EdDSA", key = {json.dumps(pem.decode())}}}'
    )
    wanted = f"limits.authorise_above_i = {THRESHOLD_I}\nissuers = [{issuer}]\n"
    text = (appliance.folder / "policy.toml").read_text()
    text = text.replace("version = 1\n", f"version = 2\n{wanted}")
    digest = policy_digest(text)
    signatures = [
        sign_with(appliance.folder, name, digest)
        for name in ("operator-1", "operator-2")
    ]
    async with appliance.client("operator-1") as operator:
        request = SetPolicy(request_id="p", text=text, signatures=signatures)
        await operator.expect(request, Done)


@dataclass
class Exchange:
    """A hub with ``/v1`` and the exchange's signing key."""

    world: World
    client: HubClient

    async def authorise(
        self, uuid: str, address: str, amount_i: int, *, key: object = ISSUER
    ) -> str:
        async with self.world.hub.store.reading() as tx:
            head = await tx.head.get()
        assert head is not None
        claims = {
            "aud": head.journal_id,
            "network": NETWORK,
            "withdrawal": uuid,
            "address": address[:81],
            "amount_i": amount_i,
            "tag": TAG,
            "exp": int(time.time_ns() / 1e9) + 600,
            "iss": "exchange",
        }
        headers = {"typ": AUTHORISATION_TYPE, "kid": "exchange"}
        return jwt.encode(claims, key, algorithm="EdDSA", headers=headers)  # type: ignore[arg-type]

    async def state(self, uuid: str) -> str:
        return (await self.client.withdrawal(uuid)).state


@pytest.fixture
async def exchange(appliance: Appliance, tmp_path: Path) -> AsyncGenerator[Exchange]:
    limits: dict[str, object] = {"require_authorisation_above_i": THRESHOLD_I}
    async with running_world(appliance, tmp_path, withdrawals=limits) as world:
        await require_authorisations(appliance)
        await world.funded_user("alice", 1_000)
        await world.sweep()
        key = await add_key(world.hub.store, *Scope)
        app = build_app(V1ApiSection(), service._ports(world.hub))
        async with TestServer(app, skip_url_asserts=True) as server:
            url = str(server.make_url("")).rstrip("/")
            async with HubClient(url, key) as client:
                yield Exchange(world, client)


def wish(address: str, amount_i: int = 100, **more: str) -> NewWithdrawal:
    return NewWithdrawal(
        user_id="alice", amount_i=amount_i, address=with_checksum(address), **more
    )


async def test_a_signed_withdrawal_is_paid_and_an_unsigned_one_waits_for_its_word(
    exchange: Exchange,
) -> None:
    signed_to, waiting_to, small_to = (outside_address() for _ in range(3))
    token = await exchange.authorise(UUID, signed_to, 100)
    signed = await exchange.client.withdraw(
        wish(signed_to, uuid=UUID, authorisation=token)
    )
    waiting = await exchange.client.withdraw(wish(waiting_to))
    small = await exchange.client.withdraw(wish(small_to, THRESHOLD_I))
    assert (signed.state, signed.authorised) == ("requested", True)
    assert (waiting.state, waiting.authorised) == ("awaiting-authorisation", False)
    assert small.state == "requested"
    await exchange.world.sweep()
    assert await exchange.state(UUID) == "paid"
    assert await exchange.state(small.uuid) == "paid"
    assert await exchange.state(waiting.uuid) == "awaiting-authorisation"
    assert await exchange.world.on_tangle(signed_to) == 100

    token = await exchange.authorise(waiting.uuid, waiting_to, 100)
    brought = await exchange.client.authorise_withdrawal(waiting.uuid, token)
    assert (brought.state, brought.authorised) == ("requested", True)
    await exchange.world.sweep()
    assert await exchange.state(waiting.uuid) == "paid"
    assert await exchange.world.on_tangle(waiting_to) == 100
    await exchange.world.hub.publisher.publish()
    page = await exchange.client.event_page(types=["withdrawal.authorised"])
    assert [one.withdrawal_uuid for one in page.items] == [waiting.uuid]


async def test_a_legacy_withdrawal_waits_too_and_may_be_cancelled(
    exchange: Exchange,
) -> None:
    world = exchange.world
    asked = [
        WithdrawalWish(user_id="alice", amount_i=100, payout_address=outside_address())  # type: ignore[arg-type]
        for _ in range(2)
    ]
    first, second = [
        await request_withdrawal(world.hub.store, world.hub.nodes, one, rules=RULES)
        for one in asked
    ]
    await world.sweep()
    assert (await world.withdrawal(first)).state is (
        WithdrawalState.AWAITING_AUTHORISATION
    )
    assert (await exchange.client.cancel_withdrawal(first)).state == "cancelled"
    address = asked[1].payout_address
    token = await exchange.authorise(second, address, 100)
    await exchange.client.authorise_withdrawal(second, token)
    await world.sweep()
    assert await world.on_tangle(address) == 100


async def test_one_signed_by_a_stranger_is_refused_by_the_appliance_not_by_the_hub(
    exchange: Exchange,
) -> None:
    """The hub's word counts for nothing: it stores what fits, and nothing is paid."""
    address = outside_address()
    token = await exchange.authorise(UUID, address, 100, key=STRANGER)
    await exchange.client.withdraw(wish(address, uuid=UUID, authorisation=token))
    await exchange.world.sweep()
    assert await exchange.state(UUID) == "requested"
    refused = await exchange.world.sweeps(SweepState.REFUSED)
    assert {one.refusal_code for one in refused} == {"authorisation"}
    assert await exchange.world.on_tangle(address) == 0
    good = await exchange.authorise(UUID, address, 100)
    await exchange.client.authorise_withdrawal(UUID, good)
    exchange.world.clock.advance(by_s=3601)
    await exchange.world.devnet.tick()
    for _ in range(2):
        await exchange.world.sweep()
    assert await exchange.world.on_tangle(address) == 100
