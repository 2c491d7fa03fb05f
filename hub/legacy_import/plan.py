# SPDX-License-Identifier: Apache-2.0
"""What becomes of an old Hub's rows here; pure.

An account keeps what it may spend. What lies on its unswept addresses stays unswept;
what came late to a spent one is quarantined. What hub addresses hold is the owner's,
who owes the accounts.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hub.legacy_import.rows import (
    CAME,
    AddressKey,
    OldAddress,
    OldAddressEntry,
    OldBooks,
    OldSweep,
    OldWithdrawal,
)
from hub.legacy_import.spent import transactions_of
from hub.legacy_import.values import (
    NewAccount,
    NewAddress,
    NewDeposit,
    NewSweep,
    NewWithdrawal,
    OldEvent,
    Plan,
)
from hub.model import (
    OWNER_IDENTIFIER,
    AddressState,
    EventReason,
    SweepState,
    WithdrawalState,
)
from hub.tangle import read_draft
from hub.withdrawals import parse_tag, parse_uuid

_ACCOUNT_REASONS: Final = (
    EventReason.DEPOSIT,
    EventReason.BUY,
    EventReason.WITHDRAWAL_CANCELED,
    EventReason.WITHDRAWAL,
    EventReason.SELL,
)
"""By the number that the old table keeps."""
_USER_REASONS: Final = (EventReason.UA_DEPOSIT, EventReason.UA_SWEEP)
_HUB_REASONS: Final = (EventReason.INBOUND, EventReason.OUTBOUND)


def make_plan(books: OldBooks, spent: Collection[str]) -> Plan:
    """Say what becomes of an old database.

    Args:
        books: The old database, without a fault.
        spent: Seed UUIDs whose keys may have signed.

    Returns:
        What to write.
    """
    return _Planner(books, spent).plan()


@dataclass(slots=True)
class _Planner:
    # The rows by what points at them.

    books: OldBooks
    spent: Collection[str]
    users: Mapping[int, str] = field(init=False)
    names: Mapping[int, str] = field(init=False)
    entries: Mapping[AddressKey, list[OldAddressEntry]] = field(init=False)
    of_sweep: Mapping[int, list[OldAddressEntry]] = field(init=False)
    addresses: Mapping[AddressKey, str] = field(init=False)

    def __post_init__(self) -> None:
        self.users = {one.row: one.identifier for one in self.books.users}
        self.names = {one.row: one.bundle_hash for one in self.books.sweeps}
        self.addresses = {one.key: one.address for one in self.books.addresses}
        entries, of_sweep = defaultdict(list), defaultdict(list)
        for entry in self.books.address_entries:
            entries[entry.address].append(entry)
            if entry.sweep is not None:
                of_sweep[entry.sweep].append(entry)
        self.entries, self.of_sweep = entries, of_sweep

    def plan(self) -> Plan:
        return Plan(
            tuple(self._accounts()),
            tuple(self._address(one) for one in self.books.addresses),
            tuple(self._sweeps()),
            tuple(self._withdrawal(one) for one in self.books.withdrawals),
        )

    def _accounts(self) -> Iterator[NewAccount]:
        uuids = {one.row: parse_uuid(one.uuid) for one in self.books.withdrawals}
        events: defaultdict[int, list[OldEvent]] = defaultdict(list)
        for entry in self.books.account_entries:
            told = OldEvent(
                reason=_ACCOUNT_REASONS[entry.reason],
                amount_i=entry.amount_i,
                at_ms=entry.at_ms,
                bundle_hash=self._name(entry.sweep),
                withdrawal_uuid=(
                    "" if entry.withdrawal is None else uuids[entry.withdrawal]
                ),
            )
            events[entry.user].append(told)
        pending: defaultdict[int, int] = defaultdict(int)
        for waiting in self.books.waiting:
            pending[waiting.user] += waiting.amount_i
        for user in self.books.users:
            yield NewAccount(
                user.identifier,
                user.balance_i,
                pending[user.row],
                tuple(events[user.row]),
            )

    def _address(self, old: OldAddress) -> NewAddress:
        spent = old.seed_uuid in self.spent
        entries = self.entries.get(old.key, [])
        reasons = _HUB_REASONS if old.user is None else _USER_REASONS
        events = tuple(
            OldEvent(
                reason=reasons[entry.reason],
                amount_i=entry.amount_i,
                at_ms=entry.at_ms,
                bundle_hash=self._name(entry.sweep),
                tail_hash=entry.tail_hash,
                message=entry.message,
            )
            for entry in entries
        )
        return NewAddress(
            old.address,
            old.seed_uuid,
            OWNER_IDENTIFIER if old.user is None else self.users[old.user],
            AddressState.SPENT if spent else AddressState.OPEN,
            old.balance_i,
            old.created_at_ms,
            () if old.user is None else _unswept(entries, old.balance_i),
            events,
        )

    def _sweeps(self) -> Iterator[NewSweep]:
        tails = defaultdict(list)
        for tail in self.books.tails:
            tails[tail.sweep].append((tail.hash, tail.confirmed, tail.created_at_ms))
        taken: set[str] = set()
        for sweep in self.books.sweeps:
            inputs = self._inputs(sweep, taken)
            taken |= {address for address, _ in inputs}
            yield self._sweep(sweep, tuple(tails[sweep.row]), inputs)

    def _sweep(
        self,
        sweep: OldSweep,
        tails: tuple[tuple[str, bool, int], ...],
        inputs: tuple[tuple[str, int], ...],
    ) -> NewSweep:
        trytes = tuple(text for text, _ in transactions_of(sweep))
        state = SweepState.ATTACHED if tails else SweepState.SIGNED
        rest_i = sum(
            entry.amount_i
            for entry in self.of_sweep.get(sweep.row, [])
            if entry.address == (True, sweep.into_hub_address) and entry.reason == CAME
        )
        into = self.addresses[True, sweep.into_hub_address]
        times = [entry.at_ms for entry in self.of_sweep.get(sweep.row, [])]
        return NewSweep(
            sweep.bundle_hash,
            read_draft(trytes).to_text() if trytes else "[]",
            trytes,
            SweepState.CONFIRMED if sweep.confirmed else state,
            (into, rest_i) if rest_i else None,
            inputs,
            min(times, default=sweep.created_at_ms),
            tails,
        )

    def _inputs(
        self, sweep: OldSweep, taken: Collection[str]
    ) -> tuple[tuple[str, int], ...]:
        """List what a sweep took; an address that signed before is told once only."""
        found: dict[str, int] = {}
        for entry in self.of_sweep.get(sweep.row, []):
            address = self.addresses[entry.address]
            if entry.amount_i < 0 and address not in taken:
                found[address] = found.get(address, 0) - entry.amount_i
        return tuple(found.items())

    def _withdrawal(self, old: OldWithdrawal) -> NewWithdrawal:
        state = WithdrawalState.REQUESTED
        if old.cancelled_at_ms is not None:
            state = WithdrawalState.CANCELLED
        elif old.sweep is not None:
            state = WithdrawalState.PAID
        paid = state is WithdrawalState.PAID
        return NewWithdrawal(
            parse_uuid(old.uuid),
            self.users[old.user],
            old.amount_i,
            old.payout_address,
            parse_tag(old.tag),
            state,
            self._name(old.sweep) if paid else "",
            old.requested_at_ms,
            old.cancelled_at_ms,
        )

    def _name(self, sweep: int | None) -> str:
        return "" if sweep is None else self.names[sweep]


def _unswept(
    entries: Collection[OldAddressEntry], balance_i: int
) -> tuple[NewDeposit, ...]:
    """Return the deposits that make up a balance: the youngest ones."""
    left_i = balance_i
    found: list[NewDeposit] = []
    came = [entry for entry in entries if entry.reason == CAME]
    for entry in sorted(came, key=lambda one: one.at_ms, reverse=True):
        amount_i = min(entry.amount_i, left_i)
        if amount_i <= 0:
            break
        found.append(NewDeposit(entry.tail_hash, amount_i, entry.message, entry.at_ms))
        left_i -= amount_i
    return tuple(reversed(found))
