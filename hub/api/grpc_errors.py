# SPDX-License-Identifier: Apache-2.0
"""How a refusal travels over gRPC: two contracts, chosen by the configuration.

``code`` is what Hub documented and sent until 1.3.0: a serialised ``hub.rpc.Error``
in ``grpc-status-details-bin``, and ``UNAVAILABLE`` where its signing server failed.
``string`` is what 1.4.0 made of it: the text of the REST dialect in the same place.
In both, what is off or not found is a bare ``CANCELLED``.

Left out on purpose: 1.4.0 reported a failed signature as ``Wrong user address`` (a
``break`` was missing), and before it ProcessTransferBatch put the bytes of its error
into the message.
Source: Hub 1.4.4, common/commands/errors, and its history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import grpc

from hub.api import hub_pb2 as pb
from hub.api.legacy_errors import LegacyError

Style: TypeAlias = Literal["code", "string"]
DETAILS_KEY: Final = "grpc-status-details-bin"

CODES: Final[Mapping[LegacyError, pb.ErrorCode]] = {
    LegacyError.USER_EXISTS: pb.USER_EXISTS,
    LegacyError.USER_DOES_NOT_EXIST: pb.USER_DOES_NOT_EXIST,
    LegacyError.INSUFFICIENT_BALANCE: pb.INSUFFICIENT_BALANCE,
    LegacyError.BATCH_INVALID: pb.BATCH_INVALID,
    LegacyError.BATCH_INCONSISTENT: pb.BATCH_INCONSISTENT,
    LegacyError.BATCH_UNBALANCED: pb.BATCH_AMOUNT_ZERO,
    LegacyError.UNKNOWN_ADDRESS: pb.UNKNOWN_ADDRESS,
    LegacyError.NOT_CANCELLABLE: pb.WITHDRAWAL_CAN_NOT_BE_CANCELLED,
    LegacyError.INVALID_ADDRESS: pb.INELIGIBLE_ADDRESS,
    LegacyError.INVALID_AUTHENTICATION: pb.INVALID_AUTHENTICATION,
    LegacyError.INVALID_CHECKSUM: pb.CHECKSUM_INVALID,
    LegacyError.SIGNING_FAILED: pb.SIGNING_FAILED,
    LegacyError.GET_ADDRESS_FAILED: pb.GET_ADDRESS_FAILED,
    LegacyError.NODE_UNAVAILABLE: pb.IRI_CLIENT_UNAVAILABLE,
    LegacyError.ADDRESS_WAS_SPENT: pb.ADDRESS_WAS_ALREADY_SPENT,
    LegacyError.INVALID_UUID: pb.INVALID_UUID,
    LegacyError.WRONG_USER: pb.WRONG_USER_ADDRESS,
    LegacyError.BALANCE_ZERO: pb.ADDRESS_BALANCE_ZERO,
}
"""Everything else is ``EC_UNKNOWN``, whose serialised form has no bytes."""

_UNAVAILABLE: Final = (LegacyError.GET_ADDRESS_FAILED, LegacyError.SIGNING_FAILED)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ends that is refused.

    Attributes:
        status: Of gRPC.
        message: For people.
        details: Bytes of ``grpc-status-details-bin``; None: the call has none.
    """

    status: grpc.StatusCode
    message: str = ""
    details: bytes | None = None


def ending_of(error: LegacyError, *, style: Style) -> Ending:
    """Say how a refusal travels; pure.

    Args:
        error: What REST would have answered.
        style: Which contract the clients know.

    Returns:
        Status, message and details.
    """
    if error is LegacyError.CANCELLED:
        return Ending(grpc.StatusCode.CANCELLED)
    failed = grpc.StatusCode.FAILED_PRECONDITION
    if style == "string":
        return Ending(failed, details=error.value.encode())
    status = grpc.StatusCode.UNAVAILABLE if error in _UNAVAILABLE else failed
    code = CODES.get(error, pb.EC_UNKNOWN)
    return Ending(status, error.value, pb.Error(code=code).SerializeToString())
