# SPDX-License-Identifier: Apache-2.0
"""Transfer batches: many transfers between accounts, all of them or none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from failpoints import failpoint
from hub import ledger
from hub.errors import (
    BatchInconsistentError,
    InsufficientBalanceError,
    UserUnknownError,
)
from hub.model import AccountId, EventReason, UserId
from hub.store import Store, Transaction
from hub.store.events import NewEvent


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one account gains or loses.

    Attributes:
        user_id: The account's identifier; owner and fee account included.
        amount_i: Iota; positive is a gain.
    """

    user_id: UserId
    amount_i: int


async def process_batch(store: Store, transfers: Sequence[Transfer]) -> None:
    """Move tokens between accounts.

    Checked in the legacy order: every account exists, no account's net is zero,
    all nets add up to zero, no account is overdrawn. The last is decided by the
    statement that moves the tokens, never by an earlier look.

    Args:
        store: The database.
        transfers: Netted per account before any check; empty does nothing.
    """
    if transfers:
        await store.run(lambda tx: book_batch(tx, transfers))
        failpoint("hub.transfer.done")


async def book_batch(tx: Transaction, transfers: Sequence[Transfer]) -> None:
    """Move tokens between accounts in a transaction that may hold more.

    Args:
        tx: The transaction.
        transfers: As in ``process_batch``.
    """
    net_i: Counter[UserId] = Counter()
    for transfer in transfers:
        net_i[transfer.user_id] += transfer.amount_i
    if net_i:
        await _book(tx, net_i)


async def _book(tx: Transaction, net_i: Mapping[UserId, int]) -> None:
    ids = await tx.accounts.ids_of(net_i.keys())
    if len(ids) < len(net_i):
        message = "an account of the batch does not exist"
        raise UserUnknownError(message)
    by_account = {ids[user_id]: amount_i for user_id, amount_i in net_i.items()}
    posting = ledger.transfer_batch(by_account)
    events = [_event(*change) for change in sorted(by_account.items())]
    try:
        await tx.books.post(posting, reference=f"{len(net_i)} accounts", events=events)
    except InsufficientBalanceError as error:
        message = "the batch would overdraw an account"
        raise BatchInconsistentError(message) from error
    failpoint("hub.transfer.before-commit")


def _event(account_id: AccountId, amount_i: int) -> NewEvent:
    reason = EventReason.BUY if amount_i > 0 else EventReason.SELL
    return NewEvent(reason=reason, account_id=account_id, amount_i=amount_i)
