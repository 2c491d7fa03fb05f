# SPDX-License-Identifier: Apache-2.0
"""Every error of this package.

The tree::

    TrinaryError
    ├── InvalidTrytesError     trytes-invalid     a character is not one of 9A-Z
    ├── LengthError            length             text or buffer has another length
    ├── ChecksumError          checksum           an address's checksum is not its own
    ├── SecurityLevelError     security-level     a level is not 1, 2 or 3
    ├── ValueRangeError        value-range        a number is outside its range
    ├── ShareDigestError       share-digest       shares do not give one secret
    ├── MemoryLockError        memory-lock        memory can not be kept off the disk
    ├── MemoryClosedError      memory-closed      a buffer is used after its end
    ├── CancelledError         cancelled          a search was called off
    ├── NothingMinedError      nothing-mined      no tag tried is safe to sign
    └── KernelFaultError       kernel-fault       no memory, or a failed self-check

Refused (the very same call is refused again): everything but ``MemoryLockError``
and ``KernelFaultError``, which tell of the machine. Messages say what was
expected and what came: a length, a position, a number; never the content, which
may be a secret.

Each function's ``Raises`` names what that function itself finds. Everywhere,
besides, text that is not trytes raises ``InvalidTrytesError``; text or bytes of
another size than described, ``LengthError``; a level that does not exist,
``SecurityLevelError``; another number outside the range described,
``ValueRangeError``; and memory that was closed, ``MemoryClosedError``.
"""

from typing import ClassVar


class TrinaryError(Exception):
    """Anything this package refuses or fails at.

    Attributes:
        code: A stable name for the kind of error, for programs.
    """

    code: ClassVar[str] = "trinary"


class InvalidTrytesError(TrinaryError):
    """A text holds a character that is not one of ``9A-Z``."""

    code = "trytes-invalid"


class LengthError(TrinaryError):
    """A text or buffer has a length that its use does not allow."""

    code = "length"


class ChecksumError(TrinaryError):
    """The checksum behind an address is not the address's own."""

    code = "checksum"


class SecurityLevelError(TrinaryError):
    """A security level is not 1, 2 or 3."""

    code = "security-level"


class ValueRangeError(TrinaryError):
    """A number is outside the range of its field or argument."""

    code = "value-range"


class ShareDigestError(TrinaryError):
    """Shares of different secrets, or one that is wrong."""

    code = "share-digest"


class MemoryLockError(TrinaryError):
    """The system does not let memory be locked, or hidden from dumps."""

    code = "memory-lock"


class MemoryClosedError(TrinaryError):
    """A locked buffer or an arena is used after it was closed."""

    code = "memory-closed"


class CancelledError(TrinaryError):
    """A search for a nonce or a tag was cancelled before its end."""

    code = "cancelled"


class NothingMinedError(TrinaryError):
    """Each hash tried had a 13 in a fragment that is signed."""

    code = "nothing-mined"


class KernelFaultError(TrinaryError):
    """The kernel lacked memory or threads, or doubts its own result."""

    code = "kernel-fault"
