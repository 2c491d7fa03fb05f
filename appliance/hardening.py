# SPDX-License-Identifier: Apache-2.0
"""What the process gives up before it touches a secret.

No core dump, no ptrace by another process of the same user, no swapping out.
What Python itself can not promise stands in docs/threat-model.md.
"""

import os
from typing import Literal

from appliance.errors import ConfigError
from trinary.memory import LockedBuffer, lock_all_memory, make_undumpable

MemoryLocked = Literal["all", "buffers", "none"]
_PRIVATE_UMASK = 0o077


def harden_process(*, allow_unlocked: bool) -> MemoryLocked:
    """Make the process undumpable and lock its memory.

    Args:
        allow_unlocked: Go on where the system forbids locking (demo, CI).

    Returns:
        ``all`` if every page is locked, ``buffers`` if only the buffers of
        secrets can be, ``none`` where neither is allowed and it was accepted.

    Raises:
        ConfigError: If memory can not be locked and that was not accepted.
    """
    os.umask(_PRIVATE_UMASK)
    make_undumpable()
    if lock_all_memory():
        return "all"
    if allow_unlocked:
        with LockedBuffer(1, allow_unlocked=True) as buffer:
            return "buffers" if buffer.locked else "none"
    raise ConfigError(
        "memory can not be locked: raise RLIMIT_MEMLOCK (systemd:"
        " LimitMEMLOCK=infinity), or set derivation.allow_unlocked for a test"
    )
