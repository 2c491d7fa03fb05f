# SPDX-License-Identifier: Apache-2.0
"""Random faults between host and device, on a simulated clock.

Checked all along: nothing is believed that was not said in this session, in order; a
latch is never lost; a grant is accepted once, for what the display showed; nothing
hangs; and the link comes back when the line does. A failing seed is in the message.
"""

import os

import pytest

from tests.firmware_bridge.simulation import Ledger, World, ledger, play

__all__ = ["ledger"]
CHUNKS = 5
QUICK = 400  # sequences a chunk
SOAK = int(os.environ.get("SALTKEEP_FAULTS_SOAK", "100000"))


def play_all(first: int, count: int, book: Ledger) -> dict[str, int]:
    """Play sequences; count what came about in them."""
    seen = {"sessions": 0, "grants": 0, "latches": 0, "answers": 0, "messages": 0}
    for seed in range(first, first + count):
        try:
            world = play(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seen["sessions"] += world.sessions
        seen["grants"] += len(world.granted)
        seen["latches"] += bool(world.opened)
        seen["answers"] += world.answers
        seen["messages"] += sum(len(heard) for heard in book.believed.values())
        book.sent.clear()
        book.believed.clear()
    return seen


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_sequence_of_faults_breaks_what_was_promised(
    chunk: int, ledger: Ledger
) -> None:
    seen = play_all(chunk * QUICK, QUICK, ledger)
    # The sequences reach what they are for: a test that never grants proves nothing.
    assert seen["sessions"] > QUICK
    assert seen["grants"] > 0
    assert seen["latches"] > 0
    assert seen["messages"] > 10 * QUICK


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_sequences(ledger: Ledger) -> None:
    seen = play_all(10_000_000, SOAK, ledger)
    print(f"{SOAK} sequences: {seen}")
    assert seen["grants"] > SOAK // 200


def test_a_good_cable_loses_nothing(ledger: Ledger) -> None:
    world = World(1)
    world.to_device.healthy = world.to_host.healthy = True
    world.run(60_000)
    assert world.sessions == 1
    assert ledger.sent == ledger.believed
    (heard,) = ledger.believed.values()
    assert len(heard) in range(118, 122)  # a heartbeat in 500 ms, for a minute
