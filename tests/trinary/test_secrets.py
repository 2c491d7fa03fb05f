# SPDX-License-Identifier: Apache-2.0
"""The signing code leaves no secret on the stack and takes no secret path.

``secrets_probe.c`` has the C half, built here around the kernel's own sources.
Each check is also made with the fault put in, to see that it would be found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
KERNEL = HERE.parents[1] / "trinary" / "kernel"
MEMCHECK = Path("/usr/include/valgrind/memcheck.h")
FOUND_BY_VALGRIND = 9

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or "LD_PRELOAD" in os.environ,
    reason="needs gcc, and a process without preloaded libraries",
)


def build(folder: Path, *, keep_secrets: bool = False) -> Path:
    """Compile the probe as the kernel is compiled."""
    left_out = {"winternitz.c"} | ({"wipe.c"} if keep_secrets else set())
    sources = [str(s) for s in KERNEL.glob("*.c") if s.name not in left_out]
    program = folder / "probe"
    flags = ["-std=c11", "-O3", "-pthread", f"-I{KERNEL}"]
    if keep_secrets:
        flags.append("-DKEEP_SECRETS")
    command = ["gcc", *flags, str(HERE / "secrets_probe.c"), *sources]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=50)
    return program


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def valgrind(program: Path, mode: str) -> int:
    options = ["--quiet", f"--error-exitcode={FOUND_BY_VALGRIND}"]
    return run(["valgrind", *options, program, mode]).returncode


needs_valgrind = pytest.mark.skipif(
    shutil.which("valgrind") is None or not MEMCHECK.exists(),
    reason="needs valgrind and its header",
)


def test_no_secret_stays_on_the_stack(tmp_path: Path) -> None:
    ended = run([build(tmp_path), "stack"])
    assert (ended.returncode, ended.stdout) == (0, "0\n")


def test_secrets_would_be_found_on_the_stack_were_they_not_wiped(
    tmp_path: Path,
) -> None:
    ended = run([build(tmp_path, keep_secrets=True), "stack"])
    assert ended.returncode == 0
    assert int(ended.stdout) > 0


@needs_valgrind
def test_no_branch_or_address_depends_on_a_secret(tmp_path: Path) -> None:
    assert valgrind(build(tmp_path), "paths") == 0


@needs_valgrind
def test_a_branch_on_a_secret_would_be_found(tmp_path: Path) -> None:
    assert valgrind(build(tmp_path), "leak") == FOUND_BY_VALGRIND
