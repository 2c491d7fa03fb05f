# SPDX-License-Identifier: Apache-2.0
"""What a sweep chooses, for any books; and what a refusal makes of its parts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from hub.config import MIN_SWEEP_TRANSACTIONS
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
from hub.sweep_plan import Choice, SweepLimits, plan_sweep, within_window
from tests.hub.bookkeeping import ManualClock, issued, trytes

_ids = itertools.count(1)


def own(
    balance_i: int,
    kind: AccountKind = AccountKind.USER,
    *,
    generation: int = 1,
    level: int = 2,
) -> OwnAddress:
    return OwnAddress(
        address_id=AddressId(next(_ids)),
        account_id=AccountId(1),
        kind=kind,
        issued=replace(issued(), generation=generation, security_level=level),
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


LIMITS = SweepLimits(
    max_transactions=60,
    kept_hub_addresses=50,
    max_withdrawals=7,
    max_deposits=5,
    max_hub_inputs=10,
)
amounts = st.integers(min_value=1, max_value=1_000)
ceilings = st.none() | st.integers(min_value=2, max_value=6)
limits_of_all_sizes = st.builds(
    SweepLimits,
    max_transactions=st.integers(min_value=MIN_SWEEP_TRANSACTIONS, max_value=30),
    kept_hub_addresses=st.integers(min_value=1, max_value=6),
    max_withdrawals=ceilings,
    max_deposits=ceilings,
    max_hub_inputs=ceilings,
)


@dataclass(frozen=True)
class Situation:
    deposits: list[OwnAddress]
    hubs: list[OwnAddress]
    wishes: list[Withdrawal]
    limits: SweepLimits

    def choose(self) -> Choice | None:
        return plan_sweep(
            deposits=self.deposits,
            hub_addresses=self.hubs,
            withdrawals=self.wishes,
            limits=self.limits,
            generation=2,
        )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    level = st.integers(min_value=1, max_value=3)
    generation = st.integers(min_value=1, max_value=2)
    some = st.lists(st.tuples(amounts, generation, level), max_size=14)
    deposits = [own(i, generation=g, level=n) for i, g, n in draw(some)]
    hubs = [own(i, AccountKind.OWNER, generation=g, level=n) for i, g, n in draw(some)]
    hubs.sort(key=lambda hub: hub.balance_i)
    wishes = [wish(i) for i in draw(st.lists(amounts, max_size=20))]
    if deposits and wishes and draw(st.booleans()):
        wishes.append(wish(draw(amounts), to=draw(st.sampled_from(deposits)).address))
    return Situation(deposits, hubs, wishes, draw(limits_of_all_sizes))


def transactions_of(choice: Choice) -> int:
    inputs = sum(own.issued.security_level for own in choice.inputs)
    return inputs + len(choice.withdrawals) + (1 if choice.rest_i else 0)


def is_within(number: int, most: int | None) -> bool:
    return most is None or number <= most


@given(situations())
def test_a_choice_balances_keeps_its_limits_and_leaves_receivers_alone(
    situation: Situation,
) -> None:
    choice, limits = situation.choose(), situation.limits
    if choice is None:
        return
    taken_i = sum(own.balance_i for own in choice.inputs)
    paid_i = sum(w.amount_i for w in choice.withdrawals)
    assert taken_i == paid_i + choice.rest_i
    assert choice.rest_i >= 0
    assert choice.inputs
    assert len(set(choice.inputs)) == len(choice.inputs)
    assert transactions_of(choice) <= limits.max_transactions
    assert is_within(len(choice.withdrawals), limits.max_withdrawals)
    by_kind = [own.kind for own in choice.inputs]
    assert is_within(by_kind.count(AccountKind.USER), limits.max_deposits)
    assert is_within(by_kind.count(AccountKind.OWNER), limits.max_hub_inputs)
    receiving = {w.payout_address for w in situation.wishes}
    assert not receiving & {own.address for own in choice.inputs}
    order = [situation.wishes.index(w) for w in choice.withdrawals]
    assert order == sorted(order)  # the oldest first
    free = [d for d in situation.deposits if d.address not in receiving]
    users = [own for own in choice.inputs if own.kind is AccountKind.USER]
    assert users == free[: len(users)]


@given(situations())
def test_planning_and_confirming_again_and_again_pays_whatever_can_be_paid(
    situation: Situation,
) -> None:
    """W17, W18: limits delay, they never leave anything unpaid for ever."""
    ours = {own.address for own in situation.deposits}
    wishes = [w for w in situation.wishes if w.payout_address not in ours]
    situation = replace(situation, wishes=wishes)
    for _ in range(100):
        choice = situation.choose()
        if choice is None:
            break
        hubs = [h for h in situation.hubs if h not in choice.inputs]
        if choice.rest_i:
            hubs.append(own(choice.rest_i, AccountKind.OWNER, generation=2))
            hubs.sort(key=lambda h: h.balance_i)
        situation = replace(
            situation,
            deposits=[d for d in situation.deposits if d not in choice.inputs],
            hubs=hubs,
            wishes=[w for w in situation.wishes if w not in choice.withdrawals],
        )
    else:
        raise AssertionError("sweeps without end")
    left_i = sum(h.balance_i for h in situation.hubs)
    assert not situation.deposits
    assert all(w.amount_i > left_i for w in situation.wishes)
    assert all(hub.issued.generation == 2 for hub in situation.hubs)
    kept = situation.limits.kept_hub_addresses
    assert len(situation.hubs) <= 2 * kept + (1 if kept == 1 else 0)


def test_a_bundle_is_filled_and_not_a_transaction_more() -> None:
    limits = SweepLimits(max_transactions=40, kept_hub_addresses=8)
    choice = plan_sweep(
        deposits=[own(10) for _ in range(100)],
        hub_addresses=[],
        withdrawals=[wish(1) for _ in range(100)],
        limits=limits,
        generation=1,
    )
    assert choice is not None
    assert (len(choice.inputs), len(choice.withdrawals)) == (9, 21)
    assert transactions_of(choice) == 40


def test_older_generations_are_drained_though_nobody_withdraws() -> None:
    old = own(5, AccountKind.OWNER, generation=1)
    new = own(5, AccountKind.OWNER, generation=2)
    situation = Situation([], [old, new], [], LIMITS)
    choice = situation.choose()
    assert choice is not None
    assert (choice.inputs, choice.rest_i) == ((old,), 5)


def test_dust_is_joined_when_a_sweep_has_room_for_it() -> None:
    limits = SweepLimits(max_transactions=40, kept_hub_addresses=3)
    hubs = hub_addresses(1, 2, 3, 4, 5)
    deposit = own(7)
    choice = plan_sweep(
        deposits=[deposit],
        hub_addresses=hubs,
        withdrawals=[],
        limits=limits,
        generation=1,
    )
    assert choice is not None
    assert choice.inputs == (deposit, hubs[0], hubs[1])


def test_dust_alone_makes_a_sweep_only_when_there_is_much_of_it() -> None:
    limits = SweepLimits(max_transactions=40, kept_hub_addresses=3)

    def joined(number: int) -> Choice | None:
        return plan_sweep(
            deposits=[],
            hub_addresses=hub_addresses(*range(1, number + 1)),
            withdrawals=[],
            limits=limits,
            generation=1,
        )

    assert joined(6) is None
    choice = joined(7)
    assert choice is not None
    assert [own.balance_i for own in choice.inputs] == [1, 2, 3, 4]


def test_a_large_withdrawal_gets_room_though_small_ones_never_end() -> None:
    """W18 the other way round: the small ones must not starve the large one."""
    limits = SweepLimits(max_transactions=12, kept_hub_addresses=8)
    hubs = hub_addresses(*[10] * 9)
    large = wish(85)
    for _ in range(20):
        choice = plan_sweep(
            deposits=[own(10), own(10)],
            hub_addresses=hubs,
            withdrawals=[large, *(wish(1) for _ in range(30))],
            limits=limits,
            generation=1,
        )
        assert choice is not None
        if large in choice.withdrawals:
            return
        hubs = [h for h in hubs if h not in choice.inputs]
        hubs.append(own(choice.rest_i, AccountKind.OWNER))
        hubs.sort(key=lambda h: h.balance_i)
    raise AssertionError("the large one was never paid")


def chosen(
    deposits: Sequence[int], hubs: Sequence[int], wishes: Sequence[int]
) -> Choice | None:
    return plan_sweep(
        deposits=[own(i) for i in deposits],
        hub_addresses=hub_addresses(*hubs),
        withdrawals=[wish(i) for i in wishes],
        limits=LIMITS,
        generation=1,
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


# --- the limit on all withdrawals together --------------------------------------------

OWNER = AccountId(99)


def passed(amounts_i: Sequence[int], *, total_i: int, paid_i: int = 0) -> list[int]:
    kept = within_window(
        [wish(i) for i in amounts_i],
        total_i=total_i,
        left_i=total_i - paid_i,
        exempt=OWNER,
    )
    return [withdrawal.amount_i for withdrawal in kept]


def test_the_window_is_filled_by_the_oldest() -> None:
    assert passed([40, 40, 40], total_i=100) == [40, 40]
    assert passed([40, 40, 40], total_i=100, paid_i=30) == [40]
    assert passed([40], total_i=100, paid_i=130) == []


def test_small_ones_do_not_keep_a_large_one_out_for_ever() -> None:
    assert passed([90, 1, 1], total_i=100, paid_i=20) == []


def test_one_beyond_the_whole_limit_holds_nobody_up() -> None:
    assert passed([101, 40], total_i=100) == [40]


def test_the_owner_s_moves_do_not_count() -> None:
    move = replace(wish(500), account_id=OWNER)
    kept = within_window([move, wish(100)], total_i=100, left_i=100, exempt=OWNER)
    assert [withdrawal.amount_i for withdrawal in kept] == [500, 100]
