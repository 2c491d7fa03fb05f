# SPDX-License-Identifier: Apache-2.0
"""Limits over sliding windows, and a second key's approval of large withdrawals."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hub.api_keys import Scope
from hub.client import HubClient
from hub.errors import WithdrawalLimitError
from hub.model import UserId, WithdrawalState
from hub.store import Store
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import WithdrawalWish, request_withdrawal
from tests.hub import bookkeeping as books
from tests.hub.api.ports import SimulatedNodes
from tests.hub.api.v1.serving import V1, Reply, add_key, running_v1
from tests.hub.bookkeeping import ManualClock, trytes
from trinary.kerl import with_checksum

RULES = WithdrawalRules(
    approve_above_i=50, authorise_above_i=80, per_user_i=150, window_ms=1_000
)


@pytest.fixture
async def ruled(store: Store, clock: ManualClock) -> AsyncGenerator[V1]:
    async with running_v1(store, clock, rules=RULES) as v1:
        await books.funded_user(store, "ana", 1_000)
        yield v1


async def withdraw(v1: V1, amount_i: int, key: str, **more: Any) -> Reply:  # noqa: ANN401 - any body
    body = {
        "user_id": "ana",
        "amount_i": amount_i,
        "address": with_checksum(trytes()),
    }
    return await v1.ask(
        "POST", "/v1/withdrawals", json=body | more, idempotency_key=key
    )


async def approve(v1: V1, uuid: str, *, key: str) -> Reply:
    return await v1.ask("POST", f"/v1/withdrawals/{uuid}/approval", key=key)


async def test_a_large_withdrawal_waits_for_another_key(ruled: V1) -> None:
    small = (await withdraw(ruled, 50, "a")).json
    assert (small["state"], small["approved_by"]) == ("requested", None)
    large = (await withdraw(ruled, 51, "b")).json
    assert large["state"] == "awaiting-approval"
    maker = await approve(ruled, large["uuid"], key=ruled.key)
    assert (maker.status, maker.json["code"]) == (422, "approval-refused")
    checker = await add_key(ruled.store, Scope.APPROVE)
    async with HubClient(ruled.url, checker) as client:
        approved = await client.approve_withdrawal(large["uuid"])
    assert approved.state == "requested"
    assert approved.made_by != approved.approved_by
    again = await approve(ruled, large["uuid"], key=checker)
    assert again.json["code"] == "approval-refused"
    assert (await approve(ruled, small["uuid"], key=checker)).status == 422


async def test_approving_needs_its_own_scope(ruled: V1) -> None:
    large = (await withdraw(ruled, 51, "b")).json
    every_other = await add_key(ruled.store, *(set(Scope) - {Scope.APPROVE}))
    assert (await approve(ruled, large["uuid"], key=every_other)).status == 403


async def test_approval_comes_before_the_exchange_s_signature(ruled: V1) -> None:
    huge = (await withdraw(ruled, 81, "c")).json
    assert huge["state"] == "awaiting-approval"
    checker = await add_key(ruled.store, Scope.APPROVE)
    approved = await approve(ruled, huge["uuid"], key=checker)
    assert approved.json["state"] == "awaiting-authorisation"


async def test_no_sweep_takes_what_waits_for_approval_and_it_can_be_cancelled(
    ruled: V1,
) -> None:
    large = (await withdraw(ruled, 51, "b")).json
    async with ruled.store.reading() as tx:
        assert await tx.withdrawals.requested(limit=9) == []
    path = f"/v1/withdrawals/{large['uuid']}/cancel"
    assert (await ruled.ask("POST", path)).json["state"] == "cancelled"
    async with ruled.store.reading() as tx:
        assert (await tx.accounts.by_identifier(UserId("ana"))).available_i == 1_000


async def test_an_approval_is_told_as_an_event(ruled: V1) -> None:
    large = (await withdraw(ruled, 51, "b")).json
    checker = await add_key(ruled.store, Scope.APPROVE)
    await approve(ruled, large["uuid"], key=checker)
    await ruled.publisher.publish()
    events = (await ruled.ask("GET", "/v1/events")).json["items"]
    assert "withdrawal.approved" in {event["type"] for event in events}


async def test_a_user_s_limit_slides_with_the_time(
    ruled: V1, clock: ManualClock
) -> None:
    assert (await withdraw(ruled, 50, "a")).status == 201
    clock.advance(by_ms=600)
    cancelled = (await withdraw(ruled, 50, "b")).json
    assert (await withdraw(ruled, 50, "c")).status == 201
    refused = await withdraw(ruled, 1, "d")
    assert (refused.status, refused.json["code"]) == (422, "withdrawal-limit")
    await ruled.ask("POST", f"/v1/withdrawals/{cancelled['uuid']}/cancel")
    assert (
        await withdraw(ruled, 50, "d")
    ).status == 201  # what is given back counts not
    assert (await withdraw(ruled, 1, "e")).status == 422
    clock.advance(by_ms=401)  # the first one leaves the window
    assert (await withdraw(ruled, 50, "e")).status == 201
    assert (await withdraw(ruled, 1, "f")).status == 422


async def test_a_check_tells_of_limit_and_approval(ruled: V1) -> None:
    body = {"user_id": "ana", "amount_i": 151, "address": with_checksum(trytes())}
    told = (await ruled.ask("POST", "/v1/withdrawals/check", json=body)).json
    assert [finding["code"] for finding in told["findings"]] == ["withdrawal-limit"]
    assert (told["needs_approval"], told["needs_authorisation"]) == (True, True)


async def test_withdrawals_at_once_never_pass_the_limit_together(
    store: Store, clock: ManualClock
) -> None:
    await books.funded_user(store, "ana", 1_000)

    async def one() -> bool:
        wish = WithdrawalWish(
            user_id=UserId("ana"), amount_i=60, payout_address=trytes()
        )
        try:
            await request_withdrawal(
                store, SimulatedNodes(), wish, rules=WithdrawalRules(per_user_i=150)
            )
        except WithdrawalLimitError:
            return False
        return True

    assert (await asyncio.gather(*(one() for _ in range(6)))).count(True) == 2
    assert clock.now_ms == books.T0_MS
    async with store.reading() as tx:
        waiting = await tx.withdrawals.requested(limit=9)
    assert [one.state for one in waiting] == [WithdrawalState.REQUESTED] * 2
