# SPDX-License-Identifier: Apache-2.0
"""Look through the memory of another process, as root, for something known."""

from pathlib import Path

_UNREADABLE = ("[vvar]", "[vsyscall]", "[vvar_vclock]")


def occurrences(pid: int, needle: bytes) -> list[str]:
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
            found += [name] * content.count(needle)
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
