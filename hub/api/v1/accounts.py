# SPDX-License-Identifier: Apache-2.0
"""Users, their balances and their deposit addresses."""

from dataclasses import dataclass

from hub import errors
from hub.addresses import (
    AddressIssuer,
    ReadyAddresses,
    SpentOracle,
    draw_address,
    parse_address,
    was_spent,
)
from hub.api.v1.bodies import ListQuery, NewUser
from hub.api.v1.operations import Call, Effect, Keyed, Operation
from hub.api.v1.paging import read_page
from hub.api.v1.resources import (
    Balances,
    DepositAddress,
    Page,
    SpentReport,
    User,
)
from hub.api_keys import Scope
from hub.model import Account, Address, OwnAddress, UserId
from hub.store import Store, Transaction
from trinary.kerl import with_checksum
from trinary.trytes import is_trytes, last_trit_is_zero

_ADDRESS_TRYTES = 81


@dataclass(frozen=True, slots=True)
class AccountOperations:
    """What a client may ask about users and addresses.

    Attributes:
        store: The database.
        issuer: The appliance.
        oracle: The nodes.
        ready: Addresses kept ready, if any are.
    """

    store: Store
    issuer: AddressIssuer
    oracle: SpentOracle
    ready: ReadyAddresses | None = None

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="create-user",
                method="POST",
                path="/v1/users",
                summary="Open a user.",
                scope=Scope.DEPOSIT,
                body=NewUser,
                reply=User,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=(errors.UserExistsError,),
                plan=self.create_user,
            ),
            Operation(
                name="list-users",
                method="GET",
                path="/v1/users",
                summary="List users, the newest first.",
                scope=Scope.READ,
                query=ListQuery,
                reply=Page[User],
                read=self.list_users,
            ),
            Operation(
                name="get-user",
                method="GET",
                path="/v1/users/{user_id}",
                summary="Get a user with their balances.",
                scope=Scope.READ,
                reply=User,
                refusals=(errors.UserUnknownError,),
                read=self.get_user,
            ),
            Operation(
                name="get-balances",
                method="GET",
                path="/v1/users/{user_id}/balances",
                summary="Get a user's balances alone.",
                scope=Scope.READ,
                reply=Balances,
                refusals=(errors.UserUnknownError,),
                read=self.get_balances,
            ),
            Operation(
                name="create-address",
                method="POST",
                path="/v1/users/{user_id}/addresses",
                summary="Have the appliance issue a fresh deposit address.",
                scope=Scope.DEPOSIT,
                reply=DepositAddress,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=(errors.UserUnknownError,),
                plan=self.create_address,
                draws=True,
            ),
            Operation(
                name="list-addresses",
                method="GET",
                path="/v1/users/{user_id}/addresses",
                summary="List a user's deposit addresses, the newest first.",
                scope=Scope.READ,
                query=ListQuery,
                reply=Page[DepositAddress],
                refusals=(errors.UserUnknownError,),
                read=self.list_addresses,
            ),
            Operation(
                name="get-address",
                method="GET",
                path="/v1/addresses/{address}",
                summary="Say whose address this is and what it holds.",
                scope=Scope.READ,
                reply=DepositAddress,
                refusals=(
                    errors.AddressUnknownError,
                    errors.AddressMalformedError,
                    errors.ChecksumInvalidError,
                ),
                read=self.get_address,
            ),
            Operation(
                name="get-address-spent",
                method="GET",
                path="/v1/addresses/{address}/spent",
                summary="Say whether any address was spent from.",
                scope=Scope.READ,
                reply=SpentReport,
                refusals=(
                    errors.AddressMalformedError,
                    errors.AddressIneligibleError,
                    errors.ChecksumInvalidError,
                ),
                read=self.get_address_spent,
            ),
        ]

    async def create_user(self, call: Call) -> Effect:
        """Open a user."""
        asked: NewUser = call.body

        async def create(tx: Transaction) -> User:
            await tx.accounts.create(UserId(asked.user_id))
            return user_of(await tx.accounts.by_identifier(UserId(asked.user_id)))

        return create

    async def list_users(self, call: Call) -> Page[User]:
        """List users."""

        async def fetch(before: int | None, limit: int) -> list[Account]:
            async with self.store.reading() as tx:
                return await tx.pages.users(before_id=before, limit=limit)

        return await read_page(
            call.query,
            of="users",
            fetch=fetch,
            row_id=lambda account: account.account_id,
            show=user_of,
        )

    async def get_user(self, call: Call) -> User:
        """Get a user."""
        return user_of(await self._account(call))

    async def get_balances(self, call: Call) -> Balances:
        """Get balances."""
        return user_of(await self._account(call)).balances

    async def create_address(self, call: Call) -> Effect:
        """Draw an address now; the effect records it."""
        account = await self._account(call)
        issued = await draw_address(
            self.store,
            account,
            issuer=self.issuer,
            oracle=self.oracle,
            ready=self.ready,
        )

        async def record(tx: Transaction) -> DepositAddress:
            address_id = await tx.addresses.add(account.account_id, issued)
            own = await tx.addresses.by_id(address_id)
            return _address_of(own, account.identifier)

        return record

    async def list_addresses(self, call: Call) -> Page[DepositAddress]:
        """List a user's addresses."""
        account = await self._account(call)
        user_id = account.identifier

        async def fetch(before: int | None, limit: int) -> list[OwnAddress]:
            async with self.store.reading() as tx:
                return await tx.pages.addresses(
                    before_id=before, limit=limit, user_id=user_id
                )

        return await read_page(
            call.query,
            of=f"addresses of {user_id}",
            fetch=fetch,
            row_id=lambda own: own.address_id,
            show=lambda own: _address_of(own, user_id),
        )

    async def get_address(self, call: Call) -> DepositAddress:
        """Get an address of ours; another one raises ``AddressUnknownError``."""
        address = read_address(call.path["address"])
        async with self.store.reading() as tx:
            own = await tx.addresses.find(address)
            if own is None:
                raise errors.AddressUnknownError(f"{address} is none of ours")
            account = await tx.accounts.by_id(own.account_id)
        return _address_of(own, account.identifier)

    async def get_address_spent(self, call: Call) -> SpentReport:
        """Ask our records, then the nodes."""
        address = read_address(call.path["address"])
        if not last_trit_is_zero(address):
            raise errors.AddressIneligibleError("the address's last trit is not zero")
        spent = await was_spent(self.store, self.oracle, address)
        return SpentReport(address=address, spent=spent)

    async def _account(self, call: Call) -> Account:
        async with self.store.reading() as tx:
            return await tx.accounts.by_identifier(read_user_id(call.path["user_id"]))


def read_user_id(text: str) -> UserId:
    """Read a user's name out of a path.

    Args:
        text: As decoded.

    Returns:
        The name.

    Raises:
        UserUnknownError: If nobody can be called so.
    """
    if "\0" in text:
        raise errors.UserUnknownError("no such account")
    return UserId(text)


def read_address(text: str) -> Address:
    """Read an address; a checksum that is there must be right.

    Args:
        text: 81 trytes, or 90 with the checksum.

    Returns:
        81 trytes.
    """
    has_checksum = len(text) > _ADDRESS_TRYTES and is_trytes(text, length=len(text))
    return parse_address(text, checksum=has_checksum)


def user_of(account: Account) -> User:
    """Show an account."""
    return User(
        user_id=account.identifier,
        kind=account.kind.value,
        balances=Balances(
            available_i=account.available_i,
            unswept_i=account.unswept_i,
            pending_i=account.pending_i,
            quarantined_i=account.quarantined_i,
        ),
        created_at_ms=account.created_at_ms,
    )


def _address_of(own: OwnAddress, user_id: UserId) -> DepositAddress:
    whole = with_checksum(own.address)
    return DepositAddress(
        address=own.address,
        checksum=whole[_ADDRESS_TRYTES:],
        address_with_checksum=whole,
        user_id=user_id,
        state=own.state.value,
        balance_i=own.balance_i,
        generation=own.issued.generation,
        security_level=own.issued.security_level,
        receipt=own.issued.receipt,
        created_at_ms=own.created_at_ms,
    )
