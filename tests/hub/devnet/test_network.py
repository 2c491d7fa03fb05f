# SPDX-License-Identifier: Apache-2.0
"""Milestones, tips, solidity and the faucet of a running network."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.devnet.config import NULL_HASH, SUPPLY_I, DevnetConfig, Dialect
from hub.devnet.coordinator import coordinator_address
from hub.devnet.devnet import Devnet
from hub.devnet.embedded import RunningDevnet, running_devnet, system_clock_ms
from hub.devnet.errors import FaucetEmptyError, InvalidConfigError
from hub.devnet.faucet import faucet_address
from hub.devnet.node import Confirmation
from tests.hub.devnet.world import (
    STRANGER,
    UNKNOWN,
    Clock,
    Wallet,
    attach,
    funded,
    message,
    plain,
    put,
)
from trinary.curl import transaction_hash
from trinary.pow import weight_magnitude
from trinary.trytes import int_from_trytes
from trinary.winternitz import verify


async def test_a_milestone_is_a_real_bundle_with_its_index_and_time() -> None:
    clock = Clock()
    config = DevnetConfig(min_weight_magnitude=5)
    async with running_devnet(config, clock_ms=clock) as devnet:
        for _ in range(3):
            milestone = await devnet.tick()
        tail = devnet.node.tangle.get(milestone.hash)
        head = devnet.node.tangle.get(tail.tx.trunk)
        assert milestone.index == 4
        assert milestone.timestamp_s == clock.now_ms // 1000
        for record in (tail, head):
            assert transaction_hash(record.trytes) == record.hash
            assert weight_magnitude(record.hash) >= 5
            assert int_from_trytes(record.tx.tag) == 4
            assert int_from_trytes(record.tx.obsolete_tag) == 4
            assert record.tx.timestamp_s == clock.now_ms // 1000
            assert record.tx.attachment_timestamp_ms == clock.now_ms
        assert tail.tx.address == coordinator_address()
        assert head.tx.trunk == devnet.node.milestones[3].hash
        assert verify(
            address=coordinator_address(),
            fragments=[tail.tx.signature_message],
            bundle_hash=head.hash,
        )


async def test_one_milestone_gathers_all_tips(devnet: RunningDevnet) -> None:
    notes = [(await put(devnet, message(name)))[0] for name in ("A", "B", "C", "D")]
    assert list(devnet.node.tips) == [note.hash for note in notes]
    milestone = await devnet.tick()
    for note in notes:
        confirmation = devnet.node.confirmations[note.hash]
        assert confirmation == Confirmation(milestone.index)
    assert list(devnet.node.tips) == []


async def test_earlier_tips_win_over_later_ones(
    devnet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    for receiver in (STRANGER, UNKNOWN):
        await put(devnet, wallet.spend(amount_i=100, to={receiver: 100}))
    await devnet.tick()
    assert devnet.node.balances.get(STRANGER) == 100
    assert devnet.node.balances.get(UNKNOWN, 0) == 0


async def test_a_bundle_that_can_not_confirm_does_not_bury_another(
    devnet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    transfer = wallet.spend(amount_i=100, to={STRANGER: 100})
    original = await put(devnet, transfer)
    (note,) = await put(devnet, message(), trunk=original[0].hash)
    copy = await put(devnet, transfer, trunk=note.hash)
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 100
    assert not devnet.node.confirmations[original[0].hash].conflicting
    assert note.hash in devnet.node.confirmations
    is_iri = devnet.config.dialect is Dialect.IRI
    assert (copy[0].hash in devnet.node.confirmations) is not is_iri


async def test_a_tip_that_nothing_can_bring_back_is_forgotten(
    devnet: RunningDevnet,
) -> None:
    devnet.faults.set("stalled-confirmation", value=True)
    (record,) = await put(devnet, message())
    for _ in range(15):
        await devnet.tick()
    assert list(devnet.node.tips) == [record.hash]
    await devnet.tick()
    assert list(devnet.node.tips) == []


async def test_transactions_may_arrive_in_any_order(devnet: RunningDevnet) -> None:
    (first,) = attach(devnet, message())
    records = attach(
        devnet, Wallet().spend(amount_i=1, to={STRANGER: 1}), trunk=first.hash
    )
    for record in records:
        await devnet.store([record.trytes])
        assert not devnet.node.tangle.is_solid(record.hash)
    await devnet.store([first.trytes])
    assert all(devnet.node.tangle.is_solid(record.hash) for record in records)
    assert list(devnet.node.tips) == [records[0].hash]


async def test_storing_twice_changes_nothing(devnet: RunningDevnet) -> None:
    (record,) = await put(devnet, message())
    await devnet.store([record.trytes, record.trytes])
    assert devnet.node.tangle.by_address.get(STRANGER) == (record.hash,)
    await devnet.tick()
    await devnet.store([record.trytes])
    assert list(devnet.node.tips) == []


async def test_a_pending_spend_can_be_built_upon(
    devnet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    second = wallet.address(1)
    first = await put(devnet, wallet.spend(amount_i=100, to={second: 100}))
    await put(
        devnet,
        wallet.spend(amount_i=100, to={STRANGER: 100}, index=1),
        trunk=first[0].hash,
    )
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 100


async def test_the_genesis_owns_the_supply() -> None:
    owner = Wallet().address()
    async with running_devnet(
        DevnetConfig(genesis_address=owner, min_weight_magnitude=1)
    ) as devnet:
        assert devnet.node.balances == {owner: SUPPLY_I}
        with pytest.raises(FaucetEmptyError):
            await devnet.deposit(STRANGER, 1)


async def test_the_faucet_can_have_a_part_of_the_supply() -> None:
    owner = Wallet().address()
    config = DevnetConfig(genesis_address=owner, faucet_i=5, min_weight_magnitude=1)
    async with running_devnet(config) as devnet:
        assert devnet.node.balances == {owner: SUPPLY_I - 5, faucet_address(0): 5}
        await devnet.deposit(STRANGER, 5)
        await devnet.tick()
        assert devnet.node.balances[STRANGER] == 5
        with pytest.raises(FaucetEmptyError):
            await devnet.deposit(STRANGER, 1)


async def test_many_payments_fit_into_one_milestone(devnet: RunningDevnet) -> None:
    for amount_i in range(1, 11):
        await devnet.deposit(STRANGER, amount_i)
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 55
    assert sum(devnet.node.balances.values()) == SUPPLY_I


async def test_payments_may_be_asked_for_at_once(devnet: RunningDevnet) -> None:
    await asyncio.gather(
        *(devnet.deposit(STRANGER, 1) for _ in range(5)),
        *(devnet.tick() for _ in range(3)),
    )
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 5


async def test_a_network_can_tick_by_itself() -> None:
    async with running_devnet(plain(Dialect.IRI, tick_s=0.05)) as devnet:
        await asyncio.sleep(0.5)
        assert devnet.node.latest.index >= 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_weight_magnitude": 0},
        {"min_weight_magnitude": 15},
        {"faucet_i": -1},
        {"faucet_i": SUPPLY_I + 1},
        {"tick_s": 0},
        {"genesis_address": "A" * 90},
    ],
)
def test_an_impossible_network_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError):
        DevnetConfig(**wrong)


payments = st.lists(
    st.tuples(st.integers(1, 10**6), st.sampled_from([STRANGER, UNKNOWN])), max_size=6
)


@settings(max_examples=10, deadline=None)
@given(payments, st.sampled_from(Dialect))
def test_the_supply_is_constant_whatever_is_paid(
    amounts: list[tuple[int, str]], dialect: Dialect
) -> None:
    async def pay_all() -> Devnet:
        devnet = Devnet(plain(dialect), clock_ms=system_clock_ms)
        await devnet.start()
        for amount_i, receiver in amounts:
            await devnet.deposit(receiver, amount_i)
        await devnet.tick()
        return devnet

    devnet = asyncio.run(pay_all())
    assert sum(devnet.node.balances.values()) == SUPPLY_I
    for receiver in (STRANGER, UNKNOWN):
        paid_i = sum(amount_i for amount_i, to in amounts if to == receiver)
        assert devnet.node.balances.get(receiver, 0) == paid_i
    assert NULL_HASH in devnet.node.confirmations
