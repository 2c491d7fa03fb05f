# SPDX-License-Identifier: Apache-2.0
"""What must not be in an old database before it is brought over; pure.

The old schema let an address stand twice, a balance fall below zero (W21) and rows
point nowhere. None of that is mended here in silence: it is told, and a person
decides in the old database.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from hub.errors import WithdrawalUnknownError
from hub.legacy_import.rows import OldBooks
from hub.legacy_import.spent import transactions_of
from hub.model import MAX_SUPPLY_I
from hub.withdrawals import parse_uuid
from trinary.bundle import bundle_hash
from trinary.trytes import is_trytes

_BASE64: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)
_UUID_CHARACTERS: Final = 64
_RESERVED: Final = "saltkeep:"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands in the way.

    Attributes:
        code: What, as a stable word.
        subject: Where: an identifier, an address, a row.
    """

    code: str
    subject: str


def find_faults(books: OldBooks) -> list[Finding]:
    """Look for everything that can not be brought over.

    Args:
        books: The old database.

    Returns:
        What stands in the way; nothing if it may be imported.
    """
    return [finding for check in _CHECKS for finding in check(books)]


def shortfall_i(books: OldBooks) -> int:
    """Say by how much the old Hub owed more than its addresses held.

    Args:
        books: The old database.

    Returns:
        Iota; negative if it held more than it owed.
    """
    held_i = sum(one.balance_i for one in books.addresses)
    unswept_i = sum(a.balance_i for a in books.addresses if a.user is not None)
    waiting_i = sum(one.amount_i for one in books.waiting)
    owed_i = sum(user.balance_i for user in books.users) + unswept_i + waiting_i
    return owed_i - held_i


def _totals(books: OldBooks) -> Iterator[Finding]:
    missing_i = shortfall_i(books)
    if missing_i > 0:
        yield Finding("owes-more-than-it-holds", f"{missing_i} i")


def _orphans(books: OldBooks) -> Iterator[Finding]:
    users = {user.row for user in books.users}
    sweeps = {sweep.row for sweep in books.sweeps}
    payouts = {one.row for one in books.withdrawals}
    addresses = {one.key for one in books.addresses}
    hubs = {row for is_hub, row in addresses if is_hub}
    pointers: list[tuple[str, Iterable[object], set[Any]]] = [
        ("address", (a.user for a in books.addresses), users),
        ("withdrawal", (w.user for w in books.withdrawals), users),
        ("withdrawal-sweep", (w.sweep for w in books.withdrawals), sweeps),
        ("entry", (e.user for e in books.account_entries), users),
        ("entry-sweep", (e.sweep for e in books.account_entries), sweeps),
        (
            "entry-withdrawal",
            (e.withdrawal for e in books.account_entries),
            payouts,
        ),
        ("address-entry", (e.address for e in books.address_entries), addresses),
        ("address-entry-sweep", (e.sweep for e in books.address_entries), sweeps),
        ("tail", (t.sweep for t in books.tails), sweeps),
        ("sweep-remainder", (s.into_hub_address for s in books.sweeps), hubs),
    ]
    for name, pointed, known in pointers:
        for row in {one for one in pointed if one is not None} - known:
            yield Finding(f"orphan-{name}", f"no row {row}")


def _duplicates(books: OldBooks) -> Iterator[Finding]:
    counted = {
        "duplicate-address": Counter(one.address for one in books.addresses),
        "duplicate-seed-uuid": Counter(one.seed_uuid for one in books.addresses),
        "duplicate-withdrawal": Counter(one.uuid.lower() for one in books.withdrawals),
    }
    for code, counter in counted.items():
        for subject, count in counter.items():
            if count > 1:
                yield Finding(code, f"{subject} stands {count} times")


def _balances(books: OldBooks) -> Iterator[Finding]:
    accounts: defaultdict[int, int] = defaultdict(int)
    for entry in books.account_entries:
        accounts[entry.user] += entry.amount_i
    addresses: defaultdict[tuple[bool, int], int] = defaultdict(int)
    for change in books.address_entries:
        addresses[change.address] += change.amount_i
    stated = [(u.identifier, u.balance_i, accounts[u.row]) for u in books.users]
    stated += [(a.address, a.balance_i, addresses[a.key]) for a in books.addresses]
    for subject, balance_i, entries_i in stated:
        if balance_i < 0:
            yield Finding("negative-balance", f"{subject}: {balance_i} i")
        elif balance_i > MAX_SUPPLY_I:
            yield Finding("impossible-balance", f"{subject}: {balance_i} i")
        if balance_i != entries_i:
            yield Finding(
                "balance-unexplained",
                f"{subject}: {balance_i} i, its entries say {entries_i} i",
            )


def _identifiers(books: OldBooks) -> Iterator[Finding]:
    for user in books.users:
        if not user.identifier or user.identifier.startswith(_RESERVED):
            yield Finding("identifier", repr(user.identifier))
    for withdrawal in books.withdrawals:
        if not _is_payable(withdrawal.uuid, withdrawal.tag):
            yield Finding("withdrawal-malformed", withdrawal.uuid)


def _addresses(books: OldBooks) -> Iterator[Finding]:
    for one in books.addresses:
        if not is_trytes(one.address, length=81):
            yield Finding("address-malformed", one.address)
        if len(one.seed_uuid) != _UUID_CHARACTERS or not {*one.seed_uuid} <= _BASE64:
            yield Finding("seed-uuid-malformed", one.address)
        if one.in_cold_storage and one.balance_i:
            yield Finding("cold-storage", f"{one.address}: {one.balance_i} i")


def _is_payable(uuid: str, tag: str) -> bool:
    try:
        parse_uuid(uuid)
    except WithdrawalUnknownError:
        return False
    return not tag or is_trytes(tag.ljust(27, "9"), length=27)


def _sweeps(books: OldBooks) -> Iterator[Finding]:
    """A sweep that is not confirmed will be attached again: it must be whole."""
    for sweep in books.sweeps:
        parts = [part.essence for _, part in transactions_of(sweep)]
        whole = bool(parts) and bundle_hash(parts) == sweep.bundle_hash
        if not sweep.confirmed and not whole:
            yield Finding("sweep-malformed", sweep.bundle_hash)


_CHECKS: Final[tuple[Callable[[OldBooks], Iterator[Finding]], ...]] = (
    _orphans,
    _duplicates,
    _balances,
    _identifiers,
    _addresses,
    _sweeps,
    _totals,
)
