# SPDX-License-Identifier: Apache-2.0
"""What people look at: lists of short lines, and look-ups by whatever name they have.

A sweep's row holds its whole bundle twice, which no list shows; a line leaves it out.
Every query here goes by an index and is bounded, however long the history is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, func, select, tuple_

from hub.model import (
    AccountId,
    Address,
    BundleHash,
    DepositState,
    SweepId,
    SweepState,
    UserId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.store.context import Context
from hub.store.schema import (
    account,
    address,
    cold_address,
    deposit,
    sweep,
    sweep_input,
    tail,
    withdrawal,
)

OPEN_WITHDRAWALS: Final = (
    WithdrawalState.AWAITING_APPROVAL,
    WithdrawalState.AWAITING_AUTHORISATION,
    WithdrawalState.REQUESTED,
    WithdrawalState.PLANNED,
)
_ADDRESSES: Final = 200
"""Of one account that are looked at for deposits; some have a hundred thousand."""
_UNCONFIRMED: Final = (SweepState.SIGNED, SweepState.ATTACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalLine:
    """A withdrawal in a list.

    Attributes:
        row: Its row.
        uuid: Its public name.
        user_id: Whose balance pays it.
        amount_i: Iota.
        payout_address: Where it goes.
        state: How far it has come.
        requested_at_ms: Milliseconds since 1970.
        bundle_hash: The sweep it is in, if any.
        sweep_state: How far that has come.
    """

    row: int
    uuid: WithdrawalUuid
    user_id: UserId
    amount_i: int
    payout_address: Address
    state: WithdrawalState
    requested_at_ms: int
    bundle_hash: BundleHash | None
    sweep_state: SweepState | None

    @property
    def word(self) -> str:
        """Its state in one word; a paid one is confirmed once its sweep is."""
        if self.sweep_state is SweepState.CONFIRMED:
            return SweepState.CONFIRMED.value
        return self.state.value


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositLine:
    """A deposit in a list.

    Attributes:
        row: Its row.
        user_id: Whose it is.
        address: Where it arrived.
        amount_i: Iota.
        tail_hash: The confirmed bundle's tail transaction.
        bundle_hash: That bundle.
        state: How far it has come.
        created_at_ms: When the hub saw it, milliseconds since 1970.
        swept_by: The bundle of the sweep that takes it, if any.
    """

    row: int
    user_id: UserId
    address: Address
    amount_i: int
    tail_hash: str
    bundle_hash: str
    state: DepositState
    created_at_ms: int
    swept_by: BundleHash | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLine:
    """A sweep in a list.

    Attributes:
        row: Its row.
        bundle_hash: Its bundle.
        state: How far it has come.
        planned_at_ms: Milliseconds since 1970.
        signed_at_ms: Milliseconds since 1970, once signed.
        confirmed_at_ms: Milliseconds since 1970, once confirmed.
        refusal_code: The appliance's word, once refused.
        inputs: Addresses it empties.
        moved_i: What they hold, in iota.
        withdrawals: How many it pays.
        tails: Its attachments that are known.
    """

    row: int
    bundle_hash: BundleHash
    state: SweepState
    planned_at_ms: int
    signed_at_ms: int | None
    confirmed_at_ms: int | None
    refusal_code: str
    inputs: int
    moved_i: int
    withdrawals: int
    tails: int


@dataclass(frozen=True, slots=True)
class Match:
    """Something that has the name that was looked for.

    Attributes:
        kind: ``withdrawal``, ``address``, ``cold-address``, ``sweep`` or ``user``.
        name: What it is called: its page's last part.
        about: How the name belongs to it.
    """

    kind: str
    name: str
    about: str


class Glances:
    """Lines and look-ups inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def withdrawals(
        self,
        *,
        before_row: int | None,
        limit: int,
        state: WithdrawalState | None = None,
        account_id: AccountId | None = None,
    ) -> list[WithdrawalLine]:
        """Page through withdrawals, the newest first.

        Args:
            before_row: The last row of the page before; None to begin.
            limit: At most this many.
            state: Only those in this state, if given; then by the time they were
                asked for, as that index is ordered.
            account_id: Only this account's, if given.

        Returns:
            The next page.
        """
        query = _withdrawals()
        if account_id is not None:
            query = query.where(withdrawal.c.account_id == account_id)
        order: tuple[ColumnElement[Any], ...] = (withdrawal.c.id,)
        if state is not None:
            query = query.where(withdrawal.c.state == state.value)
            order = (withdrawal.c.requested_at_ms, withdrawal.c.id)
        if before_row is not None:
            query = query.where(_before(order, before_row))
        query = query.order_by(*(one.desc() for one in order)).limit(limit)
        return await self._withdrawals(query)

    async def oldest_waiting(self, *, limit: int) -> list[WithdrawalLine]:
        """List withdrawals that are not out yet, the oldest first.

        Args:
            limit: At most this many.

        Returns:
            Those no sweep carries, and those whose sweep is not confirmed.
        """
        found: list[WithdrawalLine] = []
        for state in OPEN_WITHDRAWALS:
            query = _withdrawals().where(withdrawal.c.state == state.value)
            ordered = query.order_by(withdrawal.c.requested_at_ms, withdrawal.c.id)
            found += await self._withdrawals(ordered.limit(limit))
        for under_way in _UNCONFIRMED:
            query = _withdrawals(inner=True).where(sweep.c.state == under_way.value)
            found += await self._withdrawals(query.order_by(sweep.c.id).limit(limit))
        found.sort(key=lambda line: (line.requested_at_ms, line.row))
        return found[:limit]

    async def deposits(
        self,
        *,
        before_row: int | None,
        limit: int,
        state: DepositState | None = None,
        address_id: int | None = None,
        account_id: AccountId | None = None,
    ) -> list[DepositLine]:
        """Page through deposits, the newest first.

        Args:
            before_row: The last row of the page before; None to begin.
            limit: At most this many.
            state: Only those in this state, if given.
            address_id: Only those that arrived there, if given.
            account_id: Only those to this account's newest addresses, if given.

        Returns:
            The next page.
        """
        query = (
            select(
                deposit,
                address.c.address,
                account.c.identifier,
                sweep.c.bundle_hash.label("swept_by"),
            )
            .join_from(deposit, address, address.c.id == deposit.c.address_id)
            .join(account, account.c.id == address.c.account_id)
            .outerjoin(sweep, sweep.c.id == deposit.c.sweep_id)
        )
        if state is not None:
            query = query.where(deposit.c.state == state.value)
        if address_id is not None:
            query = query.where(deposit.c.address_id == address_id)
        if account_id is not None:
            newest = (
                select(address.c.id)
                .where(address.c.account_id == account_id)
                .order_by(address.c.id.desc())
                .limit(_ADDRESSES)
            )
            query = query.where(deposit.c.address_id.in_(newest))
        if before_row is not None:
            query = query.where(deposit.c.id < before_row)
        query = query.order_by(deposit.c.id.desc()).limit(limit)
        rows = await self._connection.execute(query)
        return [_deposit_line(row) for row in rows]

    async def sweeps(
        self, *, before_row: int | None, limit: int, state: SweepState | None = None
    ) -> list[SweepLine]:
        """Page through sweeps, the newest first.

        Args:
            before_row: The last row of the page before; None to begin.
            limit: At most this many.
            state: Only those in this state, if given.

        Returns:
            The next page.
        """
        query = _sweeps()
        if state is not None:
            query = query.where(sweep.c.state == state.value)
        if before_row is not None:
            query = query.where(sweep.c.id < before_row)
        return await self._sweeps(query.order_by(sweep.c.id.desc()).limit(limit))

    async def sweeps_touching(self, address_id: int, *, limit: int) -> list[SweepLine]:
        """List the sweeps that take from an address or leave their remainder there.

        Args:
            address_id: Its row.
            limit: At most this many of either.

        Returns:
            The sweeps, the newest first.
        """
        takers = select(sweep_input.c.sweep_id).where(
            sweep_input.c.address_id == address_id
        )
        taken = _sweeps().where(sweep.c.id.in_(takers.limit(limit)))
        left = _sweeps().where(sweep.c.remainder_address_id == address_id)
        found = await self._sweeps(taken) + await self._sweeps(left.limit(limit))
        distinct = {line.row: line for line in found}
        return [distinct[row] for row in sorted(distinct, reverse=True)]

    async def deposits_held(self) -> dict[DepositState, int]:
        """Count deposits that are not credited, by state."""
        waiting = [DepositState.CONFIRMED.value, DepositState.QUARANTINED.value]
        query = (
            select(deposit.c.state, func.count())
            .where(deposit.c.state.in_(waiting))
            .group_by(deposit.c.state)
        )
        rows = await self._connection.execute(query)
        return {DepositState(state): count for state, count in rows}

    async def withdrawal_named(self, uuid: str) -> list[Match]:
        """Look a withdrawal up by its public name.

        Args:
            uuid: 36 characters, lower case.

        Returns:
            It, or nothing.
        """
        query = select(withdrawal.c.uuid).where(withdrawal.c.uuid == uuid)
        rows = await self._connection.execute(query)
        return [Match("withdrawal", found, "its name") for found in rows.scalars()]

    async def trytes_named(self, text: str, *, limit: int) -> list[Match]:
        """Look up whatever has a hash or an address as its name.

        Args:
            text: 81 trytes.
            limit: At most this many withdrawals or deposits.

        Returns:
            An address or a sweep of ours; what a tail belongs to; withdrawals paid to
            this address, deposits that came in this bundle.
        """
        asked: list[tuple[str, str, Select[Any]]] = [
            (
                "address",
                "its address",
                select(address.c.address).where(address.c.address == text),
            ),
            (
                "cold-address",
                "a cold address",
                select(cold_address.c.label).where(cold_address.c.address == text),
            ),
            (
                "sweep",
                "its bundle",
                select(sweep.c.bundle_hash).where(sweep.c.bundle_hash == text),
            ),
            (
                "sweep",
                "a tail of it",
                select(sweep.c.bundle_hash)
                .join_from(tail, sweep, sweep.c.id == tail.c.sweep_id)
                .where(tail.c.hash == text),
            ),
            (
                "withdrawal",
                "pays to this address",
                select(withdrawal.c.uuid)
                .where(withdrawal.c.payout_address == text)
                .order_by(withdrawal.c.id.desc()),
            ),
            ("address", "a deposit came in this bundle", _arrived_by(bundle=text)),
            ("address", "a deposit has this tail", _arrived_by(tail=text)),
        ]
        found: list[Match] = []
        for kind, about, query in asked:
            rows = await self._connection.execute(query.limit(limit))
            found += [Match(kind, name, about) for name in rows.scalars()]
        return found

    async def users_named(self, text: str, *, limit: int) -> list[Match]:
        """Look up accounts by the beginning of their names.

        Args:
            text: At least one character.
            limit: At most this many.

        Returns:
            The accounts in the order of their names; one of exactly this name first.
        """
        names = account.c.identifier
        query = (
            select(names)
            .where(names >= text, names < text + chr(0x10FFFF))
            .order_by(names)
            .limit(limit)
        )
        rows = await self._connection.execute(query)
        return [
            Match("user", name, "its name" if name == text else "begins so")
            for name in rows.scalars()
        ]

    async def _withdrawals(self, query: Select[Any]) -> list[WithdrawalLine]:
        rows = await self._connection.execute(query)
        return [_withdrawal_line(row) for row in rows]

    async def _sweeps(self, query: Select[Any]) -> list[SweepLine]:
        rows = (await self._connection.execute(query)).all()
        ids = [SweepId(row.id) for row in rows]
        inputs = await self._per_sweep(
            sweep_input.c.sweep_id,
            ids,
            func.count(),
            func.sum(sweep_input.c.amount_i),
        )
        paid = await self._per_sweep(withdrawal.c.sweep_id, ids, func.count())
        tails = await self._per_sweep(tail.c.sweep_id, ids, func.count())
        return [
            SweepLine(
                row=row.id,
                bundle_hash=BundleHash(row.bundle_hash),
                state=SweepState(row.state),
                planned_at_ms=row.planned_at_ms,
                signed_at_ms=row.signed_at_ms,
                confirmed_at_ms=row.confirmed_at_ms,
                refusal_code=row.refusal_code,
                inputs=inputs.get(row.id, (0, 0))[0],
                moved_i=inputs.get(row.id, (0, 0))[1],
                withdrawals=paid.get(row.id, (0,))[0],
                tails=tails.get(row.id, (0,))[0],
            )
            for row in rows
        ]

    async def _per_sweep(
        self,
        sweep_id: ColumnElement[Any],
        ids: Sequence[SweepId],
        *figures: ColumnElement[Any],
    ) -> dict[int, tuple[int, ...]]:
        query = select(sweep_id, *figures).where(sweep_id.in_(ids)).group_by(sweep_id)
        rows = await self._connection.execute(query)
        return {row[0]: tuple(int(value) for value in row[1:]) for row in rows}


def _withdrawals(*, inner: bool = False) -> Select[Any]:
    query = select(
        withdrawal.c.id,
        withdrawal.c.uuid,
        withdrawal.c.amount_i,
        withdrawal.c.payout_address,
        withdrawal.c.state,
        withdrawal.c.requested_at_ms,
        account.c.identifier,
        sweep.c.bundle_hash,
        sweep.c.state.label("sweep_state"),
    )
    of_sweep = withdrawal.c.sweep_id == sweep.c.id
    if inner:
        query = query.join_from(sweep, withdrawal, of_sweep)
    else:
        query = query.outerjoin_from(withdrawal, sweep, of_sweep)
    return query.join(account, account.c.id == withdrawal.c.account_id)


def _before(order: Sequence[ColumnElement[Any]], row: int) -> ColumnElement[bool]:
    """Say, in SQL, that a withdrawal comes behind another in falling order."""
    if len(order) == 1:
        return withdrawal.c.id < row
    other = withdrawal.alias()
    asked_ms = (
        select(other.c.requested_at_ms).where(other.c.id == row).scalar_subquery()
    )
    return tuple_(*order) < tuple_(asked_ms, row)


def _sweeps() -> Select[Any]:
    return select(
        sweep.c.id,
        sweep.c.bundle_hash,
        sweep.c.state,
        sweep.c.planned_at_ms,
        sweep.c.signed_at_ms,
        sweep.c.confirmed_at_ms,
        sweep.c.refusal_code,
    )


def _arrived_by(*, bundle: str = "", tail: str = "") -> Select[Any]:
    query = select(address.c.address).join_from(
        deposit, address, address.c.id == deposit.c.address_id
    )
    if bundle:
        return query.where(deposit.c.bundle_hash == bundle)
    return query.where(deposit.c.tail_hash == tail)


def _withdrawal_line(row: Row[Any]) -> WithdrawalLine:
    return WithdrawalLine(
        row=row.id,
        uuid=WithdrawalUuid(row.uuid),
        user_id=UserId(row.identifier),
        amount_i=row.amount_i,
        payout_address=Address(row.payout_address),
        state=WithdrawalState(row.state),
        requested_at_ms=row.requested_at_ms,
        bundle_hash=None if row.bundle_hash is None else BundleHash(row.bundle_hash),
        sweep_state=None if row.sweep_state is None else SweepState(row.sweep_state),
    )


def _deposit_line(row: Row[Any]) -> DepositLine:
    return DepositLine(
        row=row.id,
        user_id=UserId(row.identifier),
        address=Address(row.address),
        amount_i=row.amount_i,
        tail_hash=row.tail_hash,
        bundle_hash=row.bundle_hash,
        state=DepositState(row.state),
        created_at_ms=row.created_at_ms,
        swept_by=None if row.swept_by is None else BundleHash(row.swept_by),
    )
