# SPDX-License-Identifier: Apache-2.0
"""Peers built from their source for this processor, each in a process of its own.

A wheel and a build of the same package can not be imported together, and PyOTA uses
pyota-ccurl wherever it finds it. The other process answers one line per run, which
costs a twentieth of a millisecond.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_FOLDER: Final = Path(__file__).parents[1]
_BUILT: Final = _FOLDER / "build" / "native"


class NativePeer:
    """One peer's process; use it with ``with``.

    Args:
        name: Of its folder under ``build/native``, which ``scripts/native`` makes.
    """

    def __init__(self, name: str) -> None:
        subprocess.run([_FOLDER / "scripts" / "native", "peers"], check=True)
        path = os.pathsep.join([str(_BUILT / name), str(_FOLDER)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.native"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def run(self, what: str, *arguments: str) -> None:
        """Have it run something, and wait until it has.

        Args:
            what: ``argon2-plain``, ``argon2-arena`` or ``parse``.
            arguments: Its arguments, in words without spaces.

        Raises:
            RuntimeError: If it ended instead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join([what, *arguments]) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError(f"the peer ended at {what}")

    def __enter__(self) -> Self:
        """Return the peer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End its process."""
        self._process.communicate()


def _parse(trytes: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import iota  # noqa: PLC0415 - takes a fifth of a second

    iota.Transaction.from_tryte_string(trytes)


def _argon2() -> Iterator[tuple[str, Callable[[], object]]]:
    from benchmarks.argon2 import Candidates  # noqa: PLC0415 - by the peer's bindings

    candidates = Candidates()
    yield "argon2-plain", candidates.plain
    yield "argon2-arena", candidates.reused


def _serve() -> None:
    runs: dict[str, Callable[..., object]] = {"parse": _parse}
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            what, *arguments = input().split()
            if what not in runs:
                runs |= dict(_argon2())
            runs[what](*arguments)
            print("done", flush=True)


if __name__ == "__main__":
    _serve()
