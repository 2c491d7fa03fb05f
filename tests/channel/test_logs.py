# SPDX-License-Identifier: Apache-2.0
"""Logs for machines: one JSON object a line, whatever was logged."""

import json
import logging
import subprocess
import sys

from channel.logs import JsonLines


def line_of(message: str, *arguments: object, error: bool = False) -> dict[str, str]:
    problem = ValueError("inner\nline")
    info = (ValueError, problem, None) if error else None
    record = logging.LogRecord(
        "hub.x", logging.WARNING, "x.py", 1, message, arguments, info
    )
    text = JsonLines().format(record)
    assert "\n" not in text
    told: dict[str, str] = json.loads(text)
    return told


def test_a_line_says_when_how_bad_where_and_what() -> None:
    told = line_of("sweep %s: ü", 'a "b"\n{}')
    assert told["message"] == 'sweep a "b"\n{}: ü'
    assert (told["level"], told["logger"]) == ("WARNING", "hub.x")
    assert told["time"].endswith("+00:00")
    assert "exception" not in told


def test_an_exception_stays_on_the_line() -> None:
    assert "ValueError: inner" in line_of("failed", error=True)["exception"]


def test_a_program_logs_so_when_asked() -> None:
    script = (
        "import logging; from channel.logs import log_to_stderr;"
        "log_to_stderr(as_json=True); logging.getLogger('a').info('up %d', 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr)["message"] == "up 1"
