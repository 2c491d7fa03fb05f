# SPDX-License-Identifier: Apache-2.0
"""The error strings of the legacy dialect and what each of our errors becomes."""

import enum
from collections.abc import Mapping
from typing import Final

from hub import errors


class LegacyError(enum.Enum):
    """A string that old clients compare with.

    Source: Hub 1.4.4, common/commands/errors.
    """

    MISSING_ARGUMENT = "Missing argument"
    """A field is absent, or is no integer where one is needed."""
    CANCELLED = "Cancelled"
    """The command is disabled, or there is no such sweep."""
    USER_EXISTS = "User exist"
    """The identifier is taken or can not be one."""
    USER_DOES_NOT_EXIST = "User does not exist"
    """No such identifier."""
    UNKNOWN_ADDRESS = "Unknown address"
    """The address is none of ours."""
    UNKNOWN_ERROR = "Unknown error"
    """An amount, address or tag that makes no sense, or a fault of ours."""
    GET_ADDRESS_FAILED = "Get address failed"
    """The appliance gave no address."""
    INVALID_UUID = "Invalid UUID"
    """No such withdrawal."""
    INVALID_CHECKSUM = "Invalid checksum"
    """The checksum is missing or wrong."""
    INVALID_ADDRESS = "Invalid address"
    """The last trit is not zero."""
    ADDRESS_WAS_SPENT = "Address was already spent"
    """Nothing is sent there any more."""
    NODE_UNAVAILABLE = "IOTA node is unavailable"
    """No quorum of nodes answered."""
    NOT_CANCELLABLE = "Withdrawal can not be cancelled"
    """It is in a sweep, or cancelled already."""
    BATCH_INVALID = "Batch is invalid"
    """A transfer moves nothing."""
    BATCH_INCONSISTENT = "Batch is inconsistent"
    """An account would be overdrawn."""
    BATCH_UNBALANCED = "Batch amount is not zero (unbalanced)"
    """The amounts do not add up to zero."""
    INVALID_AUTHENTICATION = "Invalid authentication"
    """The token is none of ours, is for something else, is used or has expired."""
    SIGNING_FAILED = "Signing has failed"
    """The appliance will never sign it."""
    WRONG_USER = "Wrong user address"
    """The address belongs to somebody else."""
    ADDRESS_NOT_KNOWN = "Address is not known to node"
    """No quorum of nodes says what it holds."""
    BALANCE_ZERO = "Address balance is zero"
    """There is nothing to recover."""
    AWAITING_APPROVAL = "Awaiting approval"
    """Not of Hub 1.4.4: operators must approve it; ask the same again."""
    MINING = "Mining"
    """Not of Hub 1.4.4: the bundle is being mined; ask the same again."""
    INSUFFICIENT_BALANCE = "Insufficient balance"
    """The account has less than that."""


class CommandRefusedError(Exception):
    """A command ends with a string of the table, decided where it is raised.

    Attributes:
        answers: What to reply; one command answers two at once.
    """

    def __init__(self, *answers: LegacyError) -> None:
        super().__init__(*[answer.value for answer in answers])
        self.answers = answers


STRINGS: Final[Mapping[type[errors.HubError], LegacyError]] = {
    errors.UserExistsError: LegacyError.USER_EXISTS,
    errors.UserUnknownError: LegacyError.USER_DOES_NOT_EXIST,
    errors.InsufficientBalanceError: LegacyError.INSUFFICIENT_BALANCE,
    errors.AddressUnknownError: LegacyError.UNKNOWN_ADDRESS,
    errors.AddressIneligibleError: LegacyError.INVALID_ADDRESS,
    errors.AddressSpentError: LegacyError.ADDRESS_WAS_SPENT,
    errors.ChecksumInvalidError: LegacyError.INVALID_CHECKSUM,
    errors.WithdrawalUnknownError: LegacyError.INVALID_UUID,
    errors.WithdrawalFinalError: LegacyError.NOT_CANCELLABLE,
    errors.BatchInvalidError: LegacyError.BATCH_INVALID,
    errors.BatchUnbalancedError: LegacyError.BATCH_UNBALANCED,
    errors.BatchInconsistentError: LegacyError.BATCH_INCONSISTENT,
    errors.SweepUnknownError: LegacyError.CANCELLED,
    errors.ApplianceUnavailableError: LegacyError.GET_ADDRESS_FAILED,
    errors.NodeUnavailableError: LegacyError.NODE_UNAVAILABLE,
}
"""Every other error of ours is ``Unknown error``, as in Hub 1.4.4."""


def string_for(error: errors.HubError) -> LegacyError:
    """Choose the string for an error.

    Args:
        error: What a flow raised.

    Returns:
        The string of the nearest class in the table.
    """
    for kind in type(error).__mro__:
        if kind in STRINGS:
            return STRINGS[kind]
    return LegacyError.UNKNOWN_ERROR
