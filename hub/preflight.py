# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a withdrawal, before it is asked for.

The checks are those of ``hub.withdrawals``; only that each is made, whatever the one
before it found, is decided here.
"""

import contextlib
from types import TracebackType

from hub.addresses import SpentOracle, parse_address, require_unspent
from hub.authorisations import require_fitting
from hub.errors import (
    FaultError,
    HubError,
    RefusedError,
    WithdrawalExistsError,
    WithdrawalUnknownError,
)
from hub.model import Address, WithdrawalUuid
from hub.store import Store
from hub.withdrawal_rules import NO_RULES, WithdrawalRules
from hub.withdrawals import (
    WithdrawalWish,
    parse_tag,
    parse_uuid,
    require_amount,
    require_covered,
    require_last_trit,
    require_room,
)


async def find_faults(
    store: Store,
    oracle: SpentOracle,
    wish: WithdrawalWish,
    *,
    rules: WithdrawalRules = NO_RULES,
) -> list[HubError]:
    """List everything that is wrong with a withdrawal, not the first thing only.

    Args:
        store: The database.
        oracle: The nodes.
        wish: What a client might ask for.
        rules: What is asked of it beyond a balance.

    Returns:
        What ``check_withdrawal`` could raise, in its order; a node that does not
        answer is in the list too.
    """
    faults: list[HubError] = []
    with _noting(faults):
        require_amount(wish.amount_i)
    address = None
    with _noting(faults):
        address = parse_address(wish.payout_address, checksum=wish.validate_checksum)
        require_last_trit(address)
    tag = None
    with _noting(faults):
        tag = parse_tag(wish.tag)
    with _noting(faults):
        async with store.looking() as tx:
            since_ms = rules.since_ms(tx.now_ms)
            nowhere = Address("")
            look = await tx.withdrawals.look(wish.user_id, address or nowhere, since_ms)
        require_covered(look.account, wish.amount_i)
        require_room(look.requested, rules, asked_i=wish.amount_i)
    if address is not None:
        with _noting(faults):
            await require_unspent(store, oracle, address)
    if wish.uuid:
        with _noting(faults):
            await _require_new(store, parse_uuid(wish.uuid))
    if wish.authorisation and address is not None and tag is not None:
        with _noting(faults):
            require_fitting(
                wish.authorisation,
                uuid=WithdrawalUuid(wish.uuid),
                address=address,
                amount_i=wish.amount_i,
                tag=tag,
            )
    return faults


async def _require_new(store: Store, uuid: WithdrawalUuid) -> None:
    async with store.reading() as tx:
        with contextlib.suppress(WithdrawalUnknownError):
            await tx.withdrawals.by_uuid(uuid)
            message = f"there is a withdrawal {uuid} already"
            raise WithdrawalExistsError(message)


class _noting:  # noqa: N801 - reads as the statement it is
    # Takes what is wrong into a list and goes on.

    def __init__(self, faults: list[HubError]) -> None:
        self._faults = faults

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, RefusedError | FaultError):
            self._faults.append(error)
            return True
        return False
