# SPDX-License-Identifier: Apache-2.0
"""Money moves once, whatever a client repeats."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from hub.api.v1.bodies import NewWithdrawal, Transfer
from hub.api.v1.payments import withdrawal_of
from hub.api_keys import Scope
from hub.client import HubRefusedError
from hub.model import UserId, WithdrawalUuid
from hub.store import Store
from hub.transfers import Transfer as Moved
from hub.transfers import process_batch
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1, Reply, add_key, running_v1
from tests.hub.bookkeeping import ManualClock, trytes
from trinary.kerl import with_checksum

DAY_MS = 86_400_000


def wish(
    amount_i: int = 4, *, user_id: str = "ana", **more: object
) -> dict[str, object]:
    address = with_checksum(trytes())
    return {"user_id": user_id, "amount_i": amount_i, "address": address, **more}


async def balance(store: Store, name: str = "ana") -> tuple[int, int]:
    async with store.reading() as tx:
        account = await tx.accounts.by_identifier(UserId(name))
    return account.available_i, account.pending_i


async def test_a_retried_withdrawal_pays_once(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    body = wish()
    replies = [
        await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k1")
        for _ in range(3)
    ]
    assert [r.status for r in replies] == [201, 201, 201]
    assert len({r.text for r in replies}) == 1
    assert "Idempotency-Replayed" not in replies[0].headers
    assert replies[1].headers["Idempotency-Replayed"] == "true"
    assert await balance(v1.store) == (6, 4)


async def test_twins_at_the_same_time_pay_once(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    body = wish(10)  # a second one could not be covered
    replies = await asyncio.gather(
        *(
            v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k1")
            for _ in range(8)
        )
    )
    assert {r.status for r in replies} == {201}
    assert len({r.json["uuid"] for r in replies}) == 1
    assert await balance(v1.store) == (0, 10)


async def test_a_key_used_with_other_content_is_refused(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    await v1.ask("POST", "/v1/withdrawals", json=wish(), idempotency_key="k1")
    other = await v1.ask("POST", "/v1/withdrawals", json=wish(5), idempotency_key="k1")
    assert (other.status, other.json["code"]) == (422, "idempotency-key-reused")
    assert await balance(v1.store) == (6, 4)


async def test_the_same_content_spelt_differently_is_the_same_request(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    address = with_checksum(trytes())
    first = f'{{"user_id":"ana","amount_i":4,"address":"{address}"}}'
    second = f'{{ "address": "{address}", "amount_i": 4, "user_id": "ana" }}'
    headers = {"Content-Type": "application/json"}
    replies = [
        await v1.ask(
            "POST", "/v1/withdrawals", data=d, headers=headers, idempotency_key="k"
        )
        for d in (first, second)
    ]
    assert replies[0].text == replies[1].text
    assert await balance(v1.store) == (6, 4)


async def test_a_refusal_is_not_remembered_and_may_be_tried_again(v1: V1) -> None:
    body = wish()
    before = await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k1")
    assert (before.status, before.json["code"]) == (404, "user-unknown")
    await books.funded_user(v1.store, "ana", 10)
    after = await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k1")
    assert after.status == 201


async def test_two_api_keys_do_not_share_idempotency_keys(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    second = await add_key(v1.store, Scope.WITHDRAW)
    body = wish()
    await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k")
    await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k", key=second)
    assert await balance(v1.store) == (2, 8)


async def test_a_reply_is_forgotten_after_the_time_configured(
    v1: V1, clock: ManualClock
) -> None:
    await books.funded_user(v1.store, "ana", 10)
    body = wish()
    await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k")
    clock.advance(by_ms=7 * DAY_MS)
    await v1.ask("POST", "/v1/withdrawals", json=body, idempotency_key="k")
    assert await balance(v1.store) == (2, 8)


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 129])
async def test_money_without_an_idempotency_key_does_not_move(
    v1: V1, key: str | None
) -> None:
    await books.funded_user(v1.store, "ana", 10)
    reply = await v1.ask("POST", "/v1/withdrawals", json=wish(), idempotency_key=key)
    assert (reply.status, reply.json["code"]) == (400, "idempotency-key-missing")
    assert await balance(v1.store) == (10, 0)


async def test_a_retried_address_is_the_same_address(v1: V1) -> None:
    await books.open_user(v1.store, "ana")
    replies = await asyncio.gather(
        *(
            v1.ask("POST", "/v1/users/ana/addresses", idempotency_key="a")
            for _ in range(4)
        )
    )
    assert len({r.json["address"] for r in replies}) == 1
    assert len(v1.appliance.commitments) == 1
    whole = replies[0].json["address_with_checksum"]
    assert whole == with_checksum(replies[0].json["address"])
    listed = await v1.ask("GET", "/v1/users/ana/addresses")
    assert [a["address_with_checksum"] for a in listed.json["items"]] == [whole]


async def test_a_client_may_choose_the_uuid_and_it_names_one_withdrawal(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    uuid = "11111111-2222-4333-8444-555555555555"
    async with v1.client() as client:
        made = await client.withdraw(NewWithdrawal(**wish(uuid=uuid)))  # type: ignore[arg-type]
        assert made.uuid == uuid
        with pytest.raises(HubRefusedError) as refused:
            await client.withdraw(NewWithdrawal(**wish(uuid=uuid)))  # type: ignore[arg-type]
        assert refused.value.code == "withdrawal-exists"
        assert (await client.cancel_withdrawal(uuid)).state == "cancelled"
    assert await balance(v1.store) == (10, 0)


async def test_a_check_lists_every_fault_and_reserves_nothing(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    spent = trytes()
    v1.nodes.spent.add(spent)
    asked = {"user_id": "ana", "amount_i": 11, "address": spent, "tag": "lower"}
    async with v1.client() as client:
        found = await client.check_withdrawal(
            NewWithdrawal(**asked, require_checksum=False)  # type: ignore[arg-type]
        )
        assert not found.payable
        assert {one.code for one in found.findings} == {
            "tag-invalid",
            "insufficient-balance",
            "address-spent",
        }
        found = await client.check_withdrawal(
            NewWithdrawal(user_id="bob", amount_i=0, address="A" * 90)
        )
        assert [one.code for one in found.findings] == [
            "amount-invalid",
            "checksum-invalid",
            "user-unknown",
        ]
        v1.nodes.away = True
        found = await client.check_withdrawal(NewWithdrawal(**wish()))  # type: ignore[arg-type]
        assert [(one.code, one.retry) for one in found.findings] == [
            ("node-unavailable", True)
        ]
        v1.nodes.away = False
        found = await client.check_withdrawal(NewWithdrawal(**wish()))  # type: ignore[arg-type]
    assert (found.payable, found.findings) == (True, [])
    assert await balance(v1.store) == (10, 0)


@pytest.mark.parametrize("trouble", ["nodes away", "balance gone", "none"])
async def test_a_retry_is_given_the_first_reply_whatever_it_would_meet_now(
    v1: V1, trouble: str
) -> None:
    await books.funded_user(v1.store, "bob", 10)
    await books.open_user(v1.store, "ben")
    paid = wish(6, user_id="bob")

    async def ask() -> Reply:
        return await v1.ask("POST", "/v1/withdrawals", json=paid, idempotency_key="k")

    first = await ask()
    if trouble == "nodes away":
        v1.nodes.away = True
    if trouble == "balance gone":
        away = [Moved(UserId("bob"), -4), Moved(UserId("ben"), 4)]
        await process_batch(v1.store, away)
    again = await ask()
    assert (first.status, again.status) == (201, 201)
    assert again.text == first.text
    assert again.headers["Idempotency-Replayed"] == "true"
    async with v1.store.reading() as tx:
        assert len(await tx.withdrawals.requested(limit=9)) == 1
        shown = await tx.pages.withdrawal(WithdrawalUuid(first.json["uuid"]))
    assert first.json == msgspec.to_builtins(withdrawal_of(*shown))


async def test_a_transfer_batch_is_booked_whole_and_once(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    await books.open_user(v1.store, "bob")
    moves = [Transfer(user_id="ana", amount_i=-3), Transfer(user_id="bob", amount_i=3)]
    async with v1.client() as client:
        for _ in range(2):
            booked = await client.transfer(moves, idempotency_key="batch")
        assert (booked.accounts, booked.moved_i) == (2, 3)
        with pytest.raises(HubRefusedError) as refused:
            await client.transfer(moves[:1])
        assert refused.value.code == "batch-unbalanced"
    assert await balance(v1.store) == (7, 0)
    assert await balance(v1.store, "bob") == (3, 0)


async def test_what_was_done_and_by_whom_is_in_the_audit(v1: V1) -> None:
    await books.funded_user(v1.store, "ana", 10)
    headers = {"X-Request-Id": "trace-1"}
    await v1.ask(
        "POST", "/v1/withdrawals", json=wish(), idempotency_key="k", headers=headers
    )
    await v1.ask("POST", "/v1/withdrawals", json=wish(99), idempotency_key="l")
    audit = (await v1.ask("GET", "/v1/audit")).json["items"]
    assert [line["operation"] for line in audit] == ["create-withdrawal"]
    assert audit[0]["request_id"] == "trace-1"
    assert audit[0]["actor"] in v1.key


@pytest.fixture
async def two_hubs(
    v1: V1, database_url: str, clock: ManualClock
) -> AsyncGenerator[tuple[V1, V1]]:
    """Two hubs that share nothing but the database; one key opens both."""
    store = Store(database_url, clock=clock)
    async with running_v1(store, clock) as other:
        other.key = v1.key
        yield v1, other
    await store.close()


async def test_twins_at_two_hubs_pay_once(two_hubs: tuple[V1, V1]) -> None:
    await books.funded_user(two_hubs[0].store, "ana", 50)
    for number in range(5):
        body = wish(10)
        replies = await asyncio.gather(
            *(
                hub.ask(
                    "POST", "/v1/withdrawals", json=body, idempotency_key=f"k{number}"
                )
                for hub in (*two_hubs, *two_hubs)
            )
        )
        assert {r.status for r in replies} == {201}, [r.text for r in replies]
        assert len({r.json["uuid"] for r in replies}) == 1
    assert await balance(two_hubs[0].store) == (0, 50)


async def test_of_two_withdrawals_with_one_uuid_at_two_hubs_one_is_made(
    two_hubs: tuple[V1, V1],
) -> None:
    await books.funded_user(two_hubs[0].store, "ana", 100)
    for number in range(5):
        uuid = f"11111111-2222-4333-8444-{number:012d}"
        replies = await asyncio.gather(
            *(
                hub.ask(
                    "POST",
                    "/v1/withdrawals",
                    json=wish(10, uuid=uuid),
                    idempotency_key=f"{number}-{place}",
                )
                for place, hub in enumerate(two_hubs)
            )
        )
        assert sorted(r.status for r in replies) == [201, 409]
        refused = next(r for r in replies if r.status == 409)
        assert refused.json["code"] == "withdrawal-exists"
    assert await balance(two_hubs[0].store) == (50, 50)


async def test_a_key_reused_at_the_other_hub_for_something_else_is_refused(
    two_hubs: tuple[V1, V1],
) -> None:
    await books.funded_user(two_hubs[0].store, "ana", 100)
    replies = await asyncio.gather(
        *(
            hub.ask(
                "POST", "/v1/withdrawals", json=wish(10 + place), idempotency_key="k"
            )
            for place, hub in enumerate(two_hubs)
        )
    )
    assert sorted(r.status for r in replies) == [201, 422]
    available_i, pending_i = await balance(two_hubs[0].store)
    assert pending_i in {10, 11}
    assert available_i + pending_i == 100
