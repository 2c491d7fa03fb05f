# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-panel`` as a user runs it, against its own simulator."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("saltkeep-panel"))


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


class Board:
    """A simulator that somebody types to."""

    def __init__(self, folder: Path) -> None:
        self.device = str(folder / "panel")
        self.key = str(folder / "panel.key")
        self._process = subprocess.Popen(
            [COMMAND, "simulate", "--link", self.device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == f"device {self.device}"
        self.trust = self.line().partition(" ")[2]
        while "quit" not in self.line():
            pass

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def quit(self) -> None:
        self.type("quit")
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0

    def session(self) -> list[str]:
        return [self.device, "--key-file", self.key, "--trust", self.trust]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.quit()


def paired(board: Board) -> dict[str, object]:
    board.type("switch maintenance")
    board.type("yes down")
    said = json.loads(run("--json", "pair", board.device, "--key-file", board.key))
    board.type("yes up")
    board.type("switch run")
    assert isinstance(said, dict)
    return said


def test_pair_selftest_record_and_replay(board: Board, tmp_path: Path) -> None:
    assert json.loads(run("--json", "hello", board.device))["paired"] is False
    assert paired(board)["firmware_hash"] == board.trust
    assert Path(board.key).stat().st_mode & 0o777 == 0o600
    found = json.loads(run("--json", "selftest", *board.session()))
    assert found["sha256"]
    assert found["random_health"]
    trace = str(tmp_path / "trace")
    told = run("--json", "record", *board.session(), "--out", trace, "--seconds", "1.5")
    beats = [json.loads(line) for line in told.splitlines()]
    assert any(beat["event"] == "Beat" and not beat["must_lock"] for beat in beats)
    passed = run("replay", trace)
    for name in ("HelloAsk", "Response", "Proof", "Heartbeat", "AttestReply", "Lock"):
        assert name in passed
    assert Path(board.key).read_bytes().hex() not in Path(trace).read_text()


def test_watch_draws_a_dashboard_and_the_default_list_refuses_a_simulator(
    board: Board,
) -> None:
    paired(board)
    drawn = run("watch", *board.session(), "--seconds", "1")
    assert "RUN" in drawn
    assert "heartbeats" in drawn
    refused = run("watch", board.device, "--key-file", board.key, code=1)
    assert "untrusted-firmware" in refused


def test_what_can_not_be_done_is_said_in_a_line(board: Board, tmp_path: Path) -> None:
    assert "no-answer" in run(
        *("pair", board.device, "--key-file", board.key, "--timeout-s", "1"), code=1
    )
    Path(board.key).chmod(0o644)
    assert "0600" in run("selftest", *board.session(), code=1)
    assert "line:" in run("hello", str(tmp_path / "nothing"), code=1)
    (tmp_path / "no-trace").write_text("{}\n")
    assert "is no trace" in run("replay", str(tmp_path / "no-trace"), code=1)
    board.type("switch sideways")
    assert "there is no switch to be sideways" in board.line()
    board.type("show")
    assert board.line() == "(nothing)"


def test_the_firmware_s_hash_is_told_and_the_board_s_differs() -> None:
    board = json.loads(run("--json", "firmware"))
    host = json.loads(run("--json", "firmware", "--board", "host"))
    assert board["firmware_hash"] != host["firmware_hash"]
    assert (Path(board["folder"]) / "hal_rp2.py").is_file()
