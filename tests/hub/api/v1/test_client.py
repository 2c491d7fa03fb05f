# SPDX-License-Identifier: Apache-2.0
"""The Python client: what it repeats, with what, and what it refuses to believe."""

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hub.client import HubAwayError, HubClient, HubRefusedError
from hub.receipts import (
    RECEIPT_TYPE,
    PinnedIdentity,
    ReceiptMismatchError,
    require_receipt,
    user_commitment,
)
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1

USER = {
    "user_id": "ana",
    "kind": "user",
    "balances": {"available_i": 0, "unswept_i": 0, "pending_i": 0, "quarantined_i": 0},
    "created_at_ms": 1,
}
KEY = ec.derive_private_key(7, ec.SECP256R1())
IDENTITY = PinnedIdentity(
    KEY.public_key()
    .public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    .decode(),
    "devnet",
)
ADDRESS = "A" * 80 + "9"


@dataclass
class Flaky:
    """A server that answers a list of statuses, and 200 ever after."""

    statuses: list[int]
    url: str = ""
    keys: list[str | None] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key"))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        if status == 200:
            return web.json_response(USER)
        return web.Response(status=status, text="no problem document")


@asynccontextmanager
async def flaky(*statuses: int) -> AsyncGenerator[Flaky]:
    server = Flaky(list(statuses))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_a_fault_is_repeated_under_one_and_the_same_key() -> None:
    async with (
        flaky(503, 0, 429) as server,
        HubClient(server.url, "key", attempts=4) as client,
    ):
        assert (await client.create_user("ana")).user_id == "ana"
        first = server.keys[0]
        assert server.keys == [first] * 4
        assert first
        await client.create_user("ana")
        assert server.keys[4] != first
        await client.user("ana")
        assert server.keys[5] is None


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
async def test_a_refusal_is_never_repeated(status: int) -> None:
    async with flaky(status) as server, HubClient(server.url, "key") as client:
        with pytest.raises(HubRefusedError) as refused:
            await client.create_user("ana")
        assert refused.value.problem.status == status
        assert len(server.keys) == 1


async def test_a_hub_that_stays_away_leaves_the_key_to_go_on_with() -> None:
    async with (
        flaky(503, 503, 503) as server,
        HubClient(server.url, "key", attempts=2) as client,
    ):
        with pytest.raises(HubAwayError) as away:
            await client.create_user("ana")
        key = away.value.idempotency_key
        await client.create_user("ana", idempotency_key=key)
        assert set(server.keys) == {key}


async def test_lists_are_gone_through_to_their_end(v1: V1) -> None:
    for number in range(7):
        await books.open_user(v1.store, f"user{number}")
    async with v1.client() as client:
        names = [one.user_id async for one in client.users(limit=3)]
    assert names == [f"user{number}" for number in range(6, -1, -1)]


def receipt(key: ec.EllipticCurvePrivateKey = KEY, **changes: object) -> str:
    claims = {
        "address": ADDRESS,
        "network": "devnet",
        "user_commitment": user_commitment("ana"),
    }
    typ = changes.pop("typ", RECEIPT_TYPE)
    return jwt.encode(claims | changes, key, algorithm="ES256", headers={"typ": typ})


def test_the_receipt_of_this_address_for_this_user_is_believed() -> None:
    require_receipt(receipt(), IDENTITY, address=ADDRESS, user_id="ana")


def test_a_receipt_that_names_nobody_is_believed_only_where_a_pool_is_kept() -> None:
    text = receipt(user_commitment="")
    with pytest.raises(ReceiptMismatchError):
        require_receipt(text, IDENTITY, address=ADDRESS, user_id="ana")
    pooled = dataclasses.replace(IDENTITY, pooled=True)
    require_receipt(text, pooled, address=ADDRESS, user_id="ana")
    require_receipt(receipt(), pooled, address=ADDRESS, user_id="ana")
    eves = receipt(user_commitment=user_commitment("eve"))
    with pytest.raises(ReceiptMismatchError):
        require_receipt(eves, pooled, address=ADDRESS, user_id="ana")


@pytest.mark.parametrize(
    "text",
    [
        receipt(ec.derive_private_key(8, ec.SECP256R1())),
        receipt(address="B" * 81),
        receipt(network="mainnet"),
        receipt(user_commitment=user_commitment("eve")),
        receipt(typ="other"),
        receipt()[:-4],
        "",
        "a.b.c",
    ],
)
def test_any_other_receipt_is_not(text: str) -> None:
    with pytest.raises(ReceiptMismatchError):
        require_receipt(text, IDENTITY, address=ADDRESS, user_id="ana")


async def test_an_address_without_a_good_receipt_is_not_shown(v1: V1) -> None:
    await books.open_user(v1.store, "ana")
    async with HubClient(v1.url, v1.key, identity=IDENTITY) as client:
        with pytest.raises(ReceiptMismatchError):
            await client.create_address("ana")
