# SPDX-License-Identifier: Apache-2.0
"""What a sweep chooses, for any books; and what a refusal makes of its parts."""

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hub.model import (
    AccountId,
    AccountKind,
    Address,
    AddressId,
    AddressState,
    BundleHash,
    OwnAddress,
    Sweep,
    SweepId,
    SweepInput,
    SweepPlan,
    SweepState,
    Tag,
    Withdrawal,
    WithdrawalId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.suspects import Suspects, address_part, withdrawal_part
from hub.sweep_plan import Choice, SweepLimits, plan_sweep
from tests.hub.bookkeeping import ManualClock, issued, trytes

_ids = itertools.count(1)


def own(balance_i: int, kind: AccountKind = AccountKind.USER) -> OwnAddress:
    return OwnAddress(
        address_id=AddressId(next(_ids)),
        account_id=AccountId(1),
        kind=kind,
        issued=issued(),
        state=AddressState.OPEN,
        balance_i=balance_i,
        created_at_ms=0,
    )


def hub_addresses(*balances_i: int) -> list[OwnAddress]:
    return [own(balance_i, AccountKind.OWNER) for balance_i in sorted(balances_i)]


def wish(amount_i: int, to: str | None = None) -> Withdrawal:
    number = next(_ids)
    return Withdrawal(
        withdrawal_id=WithdrawalId(number),
        uuid=WithdrawalUuid(f"{number:036}"),
        account_id=AccountId(1),
        amount_i=amount_i,
        payout_address=Address(to or trytes()),
        tag=Tag("9" * 27),
        state=WithdrawalState.REQUESTED,
        sweep_id=None,
        requested_at_ms=number,
        cancelled_at_ms=None,
    )


LIMITS = SweepLimits(max_withdrawals=7, max_deposits=5, max_hub_inputs=10)
amounts = st.integers(min_value=1, max_value=1_000)


@st.composite
def situations(
    draw: st.DrawFn,
) -> tuple[list[OwnAddress], list[OwnAddress], list[Withdrawal], SweepLimits]:
    deposits = [own(i) for i in draw(st.lists(amounts, max_size=8))]
    hubs = hub_addresses(*draw(st.lists(amounts, max_size=14)))
    wishes = [wish(i) for i in draw(st.lists(amounts, max_size=10))]
    if deposits and wishes and draw(st.booleans()):
        wishes.append(wish(draw(amounts), to=draw(st.sampled_from(deposits)).address))
    small = st.integers(min_value=1, max_value=6)
    return deposits, hubs, wishes, SweepLimits(draw(small), draw(small), draw(small))


@given(situations())
def test_a_choice_balances_keeps_its_limits_and_leaves_receivers_alone(
    situation: tuple[list[OwnAddress], list[OwnAddress], list[Withdrawal], SweepLimits],
) -> None:
    deposits, hubs, wishes, limits = situation
    choice = plan_sweep(
        deposits=deposits, hub_addresses=hubs, withdrawals=wishes, limits=limits
    )
    if choice is None:
        return
    taken_i = sum(own.balance_i for own in choice.inputs)
    paid_i = sum(w.amount_i for w in choice.withdrawals)
    assert taken_i == paid_i + choice.rest_i
    assert choice.rest_i >= 0
    assert choice.inputs
    assert len(set(choice.inputs)) == len(choice.inputs)
    assert len(choice.withdrawals) <= limits.max_withdrawals
    by_kind = [own.kind for own in choice.inputs]
    assert by_kind.count(AccountKind.USER) <= limits.max_deposits
    assert by_kind.count(AccountKind.OWNER) <= limits.max_hub_inputs
    receiving = {w.payout_address for w in wishes}
    assert not receiving & {own.address for own in choice.inputs}
    order = [wishes.index(w) for w in choice.withdrawals]
    assert order == sorted(order)  # the oldest first
    free = [d for d in deposits if d.address not in receiving]
    users = [own for own in choice.inputs if own.kind is AccountKind.USER]
    assert users == free[: limits.max_deposits]


@given(situations())
def test_planning_and_confirming_again_and_again_pays_whatever_can_be_paid(
    situation: tuple[list[OwnAddress], list[OwnAddress], list[Withdrawal], SweepLimits],
) -> None:
    """W17, W18: limits delay, they never leave anything unpaid for ever."""
    deposits, hubs, wishes, limits = situation
    limits = SweepLimits(
        limits.max_withdrawals, limits.max_deposits, max(2, limits.max_hub_inputs)
    )
    ours = {own.address for own in deposits}
    wishes = [w for w in wishes if w.payout_address not in ours]
    for _ in range(60):
        choice = plan_sweep(
            deposits=deposits, hub_addresses=hubs, withdrawals=wishes, limits=limits
        )
        if choice is None:
            break
        deposits = [d for d in deposits if d not in choice.inputs]
        hubs = [h for h in hubs if h not in choice.inputs]
        wishes = [w for w in wishes if w not in choice.withdrawals]
        if choice.rest_i:
            hubs.append(own(choice.rest_i, AccountKind.OWNER))
            hubs.sort(key=lambda h: h.balance_i)
    else:
        raise AssertionError("sweeps without end")
    left_i = sum(h.balance_i for h in hubs)
    assert not deposits
    assert all(w.amount_i > left_i for w in wishes)


def chosen(
    deposits: Sequence[int], hubs: Sequence[int], wishes: Sequence[int]
) -> Choice | None:
    return plan_sweep(
        deposits=[own(i) for i in deposits],
        hub_addresses=hub_addresses(*hubs),
        withdrawals=[wish(i) for i in wishes],
        limits=LIMITS,
    )


def test_without_deposits_and_withdrawals_hub_addresses_stay() -> None:
    assert chosen([], [5, 6, 7], []) is None


def test_only_as_many_hub_addresses_as_needed_the_smallest_first() -> None:
    choice = chosen([], [1, 2, 30, 40], [3])
    assert choice is not None
    assert [own.balance_i for own in choice.inputs] == [1, 2]
    assert choice.rest_i == 0  # W19


def test_deposits_alone_may_pay() -> None:
    choice = chosen([10, 10], [99], [15])
    assert choice is not None
    assert ([o.balance_i for o in choice.inputs], choice.rest_i) == ([10, 10], 5)


def test_w18_a_withdrawal_that_can_not_be_paid_lets_younger_ones_pass() -> None:
    choice = chosen([10], [], [1_000, 4])
    assert choice is not None
    assert [w.amount_i for w in choice.withdrawals] == [4]


def test_w17_many_small_addresses_are_joined_before_a_large_withdrawal() -> None:
    choice = chosen([], [10] * 30, [250])
    assert choice is not None
    assert (len(choice.inputs), choice.withdrawals, choice.rest_i) == (10, (), 100)


def test_what_all_addresses_together_could_not_pay_joins_nothing() -> None:
    assert chosen([], [10] * 30, [301]) is None


# --- suspects -------------------------------------------------------------------------


def refused(inputs: Sequence[int], withdrawals: Sequence[int]) -> Sweep:
    plan = SweepPlan(
        bundle_hash=BundleHash(trytes()),
        essence="[]",
        inputs=tuple(SweepInput(address_id=AddressId(i), amount_i=1) for i in inputs),
        withdrawal_ids=tuple(WithdrawalId(i) for i in withdrawals),
        remainder_address_id=None,
        remainder_i=0,
    )
    return Sweep(
        sweep_id=SweepId(next(_ids)),
        plan=plan,
        state=SweepState.REFUSED,
        signed_trytes=(),
        planned_at_ms=0,
        signed_at_ms=None,
        confirmed_at_ms=None,
        refusal_code="policy-per-bundle",
    )


def test_every_part_of_a_refused_sweep_is_tried_alone() -> None:
    suspects = Suspects(wait_ms=1_000, clock=ManualClock())
    assert suspects.refused(refused([1, 2], [3])) is None
    for part in (
        address_part(AddressId(1)),
        address_part(AddressId(2)),
        withdrawal_part(WithdrawalId(3)),
    ):
        assert part in suspects
        assert suspects.may_be_tried(part)
    assert address_part(AddressId(3)) not in suspects


def test_a_part_refused_alone_is_guilty_and_waits() -> None:
    clock = ManualClock()
    suspects = Suspects(wait_ms=1_000, clock=clock)
    part = withdrawal_part(WithdrawalId(3))
    suspects.refused(refused([1, 2], [3]))
    assert suspects.refused(refused([7], [3])) == part  # 7 was never accused
    assert not suspects.may_be_tried(part)
    clock.advance(by_ms=1_000)
    assert suspects.may_be_tried(part)
    assert address_part(AddressId(7)) not in suspects


def test_a_part_that_was_signed_is_trusted_again() -> None:
    suspects = Suspects(wait_ms=1_000, clock=ManualClock())
    suspects.refused(refused([1, 2], []))
    suspects.cleared([address_part(AddressId(1))])
    assert address_part(AddressId(1)) not in suspects
    assert address_part(AddressId(2)) in suspects
    assert not suspects.may_be_tried(address_part(AddressId(1)))
