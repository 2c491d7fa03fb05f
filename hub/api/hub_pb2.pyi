# SPDX-License-Identifier: Apache-2.0
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EC_UNKNOWN: _ClassVar[ErrorCode]
    USER_EXISTS: _ClassVar[ErrorCode]
    USER_DOES_NOT_EXIST: _ClassVar[ErrorCode]
    INSUFFICIENT_BALANCE: _ClassVar[ErrorCode]
    BATCH_INVALID: _ClassVar[ErrorCode]
    BATCH_INCONSISTENT: _ClassVar[ErrorCode]
    BATCH_AMOUNT_ZERO: _ClassVar[ErrorCode]
    UNKNOWN_ADDRESS: _ClassVar[ErrorCode]
    WITHDRAWAL_CAN_NOT_BE_CANCELLED: _ClassVar[ErrorCode]
    INELIGIBLE_ADDRESS: _ClassVar[ErrorCode]
    INVALID_AUTHENTICATION: _ClassVar[ErrorCode]
    CHECKSUM_INVALID: _ClassVar[ErrorCode]
    SIGNING_FAILED: _ClassVar[ErrorCode]
    GET_ADDRESS_FAILED: _ClassVar[ErrorCode]
    GET_SECURITY_LEVEL_FAILED: _ClassVar[ErrorCode]
    IRI_CLIENT_UNAVAILABLE: _ClassVar[ErrorCode]
    ADDRESS_WAS_ALREADY_SPENT: _ClassVar[ErrorCode]
    INVALID_UUID: _ClassVar[ErrorCode]
    WRONG_USER_ADDRESS: _ClassVar[ErrorCode]
    ADDRESS_BALANCE_ZERO: _ClassVar[ErrorCode]

class UserAccountBalanceEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UAB_UNKNOWN: _ClassVar[UserAccountBalanceEventType]
    DEPOSIT: _ClassVar[UserAccountBalanceEventType]
    BUY: _ClassVar[UserAccountBalanceEventType]
    WITHDRAWAL: _ClassVar[UserAccountBalanceEventType]
    WITHDRAWAL_CANCELED: _ClassVar[UserAccountBalanceEventType]
    SELL: _ClassVar[UserAccountBalanceEventType]

class UserAddressBalanceReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UADD_UNKNOWN: _ClassVar[UserAddressBalanceReason]
    UA_DEPOSIT: _ClassVar[UserAddressBalanceReason]
    UA_SWEEP: _ClassVar[UserAddressBalanceReason]

class HubAddressBalanceReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HUB_UNKNOWN: _ClassVar[HubAddressBalanceReason]
    INBOUND: _ClassVar[HubAddressBalanceReason]
    OUTBOUND: _ClassVar[HubAddressBalanceReason]
EC_UNKNOWN: ErrorCode
USER_EXISTS: ErrorCode
USER_DOES_NOT_EXIST: ErrorCode
INSUFFICIENT_BALANCE: ErrorCode
BATCH_INVALID: ErrorCode
BATCH_INCONSISTENT: ErrorCode
BATCH_AMOUNT_ZERO: ErrorCode
UNKNOWN_ADDRESS: ErrorCode
WITHDRAWAL_CAN_NOT_BE_CANCELLED: ErrorCode
INELIGIBLE_ADDRESS: ErrorCode
INVALID_AUTHENTICATION: ErrorCode
CHECKSUM_INVALID: ErrorCode
SIGNING_FAILED: ErrorCode
GET_ADDRESS_FAILED: ErrorCode
GET_SECURITY_LEVEL_FAILED: ErrorCode
IRI_CLIENT_UNAVAILABLE: ErrorCode
ADDRESS_WAS_ALREADY_SPENT: ErrorCode
INVALID_UUID: ErrorCode
WRONG_USER_ADDRESS: ErrorCode
ADDRESS_BALANCE_ZERO: ErrorCode
UAB_UNKNOWN: UserAccountBalanceEventType
DEPOSIT: UserAccountBalanceEventType
BUY: UserAccountBalanceEventType
WITHDRAWAL: UserAccountBalanceEventType
WITHDRAWAL_CANCELED: UserAccountBalanceEventType
SELL: UserAccountBalanceEventType
UADD_UNKNOWN: UserAddressBalanceReason
UA_DEPOSIT: UserAddressBalanceReason
UA_SWEEP: UserAddressBalanceReason
HUB_UNKNOWN: HubAddressBalanceReason
INBOUND: HubAddressBalanceReason
OUTBOUND: HubAddressBalanceReason

class Error(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: ErrorCode
    def __init__(self, code: _Optional[_Union[ErrorCode, str]] = ...) -> None: ...

class CreateUserRequest(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class CreateUserReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBalanceRequest(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class GetBalanceReply(_message.Message):
    __slots__ = ("available",)
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    available: int
    def __init__(self, available: _Optional[int] = ...) -> None: ...

class GetDepositAddressRequest(_message.Message):
    __slots__ = ("userId", "includeChecksum")
    USERID_FIELD_NUMBER: _ClassVar[int]
    INCLUDECHECKSUM_FIELD_NUMBER: _ClassVar[int]
    userId: str
    includeChecksum: bool
    def __init__(self, userId: _Optional[str] = ..., includeChecksum: _Optional[bool] = ...) -> None: ...

class GetDepositAddressReply(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class GetAddressInfoRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class GetAddressInfoReply(_message.Message):
    __slots__ = ("userId",)
    USERID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    def __init__(self, userId: _Optional[str] = ...) -> None: ...

class GetUserHistoryRequest(_message.Message):
    __slots__ = ("userId", "newerThan")
    USERID_FIELD_NUMBER: _ClassVar[int]
    NEWERTHAN_FIELD_NUMBER: _ClassVar[int]
    userId: str
    newerThan: int
    def __init__(self, userId: _Optional[str] = ..., newerThan: _Optional[int] = ...) -> None: ...

class GetUserHistoryReply(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[UserAccountBalanceEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[UserAccountBalanceEvent, _Mapping]]] = ...) -> None: ...

class BalanceSubscriptionRequest(_message.Message):
    __slots__ = ("newerThan",)
    NEWERTHAN_FIELD_NUMBER: _ClassVar[int]
    newerThan: int
    def __init__(self, newerThan: _Optional[int] = ...) -> None: ...

class BalanceEvent(_message.Message):
    __slots__ = ("userAccountEvent", "userAddressEvent", "hubAddressEvent")
    USERACCOUNTEVENT_FIELD_NUMBER: _ClassVar[int]
    USERADDRESSEVENT_FIELD_NUMBER: _ClassVar[int]
    HUBADDRESSEVENT_FIELD_NUMBER: _ClassVar[int]
    userAccountEvent: UserAccountBalanceEvent
    userAddressEvent: UserAddressBalanceEvent
    hubAddressEvent: HubAddressBalanceEvent
    def __init__(self, userAccountEvent: _Optional[_Union[UserAccountBalanceEvent, _Mapping]] = ..., userAddressEvent: _Optional[_Union[UserAddressBalanceEvent, _Mapping]] = ..., hubAddressEvent: _Optional[_Union[HubAddressBalanceEvent, _Mapping]] = ...) -> None: ...

class UserAccountBalanceEvent(_message.Message):
    __slots__ = ("userId", "timestamp", "type", "amount", "sweepBundleHash", "withdrawalUUID")
    USERID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    SWEEPBUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWALUUID_FIELD_NUMBER: _ClassVar[int]
    userId: str
    timestamp: int
    type: UserAccountBalanceEventType
    amount: int
    sweepBundleHash: str
    withdrawalUUID: str
    def __init__(self, userId: _Optional[str] = ..., timestamp: _Optional[int] = ..., type: _Optional[_Union[UserAccountBalanceEventType, str]] = ..., amount: _Optional[int] = ..., sweepBundleHash: _Optional[str] = ..., withdrawalUUID: _Optional[str] = ...) -> None: ...

class UserAddressBalanceEvent(_message.Message):
    __slots__ = ("userId", "userAddress", "amount", "reason", "hash", "timestamp", "message")
    USERID_FIELD_NUMBER: _ClassVar[int]
    USERADDRESS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    userId: str
    userAddress: str
    amount: int
    reason: UserAddressBalanceReason
    hash: str
    timestamp: int
    message: str
    def __init__(self, userId: _Optional[str] = ..., userAddress: _Optional[str] = ..., amount: _Optional[int] = ..., reason: _Optional[_Union[UserAddressBalanceReason, str]] = ..., hash: _Optional[str] = ..., timestamp: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class HubAddressBalanceEvent(_message.Message):
    __slots__ = ("hubAddress", "amount", "reason", "sweepBundleHash", "timestamp")
    HUBADDRESS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SWEEPBUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    hubAddress: str
    amount: int
    reason: HubAddressBalanceReason
    sweepBundleHash: str
    timestamp: int
    def __init__(self, hubAddress: _Optional[str] = ..., amount: _Optional[int] = ..., reason: _Optional[_Union[HubAddressBalanceReason, str]] = ..., sweepBundleHash: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class SweepSubscriptionRequest(_message.Message):
    __slots__ = ("newerThan",)
    NEWERTHAN_FIELD_NUMBER: _ClassVar[int]
    newerThan: int
    def __init__(self, newerThan: _Optional[int] = ...) -> None: ...

class SweepEvent(_message.Message):
    __slots__ = ("bundleHash", "timestamp", "withdrawalUUID")
    BUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWALUUID_FIELD_NUMBER: _ClassVar[int]
    bundleHash: str
    timestamp: int
    withdrawalUUID: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, bundleHash: _Optional[str] = ..., timestamp: _Optional[int] = ..., withdrawalUUID: _Optional[_Iterable[str]] = ...) -> None: ...

class SweepInfoRequest(_message.Message):
    __slots__ = ("withdrawalUUID", "bundleHash")
    WITHDRAWALUUID_FIELD_NUMBER: _ClassVar[int]
    BUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    withdrawalUUID: str
    bundleHash: str
    def __init__(self, withdrawalUUID: _Optional[str] = ..., bundleHash: _Optional[str] = ...) -> None: ...

class SweepDetailRequest(_message.Message):
    __slots__ = ("bundleHash",)
    BUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    bundleHash: str
    def __init__(self, bundleHash: _Optional[str] = ...) -> None: ...

class SweepDetailReply(_message.Message):
    __slots__ = ("confirmed", "trytes", "tailHash")
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    TRYTES_FIELD_NUMBER: _ClassVar[int]
    TAILHASH_FIELD_NUMBER: _ClassVar[int]
    confirmed: bool
    trytes: _containers.RepeatedScalarFieldContainer[str]
    tailHash: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, confirmed: _Optional[bool] = ..., trytes: _Optional[_Iterable[str]] = ..., tailHash: _Optional[_Iterable[str]] = ...) -> None: ...

class UserWithdrawRequest(_message.Message):
    __slots__ = ("userId", "payoutAddress", "amount", "tag", "validateChecksum")
    USERID_FIELD_NUMBER: _ClassVar[int]
    PAYOUTADDRESS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATECHECKSUM_FIELD_NUMBER: _ClassVar[int]
    userId: str
    payoutAddress: str
    amount: int
    tag: str
    validateChecksum: bool
    def __init__(self, userId: _Optional[str] = ..., payoutAddress: _Optional[str] = ..., amount: _Optional[int] = ..., tag: _Optional[str] = ..., validateChecksum: _Optional[bool] = ...) -> None: ...

class UserWithdrawReply(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class UserWithdrawCancelRequest(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class UserWithdrawCancelReply(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class WasWithdrawalCancelledRequest(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class WasWithdrawalCancelledReply(_message.Message):
    __slots__ = ("wasCancelled",)
    WASCANCELLED_FIELD_NUMBER: _ClassVar[int]
    wasCancelled: bool
    def __init__(self, wasCancelled: _Optional[bool] = ...) -> None: ...

class WasAddressSpentFromRequest(_message.Message):
    __slots__ = ("address", "validateChecksum")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VALIDATECHECKSUM_FIELD_NUMBER: _ClassVar[int]
    address: str
    validateChecksum: bool
    def __init__(self, address: _Optional[str] = ..., validateChecksum: _Optional[bool] = ...) -> None: ...

class WasAddressSpentFromReply(_message.Message):
    __slots__ = ("wasAddressSpentFrom",)
    WASADDRESSSPENTFROM_FIELD_NUMBER: _ClassVar[int]
    wasAddressSpentFrom: bool
    def __init__(self, wasAddressSpentFrom: _Optional[bool] = ...) -> None: ...

class ProcessTransferBatchRequest(_message.Message):
    __slots__ = ("transfers",)
    class Transfer(_message.Message):
        __slots__ = ("userId", "amount")
        USERID_FIELD_NUMBER: _ClassVar[int]
        AMOUNT_FIELD_NUMBER: _ClassVar[int]
        userId: str
        amount: int
        def __init__(self, userId: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[ProcessTransferBatchRequest.Transfer]
    def __init__(self, transfers: _Optional[_Iterable[_Union[ProcessTransferBatchRequest.Transfer, _Mapping]]] = ...) -> None: ...

class ProcessTransferBatchReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsReply(_message.Message):
    __slots__ = ("totalBalance",)
    TOTALBALANCE_FIELD_NUMBER: _ClassVar[int]
    totalBalance: int
    def __init__(self, totalBalance: _Optional[int] = ...) -> None: ...

class SignBundleRequest(_message.Message):
    __slots__ = ("address", "bundleHash", "authentication", "validateChecksum", "trytes")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    VALIDATECHECKSUM_FIELD_NUMBER: _ClassVar[int]
    TRYTES_FIELD_NUMBER: _ClassVar[int]
    address: str
    bundleHash: str
    authentication: str
    validateChecksum: bool
    trytes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, address: _Optional[str] = ..., bundleHash: _Optional[str] = ..., authentication: _Optional[str] = ..., validateChecksum: _Optional[bool] = ..., trytes: _Optional[_Iterable[str]] = ...) -> None: ...

class SignBundleReply(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: str
    def __init__(self, signature: _Optional[str] = ...) -> None: ...

class RecoverFundsRequest(_message.Message):
    __slots__ = ("userId", "address", "validateChecksum", "payoutAddress")
    USERID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VALIDATECHECKSUM_FIELD_NUMBER: _ClassVar[int]
    PAYOUTADDRESS_FIELD_NUMBER: _ClassVar[int]
    userId: str
    address: str
    validateChecksum: bool
    payoutAddress: str
    def __init__(self, userId: _Optional[str] = ..., address: _Optional[str] = ..., validateChecksum: _Optional[bool] = ..., payoutAddress: _Optional[str] = ...) -> None: ...

class RecoverFundsReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSeedForAddressRequest(_message.Message):
    __slots__ = ("userId", "address")
    USERID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    userId: str
    address: str
    def __init__(self, userId: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class GetSeedForAddressReply(_message.Message):
    __slots__ = ("seed",)
    SEED_FIELD_NUMBER: _ClassVar[int]
    seed: str
    def __init__(self, seed: _Optional[str] = ...) -> None: ...

class GetSeedForUUIDRequest(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class GetSeedForUUIDReply(_message.Message):
    __slots__ = ("seed",)
    SEED_FIELD_NUMBER: _ClassVar[int]
    seed: str
    def __init__(self, seed: _Optional[str] = ...) -> None: ...
