# SPDX-License-Identifier: Apache-2.0
"""The books balance and never go below zero, whatever happens in whatever order."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hub import ledger
from hub.errors import (
    BatchInvalidError,
    BatchUnbalancedError,
    InsufficientBalanceError,
    LedgerImbalanceError,
)
from hub.ledger import BalanceKey, Book, Leg, Posting, PostingKind
from hub.model import (
    MAX_SUPPLY_I,
    TRANSITIONS,
    AccountId,
    AddressId,
    AddressState,
    CreditPolicy,
    DepositState,
    SweepState,
    WithdrawalState,
    sources_of,
)

amounts_i = st.integers(1, 1000)
ACCOUNTS = [AccountId(number) for number in range(1, 5)]


def test_a_posting_whose_sides_differ_can_not_exist() -> None:
    legs = (Leg(BalanceKey(Book.ADDRESS.value, 1), 5),)
    with pytest.raises(LedgerImbalanceError, match="assets 5 i, liabilities 0 i"):
        Posting(PostingKind.DEPOSIT, legs)


@pytest.mark.parametrize("amount_i", [0, -1, MAX_SUPPLY_I + 1])
def test_an_amount_that_can_not_exist_is_not_booked(amount_i: int) -> None:
    with pytest.raises(LedgerImbalanceError):
        ledger.deposit_seen(
            AddressId(1), AccountId(1), amount_i=amount_i, credit=CreditPolicy.SWEEP
        )
    with pytest.raises(LedgerImbalanceError):
        ledger.withdrawal_requested(AccountId(1), amount_i=amount_i)


def test_a_sweep_that_loses_an_iota_can_not_be_booked() -> None:
    with pytest.raises(LedgerImbalanceError):
        ledger.sweep_signed(
            inputs=[(AddressId(1), 100)],
            remainder=(AddressId(2), 59),
            payouts=[(AccountId(1), 40)],
            credits_i={},
        )


def test_a_batch_is_refused_for_a_zero_before_its_sum() -> None:
    with pytest.raises(BatchInvalidError):
        ledger.transfer_batch({AccountId(1): 0, AccountId(2): 7})
    with pytest.raises(BatchUnbalancedError):
        ledger.transfer_batch({AccountId(1): -6, AccountId(2): 7})


@given(st.permutations(ACCOUNTS))
def test_legs_stand_in_one_order_whatever_the_order_of_the_request(
    accounts: list[AccountId],
) -> None:
    net_i = {account: (3 if account % 2 else -3) for account in accounts}
    posting = ledger.transfer_batch(net_i)
    assert posting == ledger.transfer_batch(dict(sorted(net_i.items())))


def test_every_state_has_its_row_and_stays_in_its_own_machine() -> None:
    machines = (AddressState, DepositState, SweepState, WithdrawalState)
    assert set(TRANSITIONS) == {state for machine in machines for state in machine}
    for state, targets in TRANSITIONS.items():
        assert {type(target) for target in targets} <= {type(state)}
        assert state not in targets
    assert sources_of(AddressState.SPENT) == {AddressState.RESERVED}
    assert all(s.__doc__ for s in machines)


class Bookkeeping(RuleBasedStateMachine):
    """Random histories of a hub, booked by the ledger's own functions."""

    @initialize()
    def open(self) -> None:
        self.balances_i: Counter[BalanceKey] = Counter()
        self.moved_in_i = 0
        self.paid_out_i = 0
        self.addresses: dict[AddressId, AccountId] = {}
        self.last_address = 0
        self.uncredited_i: Counter[AddressId] = Counter()
        self.requested: list[tuple[AccountId, int]] = []

    def new_address(self) -> AddressId:
        self.last_address += 1
        return AddressId(self.last_address)

    def book(self, posting: Posting) -> bool:
        before = dict(self.balances_i)
        try:
            self.balances_i = ledger.apply(posting, self.balances_i)
        except InsufficientBalanceError:
            assert dict(self.balances_i) == before
            return False
        return True

    @rule(
        account=st.sampled_from(ACCOUNTS),
        amount_i=amounts_i,
        credit=st.sampled_from(CreditPolicy),
        reuse=st.booleans(),
    )
    def deposit(
        self, account: AccountId, amount_i: int, credit: CreditPolicy, *, reuse: bool
    ) -> None:
        known = [a for a, owner in self.addresses.items() if owner == account]
        address = known[0] if reuse and known else self.new_address()
        self.addresses[address] = account
        posting = ledger.deposit_seen(
            address, account, amount_i=amount_i, credit=credit
        )
        assert self.book(posting)
        self.moved_in_i += amount_i
        if credit is CreditPolicy.SWEEP:
            self.uncredited_i[address] += amount_i

    @rule(account=st.sampled_from(ACCOUNTS), amount_i=amounts_i)
    def quarantine(self, account: AccountId, amount_i: int) -> None:
        address = self.new_address()
        posting = ledger.deposit_quarantined(address, account, amount_i=amount_i)
        assert self.book(posting)
        self.moved_in_i += amount_i

    @rule(account=st.sampled_from(ACCOUNTS), amount_i=amounts_i)
    def release(self, account: AccountId, amount_i: int) -> None:
        held_i = self.balances_i[ledger.quarantined(account)]
        posting = ledger.quarantine_released(account, amount_i=amount_i)
        assert self.book(posting) is (held_i >= amount_i)

    @rule(account=st.sampled_from(ACCOUNTS), amount_i=amounts_i)
    def request(self, account: AccountId, amount_i: int) -> None:
        free_i = self.balances_i[ledger.available(account)]
        posting = ledger.withdrawal_requested(account, amount_i=amount_i)
        assert self.book(posting) is (free_i >= amount_i)
        if free_i >= amount_i:
            self.requested.append((account, amount_i))

    @precondition(lambda self: self.requested)
    @rule()
    def cancel(self) -> None:
        account, amount_i = self.requested.pop()
        assert self.book(ledger.withdrawal_cancelled(account, amount_i=amount_i))

    @rule(
        giver=st.sampled_from(ACCOUNTS),
        taker=st.sampled_from(ACCOUNTS),
        amount_i=amounts_i,
    )
    def transfer(self, giver: AccountId, taker: AccountId, amount_i: int) -> None:
        if giver == taker:
            return
        free_i = self.balances_i[ledger.available(giver)]
        posting = ledger.transfer_batch({giver: -amount_i, taker: amount_i})
        assert self.book(posting) is (free_i >= amount_i)

    @precondition(lambda self: self.addresses)
    @rule(number=st.integers(1, 4))
    def sweep(self, number: int) -> None:
        inputs = [
            (address, self.balances_i[ledger.address(address)])
            for address in list(self.addresses)[:number]
        ]
        total_i = sum(amount_i for _, amount_i in inputs)
        payouts = []
        for account, amount_i in list(self.requested):
            if amount_i + sum(p[1] for p in payouts) <= total_i:
                payouts.append((account, amount_i))
                self.requested.remove((account, amount_i))
        rest_i = total_i - sum(amount_i for _, amount_i in payouts)
        credits_i: Counter[AccountId] = Counter()
        for address, _ in inputs:
            credits_i[self.addresses.pop(address)] += self.uncredited_i.pop(address, 0)
        rest = self.new_address()
        posting = ledger.sweep_signed(
            inputs=inputs,
            remainder=(rest, rest_i) if rest_i else None,
            payouts=payouts,
            credits_i=credits_i,
        )
        assert self.book(posting)
        self.paid_out_i += total_i - rest_i

    @invariant()
    def both_sides_are_equal(self) -> None:
        assets_i, liabilities_i = ledger.totals_i(self.balances_i)
        assert assets_i == liabilities_i == self.moved_in_i - self.paid_out_i

    @invariant()
    def nothing_is_below_zero(self) -> None:
        assert all(value >= 0 for value in self.balances_i.values())

    @invariant()
    def pending_is_what_was_requested(self) -> None:
        for account in ACCOUNTS:
            waiting_i = sum(a for who, a in self.requested if who == account)
            assert self.balances_i[ledger.pending(account)] == waiting_i


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
