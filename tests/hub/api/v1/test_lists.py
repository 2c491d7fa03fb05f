# SPDX-License-Identifier: Apache-2.0
"""Lists: every row once, whatever is written meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.v1.cursors import read_cursor, write_cursor
from hub.api.v1.errors import CursorInvalidError
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1

FILTERS = st.dictionaries(
    st.sampled_from(["user_id", "state"]), st.none() | st.text(max_size=64)
)
ROWS = st.integers(min_value=1, max_value=(1 << 63) - 1)


@given(row=ROWS, of=st.text(max_size=20), filters=FILTERS)
def test_a_cursor_says_what_it_was_made_from(
    row: int, of: str, filters: dict[str, str | None]
) -> None:
    text = write_cursor(row, of=of, filters=filters)
    assert read_cursor(text, of=of, filters=filters) == row
    assert len(text) <= 64
    assert text.replace("-", "").replace("_", "").isalnum()


@given(row=ROWS, of=st.text(max_size=20), others=st.tuples(FILTERS, FILTERS))
def test_a_cursor_holds_for_its_own_list_only(
    row: int, of: str, others: tuple[dict[str, str | None], dict[str, str | None]]
) -> None:
    text = write_cursor(row, of=of, filters=others[0])
    with pytest.raises(CursorInvalidError):
        read_cursor(text, of=of + "x", filters=others[0])
    meant = [{k: v for k, v in one.items() if v is not None} for one in others]
    if meant[0] != meant[1]:
        with pytest.raises(CursorInvalidError):
            read_cursor(text, of=of, filters=others[1])


@given(st.text(max_size=80))
def test_no_text_but_a_cursor_is_read_as_one(text: str) -> None:
    with pytest.raises(CursorInvalidError):
        read_cursor(text, of="users", filters={})


async def pages_of(v1: V1, path: str) -> list[list[dict[str, object]]]:
    found, cursor = [], ""
    joint = "&" if "?" in path else "?"
    while True:
        reply = await v1.ask("GET", f"{path}{joint}limit=2{cursor}")
        assert reply.status == 200, reply.text
        found.append(reply.json["items"])
        if reply.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={reply.json['next_cursor']}"


async def test_pages_hold_every_row_once_while_others_are_written(v1: V1) -> None:
    for number in range(5):
        await books.open_user(v1.store, f"user{number}")
    first = await v1.ask("GET", "/v1/users?limit=2")
    await books.open_user(v1.store, "late")
    rest = await pages_after(v1, first.json["next_cursor"])
    names = [one["user_id"] for one in first.json["items"] + rest]
    assert names == [f"user{number}" for number in (4, 3, 2, 1, 0)]


async def pages_after(v1: V1, cursor: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    following: str | None = cursor
    while following is not None:
        reply = await v1.ask("GET", f"/v1/users?limit=2&cursor={following}")
        items += reply.json["items"]
        following = reply.json["next_cursor"]
    return items


async def test_filters_choose_and_the_last_page_has_no_cursor(v1: V1) -> None:
    ana = await books.funded_user(v1.store, "ana", 10)
    bob = await books.funded_user(v1.store, "bob", 10)
    kept = [await books.request_withdrawal(v1.store, ana, 1) for _ in range(4)]
    await books.request_withdrawal(v1.store, bob, 1)
    await v1.ask("POST", f"/v1/withdrawals/{kept[0]}/cancel")
    pages = await pages_of(v1, "/v1/withdrawals?user_id=ana")
    assert [one["uuid"] for page in pages for one in page] == kept[::-1]
    assert [len(page) for page in pages] == [2, 2]
    (page,) = await pages_of(v1, "/v1/withdrawals?user_id=ana&state=cancelled")
    assert [one["uuid"] for one in page] == [kept[0]]
    (page,) = await pages_of(v1, "/v1/deposits?user_id=bob&state=credited")
    assert [(one["amount_i"], one["user_id"]) for one in page] == [(10, "bob")]
    deposit = await v1.ask("GET", f"/v1/deposits/{page[0]['deposit_id']}")
    assert deposit.json == page[0]


async def test_a_sweep_is_shown_with_inputs_withdrawals_and_trytes(v1: V1) -> None:
    ana = await books.open_user(v1.store, "ana")
    address_id = await books.give_address(v1.store, ana)
    await books.arrive(v1.store, address_id, 10)
    rest = await books.hub_address(v1.store)
    sweep_id = await books.plan_sweep(v1.store, [address_id], [], rest)
    (planned,) = (await v1.ask("GET", "/v1/sweeps?state=planned")).json["items"]
    assert (planned["remainder_i"], planned["signed_at_ms"]) == (10, None)
    await books.sign_sweep(v1.store, sweep_id)
    path = f"/v1/sweeps/{planned['bundle_hash']}"
    shown = (await v1.ask("GET", path)).json
    assert (shown["sweep"]["state"], shown["tails"]) == ("signed", [])
    assert shown["sweep"]["inputs"][0]["amount_i"] == 10
    assert len((await v1.ask("GET", f"{path}/trytes")).json["trytes"]) == 1
