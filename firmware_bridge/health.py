# SPDX-License-Identifier: Apache-2.0
"""Health tests of a noise source, one byte a sample.

They notice a source that is stuck or has lost most of its entropy; they prove nothing
about a source that means to deceive. What passes is mixed, never used alone.

Source: NIST SP 800-90B, 4.4.1 (repetition count test) and 4.4.2 (adaptive proportion
test), with an assumed min-entropy of 1 bit a sample and a false alarm once in 2^30.
"""

from math import comb
from typing import Final

from firmware_bridge.errors import RandomHealthError

STARTUP_SAMPLES: Final = 1024
"""Source: SP 800-90B, 4.3, requirement 4."""
WINDOW_SAMPLES: Final = 512
"""Source: SP 800-90B, 4.4.2, for samples of more than one bit."""
_ALARM_BITS: Final = 30  # -log2 of the probability of a false alarm
_ENTROPY_BITS: Final = 1  # a sample; less than any source we would build in
REPETITION_CUTOFF: Final = 1 + _ALARM_BITS // _ENTROPY_BITS


def _proportion_cutoff() -> int:
    """Return 1 + the critical value of a binomial distribution with p = 1/2."""
    tail, value = 0, WINDOW_SAMPLES
    while (tail + comb(WINDOW_SAMPLES, value)) << _ALARM_BITS <= 1 << WINDOW_SAMPLES:
        tail += comb(WINDOW_SAMPLES, value)
        value -= 1
    return 1 + value


PROPORTION_CUTOFF: Final = _proportion_cutoff()


class HealthTests:
    """Both tests over one source, for as long as it is used."""

    def __init__(self) -> None:
        self._last = -1
        self._repeated = 0
        self._first = -1
        self._alike = 0
        self._seen = 0

    def require_healthy(self, samples: bytes) -> None:
        """Take samples in the order in which they were drawn.

        Args:
            samples: Any number of bytes.

        Raises:
            RandomHealthError: If a test fails.
        """
        for sample in samples:
            self._repetition(sample)
            self._proportion(sample)

    def _repetition(self, sample: int) -> None:
        self._repeated = self._repeated + 1 if sample == self._last else 1
        self._last = sample
        if self._repeated >= REPETITION_CUTOFF:
            raise RandomHealthError(f"{self._repeated} equal samples in a row")

    def _proportion(self, sample: int) -> None:
        if self._seen % WINDOW_SAMPLES == 0:
            self._first, self._alike = sample, 0
        self._seen += 1
        self._alike += sample == self._first
        if self._alike >= PROPORTION_CUTOFF:
            raise RandomHealthError(
                f"{self._alike} equal samples in a window of {WINDOW_SAMPLES}"
            )
