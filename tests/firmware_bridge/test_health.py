# SPDX-License-Identifier: Apache-2.0
"""The health tests of a noise source: what passes and what does not."""

import os

import pytest

from firmware_bridge.errors import RandomHealthError
from firmware_bridge.health import (
    PROPORTION_CUTOFF,
    REPETITION_CUTOFF,
    WINDOW_SAMPLES,
    HealthTests,
)


def test_the_cutoffs_are_those_of_the_standard_s_formulas() -> None:
    """Source: SP 800-90B 4.4.1 and 4.4.2 with H = 1, alpha = 2^-30, W = 512."""
    assert REPETITION_CUTOFF == 1 + 30
    assert PROPORTION_CUTOFF == 325


def test_the_operating_system_s_numbers_pass() -> None:
    HealthTests().require_healthy(os.urandom(200_000))


def test_a_stuck_source_fails_at_the_cutoff_and_not_before() -> None:
    HealthTests().require_healthy(b"\x07" * (REPETITION_CUTOFF - 1) + b"\x08")
    with pytest.raises(RandomHealthError, match="in a row"):
        HealthTests().require_healthy(b"\x07" * REPETITION_CUTOFF)


def test_it_is_stuck_across_readings_too() -> None:
    tests = HealthTests()
    for _ in range(REPETITION_CUTOFF - 1):
        tests.require_healthy(b"\x07")
    with pytest.raises(RandomHealthError):
        tests.require_healthy(b"\x07")


def test_a_source_that_favours_a_value_fails() -> None:
    rare = PROPORTION_CUTOFF * 3 // 2
    window = (b"\x07\x07\x08" * rare)[:WINDOW_SAMPLES]
    with pytest.raises(RandomHealthError, match="window"):
        HealthTests().require_healthy(window)


def test_half_and_half_is_not_enough_to_fail() -> None:
    HealthTests().require_healthy(b"\x07\x08" * 5000)
