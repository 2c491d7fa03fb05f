# SPDX-License-Identifier: Apache-2.0
"""Memory for secrets, and the whole process's defences around it.

``LockedBuffer`` holds keys, salts and seeds: it can not be swapped or dumped, a
forked child sees zeros, and pages that fault lie on both sides. ``HugeArena``
is the same for Argon2's working memory, in huge pages.

Closing wipes at once. The pages themselves go back when the last view on them
is gone, so a view that outlived its buffer reads zeros and never faults.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeAlias

from trinary._kernel import ffi, lib
from trinary.errors import (
    KernelFaultError,
    LengthError,
    MemoryClosedError,
    MemoryLockError,
    ValueRangeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from trinary._kernel import CData, MappingData

SIZE_MAX_BYTES: Final = 1 << 40
_SMAPS: Final = Path("/proc/self/smaps")


class _Mapping:
    """One private mapping and its life: open, wiped, closed.

    Args:
        mapping: The kernel's description, filled in by the kernel.
        size_bytes: How much of it callers use, from its beginning.
    """

    def __init__(self, mapping: MappingData, *, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._locked = bool(mapping.locked)
        self._address = int(ffi.cast("uintptr_t", mapping.data))
        # Unmapped by reference count: every view below holds this pointer.
        self._pointer: CData | None = ffi.gc(
            ffi.cast("uint8_t *", mapping.data),
            lambda _: lib.sk_unmap(mapping),
            mapping.data_bytes,
        )

    @property
    def locked(self) -> bool:
        """Whether the pages are locked in physical memory."""
        return self._locked

    @property
    def address(self) -> int:
        """Where the memory begins, aligned to a page or a huge page."""
        self._open_pointer()
        return self._address

    @property
    def view(self) -> memoryview:
        """A new writable view on the memory itself."""
        return memoryview(ffi.buffer(self._open_pointer(), self._size_bytes))

    def wipe(self) -> None:
        """Overwrite the memory with zeros."""
        lib.sk_wipe_bytes(self._open_pointer(), self._size_bytes)

    def close(self) -> None:
        """Wipe and give back the memory; a second time does nothing."""
        if self._pointer is not None:
            self.wipe()
            self._pointer = None

    def __enter__(self) -> Self:
        """Return the object itself, to be closed at the end of the block."""
        self._open_pointer()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, whatever happened in the block."""
        self.close()

    def __repr__(self) -> str:
        """Show the size and never the content.

        Returns:
            A text for logs.
        """
        return (
            f"<{type(self).__name__} {self._size_bytes} bytes,"
            f" locked={self._locked}, REDACTED>"
        )

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: Always.
        """
        msg = f"{type(self).__name__} can not be copied or pickled"
        raise TypeError(msg)

    def _open_pointer(self) -> CData:
        """Return the pointer while there is one.

        Returns:
            The beginning of the memory.

        Raises:
            MemoryClosedError: It was closed.
        """
        if self._pointer is None:
            msg = f"{type(self).__name__} is closed"
            raise MemoryClosedError(msg)
        return self._pointer


class LockedBuffer(_Mapping):
    """A zeroed buffer for a secret.

    Args:
        size: Its size in bytes; it occupies whole pages.
        allow_unlocked: Go on when the system does not lock memory.

    Raises:
        ValueRangeError: ``size`` is not positive, or absurd.
        MemoryLockError: The memory can not be locked.
        KernelFaultError: There is no memory.
    """

    def __init__(self, size: int, *, allow_unlocked: bool = False) -> None:
        _require_size(size)
        mapping = ffi.new("sk_mapping *")
        status = lib.sk_map_locked(size, mapping)
        _require_locked(status, mapping, allow_unlocked=allow_unlocked)
        super().__init__(mapping, size_bytes=size)

    @property
    def size(self) -> int:
        """The size asked for, in bytes."""
        return self._size_bytes

    def __len__(self) -> int:
        """Return the size asked for, in bytes."""
        return self._size_bytes


class HugeArena(_Mapping):
    """A large zeroed arena, aligned to 2 MiB, in huge pages if there are any.

    Every page is touched on construction, so that its first user does not wait
    for the system to find them.

    Args:
        size_bytes: Its size, rounded up to 2 MiB.
        allow_unlocked: Go on when the system does not lock memory.

    Raises:
        ValueRangeError: ``size_bytes`` is not positive, or absurd.
        MemoryLockError: The memory can not be locked.
        KernelFaultError: There is no memory.
    """

    def __init__(self, size_bytes: int, *, allow_unlocked: bool = False) -> None:
        _require_size(size_bytes)
        mapping = ffi.new("sk_mapping *")
        status = lib.sk_map_huge(size_bytes, mapping)
        _require_locked(status, mapping, allow_unlocked=allow_unlocked)
        super().__init__(mapping, size_bytes=mapping.data_bytes)

    @property
    def size_bytes(self) -> int:
        """The size, a multiple of 2 MiB."""
        return self._size_bytes

    @contextmanager
    def lent(self) -> Iterator[tuple[int, int]]:
        """Lend the arena to a C library that is called from this thread.

        Yields:
            Addresses of two functions to give to it: ``int (uint8_t **memory, size_t
            size_bytes)``, which answers 0 or -22, and ``void (uint8_t *, size_t)``,
            which does nothing: the arena stays ours.
        """
        lib.sk_lend(ffi.cast("void *", self.address), self._size_bytes)
        try:
            yield (
                int(ffi.cast("intptr_t", ffi.addressof(lib, "sk_take_lent"))),
                int(ffi.cast("intptr_t", ffi.addressof(lib, "sk_give_back"))),
            )
        finally:
            lib.sk_lend(ffi.cast("void *", 0), 0)

    def huge_kib(self) -> int:
        """Ask the system how much of the arena is in huge pages.

        Returns:
            Size in KiB; 0 where the system does not tell.
        """
        first = self.address
        try:
            lines = _SMAPS.read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return _huge_kib_of(lines, first=first, end=first + self._size_bytes)


SecretBuffer: TypeAlias = bytes | bytearray | memoryview | LockedBuffer
"""What a secret may be in: read where it is, never copied."""


def secret_pointer(secret: SecretBuffer, *, size_bytes: int, what: str) -> CData:
    """Point C at a secret, in place.

    Args:
        secret: A buffer, or anything else with the buffer protocol.
        size_bytes: The size it has to have.
        what: Its name, for the message.

    Returns:
        A pointer that keeps the buffer alive.

    Raises:
        LengthError: It has another size.
    """
    buffer = secret.view if isinstance(secret, LockedBuffer) else secret
    pointer = ffi.from_buffer("uint8_t[]", buffer)
    if len(pointer) != size_bytes:
        msg = f"{what}: expected {size_bytes} bytes, got {len(pointer)}"
        raise LengthError(msg)
    return pointer


def lock_all_memory() -> bool:
    """Lock all memory of this process, present and future, as it is touched.

    Returns:
        False when the system does not allow it.
    """
    return lib.sk_lock_all_memory() == lib.SK_OK


def make_undumpable() -> None:
    """Forbid core dumps and debuggers of the same user for this process.

    Raises:
        MemoryLockError: The system does not allow it.
    """
    if lib.sk_make_undumpable() != lib.SK_OK:
        msg = "the process can not be made undumpable"
        raise MemoryLockError(msg)


def _require_size(size_bytes: int) -> None:
    """Refuse a size no buffer has.

    Args:
        size_bytes: The size asked for.

    Raises:
        ValueRangeError: It is not positive, or absurd.
    """
    if not 0 < size_bytes <= SIZE_MAX_BYTES:
        msg = f"size: expected 1 to {SIZE_MAX_BYTES} bytes, got {size_bytes}"
        raise ValueRangeError(msg)


def _require_locked(status: int, mapping: MappingData, *, allow_unlocked: bool) -> None:
    """Accept a fresh mapping, or undo it.

    Args:
        status: What the kernel answered.
        mapping: What it mapped.
        allow_unlocked: Accept a mapping that is not locked.

    Raises:
        MemoryLockError: It is not locked and has to be.
        KernelFaultError: There is no mapping.
    """
    if status not in {lib.SK_OK, lib.SK_ERR_LOCK}:
        msg = "no memory that can be kept out of dumps and children"
        raise KernelFaultError(msg)
    if status == lib.SK_ERR_LOCK and not allow_unlocked:
        reason = os.strerror(mapping.lock_errno)
        lib.sk_unmap(mapping)
        msg = f"memory can not be locked: {reason}; see RLIMIT_MEMLOCK"
        raise MemoryLockError(msg)


def _huge_kib_of(lines: list[str], *, first: int, end: int) -> int:
    """Sum the huge pages of the mappings inside a range.

    Args:
        lines: The lines of /proc/self/smaps.
        first: The range's first address.
        end: The address after its last.

    Returns:
        The sum of their ``AnonHugePages``, in KiB.
    """
    total_kib = 0
    inside = False
    for line in lines:
        name, *fields = line.split()
        if not name.endswith(":"):
            low, _, high = name.partition("-")
            inside = int(low, 16) < end and int(high, 16) > first
        elif inside and name == "AnonHugePages:":
            total_kib += int(fields[0])
    return total_kib
