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
    subprocess.run([*command, "-o", str(program), "-lm"], check=True, timeout=50)
    return program


def run(
    command: Sequence[str | Path], *, bits: int = 64
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "SALTKEEP_VECTOR_BITS": str(bits)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def valgrind(program: Path, mode: str, *, bits: int) -> int:
    options = ["--quiet", f"--error-exitcode={FOUND_BY_VALGRIND}"]
    return run(["valgrind", *options, program, mode], bits=bits).returncode


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def careless_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("careless"), keep_secrets=True)


# Valgrind knows no AVX-512: with 512 it takes the widest that it does know.
@pytest.fixture(params=[64, 256, 512])
def bits(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen


needs_valgrind = pytest.mark.skipif(
    shutil.which("valgrind") is None or not MEMCHECK.exists(),
    reason="needs valgrind and its header",
)


@pytest.mark.parametrize("use", ["stack", "argon2"])
def test_no_secret_stays_on_the_stack(probe: Path, use: str, bits: int) -> None:
    ended = run([probe, use], bits=bits)
    assert (ended.returncode, ended.stdout) == (0, "0\n")


@pytest.mark.parametrize("use", ["stack", "argon2"])
def test_secrets_would_be_found_on_the_stack_were_they_not_wiped(
    careless_probe: Path, use: str, bits: int
) -> None:
    ended = run([careless_probe, use], bits=bits)
    assert ended.returncode == 0
    assert int(ended.stdout) > 0


@needs_valgrind
def test_no_branch_or_address_depends_on_a_secret(probe: Path, bits: int) -> None:
    assert valgrind(probe, "paths", bits=bits) == 0


@needs_valgrind
def test_no_branch_or_address_depends_on_a_share(probe: Path) -> None:
    assert valgrind(probe, "shares", bits=64) == 0


@needs_valgrind
def test_a_branch_on_a_secret_would_be_found(probe: Path, bits: int) -> None:
    assert valgrind(probe, "leak", bits=bits) == FOUND_BY_VALGRIND
