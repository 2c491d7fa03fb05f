# SPDX-License-Identifier: Apache-2.0
"""Addresses of an old Hub's salt: spent from as whole bundles, never paid to."""

import json

import msgspec
import pytest

from appliance.wire import (
    AdoptAddress,
    Deferred,
    Fault,
    IssueAddress,
    Issued,
    RunCeremony,
    Signed,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid
from tests.appliance.old_salt import SALT, by_two, old_address, tell

GENERATION = 2


def adopt(seed_uuid: str, *, address: str = "", generation: int = 2) -> AdoptAddress:
    return AdoptAddress(
        request_id="a",
        seed_uuid=seed_uuid,
        generation=generation,
        address=address or old_address(seed_uuid),
    )


@pytest.fixture
async def taken_over(box: Box) -> Box:
    """An appliance that took over an old Hub's salt."""
    await take_salt(box)
    return box


async def take_salt(box: Box) -> None:
    source = box.folder / "old.salt"
    source.write_text(SALT)
    source.chmod(0o600)
    act = RunCeremony(
        request_id="",
        ceremony="import-salt",
        subject=str(source),
        security_level=2,
        argon2="argon2id 1 256",
    )
    await by_two(box, act)


async def test_an_adopted_address_is_swept_in_a_whole_bundle(taken_over: Box) -> None:
    uuid = new_uuid()
    adopted = await taken_over.expect(adopt(uuid), Issued)
    assert (adopted.generation, adopted.security_level) == (GENERATION, 2)
    coin = Coin(uuid, adopted.address, 100, GENERATION)
    rest = await taken_over.coin(0)
    outputs = [Output(new_address(), 60), Output(rest.address, 40, own=True)]
    request = bundle([coin], outputs)
    assert (await taken_over.expect(request, Deferred)).code == "not-told"
    await tell(taken_over, [])
    await taken_over.expect(request, Signed)
    assert (await taken_over.refused(adopt(uuid))).code == "seed-uuid-known"


async def test_an_unadopted_address_of_the_old_salt_signs_nothing(
    taken_over: Box,
) -> None:
    uuid = new_uuid()
    coin = Coin(uuid, old_address(uuid), 100, GENERATION)
    assert (await taken_over.refused(bundle([coin]))).code == "foreign-input"


async def test_an_adopted_address_has_no_receipt_whoever_asks(taken_over: Box) -> None:
    uuid = new_uuid()
    assert (await taken_over.expect(adopt(uuid), Issued)).receipt == ""
    again = IssueAddress(request_id="i", seed_uuid=uuid)
    assert (await taken_over.expect(again, Issued)).receipt == ""
    named = msgspec.structs.replace(again, user_commitment="ab" * 32)
    assert (await taken_over.refused(named)).code == "seed-uuid-known"


async def test_value_to_an_adopted_address_is_never_ours(taken_over: Box) -> None:
    """Who held the old salt could take it from there."""
    uuid = new_uuid()
    theirs = (await taken_over.expect(adopt(uuid), Issued)).address
    coin = await taken_over.coin()
    request = bundle([coin], [Output(theirs, 100, own=True)])
    assert (await taken_over.refused(request)).code == "own-output"
    other = await taken_over.coin()
    await taken_over.expect(bundle([other], [Output(theirs, 100)]), Signed)
    (row,) = await taken_over.rows("signed")
    assert json.loads(row.payload)["outside_i"] == 100


async def test_an_adopted_address_that_has_signed_is_paid_no_more(
    taken_over: Box,
) -> None:
    uuid = new_uuid()
    theirs = (await taken_over.expect(adopt(uuid), Issued)).address
    await tell(taken_over, [])
    await taken_over.expect(bundle([Coin(uuid, theirs, 100, GENERATION)]), Signed)
    request = bundle([await taken_over.coin()], [Output(theirs, 100)])
    assert (await taken_over.refused(request)).code == "output-spent"


async def test_adopting_again_is_the_same_row(taken_over: Box) -> None:
    uuid = new_uuid()
    first = await taken_over.expect(adopt(uuid), Issued)
    again = await taken_over.expect(adopt(uuid), Issued)
    assert again.address == first.address
    assert len(await taken_over.rows("issued")) == 1
    wrong = adopt(uuid, address=new_address())
    assert (await taken_over.refused(wrong)).code == "seed-uuid-known"


async def test_what_does_not_derive_to_it_is_not_adopted(taken_over: Box) -> None:
    other = adopt(new_uuid(), address=new_address())
    assert (await taken_over.refused(other)).code == "other-address"
    assert await taken_over.rows("issued") == []
    assert (await taken_over.status()).state == "ready"


@pytest.mark.parametrize("generation", [0, 1, 3])
async def test_only_a_salt_that_does_not_issue_adopts(
    taken_over: Box, generation: int
) -> None:
    refusal = await taken_over.refused(adopt(new_uuid(), generation=generation))
    assert refusal.code == "not-imported"


async def test_what_the_old_hub_signed_is_not_adopted(taken_over: Box) -> None:
    uuid = new_uuid()
    await tell(taken_over, [uuid])
    assert (await taken_over.refused(adopt(uuid))).code == "seed-uuid-known"


async def test_only_a_hub_adopts(taken_over: Box) -> None:
    for name in ("auditor", "operator-1"):
        fault = await taken_over.expect(adopt(new_uuid()), Fault, name=name)
        assert fault.code == "forbidden"


async def test_one_issued_here_is_not_adopted_elsewhere(taken_over: Box) -> None:
    coin = await taken_over.coin()
    asked = adopt(coin.seed_uuid)
    assert (await taken_over.refused(asked)).code == "seed-uuid-known"
    assert not isinstance(await taken_over.ask(asked), Deferred)
