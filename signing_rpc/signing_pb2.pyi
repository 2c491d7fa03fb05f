# SPDX-License-Identifier: Apache-2.0
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetAddressForUUIDRequest(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class GetAddressForUUIDReply(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class GetSignatureForUUIDRequest(_message.Message):
    __slots__ = ("uuid", "bundleHash")
    UUID_FIELD_NUMBER: _ClassVar[int]
    BUNDLEHASH_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    bundleHash: str
    def __init__(self, uuid: _Optional[str] = ..., bundleHash: _Optional[str] = ...) -> None: ...

class GetSignatureForUUIDReply(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: str
    def __init__(self, signature: _Optional[str] = ...) -> None: ...

class GetSecurityLevelRequest(_message.Message):
    __slots__ = ("uuid",)
    UUID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    def __init__(self, uuid: _Optional[str] = ...) -> None: ...

class GetSecurityLevelReply(_message.Message):
    __slots__ = ("securityLevel",)
    SECURITYLEVEL_FIELD_NUMBER: _ClassVar[int]
    securityLevel: int
    def __init__(self, securityLevel: _Optional[int] = ...) -> None: ...

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
