# SPDX-License-Identifier: Apache-2.0
"""Which transactions may be built upon, and which a milestone should take.

Tips are taken oldest first, not by a random walk: a small network drains
faster and a test knows what to expect.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from hub.devnet.config import (
    BELOW_MAX_DEPTH,
    OLDEST_ROOT_LAG,
    YOUNGEST_ROOT_LAG,
    Dialect,
)
from hub.devnet.faults import Fault
from hub.devnet.ledger import apply
from hub.devnet.node import Node


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the unconfirmed past of a transaction touches the confirmed.

    Args:
        youngest: Highest milestone index referenced (HORNET's YTRSI).
        oldest: Lowest milestone index referenced (HORNET's OTRSI).
    """

    youngest: int
    oldest: int


def roots(node: Node, tx_hash: str) -> Roots:
    """Find the confirmed roots of a transaction.

    Args:
        node: The state to look in.
        tx_hash: A solid transaction.

    Returns:
        Its own index twice when it is confirmed.
    """
    known = node.confirmations.get(tx_hash)
    if known is not None:
        return Roots(known.index, known.index)
    found = {
        confirmation.index
        for member in node.cone([tx_hash])
        for parent in node.tangle.parents(member)
        if (confirmation := node.confirmations.get(parent)) is not None
    }
    return Roots(max(found), min(found))


def is_below_max_depth(node: Node, tx_hash: str) -> bool:
    """Say whether a transaction is too old to confirm.

    Args:
        node: The state to look in.
        tx_hash: A solid transaction.

    Returns:
        True when its oldest root lies more than 15 milestones back.
    """
    return node.latest.index - roots(node, tx_hash).oldest > BELOW_MAX_DEPTH


def is_lazy(node: Node, tx_hash: str) -> bool:
    """Say whether a tip is too old to be offered.

    Args:
        node: The state to look in.
        tx_hash: A solid transaction.

    Returns:
        True when it should be promoted or reattached instead.
    """
    found = roots(node, tx_hash)
    latest = node.latest.index
    return (
        latest - found.youngest > YOUNGEST_ROOT_LAG
        or latest - found.oldest > OLDEST_ROOT_LAG
    )


def has_sound_past(node: Node, cone: Iterable[str]) -> bool:
    """Say whether all bundles of a cone are valid.

    Args:
        node: The state to look in.
        cone: Hashes that a milestone would confirm.

    Returns:
        False when a milestone must not reference it.
    """
    return all(
        tx_hash in node.bundles for tx_hash in cone if node.tangle.is_tail(tx_hash)
    )


def is_consistent(node: Node, cone: Sequence[str]) -> bool:
    """Say whether the balances can take a whole cone.

    Args:
        node: The state to look in.
        cone: Hashes, in confirmation order.

    Returns:
        False when any bundle is invalid or conflicts.
    """
    if not has_sound_past(node, cone):
        return False
    outcome = apply(
        node.moves(cone),
        balances=node.balances,
        forced_conflicts=forced_conflicts(node, cone),
    )
    return not outcome.conflicting


def forced_conflicts(node: Node, cone: Iterable[str]) -> frozenset[str]:
    """Pick the bundles that a fault switch makes conflicting.

    Args:
        node: The state to look in.
        cone: Hashes that a milestone would confirm.

    Returns:
        Tails; nothing while the switch is off.
    """
    wanted = node.faults.get(Fault.CONFLICTING_SPEND)
    if not wanted:
        return frozenset()
    moving = (node.bundles.get(tx_hash) for tx_hash in cone)
    return frozenset(
        bundle.tail.hash
        for bundle in moving
        if bundle is not None
        and bundle.changes
        and (wanted is True or bundle.tail.tx.bundle == wanted)
    )


def confirmable(
    node: Node, *, limit: int, excluded: Container[str] = frozenset()
) -> list[str]:
    """Choose the tips that the next milestone references.

    Args:
        node: The state to look in.
        limit: How many at most.
        excluded: Tails that must not be confirmed.

    Returns:
        Oldest first. An IRI network never references a conflict, a HORNET one
        confirms it as conflicting.
    """
    chosen: list[str] = []
    if node.faults.is_on(Fault.STALLED_CONFIRMATION):
        return chosen

    def fits(tip: str) -> bool:
        cone = node.cone([tip])
        return (
            not is_below_max_depth(node, tip)
            and not any(member in excluded for member in cone)
            and _fit_together(node, [*chosen, tip])
        )

    for tip in _walk_back(node, fits):
        chosen.append(tip)
        if len(chosen) == limit:
            break
    return chosen


def offered(node: Node, *, count: int) -> list[str]:
    """Choose tips to build upon.

    Args:
        node: The state to look in.
        count: How many.

    Returns:
        The oldest that are fit, filled up with the latest milestone.
    """
    chosen: list[str] = []

    def fits(tip: str) -> bool:
        return not is_lazy(node, tip) and _fit_together(node, [*chosen, tip])

    for tip in _walk_back(node, fits):
        chosen.append(tip)
        if len(chosen) == count:
            break
    return chosen + [node.latest.hash] * (count - len(chosen))


def forget_dead(node: Node) -> None:
    """Drop tips that nothing can bring back, with all that they approve.

    Args:
        node: The state to act on.
    """
    latest = node.latest.index
    for tip in list(node.tips):
        if latest - roots(node, tip).youngest > BELOW_MAX_DEPTH:
            del node.tips[tip]


def _fit_together(node: Node, tips: Sequence[str]) -> bool:
    cone = node.cone(tips)
    if node.dialect is Dialect.IRI:
        return is_consistent(node, cone)
    return has_sound_past(node, cone)


def _walk_back(node: Node, fits: Callable[[str], bool]) -> Iterator[str]:
    """Go through the tips, and from an unfit one to what it approves.

    A bundle that can not be confirmed must not bury the ones below it.

    Args:
        node: The state to look in.
        fits: Says whether a tail can be taken.

    Yields:
        Unconfirmed tails that fit, none of them below another.
    """
    waiting = deque(node.tips)
    seen: set[str] = set()
    while waiting:
        tip = waiting.popleft()
        if tip in seen or tip in node.confirmations or tip not in node.bundles:
            continue
        seen.add(tip)
        if fits(tip):
            seen.update(node.cone([tip]))
            yield tip
            continue
        head = node.bundles[tip].records[-1].tx
        waiting.extendleft((head.branch, head.trunk))
