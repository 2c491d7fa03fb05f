# SPDX-License-Identifier: Apache-2.0
"""Every row of the threat model names a module and a test that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `([^`]+)` \| `([^`]+)` \|$", TEXT, re.MULTILINE)


def test_the_threat_model_has_its_rows() -> None:
    assert len(ROWS) > 50


@pytest.mark.parametrize(("threat", "module", "test"), ROWS)
def test_a_row_names_what_exists(threat: str, module: str, test: str) -> None:
    assert (ROOT / module).is_file(), threat
    path, _, name = test.partition("::")
    found = re.search(rf"def {name}\b", (ROOT / path).read_text())
    assert found, f"{threat}: no {name} in {path}"
