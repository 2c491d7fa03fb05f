# SPDX-License-Identifier: Apache-2.0
"""Random bytes: the system's, whatever else is mixed in."""

import pytest

from appliance.entropy import Entropy


@pytest.mark.parametrize("stirred", [[], [b""], [bytes(32)], [bytes(32)] * 3])
def test_a_source_that_gives_the_same_for_ever_makes_nothing_repeat(
    stirred: list[bytes],
) -> None:
    drawn = set()
    for _ in range(100):
        entropy = Entropy()
        for one in stirred:
            entropy.stir(one)
        drawn |= {entropy.draw(32), entropy.draw(32)}
    assert len(drawn) == 200


@pytest.mark.parametrize("size", [1, 16, 48, 8160])
def test_as_many_bytes_come_as_are_drawn(size: int) -> None:
    assert len(Entropy().draw(size)) == size


def test_what_a_source_gave_changes_what_is_made_of_the_same_fresh_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's bytes are held still, to see the other source's part."""
    monkeypatch.setattr("os.urandom", bytes)
    plain, stirred, otherwise = Entropy(), Entropy(), Entropy()
    stirred.stir(b"one")
    otherwise.stir(b"two")
    assert len({one.draw(32) for one in (plain, stirred, otherwise)}) == 3
