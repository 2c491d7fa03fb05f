# SPDX-License-Identifier: Apache-2.0
"""Withdrawals: reserved, cancelled, put into a sweep, released from one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Insert, Row, Select, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from hub import ledger
from hub.errors import (
    PlanOutdatedError,
    UserUnknownError,
    WithdrawalExistsError,
    WithdrawalFinalError,
    WithdrawalLimitError,
    WithdrawalUnknownError,
)
from hub.model import (
    Account,
    AccountId,
    Address,
    AddressState,
    ColdAddress,
    EventReason,
    NoticeReason,
    SweepId,
    Tag,
    UserId,
    Withdrawal,
    WithdrawalId,
    WithdrawalState,
    WithdrawalUuid,
    require_transition,
    sources_of,
)
from hub.store.accounts import account_of
from hub.store.books import Books
from hub.store.cold import Cold
from hub.store.context import Context
from hub.store.engine import chains_inserts
from hub.store.events import Events, NewEvent
from hub.store.schema import account, address, event, sweep, withdrawal

_FINAL: Final = frozenset({WithdrawalState.PAID, WithdrawalState.CANCELLED})

_NEW: Final = insert(withdrawal)
_LOOK: Final = (
    select(account, address.c.state.label("address_state"))
    .outerjoin(address, address.c.address == bindparam("text"))
    .where(account.c.identifier == bindparam("name"))
)
_LOOK_LIMITED: Final = _LOOK.add_columns(
    select(func.coalesce(func.sum(withdrawal.c.amount_i), 0))
    .where(
        withdrawal.c.account_id == account.c.id,
        withdrawal.c.requested_at_ms > bindparam("since_ms"),
        withdrawal.c.state != WithdrawalState.CANCELLED.value,
    )
    .scalar_subquery()
    .label("since_i")
)
_COUNT: Final = (
    update(account)
    .where(
        account.c.id == bindparam("row"),
        account.c.requested_i <= bindparam("most_i"),
    )
    .values(requested_i=account.c.requested_i + bindparam("by_i"))
)
_NEW_COLUMNS: Final = (
    "uuid",
    "account_id",
    "amount_i",
    "payout_address",
    "tag",
    "state",
    "requested_at_ms",
    "maker",
    "authorisation",
)


def _new_once_counted() -> Insert:
    """Return the statement that counts a withdrawal and writes it, or does neither."""
    counted = _COUNT.returning(account.c.id).cte("counted")
    values = [
        bindparam(f"new_{name}", type_=withdrawal.c[name].type) for name in _NEW_COLUMNS
    ]
    new = select(*values).select_from(counted)
    return insert(withdrawal).from_select(_NEW_COLUMNS, new, include_defaults=False)


_COUNT_AND_NEW: Final = _new_once_counted()


@dataclass(frozen=True, slots=True)
class Requested:
    """What an account has requested.

    Attributes:
        since_i: Within the time that was asked for and not cancelled, in iota.
        ever_i: All that was counted, in iota; whatever is requested later raises it.
    """

    since_i: int
    ever_i: int


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked before a withdrawal.

    Attributes:
        account: Whose balance is to pay.
        address_state: Of the payout address; None when it is none of ours.
        requested: What counts against a limit; None when there is none.
    """

    account: Account
    address_state: AddressState | None
    requested: Requested | None


class Withdrawals:
    """Queries about withdrawals inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._books = Books(context)
        self._cold = Cold(context)
        self._events = Events(context)

    async def request(  # noqa: PLR0913 - a row's columns
        self,
        uuid: WithdrawalUuid,
        account_id: AccountId,
        *,
        amount_i: int,
        payout_address: Address,
        tag: Tag,
        state: WithdrawalState = WithdrawalState.REQUESTED,
        maker: str = "",
        authorisation: str = "",
        unless_above_i: int | None = None,
    ) -> None:
        """Reserve a withdrawal; the balance is checked in the same statement.

        Args:
            uuid: Its new public name.
            account_id: Whose balance pays it; too little of it raises
                ``InsufficientBalanceError``.
            amount_i: Iota, positive.
            payout_address: Where it goes, checked before.
            tag: 27 trytes.
            state: ``REQUESTED``, or what it waits for before.
            maker: Who asks: an API key's id or a dialect's name.
            authorisation: Compact JWS of the exchange, or empty.
            unless_above_i: Most that the account may have requested ever, in iota,
                before this; ``WithdrawalLimitError`` if it is more. None: no limit.

        Raises:
            WithdrawalExistsError: If the name is taken.
        """
        event = NewEvent(
            reason=EventReason.WITHDRAWAL,
            account_id=account_id,
            amount_i=-amount_i,
            withdrawal_uuid=uuid,
        )
        await self._books.post(
            ledger.withdrawal_requested(account_id, amount_i=amount_i),
            reference=uuid,
            events=[event],
        )
        await self._insert(
            uuid,
            account_id,
            amount_i=amount_i,
            payout_address=payout_address,
            tag=tag,
            state=state,
            maker=maker,
            authorisation=authorisation,
            unless_above_i=unless_above_i,
        )

    async def request_cold_move(
        self,
        uuid: WithdrawalUuid,
        owner_id: AccountId,
        cold: ColdAddress,
        *,
        amount_i: int,
    ) -> None:
        """Ask for a move to cold storage; sweeps carry it like any withdrawal.

        Args:
            uuid: Its new public name.
            owner_id: The hub owner's account.
            cold: Where it goes.
            amount_i: Iota, positive.
        """
        await self._cold.book_move(uuid, cold.cold_id, owner_id, amount_i=amount_i)
        await self._insert(
            uuid,
            owner_id,
            amount_i=amount_i,
            payout_address=cold.address,
            tag=Tag("9" * 27),
        )

    async def _insert(  # noqa: PLR0913 - a row has that many columns
        self,
        uuid: WithdrawalUuid,
        account_id: AccountId,
        *,
        amount_i: int,
        payout_address: Address,
        tag: Tag,
        state: WithdrawalState = WithdrawalState.REQUESTED,
        maker: str = "",
        authorisation: str = "",
        unless_above_i: int | None = None,
    ) -> None:
        row = {
            "uuid": uuid,
            "account_id": account_id,
            "amount_i": amount_i,
            "payout_address": payout_address,
            "tag": tag,
            "state": state.value,
            "requested_at_ms": self._context.now_ms,
            "maker": maker,
            "authorisation": authorisation,
        }
        # Not looked up before: under serialisable isolation that read would collide
        # with every withdrawal written beside it on the same page of the index.
        try:
            if unless_above_i is None:
                await self._connection.execute(_NEW, row)
            else:
                await self._insert_counted(row, unless_above_i)
        except IntegrityError as error:
            message = f"there is a withdrawal {uuid} already"
            raise WithdrawalExistsError(message) from error

    async def _insert_counted(self, row: dict[str, Any], unless_above_i: int) -> None:
        """Add to what the account has ever requested, unless others have meanwhile."""
        counting = {
            "row": row["account_id"],
            "by_i": row["amount_i"],
            "most_i": unless_above_i,
        }
        if chains_inserts(self._connection):
            new = {f"new_{name}": value for name, value in row.items()}
            written = await self._connection.execute(_COUNT_AND_NEW, counting | new)
        else:
            written = await self._connection.execute(_COUNT, counting)
            await self._connection.execute(_NEW, row)
        if written.rowcount != 1:
            message = f"{row['amount_i']} i more are beyond the limit of the account"
            raise WithdrawalLimitError(message)

    async def cancel(self, uuid: WithdrawalUuid) -> Withdrawal:
        """Give a withdrawal back that no sweep has taken.

        Args:
            uuid: Its public name.

        Returns:
            What it was.

        Raises:
            WithdrawalFinalError: If it is in a sweep, paid or cancelled.
        """
        found = await self.by_uuid(uuid, lock=True)
        if found.state not in sources_of(WithdrawalState.CANCELLED):
            message = f"withdrawal {uuid} is {found.state.value}"
            raise WithdrawalFinalError(message)
        await self._connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == found.withdrawal_id)
            .values(
                state=WithdrawalState.CANCELLED.value,
                cancelled_at_ms=self._context.now_ms,
            )
        )
        cold_id = await self._cold.moved_by(uuid)
        if cold_id is not None:
            posting = ledger.cold_move_cancelled(
                cold_id, found.account_id, amount_i=found.amount_i
            )
            await self._books.post(posting, reference=uuid)
            return found
        await self._books.post(
            ledger.withdrawal_cancelled(found.account_id, amount_i=found.amount_i),
            reference=uuid,
        )
        event = NewEvent(
            reason=EventReason.WITHDRAWAL_CANCELED,
            account_id=found.account_id,
            amount_i=found.amount_i,
            withdrawal_uuid=uuid,
        )
        await self._events.add([event])
        return found

    async def since_ms(self, found: Withdrawal) -> int:
        """Return since when a withdrawal has been in its state.

        Args:
            found: As it was read.

        Returns:
            Milliseconds since 1970; when it was requested, if nothing happened since.
        """
        query = select(func.max(event.c.created_at_ms)).where(
            event.c.account_id == found.account_id,
            event.c.created_at_ms >= found.requested_at_ms,
            event.c.withdrawal_uuid == found.uuid,
        )
        last_ms: int | None = (await self._connection.execute(query)).scalar()
        return found.requested_at_ms if last_ms is None else last_ms

    async def approve(
        self, found: Withdrawal, *, checker: str, state: WithdrawalState
    ) -> None:
        """Note an approval.

        Args:
            found: Read and locked in this transaction.
            checker: Who approved.
            state: What it waits for next.
        """
        require_transition(found.state, state)
        await self._connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == found.withdrawal_id)
            .values(approved_by=checker, state=state.value)
        )
        await self._events.add([_notice(found, NoticeReason.WITHDRAWAL_APPROVED)])

    async def look(
        self, user_id: UserId, payout_address: Address, since_ms: int | None
    ) -> Look:
        """Look up what is asked before a withdrawal, by one query.

        Args:
            user_id: Who asks.
            payout_address: 81 trytes.
            since_ms: Requests from this time on count against a limit; None: there
                is none.

        Returns:
            The account, what we know of the address, and what was requested.

        Raises:
            UserUnknownError: If there is no such account.
        """
        which: dict[str, str | int] = {"name": user_id, "text": payout_address}
        if since_ms is None:
            result = await self._connection.execute(_LOOK, which)
        else:
            which |= {"since_ms": since_ms}
            result = await self._connection.execute(_LOOK_LIMITED, which)
        row = result.one_or_none()
        if row is None:
            message = "no such account"
            raise UserUnknownError(message)
        state = row.address_state
        return Look(
            account=account_of(row),
            address_state=None if state is None else AddressState(state),
            requested=None
            if since_ms is None
            else Requested(since_i=int(row.since_i), ever_i=row.requested_i),
        )

    async def paid_since_i(self, since_ms: int, *, but: AccountId) -> int:
        """Add up what sweeps pay that were planned since a time, in iota.

        Args:
            since_ms: From this time on.
            but: The account whose withdrawals do not count.

        Returns:
            The sum.
        """
        query = (
            select(func.coalesce(func.sum(withdrawal.c.amount_i), 0))
            .join_from(withdrawal, sweep, withdrawal.c.sweep_id == sweep.c.id)
            .where(sweep.c.planned_at_ms > since_ms, withdrawal.c.account_id != but)
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def authorise(self, uuid: WithdrawalUuid, authorisation: str) -> None:
        """Attach the exchange's signature; one that waited for it waits no more.

        Args:
            uuid: Its public name.
            authorisation: Compact JWS; takes the place of an earlier one, which may
                have expired.

        Raises:
            WithdrawalFinalError: If it is paid or cancelled.
        """
        found = await self.by_uuid(uuid, lock=True)
        if found.state in _FINAL:
            message = f"withdrawal {uuid} is {found.state.value}"
            raise WithdrawalFinalError(message)
        waits = found.state is WithdrawalState.AWAITING_AUTHORISATION
        state = WithdrawalState.REQUESTED if waits else found.state
        await self._connection.execute(
            update(withdrawal)
            .where(withdrawal.c.id == found.withdrawal_id)
            .values(authorisation=authorisation, state=state.value)
        )
        await self._events.add([_notice(found, NoticeReason.WITHDRAWAL_AUTHORISED)])

    async def by_uuid(self, uuid: WithdrawalUuid, *, lock: bool = False) -> Withdrawal:
        """Find a withdrawal by its public name.

        Args:
            uuid: Its name.
            lock: Whether to hold its row until the transaction ends.

        Returns:
            The withdrawal.

        Raises:
            WithdrawalUnknownError: If there is none.
        """
        query = select(withdrawal).where(withdrawal.c.uuid == uuid)
        if lock:
            query = query.with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"no withdrawal {uuid}"
            raise WithdrawalUnknownError(message)
        return withdrawal_of(row)

    async def waiting_i(self) -> int:
        """Return what all withdrawals together still have to be paid, in iota."""
        query = select(func.coalesce(func.sum(withdrawal.c.amount_i), 0)).where(
            withdrawal.c.state.in_(
                [WithdrawalState.REQUESTED.value, WithdrawalState.PLANNED.value]
            )
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def requested(self, *, limit: int) -> list[Withdrawal]:
        """List withdrawals that wait for a sweep, the oldest first.

        Args:
            limit: At most this many.

        Returns:
            The withdrawals.
        """
        query = select(withdrawal).where(
            withdrawal.c.state == WithdrawalState.REQUESTED.value
        )
        return await self._all(query.limit(limit))

    async def of_sweeps(self, sweep_ids: Collection[SweepId]) -> list[Withdrawal]:
        """List the withdrawals that some sweeps pay, the oldest first.

        Args:
            sweep_ids: The sweeps.

        Returns:
            The withdrawals.
        """
        return await self._all(
            select(withdrawal).where(withdrawal.c.sweep_id.in_(sweep_ids))
        )

    async def put_into(
        self, sweep_id: SweepId, withdrawal_ids: Collection[WithdrawalId]
    ) -> list[Withdrawal]:
        """Take requested withdrawals into a sweep being planned.

        Args:
            sweep_id: The sweep.
            withdrawal_ids: Distinct rows.

        Returns:
            The withdrawals taken.

        Raises:
            PlanOutdatedError: If one is no longer waiting, cancelled say.
        """
        result = await self._connection.execute(
            update(withdrawal)
            .where(
                withdrawal.c.id.in_(withdrawal_ids),
                withdrawal.c.state == WithdrawalState.REQUESTED.value,
            )
            .values(state=WithdrawalState.PLANNED.value, sweep_id=sweep_id)
        )
        if result.rowcount != len(withdrawal_ids):
            message = f"not all of withdrawals {sorted(withdrawal_ids)} still wait"
            raise PlanOutdatedError(message)
        await self.tell(sweep_id, NoticeReason.WITHDRAWAL_PLANNED)
        return await self.of_sweeps([sweep_id])

    async def tell(self, sweep_id: SweepId, reason: NoticeReason) -> None:
        """Write an event for each withdrawal of a sweep.

        Args:
            sweep_id: The sweep.
            reason: What has become of them.
        """
        paid = await self.of_sweeps([sweep_id])
        query = select(sweep.c.bundle_hash).where(sweep.c.id == sweep_id)
        name = (await self._connection.execute(query)).scalar_one()
        await self._events.add(_notice(one, reason, bundle_hash=name) for one in paid)

    async def mark_paid(self, sweep_id: SweepId) -> None:
        """Mark the withdrawals of a sweep being signed as paid.

        Args:
            sweep_id: The sweep.
        """
        await self.tell(sweep_id, NoticeReason.WITHDRAWAL_PAID)
        await self._connection.execute(
            update(withdrawal)
            .where(withdrawal.c.sweep_id == sweep_id)
            .values(state=WithdrawalState.PAID.value)
        )

    async def take_out_of(self, sweep_id: SweepId) -> None:
        """Let the withdrawals of a refused sweep wait again.

        Args:
            sweep_id: The sweep.
        """
        await self.tell(sweep_id, NoticeReason.WITHDRAWAL_RELEASED)
        await self._connection.execute(
            update(withdrawal)
            .where(withdrawal.c.sweep_id == sweep_id)
            .values(
                state=WithdrawalState.REQUESTED.value,
                sweep_id=None,
                refused_sweep_id=sweep_id,
            )
        )

    async def _all(self, query: Select[Any]) -> list[Withdrawal]:
        ordered = query.order_by(withdrawal.c.requested_at_ms, withdrawal.c.id)
        return [withdrawal_of(row) for row in await self._connection.execute(ordered)]


def _notice(
    about: Withdrawal, reason: NoticeReason, *, bundle_hash: str = ""
) -> NewEvent:
    return NewEvent(
        reason=reason,
        account_id=about.account_id,
        bundle_hash=bundle_hash,
        withdrawal_uuid=about.uuid,
    )


def withdrawal_of(row: Row[Any]) -> Withdrawal:
    """Read a withdrawal from its row."""
    return Withdrawal(
        withdrawal_id=WithdrawalId(row.id),
        uuid=WithdrawalUuid(row.uuid),
        account_id=AccountId(row.account_id),
        amount_i=row.amount_i,
        payout_address=Address(row.payout_address),
        tag=Tag(row.tag),
        state=WithdrawalState(row.state),
        sweep_id=None if row.sweep_id is None else SweepId(row.sweep_id),
        requested_at_ms=row.requested_at_ms,
        cancelled_at_ms=row.cancelled_at_ms,
        maker=row.maker,
        approved_by=row.approved_by,
        authorisation=row.authorisation,
        refused_sweep_id=None
        if row.refused_sweep_id is None
        else SweepId(row.refused_sweep_id),
    )
