# SPDX-License-Identifier: Apache-2.0
"""White-flag confirmation: the order, and what conflicts."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.devnet.config import SUPPLY_I
from hub.devnet.ledger import Move, apply, post_order


class Case(NamedTuple):
    balances: dict[str, int]
    moves: list[tuple[str, dict[str, int]]]
    after: dict[str, int]
    conflicting: tuple[str, ...] = ()


CASES = {
    "a transfer moves value": Case(
        {"A": 10}, [("t", {"A": -10, "B": 10})], {"A": 0, "B": 10}
    ),
    "a bundle without value changes nothing": Case({"A": 10}, [("t", {})], {"A": 10}),
    "of two spends of one balance the first wins": Case(
        {"A": 10},
        [("first", {"A": -10, "B": 10}), ("second", {"A": -10, "C": 10})],
        {"A": 0, "B": 10},
        ("second",),
    ),
    "an overdraft conflicts": Case(
        {"A": 10}, [("t", {"A": -11, "B": 11})], {"A": 10}, ("t",)
    ),
    "spending from an address nobody paid conflicts": Case(
        {"A": 10}, [("t", {"B": -1, "A": 1})], {"A": 10}, ("t",)
    ),
    "value received earlier in the order can be spent": Case(
        {"A": 10},
        [("pay", {"A": -10, "B": 10}), ("spend", {"B": -10, "C": 10})],
        {"A": 0, "C": 10},
    ),
    "value received later in the order can not": Case(
        {"A": 10},
        [("spend", {"B": -10, "C": 10}), ("pay", {"A": -10, "B": 10})],
        {"A": 0, "B": 10},
        ("spend",),
    ),
    "what follows from a conflict conflicts too": Case(
        {"A": 10},
        [
            ("bad", {"A": -20, "B": 20}),
            ("on bad", {"B": -20, "C": 20}),
            ("good", {"A": -10, "D": 10}),
        ],
        {"A": 0, "D": 10},
        ("bad", "on bad"),
    ),
    "one bad input spoils the whole bundle": Case(
        {"A": 10, "B": 1},
        [("t", {"A": -10, "B": -2, "C": 12})],
        {"A": 10, "B": 1},
        ("t",),
    ),
    "a copy of a bundle conflicts with it": Case(
        {"A": 10},
        [("original", {"A": -10, "B": 10}), ("copy", {"A": -10, "B": 10})],
        {"A": 0, "B": 10},
        ("copy",),
    ),
    "a copy confirms again once its input is refunded": Case(
        {"A": 10, "R": 10},
        [
            ("original", {"A": -10, "B": 10}),
            ("refund", {"R": -10, "A": 10}),
            ("copy", {"A": -10, "B": 10}),
        ],
        {"A": 0, "B": 20, "R": 0},
    ),
    "nobody can hold more than the supply": Case(
        {"A": SUPPLY_I}, [("t", {"B": -1, "A": 1})], {"A": SUPPLY_I}, ("t",)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_milestone_applies_moves_in_order(case: Case) -> None:
    moves = [Move(tail, changes) for tail, changes in case.moves]
    outcome = apply(moves, balances=case.balances)
    after = dict(case.balances)
    for address, change in outcome.diff.items():
        after[address] = after.get(address, 0) + change
    assert after == case.after
    assert outcome.conflicting == case.conflicting


def test_a_forced_conflict_moves_nothing() -> None:
    moves = [Move("t", {"A": -1, "B": 1})]
    outcome = apply(moves, balances={"A": 1}, forced_conflicts=frozenset({"t"}))
    assert outcome.diff == {}
    assert outcome.conflicting == ("t",)


changes = st.dictionaries(
    st.sampled_from("ABCD"), st.integers(-50, 50), min_size=1, max_size=3
).map(lambda raw: {**raw, "E": -sum(raw.values())})


@given(st.lists(changes, max_size=12))
def test_no_order_of_moves_makes_value_or_debt(moves: list[dict[str, int]]) -> None:
    balances = {"A": 60, "B": 40, "E": 20}
    numbered = [Move(str(number), move) for number, move in enumerate(moves)]
    outcome = apply(numbered, balances=balances)
    assert sum(outcome.diff.values()) == 0
    assert all(
        balances.get(address, 0) + change >= 0
        for address, change in outcome.diff.items()
    )


GRAPHS = {
    "the trunk comes before the branch": (
        {"m": ("t", "b")},
        ["m"],
        ["t", "b", "m"],
    ),
    "what is approved comes before what approves it": (
        {"m": ("c", "a"), "c": ("b", "a"), "b": ("a", "a")},
        ["m"],
        ["a", "b", "c", "m"],
    ),
    "a whole trunk cone comes before the branch": (
        {"m": ("t1", "b1"), "t1": ("t2", "t3"), "b1": ("b2", "t3")},
        ["m"],
        ["t2", "t3", "t1", "b2", "b1", "m"],
    ),
    "what was met by the trunk is not repeated": (
        {"m": ("x", "x"), "x": ("y", "y")},
        ["m"],
        ["y", "x", "m"],
    ),
    "starts are finished one after another": (
        {"s1": ("a", "b"), "s2": ("c", "a")},
        ["s1", "s2"],
        ["a", "b", "s1", "c", "s2"],
    ),
}


@pytest.mark.parametrize(
    ("graph", "starts", "order"), GRAPHS.values(), ids=GRAPHS.keys()
)
def test_the_cone_is_walked_depth_first_and_trunk_first(
    graph: dict[str, tuple[str, ...]], starts: list[str], order: list[str]
) -> None:
    found = post_order(
        starts,
        parents_of=lambda node: graph.get(node, ()),
        is_visible=lambda node: node != "confirmed",
    )
    assert found == order


def test_the_walk_stops_at_what_is_confirmed() -> None:
    graph = {"m": ("confirmed", "a"), "confirmed": ("older", "older")}
    found = post_order(
        ["m"],
        parents_of=lambda node: graph.get(node, ()),
        is_visible=lambda node: node != "confirmed",
    )
    assert found == ["a", "m"]


def test_a_long_chain_needs_no_recursion() -> None:
    found = post_order(
        ["50000"],
        parents_of=lambda node: (str(int(node) - 1),) * 2 if node != "0" else (),
        is_visible=lambda _: True,
    )
    assert found == [str(number) for number in range(50_001)]
