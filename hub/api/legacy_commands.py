# SPDX-License-Identifier: Apache-2.0
"""The nineteen commands of Hub 1.4.4, whichever dialect asks for them.

A command takes the texts of a request and returns the texts of a reply. REST writes
them as its odd JSON, gRPC puts them into its messages; neither knows a rule of a
command. What goes wrong becomes a ``Refusal`` here and nowhere else.
Source: Hub 1.4.4, hub/commands.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from hub import tracing
from hub.addresses import AddressIssuer, ReadyAddresses, SpentOracle
from hub.api.legacy_errors import CommandRefusedError, LegacyError, string_for
from hub.api.legacy_fields import Fields
from hub.api.legacy_guarded import Doors, GuardedCommands
from hub.api.legacy_history import HistoryCommands
from hub.api.legacy_money import MoneyCommands
from hub.api.ptree import Branch
from hub.errors import HubError, RefusedError
from hub.instruments import answered, code_of
from hub.store import Store
from hub.withdrawal_rules import NO_RULES, WithdrawalRules

Command: TypeAlias = Callable[[Fields], Awaitable[Branch]]
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was not done.

    Attributes:
        answers: Why, the first one first; one command gives two at once.
    """

    answers: tuple[LegacyError, ...]


def commands(
    store: Store,
    *,
    issuer: AddressIssuer,
    oracle: SpentOracle,
    ready: ReadyAddresses | None = None,
    doors: Doors | None = None,
    rules: WithdrawalRules = NO_RULES,
) -> Mapping[str, Command]:
    """Build the table of commands.

    Args:
        store: The database.
        issuer: The appliance.
        oracle: The nodes.
        ready: Addresses kept ready, if any are.
        doors: What of the guarded commands is switched on.
        rules: What is asked of withdrawals; what they may wait for, only ``/v1``
            brings.

    Returns:
        All nineteen, by their case-sensitive names.
    """
    money = MoneyCommands(
        store,
        issuer=issuer,
        oracle=oracle,
        ready=ready,
        rules=rules,
    )
    history = HistoryCommands(store)
    guarded = GuardedCommands(store, doors)
    return {
        "CreateUser": money.create_user,
        "GetBalance": money.get_balance,
        "GetDepositAddress": money.get_deposit_address,
        "GetAddressInfo": money.get_address_info,
        "GetUserHistory": history.get_user_history,
        "BalanceSubscription": history.balance_subscription,
        "SweepSubscription": history.sweep_subscription,
        "SweepInfo": history.sweep_info,
        "SweepDetail": history.sweep_detail,
        "UserWithdraw": money.user_withdraw,
        "UserWithdrawCancel": money.user_withdraw_cancel,
        "WasWithdrawalCancelled": money.was_withdrawal_cancelled,
        "WasAddressSpentFrom": money.was_address_spent_from,
        "ProcessTransferBatch": money.process_transfer_batch,
        "GetStats": history.get_stats,
        "SignBundle": guarded.sign_bundle,
        "RecoverFunds": guarded.recover_funds,
        "GetSeedForAddress": guarded.get_seed_for_address,
        "GetSeedForUUID": guarded.get_seed_for_uuid,
    }


async def attempt(
    name: str, work: Awaitable[_Result], *, api: str
) -> _Result | Refusal:
    """Do what a command asks for; its log line is written here.

    Args:
        name: Of the command, for the log.
        work: The command's work; whatever it raises is caught.
        api: Through which dialect it came: ``legacy`` or ``grpc``.

    Returns:
        What the work returned, or why it was not done.
    """
    with tracing.step("request", api=api, operation=name) as request:
        return await _attempt(name, work, api=api, request=request)


async def _attempt(
    name: str, work: Awaitable[_Result], *, api: str, request: tracing.Step
) -> _Result | Refusal:
    started_s = time.perf_counter()
    failure: Exception | None = None
    try:
        reply: _Result | Refusal = await work
    except CommandRefusedError as refusal:
        _log.info("command refused: %s, %s", name, refusal)
        failure, reply = RefusedError(), Refusal(refusal.answers)
    except RefusedError as error:
        _log.info("command refused: %s, %s", name, error.code)
        failure, reply = error, Refusal((string_for(error),))
    except HubError as error:
        _log.warning("command failed: %s, %s: %s", name, error.code, error)
        failure, reply = error, Refusal((string_for(error),))
    except Exception as error:  # noqa: BLE001 - W1: no request may stop the process
        _log.exception("command failed: %s", name)
        failure, reply = error, Refusal((LegacyError.UNKNOWN_ERROR,))
    else:
        _log.debug("command done: %s", name)
    answered(api, name, took_s=time.perf_counter() - started_s, error=failure)
    if failure is not None:
        request.failed(code_of(failure))
    return reply
