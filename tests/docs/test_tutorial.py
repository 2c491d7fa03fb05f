# SPDX-License-Identifier: Apache-2.0
"""The tutorial is run as a reader would run it: its files, its commands, in order.

In a network of its own, so that its ports are free.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.docs.blocks import Block, Command, as_pattern, blocks_of, commands_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
_DONE = re.compile(r"^===done (\d+)===$")
_NETWORK = ["unshare", "--net", "--map-root-user"]


class Shell:
    """A bash that is told one command after the other.

    Args:
        folder: Where it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent
        self._bash = subprocess.Popen(
            [*_NETWORK, "bash", "--norc", "--noprofile"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(folder),
                "COLUMNS": "110",
                "NO_COLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
        )
        self.run(Command(0, "ip link set lo up", ()))

    def write(self, block: Block) -> None:
        """Write the file that a block with a caption shows."""
        (self.folder / block.options["caption"]).write_text(block.text)

    def run(self, command: Command) -> str:
        """Run a command to its end; it must end with 0.

        Returns:
            What it printed, on both streams.
        """
        typed: IO[str] = self._bash.stdin  # type: ignore[assignment]
        typed.write(f"{command.text}\necho ===done $?===\n")
        typed.flush()
        printed = []
        for line in self._bash.stdout or ():
            head, _, _ = line.partition("===done")
            if done := _DONE.match(line.removeprefix(head).rstrip("\n")):
                printed += [head + "\n"] if head else []
                where = f"{PAGE.name}:{command.line}: {command.text}"
                assert done[1] == "0", f"{where}\n{''.join(printed)}{self._logs()}"
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"the shell ended at line {command.line}")

    def _logs(self) -> str:
        return "".join(
            f"--- {path.name}\n{path.read_text()[-2000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        """End the shell and whatever it has started."""
        os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.communicate(timeout=20)  # closes both pipes


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_tutorial_goes_as_it_says(shell: Shell) -> None:
    ran = 0
    for block in blocks_of(PAGE):
        if "caption" in block.options:
            shell.write(block)
        if block.language != "console" or block.options.get("class") == "not-run":
            continue
        for command in commands_of(block):
            printed = shell.run(command)
            if command.shown:
                assert as_pattern(command.shown).fullmatch(printed), (
                    f"line {command.line}: {command.text}\nshown:\n"
                    + "\n".join(command.shown)
                    + f"\nprinted:\n{printed}"
                )
            ran += 1
    assert ran > 30
