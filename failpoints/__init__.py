# SPDX-License-Identifier: Apache-2.0
"""Named places where a crash test freezes a process so that it can be killed.

A leaf: imports nothing of ours. A crash test starts a program with
``SALTKEEP_FAILPOINT=name`` (or ``name:3`` for the third visit) and
``SALTKEEP_FAILPOINT_FILE=path``. When the program reaches ``failpoint(name)``
it writes its process id to that file and stops itself with SIGSTOP, all threads
at once; the test then sends SIGKILL from outside, as a power cut would, or removes
the file and sends SIGCONT: then it goes on, late. Without the variables a failpoint
is one comparison. Setting them can only stall a process: it fails closed.
"""

import os
import signal
import time
from pathlib import Path

_NAME, _, _NTH = os.environ.get("SALTKEEP_FAILPOINT", "").partition(":")
_visits_left = int(_NTH or "1")


def failpoint(name: str) -> None:
    """Freeze the whole process here if a crash test asked for ``name``.

    Args:
        name: The failpoint's name, ``component.step``; unique in the source.
    """
    global _visits_left  # noqa: PLW0603 - counts visits of this one process
    if name != _NAME:
        return
    _visits_left -= 1
    if _visits_left == 0:
        frozen = Path(os.environ["SALTKEEP_FAILPOINT_FILE"])
        frozen.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        while frozen.exists():  # the stop reaches this thread a little after kill()
            time.sleep(0.05)
