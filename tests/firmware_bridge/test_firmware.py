# SPDX-License-Identifier: Apache-2.0
"""The firmware as a whole: what its hash covers, and what it may lean on."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge import firmware
from firmware_bridge.firmware.identity import FILES, firmware_hash
from tests.firmware_bridge.firmwares import MICROPYTHON
from tests.firmware_bridge.simulation import MemoryBoard, World

FOLDER = Path(next(iter(firmware.__path__)))
SOURCES = sorted(FOLDER.glob("*.py"))
# What MicroPython has on a board; hal_host and hal_rp2 may take a little more.
MODULES = {"binascii", "hashlib", "struct"}
OF_BOARDS = {"os", "select", "sys", "time", "framebuf", "machine", "micropython"}


def test_the_hash_covers_every_file_that_runs() -> None:
    boards = {"hal_host.py", "hal_rp2.py"}
    names = {path.name for path in SOURCES} - {"__init__.py"}
    assert set(FILES) == names - boards


def test_any_changed_byte_changes_the_hash(tmp_path: Path) -> None:
    for path in SOURCES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = firmware_hash(str(tmp_path), "hal_rp2.py")
    assert whole == firmware_hash(str(FOLDER), "hal_rp2.py")
    for name in (*FILES, "hal_rp2.py"):
        content = (FOLDER / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"\n")
        assert firmware_hash(str(tmp_path), "hal_rp2.py") != whole, name
        (tmp_path / name).write_bytes(content)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_imports_only_itself_and_what_a_board_has(path: Path) -> None:
    allowed = MODULES | (OF_BOARDS if path.name.startswith("hal_") else set())
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name in allowed or name.startswith("firmware_bridge.firmware"), name


@pytest.mark.skipif(not MICROPYTHON.exists(), reason="no wheel of MicroPython here")
def test_micropython_compiles_every_file_the_board_s_included() -> None:
    script = (
        "import sys\nfor name in sys.argv[1:]:\n"
        " with open(name) as file:\n  compile(file.read(), name, 'exec')\n"
        "print(len(sys.argv) - 1)"
    )
    done = subprocess.run(
        [MICROPYTHON, "-c", script, *SOURCES], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(SOURCES)


class FullFlash(MemoryBoard):
    """A board whose flash takes no more when it is full."""

    full = False

    def store(self, name: str, data: bytes) -> None:
        if self.full:
            raise OSError(28)
        super().store(name, data)


def opened(monkeypatch: pytest.MonkeyPatch) -> tuple[World, FullFlash]:
    monkeypatch.setattr("tests.firmware_bridge.simulation.MemoryBoard", FullFlash)
    world = World(3)
    world.to_device.healthy = world.to_host.healthy = True
    world.run(3000)
    assert isinstance(world.board, FullFlash)
    return world, world.board


def test_a_counter_that_can_not_be_stored_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, board = opened(monkeypatch)
    board.full = True
    before = world.device.memory.counter
    assert world.session is not None
    for _ in range(20):
        world.ask()  # increments among them
        world.run(500)
    assert world.device.memory.counter == before
    assert world.session.counter == before
    board.full = False
    for _ in range(20):
        world.ask()
        world.run(500)
    assert world.device.memory.counter > before
    assert world.session.counter == world.device.memory.counter


def test_a_full_flash_grants_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, board = opened(monkeypatch)
    board.full = True
    for _ in range(30):
        world.ask()
        world.run(100)
        board.yes = True
        world.run(300)
        board.yes = False
    assert world.asked
    assert not world.granted


def test_python_s_own_module_names_are_not_shadowed() -> None:
    """On a board the folder may lie on the path itself."""
    names = {path.stem for path in SOURCES}
    assert not names & (MODULES | OF_BOARDS)
    assert not names & set(sys.builtin_module_names)
