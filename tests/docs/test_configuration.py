# SPDX-License-Identifier: Apache-2.0
"""The configuration reference says what the code says."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_configuration_reference_is_what_the_code_prints() -> None:
    printed = subprocess.run(
        [ROOT / "scripts" / "write-configuration"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert printed == written, "run `make docs` and commit docs/configuration.md"
