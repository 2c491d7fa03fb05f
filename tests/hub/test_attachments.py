# SPDX-License-Identifier: Apache-2.0
"""What a sweep's attachments want next."""

import pytest

from hub.attachments import NextStep, next_step
from hub.model import SweepId, Tail, TransactionHash
from hub.node import TailHealth

NOW_MS = 10_000_000
MAX_AGE_MS = 1_800_000
HEALTHS = {
    "no node can tell": None,
    "fine": TailHealth(promote=False, reattach=False),
    "promote": TailHealth(promote=True, reattach=False),
    "reattach": TailHealth(promote=False, reattach=True),
}


def tail(age_ms: int) -> Tail:
    return Tail(
        tail_hash=TransactionHash("A" * 81),
        sweep_id=SweepId(1),
        confirmed=False,
        created_at_ms=NOW_MS - age_ms,
    )


@pytest.mark.parametrize(
    ("ages_ms", "health", "step"),
    [
        ([], "no node can tell", NextStep.ATTACH),
        ([0], "no node can tell", NextStep.WAIT),
        ([0], "fine", NextStep.WAIT),
        ([0], "promote", NextStep.PROMOTE),
        ([0], "reattach", NextStep.ATTACH),
        ([MAX_AGE_MS], "promote", NextStep.PROMOTE),
        ([MAX_AGE_MS + 1], "promote", NextStep.ATTACH),
        ([MAX_AGE_MS + 1], "no node can tell", NextStep.ATTACH),
        ([0, MAX_AGE_MS + 1], "promote", NextStep.PROMOTE),  # the newest decides
    ],
)
def test_the_newest_tail_decides(
    ages_ms: list[int], health: str, step: NextStep
) -> None:
    found = next_step(
        [tail(age_ms) for age_ms in ages_ms],
        HEALTHS[health],
        now_ms=NOW_MS,
        max_promotion_age_ms=MAX_AGE_MS,
    )
    assert found is step
