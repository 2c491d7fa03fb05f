# SPDX-License-Identifier: Apache-2.0
"""The page about the old API says what the code says, and misses no weakness."""

import re
from pathlib import Path

import pytest

from hub.flag_table import TABLE, Becomes

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "legacy-api.md").read_text()
ROWS = dict(re.findall(r"^\| (W\d+) \| .+? \| (.+) \|$", TEXT, re.MULTILINE))
FLAGS = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE))


def test_every_weakness_of_the_old_hub_has_its_row() -> None:
    assert list(ROWS) == [f"W{number}" for number in range(1, 31)]


@pytest.mark.parametrize("weakness", ROWS)
def test_a_weakness_names_tests_that_exist_or_what_is_missing(weakness: str) -> None:
    cited = re.findall(r"`([^`]+\.py)::(\w+)`", ROWS[weakness])
    assert cited or "not there yet" in ROWS[weakness]
    for path, name in cited:
        found = re.search(rf"def {name}\b", (ROOT / path).read_text())
        assert found, f"{weakness}: no {name} in {path}"


def test_the_table_of_flags_is_that_of_the_code() -> None:
    assert list(FLAGS) == list(TABLE)
    for name, row in TABLE.items():
        told = f"`{row.key}`" if isinstance(row, Becomes) else row.why
        assert told in FLAGS[name]
