# SPDX-License-Identifier: Apache-2.0
"""Locked memory: what the system says of it, and how it ends."""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import trinary
from trinary.errors import MemoryClosedError, MemoryLockError, ValueRangeError
from trinary.memory import HugeArena, LockedBuffer

MIB = 1 << 20
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
needs_real_locks = pytest.mark.skipif(
    SANITIZED, reason="the sanitizers make mlock do nothing"
)


def smaps_of(address: int) -> dict[str, str]:
    """Read what /proc/self/smaps says of the mapping that holds an address."""
    fields: dict[str, str] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            low, _, high = name.partition("-")
            inside = int(low, 16) <= address < int(high, 16)
        elif inside:
            fields[name[:-1]] = rest.strip()
    return fields


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter that finds this very package."""
    folder = str(Path(trinary.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_new_buffer_is_zeroed_and_writable() -> None:
    with LockedBuffer(100, allow_unlocked=True) as buffer:
        assert len(buffer) == buffer.size == len(buffer.view) == 100
        assert bytes(buffer.view) == bytes(100)
        buffer.view[:4] = b"salt"
        assert bytes(buffer.view[:5]) == b"salt\0"


@needs_real_locks
def test_a_buffer_is_locked_hidden_from_dumps_and_from_children() -> None:
    with LockedBuffer(48) as buffer:
        assert buffer.locked
        assert buffer.address % mmap.PAGESIZE == 0
        told = smaps_of(buffer.address)
        assert told["Locked"] == "4 kB"
        # Locked, not dumped, wiped in a forked child.
        assert {"lo", "dd", "wf"} <= set(told["VmFlags"].split())


@needs_real_locks
def test_locked_pages_count_and_are_given_back() -> None:
    def locked_kib() -> int:
        text = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(x for x in text.splitlines() if x.startswith("VmLck:"))
        return int(line.split()[1])

    before = locked_kib()
    buffer = LockedBuffer(3 * mmap.PAGESIZE + 1)
    assert locked_kib() - before == 4 * mmap.PAGESIZE // 1024
    buffer.close()
    assert locked_kib() == before


def test_wiping_leaves_zeros() -> None:
    with LockedBuffer(48, allow_unlocked=True) as buffer:
        buffer.view[:] = b"k" * 48
        buffer.wipe()
        assert bytes(buffer.view) == bytes(48)


def test_closing_wipes_what_other_views_still_see() -> None:
    buffer = LockedBuffer(48, allow_unlocked=True)
    whole, part = buffer.view, buffer.view[8:16]
    whole[:] = b"k" * 48
    buffer.close()
    gc.collect()
    assert bytes(whole) == bytes(48)
    assert bytes(part) == bytes(8)


def test_the_pages_go_with_the_last_view() -> None:
    buffer = LockedBuffer(48, allow_unlocked=True)
    address, view = buffer.address, buffer.view
    buffer.close()
    assert smaps_of(address)
    del view
    gc.collect()
    assert "dd" not in smaps_of(address).get("VmFlags", "").split()


def test_a_block_closes_its_buffer_even_when_it_fails() -> None:
    buffer = LockedBuffer(48, allow_unlocked=True)
    view = buffer.view
    view[:] = b"k" * 48
    with pytest.raises(KeyError), buffer:
        raise KeyError
    assert bytes(view) == bytes(48)
    with pytest.raises(MemoryClosedError):
        _ = buffer.view


def test_a_closed_buffer_closes_again_and_does_nothing_else() -> None:
    buffer = LockedBuffer(48, allow_unlocked=True)
    buffer.close()
    buffer.close()
    for use in (
        lambda: buffer.view,
        lambda: buffer.address,
        buffer.wipe,
        buffer.__enter__,
    ):
        with pytest.raises(MemoryClosedError):
            use()


def test_a_buffer_prints_no_content() -> None:
    with LockedBuffer(48, allow_unlocked=True) as buffer:
        buffer.view[:] = b"k" * 48
        assert "REDACTED" in repr(buffer)
        assert "kk" not in repr(buffer) + str(buffer)


def test_a_buffer_is_not_copied_or_pickled() -> None:
    with LockedBuffer(48, allow_unlocked=True) as buffer:
        for way in (copy.copy, copy.deepcopy, lambda it: it.__reduce_ex__(4)):
            with pytest.raises(TypeError, match="copied or pickled"):
                way(buffer)


@pytest.mark.parametrize("size", [0, -1, -(2**63), (1 << 40) + 1, 2**64])
@pytest.mark.parametrize("kind", [LockedBuffer, HugeArena])
def test_a_senseless_size_is_refused(
    kind: type[LockedBuffer | HugeArena], size: int
) -> None:
    with pytest.raises(ValueRangeError):
        kind(size)


def test_a_forked_child_sees_zeros() -> None:
    with LockedBuffer(48, allow_unlocked=True) as buffer:
        buffer.view[:] = b"k" * 48
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's own life
            os._exit(0 if bytes(buffer.view) == bytes(48) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bytes(buffer.view) == b"k" * 48


@pytest.mark.parametrize("offset", [-1, 4096])
@pytest.mark.parametrize("access", ["string_at(at, 1)", "memset(at, 1, 1)"])
def test_a_step_beyond_a_buffer_faults(offset: int, access: str) -> None:
    ended = run_python(
        "import ctypes\n"
        "from trinary.memory import LockedBuffer\n"
        "buffer = LockedBuffer(4096, allow_unlocked=True)\n"
        f"at = buffer.address + {offset}\n"
        "print('reached', flush=True)\n"
        f"ctypes.{access}\n"
        "print('survived')\n"
    )
    assert "reached" in ended.stdout
    assert "survived" not in ended.stdout
    assert SANITIZED or ended.returncode == -signal.SIGSEGV


UNPRIVILEGED = """
import json, os, resource
from trinary.errors import MemoryLockError
from trinary.memory import HugeArena, LockedBuffer
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
told = {}
for kind in (LockedBuffer, HugeArena):
    try:
        kind(4096)
    except MemoryLockError as error:
        told[kind.__name__] = [error.code, str(error)]
    with kind(4096, allow_unlocked=True) as memory:
        told[kind.__name__].append(memory.locked)
print(json.dumps(told))
"""


@needs_real_locks
def test_memory_that_can_not_be_locked_is_refused_unless_allowed() -> None:
    ended = run_python(UNPRIVILEGED)
    told = json.loads(ended.stdout)
    for kind in ("LockedBuffer", "HugeArena"):
        code, message, locked = told[kind]
        assert code == MemoryLockError.code
        assert "RLIMIT_MEMLOCK" in message
        assert locked is False


def test_an_arena_is_aligned_rounded_and_zeroed() -> None:
    with HugeArena(3 * MIB, allow_unlocked=True) as arena:
        assert arena.size_bytes == 4 * MIB == len(arena.view)
        assert arena.address % (2 * MIB) == 0
        assert bytes(arena.view) == bytes(4 * MIB)
        assert "REDACTED" in repr(arena)


def test_an_arena_is_there_before_it_is_touched() -> None:
    with HugeArena(8 * MIB, allow_unlocked=True) as arena:
        told = smaps_of(arena.address)
        assert int(told["Rss"].split()[0]) >= 8 * 1024
        assert {"dd", "wf"} <= set(told["VmFlags"].split())
        if not SANITIZED:
            assert arena.locked == ("lo" in told["VmFlags"].split())


def test_an_arena_is_in_huge_pages_where_the_system_has_them() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text(encoding="ascii"):
        pytest.skip("the system has no transparent huge pages")
    with HugeArena(8 * MIB, allow_unlocked=True) as arena:
        assert 0 < arena.huge_kib() <= 16 * 1024
        assert "hg" in smaps_of(arena.address)["VmFlags"].split()


def test_an_arena_ends_like_a_buffer() -> None:
    arena = HugeArena(2 * MIB, allow_unlocked=True)
    view = arena.view
    view[:] = b"\xff" * (2 * MIB)
    arena.wipe()
    assert bytes(view) == bytes(2 * MIB)
    view[:] = b"\xff" * (2 * MIB)
    arena.close()
    arena.close()
    assert bytes(view) == bytes(2 * MIB)
    with pytest.raises(MemoryClosedError):
        arena.huge_kib()


def test_a_lent_arena_is_given_to_the_library_that_asks_for_so_much() -> None:
    with HugeArena(2 * MIB, allow_unlocked=True) as arena:
        place = ctypes.c_void_p()
        with arena.lent() as (allocate, release):
            take = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)(
                allocate
            )
            assert take(ctypes.addressof(place), 2 * MIB) == 0
            assert place.value == arena.address
            assert take(ctypes.addressof(place), 2 * MIB + 1) == -22
            elsewhere: list[int] = []
            thread = threading.Thread(
                target=lambda: elsewhere.append(take(ctypes.addressof(place), 1))
            )
            thread.start()
            thread.join()
            assert elsewhere == [-22], "it is lent to this thread alone"
            give_back = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)(
                release
            )
            give_back(place, 2 * MIB)
            assert take(ctypes.addressof(place), 1) == 0
        assert take(ctypes.addressof(place), 1) == -22


UNDUMPABLE = """
import ctypes, resource
from trinary.memory import make_undumpable
make_undumpable()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_an_undumpable_process_says_so() -> None:
    assert run_python(UNDUMPABLE).stdout.split() == ["0", "0", "0"]


LOCK_ALL = """
from trinary.memory import lock_all_memory
locked = lock_all_memory()
lines = open('/proc/self/status').read().splitlines()
print(locked, next(line for line in lines if line.startswith('VmLck')).split()[1])
"""


@needs_real_locks
def test_all_memory_is_locked_or_said_not_to_be() -> None:
    locked, size_kib = run_python(LOCK_ALL).stdout.split()
    assert (locked == "True") == (int(size_kib) > 0)
