# SPDX-License-Identifier: Apache-2.0
"""The legacy commands that open accounts and move tokens.

Each method is one command: it reads its fields in the order Hub 1.4.4 read them
and lets a flow act. What goes wrong is raised; ``legacy`` turns it into a string.
Source: Hub 1.4.4, hub/commands.
"""

from typing import Final

from hub.addresses import (
    AddressIssuer,
    ReadyAddresses,
    SpentOracle,
    new_address,
    parse_address,
    was_spent,
)
from hub.api.legacy_errors import CommandRefusedError, LegacyError
from hub.api.legacy_fields import Fields
from hub.api.ptree import Branch
from hub.errors import (
    AddressIneligibleError,
    AddressUnknownError,
    UserExistsError,
    WithdrawalFinalError,
    WithdrawalUnknownError,
)
from hub.model import AccountKind, UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from hub.withdrawal_rules import NO_RULES, WithdrawalRules
from hub.withdrawals import (
    WithdrawalWish,
    cancel_withdrawal,
    parse_uuid,
    request_withdrawal,
    was_cancelled,
)
from trinary.kerl import with_checksum
from trinary.trytes import last_trit_is_zero

MAX_IDENTIFIER: Final = 64
MAKER: Final = "legacy"
"""Who asks for a withdrawal by an old dialect; any API key may approve it."""


class MoneyCommands:
    """Commands about accounts, addresses, withdrawals and transfers.

    Args:
        store: The database.
        issuer: The appliance.
        oracle: The nodes.
        ready: Addresses kept ready, if any are.
        rules: What is asked of withdrawals beyond a balance.
    """

    def __init__(
        self,
        store: Store,
        *,
        issuer: AddressIssuer,
        oracle: SpentOracle,
        ready: ReadyAddresses | None = None,
        rules: WithdrawalRules = NO_RULES,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._oracle = oracle
        self._ready = ready
        self._rules = rules

    async def create_user(self, fields: Fields) -> Branch:
        """Answer ``CreateUser``.

        Args:
            fields: userId, 1-64 characters.

        Returns:
            Nothing.

        Raises:
            UserExistsError: Also for an identifier that can not be stored, as
                the old database's error was reported.
        """
        identifier = fields.text("userId")
        if not 0 < len(identifier) <= MAX_IDENTIFIER or "\0" in identifier:
            message = "an identifier has 1-64 characters"
            raise UserExistsError(message)
        await self._store.run(lambda tx: tx.accounts.create(UserId(identifier)))
        return []

    async def get_balance(self, fields: Fields) -> Branch:
        """Answer ``GetBalance``.

        Args:
            fields: userId.

        Returns:
            available, in iota.
        """
        user_id = UserId(fields.text("userId"))
        async with self._store.reading() as tx:
            account = await tx.accounts.by_identifier(user_id)
        return [("available", str(account.available_i))]

    async def get_deposit_address(self, fields: Fields) -> Branch:
        """Answer ``GetDepositAddress``.

        Args:
            fields: userId, includeChecksum.

        Returns:
            address, of 81 trytes or 90 with its checksum.
        """
        user_id = UserId(fields.text("userId"))
        include_checksum = fields.flag("includeChecksum")
        async with self._store.reading() as tx:
            account = await tx.accounts.by_identifier(user_id)
        address = await new_address(
            self._store,
            account,
            issuer=self._issuer,
            oracle=self._oracle,
            ready=self._ready,
        )
        return [("address", with_checksum(address) if include_checksum else address)]

    async def get_address_info(self, fields: Fields) -> Branch:
        """Answer ``GetAddressInfo``.

        Args:
            fields: address, 81 trytes.

        Returns:
            userId of the user it was issued to.

        Raises:
            AddressUnknownError: If it is no user's.
        """
        address = parse_address(fields.text("address"), checksum=False)
        async with self._store.reading() as tx:
            own = await tx.addresses.find(address)
            if own is None or own.kind is not AccountKind.USER:
                message = f"{address} is no user's"
                raise AddressUnknownError(message)
            account = await tx.accounts.by_id(own.account_id)
        return [("userId", account.identifier)]

    async def user_withdraw(self, fields: Fields) -> Branch:
        """Answer ``UserWithdraw``.

        Args:
            fields: userId, validateChecksum, payoutAddress, amount, tag.

        Returns:
            uuid of the withdrawal.
        """
        wish = WithdrawalWish(
            user_id=UserId(fields.text("userId")),
            validate_checksum=fields.flag("validateChecksum"),
            payout_address=fields.optional("payoutAddress") or "",
            amount_i=fields.integer("amount", default=0),
            tag=fields.optional("tag") or "",
        )
        uuid = await request_withdrawal(
            self._store, self._oracle, wish, rules=self._rules, maker=MAKER
        )
        return [("uuid", uuid)]

    async def user_withdraw_cancel(self, fields: Fields) -> Branch:
        """Answer ``UserWithdrawCancel``.

        Args:
            fields: uuid.

        Returns:
            success, always true.

        Raises:
            CommandRefusedError: ``Unknown error`` if it is no UUID.
            WithdrawalFinalError: If there is nothing to cancel.
        """
        text = fields.text("uuid")
        try:
            uuid = parse_uuid(text)
        except WithdrawalUnknownError as error:
            raise CommandRefusedError(LegacyError.UNKNOWN_ERROR) from error
        try:
            await cancel_withdrawal(self._store, uuid)
        except WithdrawalUnknownError as error:
            raise WithdrawalFinalError(*error.args) from error
        return [("success", "true")]

    async def was_withdrawal_cancelled(self, fields: Fields) -> Branch:
        """Answer ``WasWithdrawalCancelled``.

        Args:
            fields: uuid.

        Returns:
            wasCancelled.
        """
        uuid = parse_uuid(fields.text("uuid"))
        cancelled = await was_cancelled(self._store, uuid)
        return [("wasCancelled", boolean(cancelled))]

    async def was_address_spent_from(self, fields: Fields) -> Branch:
        """Answer ``WasAddressSpentFrom``.

        Args:
            fields: address, validateChecksum.

        Returns:
            wasAddressSpentFrom, by our records or the nodes'.

        Raises:
            AddressIneligibleError: If its last trit is not zero.
        """
        text = fields.text("address")
        address = parse_address(text, checksum=fields.flag("validateChecksum"))
        if not last_trit_is_zero(address):
            message = "the address's last trit is not zero"
            raise AddressIneligibleError(message)
        spent = await was_spent(self._store, self._oracle, address)
        return [("wasAddressSpentFrom", boolean(spent))]

    async def process_transfer_batch(self, fields: Fields) -> Branch:
        """Answer ``ProcessTransferBatch``.

        Args:
            fields: transfers, a list of userId and amount.

        Returns:
            Nothing.
        """
        transfers = [
            Transfer(UserId(one.text("userId")), one.integer("amount"))
            for one in fields.elements("transfers")
        ]
        await process_batch(self._store, transfers)
        return []


def boolean(value: bool) -> str:  # noqa: FBT001 - spells a boolean
    """Return how the dialect spells a boolean."""
    return "true" if value else "false"
