# SPDX-License-Identifier: Apache-2.0
"""The coverage-guided fuzzer, for a bounded number of inputs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge import cobs

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/vectors-frames.json").read_text())
SOAK = os.environ.get("SALTKEEP_FUZZ_SOAK", "500000")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="no wheel of atheris here"
)


def seeds(folder: Path) -> None:
    """Write golden frames and messages to begin from, in each way they are read."""
    for vector in VECTORS["frames"]:
        name = vector["name"].replace(" ", "-")
        (folder / name).write_bytes(bytes.fromhex(vector["line"]))
        stuffed = bytes.fromhex(vector["line"]).strip(b"\x00")
        signed = (cobs.decode(stuffed) or b"")[:-20]
        (folder / f"{name}-signed").write_bytes(signed)
    # One byte longer than its channel allows, and its header says so.
    header = bytes.fromhex("01220001000001000101")
    (folder / "too-long-signed").write_bytes(header + bytes(257))
    for vector in VECTORS["messages"]:
        payload = bytes.fromhex(vector["payload"])
        (folder / vector["class"]).write_bytes(payload)
        kind = bytes([vector["type"]])
        (folder / f"{vector['class']}-typed").write_bytes(kind + payload)


def fuzz(folder: Path, *, runs: str, timeout_s: float) -> str:
    seeds(folder)
    done = subprocess.run(
        [
            sys.executable,
            "tests/firmware_bridge/fuzz_frames.py",
            f"-atheris_runs={runs}",
            "-max_len=1200",
            "-seed=1",
            f"-artifact_prefix={folder}/found-",
            folder,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stderr


def test_no_input_of_the_fuzzer_breaks_a_reader(tmp_path: Path) -> None:
    told = fuzz(tmp_path, runs="2000", timeout_s=55)
    assert "instrument" in told.lower()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_input_of_half_a_million_breaks_a_reader(tmp_path: Path) -> None:
    fuzz(tmp_path, runs=SOAK, timeout_s=7000)
