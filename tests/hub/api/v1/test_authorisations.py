# SPDX-License-Identifier: Apache-2.0
"""What a hub can see of an authorisation: whether it is for this withdrawal."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from hub.api.legacy import build_app
from hub.api.legacy_commands import commands
from hub.config import LegacyApiSection
from hub.store import Store
from hub.withdrawal_rules import WithdrawalRules
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1, Reply, running_v1
from tests.hub.bookkeeping import ManualClock, trytes
from trinary.kerl import with_checksum

UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "22222222-2222-4333-8444-555555555555"
ADDRESS = trytes()


def part(what: object) -> str:
    raw = json.dumps(what).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def token(**changes: object) -> str:
    claims = {"withdrawal": UUID, "address": ADDRESS, "amount_i": 60, "tag": "9" * 27}
    return ".".join([part({"alg": "EdDSA"}), part(claims | changes), "c2ln"])


@pytest.fixture
async def guarded(store: Store, clock: ManualClock) -> AsyncGenerator[V1]:
    async with running_v1(
        store, clock, rules=WithdrawalRules(authorise_above_i=50)
    ) as v1:
        await books.funded_user(store, "ana", 100)
        yield v1


async def withdraw(v1: V1, **more: Any) -> Reply:  # noqa: ANN401 - any body
    body = {"user_id": "ana", "amount_i": 60, "address": with_checksum(ADDRESS)}
    return await v1.ask(
        "POST", "/v1/withdrawals", json=body | more, idempotency_key="k"
    )


@pytest.mark.parametrize(
    "text",
    [
        token(withdrawal=OTHER),
        token(address=trytes()),
        token(amount_i=59),
        token(amount_i="60"),
        token(tag="A" * 27),
        f"{part({})}.{part([1])}.x",
        f"{part({})}.AAAA.x",
        f"{part({})}.A.x",
    ],
)
async def test_one_for_another_withdrawal_is_refused(guarded: V1, text: str) -> None:
    refused = await withdraw(guarded, uuid=UUID, authorisation=text)
    assert (refused.status, refused.json["code"]) == (422, "authorisation-invalid")
    assert (await withdraw(guarded, uuid=UUID)).json["state"] == (
        "awaiting-authorisation"
    )
    brought = await guarded.ask(
        "POST", f"/v1/withdrawals/{UUID}/authorisation", json={"authorisation": text}
    )
    assert brought.status == 422
    found = await guarded.ask("GET", f"/v1/withdrawals/{UUID}")
    assert (found.json["state"], found.json["authorised"]) == (
        "awaiting-authorisation",
        False,
    )


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "a b.c.d", "x" * 5000])
async def test_what_is_no_compact_jws_is_malformed(guarded: V1, text: str) -> None:
    refused = await withdraw(guarded, uuid=UUID, authorisation=text)
    assert (refused.status, refused.json["code"]) == (400, "request-malformed")


async def test_one_that_fits_ends_the_waiting_and_one_too_late_is_refused(
    guarded: V1,
) -> None:
    await withdraw(guarded, uuid=UUID)
    path = f"/v1/withdrawals/{UUID}"
    body = {"authorisation": token()}
    brought = await guarded.ask("POST", f"{path}/authorisation", json=body)
    assert (brought.json["state"], brought.json["authorised"]) == ("requested", True)
    again = await guarded.ask("POST", f"{path}/authorisation", json=body)
    assert again.json == brought.json
    assert (await guarded.ask("POST", f"{path}/cancel")).json["state"] == "cancelled"
    late = await guarded.ask("POST", f"{path}/authorisation", json=body)
    assert (late.status, late.json["code"]) == (409, "withdrawal-final")


async def test_a_check_says_whether_a_signature_is_needed(guarded: V1) -> None:
    for amount_i, more, needed in (
        (50, {}, False),
        (51, {}, True),
        (60, {"uuid": UUID, "authorisation": token()}, False),
    ):
        body = {
            "user_id": "ana",
            "amount_i": amount_i,
            "address": with_checksum(ADDRESS),
            **more,
        }
        checked = (await guarded.ask("POST", "/v1/withdrawals/check", json=body)).json
        assert (checked["payable"], checked["needs_authorisation"]) == (True, needed)
    body["authorisation"] = token(amount_i=1)
    checked = (await guarded.ask("POST", "/v1/withdrawals/check", json=body)).json
    assert [one["code"] for one in checked["findings"]] == ["authorisation-invalid"]


async def test_a_legacy_withdrawal_waits_and_the_legacy_client_may_cancel_it(
    guarded: V1,
) -> None:
    table = commands(
        guarded.store,
        issuer=guarded.appliance,
        oracle=guarded.nodes,
        rules=WithdrawalRules(authorise_above_i=50),
    )
    async with TestClient(TestServer(build_app(LegacyApiSection(), table))) as legacy:

        async def call(command: str, **fields: str) -> dict[str, str]:
            async with legacy.post("/", json={"command": command, **fields}) as reply:
                answer: dict[str, str] = json.loads(await reply.read())
            return answer

        made = await call(
            "UserWithdraw", userId="ana", amount="60", payoutAddress=ADDRESS
        )
        path = f"/v1/withdrawals/{made['uuid']}"
        found = await guarded.ask("GET", path)
        assert found.json["state"] == "awaiting-authorisation"
        assert (await call("UserWithdrawCancel", uuid=made["uuid"]))["success"]
        assert (await guarded.ask("GET", path)).json["state"] == "cancelled"
