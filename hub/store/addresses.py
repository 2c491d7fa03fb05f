# SPDX-License-Identifier: Apache-2.0
"""Our addresses: deposit addresses of users and remainder addresses of the hub."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from hub.errors import AddressUnknownError, TransitionError
from hub.model import (
    AccountId,
    AccountKind,
    Address,
    AddressId,
    AddressState,
    IssuedAddress,
    OwnAddress,
    SeedUuid,
    SweepState,
    sources_of,
)
from hub.store.context import Context
from hub.store.schema import account, address, sweep


class AddressTakenError(TransitionError):
    """The address or its seed UUID is already recorded for something else."""

    code = "address-taken"


class Addresses:
    """Queries about addresses inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(self, account_id: AccountId, issued: IssuedAddress) -> AddressId:
        """Record a freshly issued address.

        Args:
            account_id: Whose deposits it receives; the owner's for the hub.
            issued: What the appliance answered, its receipt verified.

        Returns:
            Its row.

        Raises:
            AddressTakenError: If address or seed UUID is recorded already.
        """
        statement = (
            insert(address)
            .returning(address.c.id)
            .values(
                address=issued.address,
                seed_uuid=issued.seed_uuid,
                generation=issued.generation,
                security_level=issued.security_level,
                receipt=issued.receipt,
                account_id=account_id,
                state=AddressState.OPEN.value,
                balance_i=0,
                created_at_ms=self._context.now_ms,
            )
        )
        try:
            result = await self._connection.execute(statement)
        except IntegrityError as error:
            message = f"{issued.address} or its seed UUID is recorded already"
            raise AddressTakenError(message) from error
        return AddressId(result.scalar_one())

    async def find(self, text: Address) -> OwnAddress | None:
        """Find one of ours by its trytes.

        Args:
            text: 81 trytes.

        Returns:
            The address, or None when it is none of ours.
        """
        row = (await self._connection.execute(_BY_TEXT, {"text": text})).one_or_none()
        return None if row is None else own_address_of(row)

    async def by_id(self, address_id: AddressId, *, lock: bool = False) -> OwnAddress:
        """Find one of ours by its row.

        Args:
            address_id: Its row.
            lock: Whether to hold the row until the transaction ends.

        Returns:
            The address.

        Raises:
            AddressUnknownError: If there is none.
        """
        query = _query().where(address.c.id == address_id)
        if lock:
            query = query.with_for_update(of=address)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"no address {address_id}"
            raise AddressUnknownError(message)
        return own_address_of(row)

    async def find_many(self, texts: Collection[Address]) -> list[OwnAddress]:
        """Find those that are ours among many.

        Args:
            texts: At most some hundred addresses of 81 trytes.

        Returns:
            The ones that are ours, in the order of their rows.
        """
        return await self._all(address.c.address.in_(texts))

    async def with_ids(self, address_ids: Collection[AddressId]) -> list[OwnAddress]:
        """Read several addresses.

        Args:
            address_ids: At most some hundred rows.

        Returns:
            Those that exist, in the order of their rows.
        """
        return await self._all(address.c.id.in_(address_ids))

    async def newest_id(self) -> AddressId:
        """Return the row of the address recorded last; 0 without any."""
        found = await self._connection.execute(select(func.max(address.c.id)))
        return AddressId(found.scalar() or 0)

    async def after(
        self,
        last_id: AddressId,
        *,
        limit: int,
        states: Collection[AddressState] = tuple(AddressState),
    ) -> list[OwnAddress]:
        """Page through the addresses in the order of their rows.

        Args:
            last_id: The last row seen; 0 to begin.
            limit: At most this many.
            states: Only addresses in one of these.

        Returns:
            The next page; empty at the end.
        """
        wanted = [state.value for state in states]
        query = _query().where(address.c.id > last_id, address.c.state.in_(wanted))
        rows = await self._connection.execute(query.order_by(address.c.id).limit(limit))
        return [own_address_of(row) for row in rows]

    async def sweepable(self, kind: AccountKind, *, limit: int) -> list[OwnAddress]:
        """List open addresses with a balance that no sweep still pays into.

        Args:
            kind: ``USER`` for deposit addresses, the oldest generation first and
                the oldest address; ``OWNER`` for hub addresses, the smallest balance
                first.
            limit: At most this many.

        Returns:
            Candidates for the inputs of a sweep.
        """
        user = kind is AccountKind.USER
        order = address.c.generation if user else address.c.balance_i
        query = (
            _query()
            .where(
                account.c.kind == kind.value,
                address.c.state == AddressState.OPEN.value,
                address.c.balance_i > 0,
                ~awaits_remainder(),
            )
            .order_by(order, address.c.id)
            .limit(limit)
        )
        return [own_address_of(row) for row in await self._connection.execute(query)]

    async def total_i(self) -> int:
        """Return what all our addresses hold that sweeps may use, in iota."""
        usable = [AddressState.OPEN.value, AddressState.RESERVED.value]
        query = select(func.coalesce(func.sum(address.c.balance_i), 0)).where(
            address.c.state.in_(usable), address.c.balance_i > 0
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def newest_generation(self) -> int:
        """Return the salt generation of the address issued last; 0 without any."""
        query = select(address.c.generation).order_by(address.c.id.desc()).limit(1)
        return int((await self._connection.execute(query)).scalar() or 0)

    async def idle_remainder(
        self, account_id: AccountId, *, generation: int
    ) -> OwnAddress | None:
        """Find a hub address issued for a remainder that was never used.

        A crash between issuing and planning leaves one; taking it again wastes
        no address.

        Args:
            account_id: The hub owner's account.
            generation: Only of this salt generation: older ones are drained.

        Returns:
            The oldest open, empty address that was never a remainder, if any; none
            that was brought over from an old Hub, since others held its salt.
        """
        used = exists().where(sweep.c.remainder_address_id == address.c.id)
        query = (
            _query()
            .where(
                address.c.account_id == account_id,
                address.c.generation == generation,
                address.c.state == AddressState.OPEN.value,
                address.c.balance_i == 0,
                address.c.receipt != "",
                ~used,
            )
            .order_by(address.c.id)
            .limit(1)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else own_address_of(row)

    async def is_recorded(self, *, seed_uuid: SeedUuid, text: Address) -> bool:
        """Say whether an address or its seed UUID was recorded before.

        Args:
            seed_uuid: 64 characters.
            text: 81 trytes.

        Returns:
            True if either is known.
        """
        query = select(address.c.id).where(
            or_(address.c.seed_uuid == seed_uuid, address.c.address == text)
        )
        return (await self._connection.execute(query)).first() is not None

    async def change_state(
        self, address_ids: Collection[AddressId], target: AddressState
    ) -> None:
        """Move addresses to another state, all of them or none.

        Args:
            address_ids: Distinct rows.
            target: The state wanted.

        Raises:
            TransitionError: If one of them may not become that.
        """
        sources = [state.value for state in sources_of(target)]
        statement = (
            update(address)
            .where(address.c.id.in_(address_ids), address.c.state.in_(sources))
            .values(state=target.value)
        )
        result = await self._connection.execute(statement)
        if result.rowcount != len(address_ids):
            message = f"not all of addresses {sorted(address_ids)} can become {target}"
            raise TransitionError(message)

    async def _all(self, *which: ColumnElement[bool]) -> list[OwnAddress]:
        query = _query().where(*which).order_by(address.c.id)
        return [own_address_of(row) for row in await self._connection.execute(query)]


def awaits_remainder() -> ColumnElement[bool]:
    """Say, in SQL, that an unfinished sweep pays into ``address``.

    Spending such an address would strand what is still to come.

    Returns:
        A condition on the current row of ``address``.
    """
    finished = [SweepState.CONFIRMED.value, SweepState.REFUSED.value]
    return exists().where(
        sweep.c.remainder_address_id == address.c.id, sweep.c.state.not_in(finished)
    )


def _query() -> Select[Any]:
    return select(address, account.c.kind).join_from(address, account)


_BY_TEXT: Final = _query().where(address.c.address == bindparam("text"))


def own_address_of(row: Row[Any]) -> OwnAddress:
    """Read an address from its row, joined with its account."""
    issued = IssuedAddress(
        address=Address(row.address),
        seed_uuid=SeedUuid(row.seed_uuid),
        generation=row.generation,
        security_level=row.security_level,
        receipt=row.receipt,
    )
    return OwnAddress(
        address_id=AddressId(row.id),
        account_id=AccountId(row.account_id),
        kind=AccountKind(row.kind),
        issued=issued,
        state=AddressState(row.state),
        balance_i=row.balance_i,
        created_at_ms=row.created_at_ms,
    )
