# SPDX-License-Identifier: Apache-2.0
"""The legacy commands that tell what happened.

Time stamps are milliseconds; ``newerThan`` is inclusive, so that a poller that
sends the last one it saw gets that event once more, as ever. Lists are numbered
keys, ``event_0`` on, or a key that repeats.
Source: Hub 1.4.4, hub/commands.
"""

from collections.abc import Iterable
from typing import Final

from hub.api.legacy_errors import CommandRefusedError, LegacyError
from hub.api.legacy_fields import Fields
from hub.api.legacy_lines import BalanceLines, SweepLines, sweep_line
from hub.api.legacy_money import boolean
from hub.api.ptree import Branch
from hub.errors import SweepUnknownError, WithdrawalUnknownError
from hub.model import (
    BundleHash,
    Event,
    EventReason,
    Sweep,
    SweepState,
    UserId,
)
from hub.store import Store
from hub.withdrawals import parse_uuid
from trinary.trytes import is_trytes

ACCOUNT_REASONS: Final = (
    EventReason.DEPOSIT,
    EventReason.BUY,
    EventReason.WITHDRAWAL,
    EventReason.WITHDRAWAL_CANCELED,
    EventReason.SELL,
)


class HistoryCommands:
    """Commands that read the event history and the sweeps.

    Args:
        store: The database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_user_history(self, fields: Fields) -> Branch:
        """Answer ``GetUserHistory``.

        Args:
            fields: userId, newerThan.

        Returns:
            One numbered event per change of the account, the oldest first.
        """
        user_id = UserId(fields.text("userId"))
        newer_than_ms = fields.time_ms("newerThan")
        async with self._store.reading() as tx:
            account = await tx.accounts.by_identifier(user_id)
            events = await tx.events.since(
                newer_than_ms, ACCOUNT_REASONS, account_id=account.account_id
            )
        return _numbered(_history_line(event) for event in events)

    async def balance_subscription(self, fields: Fields) -> Branch:
        """Answer ``BalanceSubscription``: a dump, whatever its name says.

        Args:
            fields: newerThan.

        Returns:
            Changes of user accounts, then of user addresses, then of hub
            addresses, each the oldest first.
        """
        return _numbered(await self.balances_since(fields).fresh())

    async def sweep_subscription(self, fields: Fields) -> Branch:
        """Answer ``SweepSubscription``.

        Args:
            fields: newerThan.

        Returns:
            One numbered event per signed sweep, the oldest first.
        """
        return _numbered(await self.sweeps_since(fields).fresh())

    def balances_since(self, fields: Fields) -> BalanceLines:
        """Begin to follow balances.

        Args:
            fields: newerThan.

        Returns:
            A reader at its beginning.
        """
        return BalanceLines(self._store, fields.time_ms("newerThan"))

    def sweeps_since(self, fields: Fields) -> SweepLines:
        """Begin to follow sweeps.

        Args:
            fields: newerThan.

        Returns:
            A reader at its beginning.
        """
        return SweepLines(self._store, fields.time_ms("newerThan"))

    async def sweep_info(self, fields: Fields) -> Branch:
        """Answer ``SweepInfo``.

        Args:
            fields: requestByUuid, and withdrawalUuid or bundleHash.

        Returns:
            bundleHash, timestamp and withdrawalUuid repeated.
        """
        fields.text("requestByUuid")
        if fields.flag("requestByUuid"):
            sweep = await self._sweep_paying(fields.text("withdrawalUuid"))
        else:
            sweep = await self._sweep_with(fields.text("bundleHash"))
        async with self._store.reading() as tx:
            paid = await tx.withdrawals.of_sweeps([sweep.sweep_id])
        return sweep_line(sweep, paid)

    async def sweep_detail(self, fields: Fields) -> Branch:
        """Answer ``SweepDetail``.

        Args:
            fields: bundleHash.

        Returns:
            confirmed, trytes repeated, tailHash repeated, the newest first.
        """
        sweep = await self._sweep_with(fields.text("bundleHash"))
        async with self._store.reading() as tx:
            tails = await tx.tails.of_sweep(sweep.sweep_id)
        confirmed = boolean(sweep.state is SweepState.CONFIRMED)
        reply: Branch = [("confirmed", confirmed)]
        reply += [("trytes", trytes) for trytes in sweep.signed_trytes]
        reply += [("tailHash", tail.tail_hash) for tail in tails]
        return reply

    async def get_stats(self, _fields: Fields) -> Branch:
        """Answer ``GetStats``.

        Returns:
            totalBalance of all users, in iota.
        """
        async with self._store.reading() as tx:
            total_i = await tx.accounts.total_available_i()
        return [("totalBalance", str(total_i))]

    async def _sweep_paying(self, text: str) -> Sweep:
        try:
            uuid = parse_uuid(text)
        except WithdrawalUnknownError as error:
            raise CommandRefusedError(LegacyError.CANCELLED) from error
        async with self._store.reading() as tx:
            return _require_signed(await tx.sweeps.by_withdrawal(uuid))

    async def _sweep_with(self, text: str) -> Sweep:
        if not is_trytes(text, length=81):
            raise CommandRefusedError(LegacyError.CANCELLED)
        async with self._store.reading() as tx:
            return _require_signed(await tx.sweeps.by_bundle_hash(BundleHash(text)))


def _require_signed(sweep: Sweep) -> Sweep:
    # To old clients a sweep exists from its signature on.
    if sweep.signed_at_ms is None:
        message = f"sweep {sweep.sweep_id} is {sweep.state.value}"
        raise SweepUnknownError(message)
    return sweep


def _numbered(lines: Iterable[Branch]) -> Branch:
    return [(f"event_{number}", line) for number, line in enumerate(lines)]


def _history_line(event: Event) -> Branch:
    return [
        ("userID", event.user_id),
        ("timestamp", str(event.created_at_ms)),
        ("amount", str(event.amount_i)),
        ("reason", event.reason.value),
        ("sweepBundleHash", event.bundle_hash),
        ("withdrawalUUID", event.withdrawal_uuid),
    ]
