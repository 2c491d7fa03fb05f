# SPDX-License-Identifier: Apache-2.0
"""A gRPC client of the old Hub, made from its published names and numbers alone.

Nothing of ours goes into it: not the proto, not the generated code. ``s`` is a text,
``b`` a boolean, ``i`` int64, ``u`` uint64, ``*`` repeated, ``?`` one of a choice, and
any other word a message or enum of the table.
"""

import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ENUMS = {
    "ErrorCode": (
        "EC_UNKNOWN USER_EXISTS USER_DOES_NOT_EXIST INSUFFICIENT_BALANCE BATCH_INVALID"
        " BATCH_INCONSISTENT BATCH_AMOUNT_ZERO UNKNOWN_ADDRESS"
        " WITHDRAWAL_CAN_NOT_BE_CANCELLED INELIGIBLE_ADDRESS INVALID_AUTHENTICATION"
        " CHECKSUM_INVALID SIGNING_FAILED GET_ADDRESS_FAILED GET_SECURITY_LEVEL_FAILED"
        " IRI_CLIENT_UNAVAILABLE ADDRESS_WAS_ALREADY_SPENT INVALID_UUID"
        " WRONG_USER_ADDRESS ADDRESS_BALANCE_ZERO"
    ),
    "AccountEventType": "UAB_UNKNOWN DEPOSIT BUY WITHDRAWAL WITHDRAWAL_CANCELED SELL",
    "AddressReason": "UADD_UNKNOWN UA_DEPOSIT UA_SWEEP",
    "HubReason": "HUB_UNKNOWN INBOUND OUTBOUND",
}
MESSAGES = """
Error                         code=1 ErrorCode
CreateUserRequest             userId=1 s
CreateUserReply
GetBalanceRequest             userId=1 s
GetBalanceReply               available=1 i
GetDepositAddressRequest      userId=1 s, includeChecksum=2 b
GetDepositAddressReply        address=1 s
GetAddressInfoRequest         address=1 s
GetAddressInfoReply           userId=1 s
GetUserHistoryRequest         userId=1 s, newerThan=2 u
GetUserHistoryReply           events=1 *AccountEvent
BalanceSubscriptionRequest    newerThan=1 u
BalanceEvent                  account=1 ?AccountEvent, address=2 ?AddressEvent, hub=3 ?HubEvent
AccountEvent                  userId=1 s, timestamp=2 u, type=3 AccountEventType, amount=4 i, sweepBundleHash=5 s, withdrawalUUID=6 s
AddressEvent                  userId=1 s, userAddress=2 s, amount=3 i, reason=4 AddressReason, hash=5 s, timestamp=6 u, message=7 s
HubEvent                      hubAddress=1 s, amount=2 i, reason=3 HubReason, sweepBundleHash=4 s, timestamp=5 u
SweepSubscriptionRequest      newerThan=1 u
SweepEvent                    bundleHash=1 s, timestamp=2 u, withdrawalUUID=3 *s
SweepInfoRequest              withdrawalUUID=1 ?s, bundleHash=2 ?s
SweepDetailRequest            bundleHash=1 s
SweepDetailReply              confirmed=1 b, trytes=2 *s, tailHash=3 *s
UserWithdrawRequest           userId=1 s, payoutAddress=2 s, amount=3 u, tag=4 s, validateChecksum=5 b
UserWithdrawReply             uuid=1 s
UserWithdrawCancelRequest     uuid=1 s
UserWithdrawCancelReply       success=1 b
WasWithdrawalCancelledRequest uuid=1 s
WasWithdrawalCancelledReply   wasCancelled=1 b
WasAddressSpentFromRequest    address=1 s, validateChecksum=2 b
WasAddressSpentFromReply      wasAddressSpentFrom=1 b
Transfer                      userId=1 s, amount=2 i
ProcessTransferBatchRequest   transfers=1 *Transfer
ProcessTransferBatchReply
GetStatsRequest
GetStatsReply                 totalBalance=1 u
SignBundleRequest             address=1 s, bundleHash=2 s, authentication=3 s, validateChecksum=4 b
SignBundleReply               signature=1 s
RecoverFundsRequest           userId=1 s, address=2 s, validateChecksum=3 b, payoutAddress=4 s
RecoverFundsReply
GetSeedForAddressRequest      userId=1 s, address=2 s
GetSeedForAddressReply        seed=1 s
GetSeedForUUIDRequest         uuid=1 s
GetSeedForUUIDReply           seed=1 s
"""  # noqa: E501 - a table
CALLS: list[str] = re.findall(r"(?m)^(\w+)Request", MESSAGES)
STREAMS = {"BalanceSubscription": "BalanceEvent", "SweepSubscription": "SweepEvent"}
_SCALARS = {"i": 3, "u": 4, "b": 8, "s": 9}
_MESSAGE, _ENUM = 11, 14


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="old.proto", package="old", syntax="proto3"
    )
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    lines = [line.split(None, 1) for line in MESSAGES.strip().splitlines()]
    for name, *rest in lines:
        message = file.message_type.add(name=name)
        for text in rest[0].split(", ") if rest else []:
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"old.{name}"))
        for name, *_ in lines
    }


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    found = re.fullmatch(r"(\w+)=(\d+) ([*?]?)(\w+)", text)
    assert found, text
    name, number, mark, kind = found.groups()
    field = message.field.add(name=name, number=int(number))
    field.label = 3 if mark == "*" else 1
    if mark == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    field.type = _SCALARS.get(kind) or (_ENUM if kind in ENUMS else _MESSAGE)
    if kind not in _SCALARS:
        field.type_name = f".old.{kind}"


KNOWN = _messages()


def reply_of(call: str) -> str:
    """Name the message that a call answers with."""
    return "SweepEvent" if call == "SweepInfo" else STREAMS.get(call, f"{call}Reply")


@dataclass(frozen=True)
class Refused(Exception):  # noqa: N818 - what a call ended with, compared by value
    """How a call ended: gRPC status, its message, and the details' bytes."""

    status: grpc.StatusCode
    message: str
    details: bytes | None


class OldClient:
    """Calls ``hub.rpc.Hub`` and hands back the bytes it answered with."""

    def __init__(self, channel: grpc.aio.Channel, *, api_key: str = "") -> None:
        self._channel = channel
        self._metadata = (("x-api-key", api_key),) if api_key else ()

    async def call(self, name: str, /, **fields: Any) -> bytes:  # noqa: ANN401 - as the message has them
        request = KNOWN[f"{name}Request"](**fields).SerializeToString()
        method = self._channel.unary_unary(f"/hub.rpc.Hub/{name}")
        try:
            reply: bytes = await method(request, metadata=self._metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error
        return reply

    async def ask(self, name: str, /, **fields: Any) -> Any:  # noqa: ANN401 - a message of KNOWN
        return KNOWN[reply_of(name)].FromString(await self.call(name, **fields))

    def stream(self, name: str, /, **fields: Any) -> Any:  # noqa: ANN401 - a stream of bytes
        request = KNOWN[f"{name}Request"](**fields).SerializeToString()
        method = self._channel.unary_stream(f"/hub.rpc.Hub/{name}")
        return method(request, metadata=self._metadata)

    async def dump(self, name: str, /, **fields: Any) -> list[bytes]:  # noqa: ANN401 - as the message has them
        try:
            return [event async for event in self.stream(name, **fields)]
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error


def refused(error: grpc.aio.AioRpcError) -> Refused:
    trailing = dict(error.trailing_metadata() or ())
    details = trailing.get("grpc-status-details-bin")
    return Refused(error.code(), error.details() or "", details)
