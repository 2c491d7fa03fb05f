# SPDX-License-Identifier: Apache-2.0
"""Short ways to say what happened, for tests of the store and of flows."""

import itertools
import secrets

from hub.model import (
    AccountId,
    Address,
    AddressId,
    BundleHash,
    CreditPolicy,
    IssuedAddress,
    SeedUuid,
    SeenDeposit,
    SweepId,
    SweepInput,
    SweepPlan,
    Tag,
    TransactionHash,
    UserId,
    WithdrawalId,
    WithdrawalUuid,
)
from hub.store import Store, Transaction
from hub.store.deposits import RecordOutcome

TRYTES = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UUID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
T0_MS = 1_600_000_000_000
_serial = itertools.count(1)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = T0_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, by_ms: int) -> None:
        self.now_ms += by_ms


def trytes(length: int = 81) -> str:
    """Return random trytes; an address of them may receive value."""
    body = "".join(secrets.choice(TRYTES) for _ in range(length - 1))
    return body + "9"


def issued(address: str | None = None) -> IssuedAddress:
    return IssuedAddress(
        address=Address(address or trytes()),
        seed_uuid=SeedUuid("".join(secrets.choice(UUID_ALPHABET) for _ in range(64))),
        generation=1,
        security_level=2,
        receipt="header.payload.signature",
    )


async def open_user(store: Store, name: str) -> AccountId:
    async with store.transaction() as tx:
        return await tx.accounts.create(UserId(name))


async def give_address(store: Store, account_id: AccountId) -> AddressId:
    async with store.transaction() as tx:
        return await tx.addresses.add(account_id, issued())


async def hub_address(store: Store) -> AddressId:
    async with store.transaction() as tx:
        owner = await tx.accounts.owner()
        return await tx.addresses.add(owner.account_id, issued())


async def arrive(
    store: Store,
    address_id: AddressId,
    amount_i: int,
    *,
    credit: CreditPolicy = CreditPolicy.SWEEP,
    bundle_hash: str | None = None,
) -> RecordOutcome:
    async with store.transaction() as tx:
        own = await tx.addresses.by_id(address_id)
        seen = SeenDeposit(
            tail_hash=TransactionHash(trytes()),
            bundle_hash=BundleHash(bundle_hash or trytes()),
            address=own.address,
            transaction_index=0,
            amount_i=amount_i,
        )
        return await tx.deposits.record(seen, credit=credit)


async def funded_user(store: Store, name: str, amount_i: int) -> AccountId:
    """Open a user whose available balance is ``amount_i`` from the start."""
    account_id = await open_user(store, name)
    if amount_i:
        address_id = await give_address(store, account_id)
        await arrive(store, address_id, amount_i, credit=CreditPolicy.CONFIRMATION)
    return account_id


async def request_withdrawal(
    store: Store, account_id: AccountId, amount_i: int, *, uuid: str | None = None
) -> WithdrawalUuid:
    uuid = WithdrawalUuid(uuid or f"00000000-0000-4000-8000-{next(_serial):012x}")
    await store.run(
        lambda tx: tx.withdrawals.request(
            uuid,
            account_id,
            amount_i=amount_i,
            payout_address=Address(trytes()),
            tag=Tag("9" * 27),
        )
    )
    return uuid


async def plan_of(
    tx: Transaction,
    input_ids: list[AddressId],
    uuids: list[WithdrawalUuid],
    remainder_id: AddressId | None,
) -> SweepPlan:
    """Plan a sweep over whole balances; what is left over goes to the remainder."""
    owns = [await tx.addresses.by_id(address_id) for address_id in input_ids]
    paid = [await tx.withdrawals.by_uuid(uuid) for uuid in uuids]
    rest_i = sum(o.balance_i for o in owns) - sum(p.amount_i for p in paid)
    return SweepPlan(
        bundle_hash=BundleHash(trytes()),
        essence="{}",
        inputs=tuple(
            SweepInput(address_id=o.address_id, amount_i=o.balance_i) for o in owns
        ),
        withdrawal_ids=tuple(WithdrawalId(p.withdrawal_id) for p in paid),
        remainder_address_id=remainder_id if rest_i else None,
        remainder_i=rest_i,
    )


async def plan_sweep(
    store: Store,
    input_ids: list[AddressId],
    uuids: list[WithdrawalUuid] | None = None,
    remainder_id: AddressId | None = None,
) -> SweepId:
    async with store.transaction() as tx:
        plan = await plan_of(tx, input_ids, uuids or [], remainder_id)
        return await tx.sweeps.plan(plan)


async def sign_sweep(store: Store, sweep_id: SweepId) -> None:
    async with store.transaction() as tx:
        await tx.sweeps.sign(sweep_id, [trytes(2673)])
