# SPDX-License-Identifier: Apache-2.0
"""Look through the memory of another process, as root, for something known."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD_BYTES = 4
_UNREADABLE = ("[vvar]", "[vsyscall]", "[vvar_vclock]")


@dataclass(frozen=True, slots=True)
class Needle:
    """Something known by its digest: who looks for it need not keep it."""

    head: bytes
    size: int
    digest: bytes

    def places(self, content: bytes) -> Iterator[int]:
        """Find it: the few bytes kept in the clear say where to compare digests."""
        at = content.find(self.head)
        while at >= 0:
            found = content[at : at + self.size]
            if hashlib.sha256(found).digest() == self.digest:
                yield at
            at = content.find(self.head, at + 1)


def hashed(secret: bytes) -> Needle:
    return Needle(secret[:_HEAD_BYTES], len(secret), hashlib.sha256(secret).digest())


def occurrences(pid: int, needle: Needle) -> list[str]:
    """Return the names of the mappings that hold ``needle``, once per find."""
    found = []
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, access, *rest = line.split(maxsplit=5)
            name = rest[3].strip() if len(rest) > 3 else "anonymous"
            if "r" not in access or name in _UNREADABLE:
                continue
            start, _, end = span.partition("-")
            content = _read(memory, int(start, 16), int(end, 16))
            found += [name for _ in needle.places(content)]
    return found


def _read(memory, start: int, end: int) -> bytes:  # noqa: ANN001 - a raw file
    memory.seek(start)
    parts = []
    while start < end:
        try:
            part = memory.read(min(end - start, 1 << 24))
        except OSError:
            break  # a guard page
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for t in threads for c in (t / "children").read_text().split()]
