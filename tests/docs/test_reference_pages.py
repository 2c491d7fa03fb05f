# SPDX-License-Identifier: Apache-2.0
"""The pages that are written from the code say what the code says."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["configuration", "wire"])
def test_a_reference_page_is_what_the_code_prints(page: str) -> None:
    printed = subprocess.run(
        [ROOT / "scripts" / f"write-{page}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    written = (ROOT / "docs" / f"{page}.md").read_text()
    assert printed == written, f"run `make docs` and commit docs/{page}.md"
