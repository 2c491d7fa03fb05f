# SPDX-License-Identifier: Apache-2.0
"""Writes what an old Hub brought over: many rows at once, each of them once.

Every method may be given what is written already and leaves that alone, so that an
import that was killed is simply begun again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, func, insert, select

from hub import ledger
from hub.legacy_import.values import (
    NewAccount,
    NewAddress,
    NewSweep,
    NewWithdrawal,
    OldEvent,
)
from hub.model import (
    OWNER_IDENTIFIER,
    AccountId,
    AccountKind,
    AddressId,
    AddressState,
    DepositState,
    IssuedAddress,
    SweepState,
    WithdrawalState,
)
from hub.store.books import Books
from hub.store.context import Context
from hub.store.schema import (
    account,
    address,
    deposit,
    event,
    posting,
    sweep,
    sweep_input,
    tail,
    withdrawal,
)

_OPENED: Final = "legacy-account:"
"""Before an identifier: the reference of what its account began with."""
_PARAMETERS: Final = 500


class Imports:
    """An import inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._books = Books(context)

    async def recorded(self, seed_uuids: Collection[str]) -> set[str]:
        """Say which addresses are written already.

        Args:
            seed_uuids: Theirs.

        Returns:
            The seed UUIDs of those that are.
        """
        return set(await self._ids(address, address.c.seed_uuid, seed_uuids))

    async def strangers(self, identifiers: Collection[str]) -> list[str]:
        """List users that no import made.

        Args:
            identifiers: Of every account of the old Hub.

        Returns:
            Identifiers of users beside them.
        """
        query = select(account.c.identifier).where(
            account.c.kind == AccountKind.USER.value
        )
        here = {row[0] for row in await self._connection.execute(query)}
        return sorted(here - set(identifiers))

    async def add_accounts(self, accounts: Sequence[NewAccount]) -> None:
        """Open accounts, empty, with their history.

        Args:
            accounts: Some of them.
        """
        names = [one.identifier for one in accounts]
        known = await self._ids(account, account.c.identifier, names)
        fresh = [one for one in accounts if one.identifier not in known]
        empty = {"available_i": 0, "unswept_i": 0, "pending_i": 0, "quarantined_i": 0}
        await self._insert(
            account,
            [
                {
                    "identifier": one.identifier,
                    "kind": AccountKind.USER.value,
                    "created_at_ms": self._context.now_ms,
                }
                | empty
                for one in fresh
            ],
        )
        ids = await self._ids(account, account.c.identifier, names)
        rows = [
            _event_row(told, AccountId(ids[one.identifier]))
            for one in fresh
            for told in one.events
        ]
        await self._insert(event, rows)

    async def add_addresses(
        self, addresses: Sequence[tuple[NewAddress, IssuedAddress]]
    ) -> None:
        """Record addresses with what they hold, and their history.

        Args:
            addresses: Each with how the appliance knows it.
        """
        uuids = [new.seed_uuid for new, _ in addresses]
        known = await self.recorded(uuids)
        fresh = [pair for pair in addresses if pair[0].seed_uuid not in known]
        owners = await self._ids(
            account, account.c.identifier, {new.owner for new, _ in fresh}
        )
        rows = [
            {
                "address": new.address,
                "seed_uuid": new.seed_uuid,
                "generation": issued.generation,
                "security_level": issued.security_level,
                "receipt": issued.receipt,
                "account_id": owners[new.owner],
                "state": new.state.value,
                "balance_i": 0,
                "created_at_ms": new.created_at_ms,
            }
            for new, issued in fresh
        ]
        await self._insert(address, rows)
        ids = await self._ids(address, address.c.seed_uuid, uuids)
        told: list[dict[str, object]] = []
        for new, _ in fresh:
            address_id = AddressId(ids[new.seed_uuid])
            account_id = AccountId(owners[new.owner])
            told += [_event_row(one, account_id, address_id) for one in new.events]
            await self._hold(new, address_id, account_id)
        await self._insert(event, told)

    async def add_sweeps(self, sweeps: Sequence[NewSweep]) -> None:
        """Record sweeps with their inputs and tails.

        Args:
            sweeps: Some of them; their addresses are recorded.
        """
        names = [one.bundle_hash for one in sweeps]
        known = await self._ids(sweep, sweep.c.bundle_hash, names)
        fresh = [one for one in sweeps if one.bundle_hash not in known]
        texts = {text for one in fresh for text, _ in one.inputs}
        texts |= {one.remainder[0] for one in fresh if one.remainder}
        places = await self._ids(address, address.c.address, texts)
        await self._insert(sweep, [_sweep_row(one, places) for one in fresh])
        ids = await self._ids(sweep, sweep.c.bundle_hash, names)
        inputs = [
            {
                "sweep_id": ids[one.bundle_hash],
                "position": position,
                "address_id": places[text],
                "amount_i": amount_i,
                "live": 1,
            }
            for one in fresh
            for position, (text, amount_i) in enumerate(one.inputs)
        ]
        await self._insert(sweep_input, inputs)
        tails = [
            {
                "hash": tail_hash,
                "sweep_id": ids[one.bundle_hash],
                "confirmed": confirmed,
                "created_at_ms": at_ms,
            }
            for one in fresh
            for tail_hash, confirmed, at_ms in one.tails
        ]
        await self._insert(tail, tails)

    async def add_withdrawals(self, withdrawals: Sequence[NewWithdrawal]) -> None:
        """Record withdrawals; what they reserve is booked with their accounts.

        Args:
            withdrawals: Some of them; their sweeps are recorded.
        """
        uuids = [one.uuid for one in withdrawals]
        known = await self._ids(withdrawal, withdrawal.c.uuid, uuids)
        fresh = [one for one in withdrawals if one.uuid not in known]
        owners = await self._ids(
            account, account.c.identifier, {one.identifier for one in fresh}
        )
        paid_by = await self._ids(
            sweep, sweep.c.bundle_hash, {one.bundle_hash for one in fresh}
        )
        rows = [
            {
                "uuid": one.uuid,
                "account_id": owners[one.identifier],
                "amount_i": one.amount_i,
                "payout_address": one.payout_address,
                "tag": one.tag,
                "state": one.state.value,
                "sweep_id": paid_by.get(one.bundle_hash),
                "requested_at_ms": one.requested_at_ms,
                "cancelled_at_ms": one.cancelled_at_ms,
            }
            for one in fresh
        ]
        await self._insert(withdrawal, rows)

    async def open_balances(self, accounts: Sequence[NewAccount]) -> None:
        """Book what accounts begin with, once; every address is recorded.

        Args:
            accounts: Some of them, opened.
        """
        names = [one.identifier for one in accounts]
        references = [_OPENED + name for name in names]
        known = await self._ids(posting, posting.c.reference, references)
        ids = await self._ids(account, account.c.identifier, [*names, OWNER_IDENTIFIER])
        owner_id = AccountId(ids[OWNER_IDENTIFIER])
        for one in accounts:
            reference = _OPENED + one.identifier
            if reference not in known:
                opening = ledger.legacy_account(
                    owner_id,
                    AccountId(ids[one.identifier]),
                    available_i=one.available_i,
                    pending_i=one.pending_i,
                )
                await self._books.post(opening, reference=reference)

    async def count(self) -> dict[str, int]:
        """Count what an import must have brought, as the books say it now.

        Returns:
            Numbers of rows and sums in iota, by name.
        """
        user = account.c.kind == AccountKind.USER.value
        hub_address = account.c.kind == AccountKind.OWNER.value
        waiting = withdrawal.c.state == WithdrawalState.REQUESTED.value
        return {
            "users": await self._number(func.count(), account, user),
            "addresses": await self._number(func.count(), address),
            "sweeps": await self._number(func.count(), sweep),
            "tails": await self._number(func.count(), tail),
            "withdrawals": await self._number(func.count(), withdrawal),
            "available_i": await self._total(account.c.available_i, account, user),
            "pending_i": await self._total(account.c.pending_i, account, user),
            "waiting_i": await self._total(withdrawal.c.amount_i, withdrawal, waiting),
            "not_swept_i": await self._total(
                account.c.unswept_i + account.c.quarantined_i, account, user
            ),
            "on_user_addresses_i": await self._total(
                address.c.balance_i, address.join(account), user
            ),
            "on_hub_addresses_i": await self._total(
                address.c.balance_i, address.join(account), hub_address
            ),
        }

    async def _hold(
        self, new: NewAddress, address_id: AddressId, account_id: AccountId
    ) -> None:
        """Book what an address holds, and write down what is not swept yet."""
        if not new.balance_i:
            return
        spent = new.state is AddressState.SPENT
        if new.owner == OWNER_IDENTIFIER:
            owed = ledger.available(account_id)
        elif spent:
            owed = ledger.quarantined(account_id)
        else:
            owed = ledger.unswept(account_id)
        held = ledger.legacy_address(address_id, owed, amount_i=new.balance_i)
        await self._books.post(held, reference=new.address)
        state = DepositState.QUARANTINED if spent else DepositState.CONFIRMED
        rows = [
            {
                "tail_hash": one.tail_hash,
                "bundle_hash": one.tail_hash,
                "address_id": address_id,
                "transaction_index": index,
                "amount_i": one.amount_i,
                "message": one.message,
                "state": state.value,
                "sweep_id": None,
                "created_at_ms": one.at_ms,
            }
            for index, one in enumerate(new.deposits)
        ]
        await self._insert(deposit, rows)

    async def _ids(
        self, table: Table, name: Column[Any], values: Iterable[str]
    ) -> dict[str, int]:
        """Find rows by a unique text."""
        found: dict[str, int] = {}
        wanted = sorted(set(values))
        for start in range(0, len(wanted), _PARAMETERS):
            some = wanted[start : start + _PARAMETERS]
            query = select(name, table.c.id).where(name.in_(some))
            rows = await self._connection.execute(query)
            found |= {row[0]: row[1] for row in rows}
        return found

    async def _insert(self, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            await self._connection.execute(insert(table), list(rows))

    async def _number(self, what: Any, table: Any, *which: ColumnElement[bool]) -> int:  # noqa: ANN401 - SQL
        query = select(what).select_from(table).where(*which)
        return int((await self._connection.execute(query)).scalar_one())

    async def _total(
        self,
        column: ColumnElement[Any],
        table: Any,  # noqa: ANN401 - a table or a join
        *which: ColumnElement[bool],
    ) -> int:
        return await self._number(func.coalesce(func.sum(column), 0), table, *which)


def _event_row(
    told: OldEvent, account_id: AccountId, address_id: AddressId | None = None
) -> dict[str, object]:
    return {
        "reason": told.reason.value,
        "account_id": account_id,
        "address_id": address_id,
        "amount_i": told.amount_i,
        "bundle_hash": told.bundle_hash,
        "tail_hash": told.tail_hash,
        "withdrawal_uuid": told.withdrawal_uuid,
        "message": told.message,
        "created_at_ms": told.at_ms,
    }


def _sweep_row(new: NewSweep, places: Mapping[str, int]) -> dict[str, object]:
    text, rest_i = new.remainder or ("", 0)
    times = [at_ms for _, confirmed, at_ms in new.tails if confirmed]
    confirmed = new.state is SweepState.CONFIRMED
    return {
        "bundle_hash": new.bundle_hash,
        "state": new.state.value,
        "essence": new.essence,
        "signed_trytes": json.dumps(list(new.signed_trytes)),
        "remainder_address_id": places.get(text),
        "remainder_i": rest_i,
        "planned_at_ms": new.signed_at_ms,
        "signed_at_ms": new.signed_at_ms,
        "confirmed_at_ms": min(times, default=new.signed_at_ms) if confirmed else None,
        "refusal_code": "",
    }
