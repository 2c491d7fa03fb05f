# SPDX-License-Identifier: Apache-2.0
"""What a taken-over appliance says is checked before the hub acts on it."""

import base64
import contextlib
import json
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

from appliance.receipt import CHECKPOINT_TYPE
from appliance.wire import (
    Deferred,
    Issued,
    Reply,
    Request,
    Signed,
    SignTransfer,
)
from hub.errors import InvariantError
from hub.model import AddressId, SweepState
from hub.signer import ReceiptInvalidError
from hub.tangle import BundleInvalidError
from tests.flows.lying_appliance import (
    Claims,
    LyingAppliance,
    forged_statement,
    running_liar,
    truth,
)
from tests.flows.world import World, copy_appliance, outside_address, running_world

Forgery = Callable[[LyingAppliance, Claims], Awaitable[str]]


@dataclass
class Deceived:
    """A world and the appliance that lies to it."""

    world: World
    liar: LyingAppliance
    database: Path

    def sign_requests(self) -> list[Request]:
        return [asked for asked in self.liar.asked if isinstance(asked, SignTransfer)]

    def lie_about_signatures(self, change: Callable[[Signed], Reply]) -> None:
        async def lie(_: Request, reply: Reply) -> Reply:
            return change(reply) if isinstance(reply, Signed) else reply

        self.liar.lie = lie


@pytest.fixture
async def deceived(template: Path, tmp_path: Path) -> AsyncGenerator[Deceived]:
    appliance = copy_appliance(template, tmp_path / "box")
    async with (
        running_liar(appliance) as liar,
        running_world(appliance, tmp_path) as world,
    ):
        yield Deceived(world, liar, tmp_path / "hub.db")


# --- receipts ----------------------------------------------------------------------


def saying(**claims: object) -> Forgery:
    async def forge(liar: LyingAppliance, true: Claims) -> str:
        return await liar.statement(true | claims)

    return forge


async def of_another_key(_: LyingAppliance, true: Claims) -> str:
    return forged_statement(true)


async def of_another_type(liar: LyingAppliance, true: Claims) -> str:
    return await liar.statement(true, kind=CHECKPOINT_TYPE)


async def silent_about_the_user(liar: LyingAppliance, true: Claims) -> str:
    return await liar.statement(
        {name: said for name, said in true.items() if name != "user_commitment"}
    )


FORGERIES: Final[dict[str, Forgery]] = {
    "of another key": of_another_key,
    "of another type, a checkpoint": of_another_type,
    "for another address": saying(address=outside_address()),
    "for another user": saying(user_commitment="0" * 64),
    "for no user": silent_about_the_user,
    "for another network": saying(network="mainnet"),
    "of another generation": saying(generation=2),
    "of another security level": saying(security_level=1),
    "for another seed UUID": saying(commitment="0" * 64),
    "that says more": saying(also="this"),
}


def claims_of(receipt: str) -> Claims:
    payload = receipt.split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


@pytest.mark.parametrize("name", FORGERIES)
async def test_an_address_is_not_recorded_with_a_receipt(
    name: str, deceived: Deceived
) -> None:
    world = deceived.world

    async def lie(_: Request, reply: Reply) -> Reply:
        if not isinstance(reply, Issued):
            return reply
        receipt = await FORGERIES[name](deceived.liar, claims_of(reply.receipt))
        return msgspec.structs.replace(reply, receipt=receipt)

    await world.user("alice")
    deceived.liar.lie = lie
    with pytest.raises(ReceiptInvalidError):
        await world.deposit_address("alice")
    assert isinstance(deceived.liar.told[-1], Issued)
    async with world.hub.store.reading() as tx:
        assert await tx.addresses.after(AddressId(0), limit=10) == []
    deceived.liar.lie = truth
    assert await world.deposit_address("alice")


async def test_an_address_put_in_place_of_the_one_in_the_receipt_is_not_recorded(
    deceived: Deceived,
) -> None:
    async def lie(_: Request, reply: Reply) -> Reply:
        if isinstance(reply, Issued):
            return msgspec.structs.replace(reply, address=outside_address())
        return reply

    await deceived.world.user("alice")
    deceived.liar.lie = lie
    with pytest.raises(ReceiptInvalidError):
        await deceived.world.deposit_address("alice")
    async with deceived.world.hub.store.reading() as tx:
        assert await tx.addresses.after(AddressId(0), limit=10) == []


# --- signatures --------------------------------------------------------------------


async def stays_planned(deceived: Deceived) -> None:
    """Whatever was answered: nothing is stored as signed, nothing attached."""
    world = deceived.world
    await world.hub.attachments.tick()
    (sweep,) = await world.sweeps()
    assert sweep.state is SweepState.PLANNED
    assert sweep.signed_trytes == ()
    assert not world.devnet.node.tangle.by_bundle.get(sweep.plan.bundle_hash)


async def mends(deceived: Deceived) -> None:
    """An appliance that tells the truth again signs the very same bundle."""
    deceived.liar.lie = truth
    await deceived.world.sweep()
    (sweep,) = await deceived.world.sweeps()
    assert sweep.state is SweepState.CONFIRMED


async def test_an_answer_about_another_bundle_is_not_taken_for_ours(
    deceived: Deceived,
) -> None:
    await deceived.world.funded_user("alice", 1_000)
    deceived.lie_about_signatures(
        lambda signed: msgspec.structs.replace(signed, bundle_hash="9" * 81)
    )
    with pytest.raises(InvariantError, match="another bundle"):
        await deceived.world.hub.sweeps.tick()
    await stays_planned(deceived)
    await mends(deceived)


def with_one_tryte_wrong(signed: Signed) -> Signed:
    first, *rest = signed.signatures
    fragment, *others = first.fragments
    wrong = ("A" if fragment[0] == "9" else "9") + fragment[1:]
    false = msgspec.structs.replace(first, fragments=[wrong, *others])
    return msgspec.structs.replace(signed, signatures=[false, *rest])


async def test_signatures_that_do_not_verify_are_neither_stored_nor_attached(
    deceived: Deceived,
) -> None:
    await deceived.world.funded_user("alice", 1_000)
    deceived.lie_about_signatures(with_one_tryte_wrong)
    with pytest.raises(BundleInvalidError):
        await deceived.world.hub.sweeps.tick()
    await stays_planned(deceived)
    await deceived.world.hub.sweeps.tick()  # asks again, and is lied to again
    await stays_planned(deceived)
    await mends(deceived)


async def test_a_stored_bundle_that_is_not_what_was_planned_is_never_shown(
    deceived: Deceived,
) -> None:
    world = deceived.world
    await world.funded_user("alice", 1_000)
    deceived.lie_about_signatures(
        lambda signed: Deferred(
            request_id=signed.request_id, code="busy", message="", retry_after_s=0
        )
    )
    await world.hub.sweeps.tick()
    assert len(deceived.sign_requests()) == 1
    planned = redirect_payout(deceived.database, to=outside_address())
    deceived.liar.lie = truth
    await world.hub.sweeps.tick()
    assert len(deceived.sign_requests()) == 1
    await stays_planned(deceived)
    restore(deceived.database, planned)
    await mends(deceived)


def redirect_payout(database: Path, *, to: str) -> str:
    """Change the stored bundle as a thief in the database would; return the old."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((planned,),) = connection.execute("SELECT essence FROM sweep")
    transactions = json.loads(planned)
    (output,) = [entry for entry in transactions if entry["value_i"] > 0]
    output["address"] = to
    restore(database, json.dumps(transactions))
    return str(planned)


def restore(database: Path, essence: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE sweep SET essence = ?", (essence,))
