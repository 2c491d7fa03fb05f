# SPDX-License-Identifier: Apache-2.0
"""White-flag confirmation: what a milestone does to the balances. Pure.

Everything a milestone references is confirmed; a bundle whose changes the
balances can not take is confirmed as conflicting and moves nothing. The order
is the post-order of a depth-first search that follows the trunk first, so that
what is approved comes before what approves it, and every node agrees.

Source: IOTA RFC 0005 (white flag); HORNET 0.5.6 pkg/whiteflag.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.devnet.config import SUPPLY_I


@dataclass(frozen=True, slots=True)
class Move:
    """One bundle of the cone, as the ledger sees it.

    Args:
        tail: Hash of the bundle's transaction 0.
        changes: Address to iota, negative for inputs, netted by address;
            empty for a bundle that moves no value.
    """

    tail: str
    changes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sequence of moves did.

    Args:
        diff: Address to change in iota; unchanged addresses are left out.
        conflicting: Tails whose changes were not applied, in order.
    """

    diff: Mapping[str, int]
    conflicting: tuple[str, ...] = field(default=())


def post_order(
    starts: Iterable[str],
    *,
    parents_of: Callable[[str], Sequence[str]],
    is_visible: Callable[[str], bool],
) -> list[str]:
    """Order the past cone of some transactions, approved before approving.

    Args:
        starts: Hashes to begin at, each search finished before the next.
        parents_of: Gives trunk and branch of a hash, in this order.
        is_visible: False where the search must not go on (confirmed before).

    Returns:
        Each visible hash of the cone once.
    """
    order: list[str] = []
    seen: set[str] = set()
    for start in starts:
        stack = [(start, False)]
        while stack:
            node, finished = stack.pop()
            if finished:
                order.append(node)
                continue
            if node in seen or not is_visible(node):
                continue
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in reversed(parents_of(node)))
    return order


def apply(
    moves: Iterable[Move],
    *,
    balances: Mapping[str, int],
    forced_conflicts: frozenset[str] = frozenset(),
) -> Outcome:
    """Apply moves in their order, skipping those the balances can not take.

    Args:
        moves: The bundles of a milestone's cone, in confirmation order.
        balances: Address to iota before the milestone.
        forced_conflicts: Tails to treat as conflicting whatever they hold.

    Returns:
        The net change and the tails left out.
    """
    diff: dict[str, int] = {}
    conflicting: list[str] = []
    for move in moves:
        if not move.changes:
            continue
        after = {
            address: balances.get(address, 0) + diff.get(address, 0) + change
            for address, change in move.changes.items()
        }
        possible = all(0 <= balance <= SUPPLY_I for balance in after.values())
        if not possible or move.tail in forced_conflicts:
            conflicting.append(move.tail)
            continue
        for address, balance in after.items():
            diff[address] = balance - balances.get(address, 0)
    kept = {address: change for address, change in diff.items() if change}
    return Outcome(diff=kept, conflicting=tuple(conflicting))
