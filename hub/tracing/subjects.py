# SPDX-License-Identifier: Apache-2.0
"""What a trace is about, and the ids that follow from its name; pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_RATIO_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """A withdrawal or a sweep.

    Attributes:
        trace_id: Of its trace, 16 bytes.
        root_id: Of the span of its whole life, 8 bytes; written when that ends.
        attributes: Its name, for every span of the trace.
        beside: Whether a step stands beside the root span and not in it: what makes a
            thing begins before the thing does.
    """

    trace_id: bytes
    root_id: bytes
    attributes: Mapping[str, str] = field(hash=False)
    beside: bool = False

    def made(self) -> "Subject":
        """Return the subject of the step that makes it."""
        return replace(self, beside=True)

    def is_sampled(self, ratio: float) -> bool:
        """Say whether its trace is kept; every process comes to the same answer.

        Args:
            ratio: Of the traces that are kept, 0 to 1.

        Returns:
            Whether it is.

        Source: OpenTelemetry's TraceIdRatioBased compares the lower 64 bits.
        """
        lower = int.from_bytes(self.trace_id[-_RATIO_BITS // 8 :], "big")
        return lower < round(ratio * (1 << _RATIO_BITS))


def of_withdrawal(uuid: str) -> Subject:
    """Return what a withdrawal's trace is about.

    Args:
        uuid: Its public name, lower case.

    Returns:
        The subject.
    """
    return _subject("saltkeep-withdrawal", uuid, {"saltkeep.withdrawal": uuid})


def of_sweep(bundle_hash: str) -> Subject:
    """Return what a sweep's trace is about.

    Args:
        bundle_hash: 81 trytes.

    Returns:
        The subject.
    """
    return _subject("saltkeep-sweep", bundle_hash, {"saltkeep.bundle": bundle_hash})


def _subject(label: str, name: str, attributes: Mapping[str, str]) -> Subject:
    digest = hashlib.sha256(f"{label}{name}".encode()).digest()
    end = _TRACE_BYTES + _SPAN_BYTES
    return Subject(digest[:_TRACE_BYTES], digest[_TRACE_BYTES:end], attributes)
