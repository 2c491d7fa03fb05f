# SPDX-License-Identifier: Apache-2.0
"""Withdrawals and transfer batches: what moves money.

The rules are those of ``hub.withdrawals`` and ``hub.transfers``, which the legacy
dialect follows too; here they are only asked and told differently.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from hub import errors
from hub.addresses import SpentOracle
from hub.api.v1.bodies import (
    Authorisation,
    NewTransferBatch,
    NewWithdrawal,
    WithdrawalQuery,
)
from hub.api.v1.operations import Call, Effect, Keyed, Operation
from hub.api.v1.paging import read_page
from hub.api.v1.resources import (
    Finding,
    Page,
    TransferBatch,
    Withdrawal,
    WithdrawalCheck,
)
from hub.api_keys import Scope
from hub.model import UserId, WithdrawalState, WithdrawalUuid
from hub.model import Withdrawal as StoredWithdrawal
from hub.preflight import find_faults
from hub.store import Store, Transaction
from hub.transfers import Transfer, book_batch
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import (
    CheckedWithdrawal,
    WithdrawalWish,
    approve_withdrawal,
    authorise_withdrawal,
    check_withdrawal,
    give_back,
    parse_uuid,
    reserve_withdrawal,
)
from trinary.kerl import with_checksum

_ADDRESS_TRYTES: Final = 81
_NamedWithdrawal = tuple[StoredWithdrawal, UserId, str | None]


@dataclass(frozen=True, slots=True)
class PaymentOperations:
    """What moves money.

    Attributes:
        store: The database.
        oracle: The nodes.
        rules: What is asked of withdrawals beyond a balance.
    """

    store: Store
    oracle: SpentOracle
    rules: WithdrawalRules

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="create-withdrawal",
                method="POST",
                path="/v1/withdrawals",
                summary="Reserve a withdrawal; the next sweep pays it.",
                scope=Scope.WITHDRAW,
                body=NewWithdrawal,
                reply=Withdrawal,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=(
                    errors.AmountInvalidError,
                    errors.ChecksumInvalidError,
                    errors.AddressMalformedError,
                    errors.AddressIneligibleError,
                    errors.TagInvalidError,
                    errors.UserUnknownError,
                    errors.InsufficientBalanceError,
                    errors.AddressSpentError,
                    errors.WithdrawalExistsError,
                    errors.AuthorisationInvalidError,
                    errors.WithdrawalLimitError,
                ),
                plan=self.create_withdrawal,
            ),
            Operation(
                name="check-withdrawal",
                method="POST",
                path="/v1/withdrawals/check",
                summary="List everything wrong with a withdrawal; reserve nothing.",
                scope=Scope.WITHDRAW,
                body=NewWithdrawal,
                reply=WithdrawalCheck,
                read=self.check_withdrawal,
            ),
            Operation(
                name="list-withdrawals",
                method="GET",
                path="/v1/withdrawals",
                summary="List withdrawals, the newest first.",
                scope=Scope.READ,
                query=WithdrawalQuery,
                reply=Page[Withdrawal],
                read=self.list_withdrawals,
            ),
            Operation(
                name="get-withdrawal",
                method="GET",
                path="/v1/withdrawals/{uuid}",
                summary="Get a withdrawal.",
                scope=Scope.READ,
                reply=Withdrawal,
                refusals=(errors.WithdrawalUnknownError,),
                read=self.get_withdrawal,
            ),
            Operation(
                name="cancel-withdrawal",
                method="POST",
                path="/v1/withdrawals/{uuid}/cancel",
                summary="Give a withdrawal back that no sweep has taken.",
                scope=Scope.WITHDRAW,
                reply=Withdrawal,
                keyed=Keyed.OPTIONAL,
                refusals=(errors.WithdrawalUnknownError, errors.WithdrawalFinalError),
                plan=self.cancel_withdrawal,
            ),
            Operation(
                name="approve-withdrawal",
                method="POST",
                path="/v1/withdrawals/{uuid}/approval",
                summary="Approve a withdrawal that another key has asked for.",
                scope=Scope.APPROVE,
                reply=Withdrawal,
                keyed=Keyed.OPTIONAL,
                refusals=(errors.WithdrawalUnknownError, errors.ApprovalRefusedError),
                plan=self.approve_withdrawal,
            ),
            Operation(
                name="authorise-withdrawal",
                method="POST",
                path="/v1/withdrawals/{uuid}/authorisation",
                summary="Bring the exchange's signature on a withdrawal.",
                scope=Scope.WITHDRAW,
                body=Authorisation,
                reply=Withdrawal,
                keyed=Keyed.OPTIONAL,
                refusals=(
                    errors.WithdrawalUnknownError,
                    errors.WithdrawalFinalError,
                    errors.AuthorisationInvalidError,
                ),
                plan=self.authorise_withdrawal,
            ),
            Operation(
                name="create-transfer-batch",
                method="POST",
                path="/v1/transfer-batches",
                summary="Move tokens between accounts, all or nothing.",
                scope=Scope.TRANSFER,
                body=NewTransferBatch,
                reply=TransferBatch,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=(
                    errors.UserUnknownError,
                    errors.BatchInvalidError,
                    errors.BatchUnbalancedError,
                    errors.BatchInconsistentError,
                ),
                plan=self.create_transfer_batch,
            ),
        ]

    async def create_withdrawal(self, call: Call) -> Effect:
        """Check now, nodes included; the effect reserves."""
        checked = await check_withdrawal(
            self.store,
            self.oracle,
            _wish_of(call.body),
            rules=self.rules,
            maker=_maker_of(call),
        )

        async def reserve(tx: Transaction) -> Withdrawal:
            await reserve_withdrawal(tx, checked, rules=self.rules)
            return _reserved(checked, call.body.user_id, now_ms=tx.now_ms)

        return reserve

    async def check_withdrawal(self, call: Call) -> WithdrawalCheck:
        """List every fault."""
        wish = _wish_of(call.body)
        faults = await find_faults(self.store, self.oracle, wish, rules=self.rules)
        return WithdrawalCheck(
            payable=not faults,
            needs_approval=self.rules.needs_approval(wish.amount_i),
            needs_authorisation=self.rules.needs_authorisation(wish.amount_i)
            and not wish.authorisation,
            findings=[
                Finding(
                    code=fault.code,
                    detail=str(fault),
                    retry=isinstance(fault, errors.FaultError),
                )
                for fault in faults
            ],
        )

    async def list_withdrawals(self, call: Call) -> Page[Withdrawal]:
        """List withdrawals."""
        asked: WithdrawalQuery = call.query

        async def fetch(before: int | None, limit: int) -> list[_NamedWithdrawal]:
            async with self.store.reading() as tx:
                return await tx.pages.withdrawals(
                    before_id=before,
                    limit=limit,
                    user_id=None if asked.user_id is None else UserId(asked.user_id),
                    state=None if asked.state is None else WithdrawalState(asked.state),
                )

        return await read_page(
            asked,
            of="withdrawals",
            fetch=fetch,
            row_id=lambda named: named[0].withdrawal_id,
            show=lambda named: withdrawal_of(*named),
        )

    async def get_withdrawal(self, call: Call) -> Withdrawal:
        """Get a withdrawal."""
        async with self.store.reading() as tx:
            return await _shown(tx, parse_uuid(call.path["uuid"]))

    async def cancel_withdrawal(self, call: Call) -> Effect:
        """Give it back."""
        uuid = parse_uuid(call.path["uuid"])

        async def cancel(tx: Transaction) -> Withdrawal:
            await give_back(tx, uuid)
            return await _shown(tx, uuid)

        return cancel

    async def approve_withdrawal(self, call: Call) -> Effect:
        """Approve it, as the key that asks here."""
        uuid, checker = parse_uuid(call.path["uuid"]), _maker_of(call)

        async def approve(tx: Transaction) -> Withdrawal:
            await approve_withdrawal(tx, uuid, checker=checker, rules=self.rules)
            return await _shown(tx, uuid)

        return approve

    async def authorise_withdrawal(self, call: Call) -> Effect:
        """Attach the exchange's signature."""
        uuid = parse_uuid(call.path["uuid"])
        asked: Authorisation = call.body

        async def authorise(tx: Transaction) -> Withdrawal:
            await authorise_withdrawal(tx, uuid, asked.authorisation)
            return await _shown(tx, uuid)

        return authorise

    async def create_transfer_batch(self, call: Call) -> Effect:
        """Book the batch."""
        asked: NewTransferBatch = call.body
        net_i: Counter[str] = Counter()
        for one in asked.transfers:
            net_i[one.user_id] += one.amount_i
        transfers = [Transfer(UserId(t.user_id), t.amount_i) for t in asked.transfers]

        async def book(tx: Transaction) -> TransferBatch:
            await book_batch(tx, transfers)
            return TransferBatch(
                accounts=len(net_i),
                moved_i=sum(amount_i for amount_i in net_i.values() if amount_i > 0),
                booked_at_ms=tx.now_ms,
            )

        return book


def withdrawal_of(
    stored: StoredWithdrawal, user_id: UserId, bundle_hash: str | None
) -> Withdrawal:
    """Show a withdrawal."""
    return Withdrawal(
        uuid=stored.uuid,
        user_id=user_id,
        amount_i=stored.amount_i,
        address=stored.payout_address,
        address_with_checksum=with_checksum(stored.payout_address),
        tag=stored.tag,
        state=stored.state.value,
        made_by=stored.maker,
        approved_by=stored.approved_by or None,
        authorised=bool(stored.authorisation),
        sweep_bundle_hash=bundle_hash,
        requested_at_ms=stored.requested_at_ms,
        cancelled_at_ms=stored.cancelled_at_ms,
    )


def _reserved(checked: CheckedWithdrawal, user_id: str, *, now_ms: int) -> Withdrawal:
    # As its row would be read: to read what was just written costs a round trip.
    return Withdrawal(
        uuid=checked.uuid,
        user_id=user_id,
        amount_i=checked.amount_i,
        address=checked.payout_address,
        address_with_checksum=with_checksum(checked.payout_address),
        tag=checked.tag,
        state=checked.state.value,
        made_by=checked.maker,
        approved_by=None,
        authorised=bool(checked.authorisation),
        sweep_bundle_hash=None,
        requested_at_ms=now_ms,
        cancelled_at_ms=None,
    )


def _maker_of(call: Call) -> str:
    return call.key.key_id if call.key is not None else ""


async def _shown(tx: Transaction, uuid: WithdrawalUuid) -> Withdrawal:
    return withdrawal_of(*await tx.pages.withdrawal(uuid))


def _wish_of(asked: NewWithdrawal) -> WithdrawalWish:
    return WithdrawalWish(
        user_id=UserId(asked.user_id),
        amount_i=asked.amount_i,
        payout_address=asked.address,
        tag=asked.tag,
        validate_checksum=asked.require_checksum
        or len(asked.address) > _ADDRESS_TRYTES,
        uuid=asked.uuid or "",
        authorisation=asked.authorisation or "",
    )
