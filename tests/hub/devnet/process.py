# SPDX-License-Identifier: Apache-2.0
"""A devnet in its own process, for tests that speak to a real one."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
READY = "devnet ready on "


@contextmanager
def devnet_process(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `python -m hub.devnet` on a free port; gives it and its URL."""
    command = [sys.executable, "-m", "hub.devnet", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--mwm", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        try:
            line = process.stdout.readline().strip()
            assert line.startswith(READY), process.stderr.read()
            yield process, line.removeprefix(READY)
        finally:
            process.kill()


def ask(url: str, body: dict[str, object], path: str = "/") -> dict[str, object]:
    """Post to a node or to the devnet's own endpoints."""
    request = urllib.request.Request(  # noqa: S310 - our own process
        url + path,
        data=json.dumps(body).encode(),
        headers={"X-IOTA-API-Version": "1"},
    )
    with urllib.request.urlopen(request) as reply:  # noqa: S310 - our own process
        return json.load(reply)
