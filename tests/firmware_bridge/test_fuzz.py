# SPDX-License-Identifier: Apache-2.0
"""The coverage-guided fuzzer, for a bounded number of inputs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge import messages
from firmware_bridge.flat_cbor import encode as encode_fields
from firmware_bridge.frames import Channel, Flags, Frame, encode

ROOT = Path(__file__).parents[2]
KEY = bytearray(range(32))
SOAK = os.environ.get("SALTKEEP_FUZZ_SOAK", "500000")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="no wheel of atheris here"
)


def seeds(folder: Path) -> None:
    """Write frames and messages to begin from."""
    payload = encode_fields({0: 7, 1: "switch"})
    (folder / "refusal").write_bytes(bytes([messages.Refusal.kind]) + payload)
    (folder / "cbor").write_bytes(payload)
    for channel, key in ((Channel.PANEL, KEY), (Channel.CONTROL, None)):
        frame = Frame(messages.Refusal.kind, Flags.NONE, channel, 1, payload)
        (folder / channel.name).write_bytes(encode(frame, key))


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
    told = fuzz(tmp_path, runs="4000", timeout_s=55)
    assert "instrument" in told.lower()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_input_of_half_a_million_breaks_a_reader(tmp_path: Path) -> None:
    fuzz(tmp_path, runs=SOAK, timeout_s=7000)
