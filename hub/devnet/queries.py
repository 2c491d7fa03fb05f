# SPDX-License-Identifier: Apache-2.0
"""What both dialects answer alike, faults included; reads only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hub.devnet.coordinator import coordinator_address
from hub.devnet.devnet import Devnet
from hub.devnet.faults import Fault
from hub.devnet.node import Milestone, Node
from hub.devnet.tangle import Record

MILESTONE_START_INDEX: Final = 0
UNKNOWN_TRYTES: Final = "9" * 2673
_TAG_TRYTES: Final = 27


@dataclass(frozen=True, slots=True)
class Search:
    """What findTransactions looks for; an empty kind does not restrict.

    Args:
        bundles: Bundle hashes.
        addresses: 81 trytes each.
        tags: Up to 27 trytes each.
        approvees: Transaction hashes.
    """

    bundles: Sequence[str] = field(default=())
    addresses: Sequence[str] = field(default=())
    tags: Sequence[str] = field(default=())
    approvees: Sequence[str] = field(default=())


def solid_milestone(node: Node) -> Milestone:
    """Say which milestone the node reports as its latest solid one.

    Args:
        node: The state to look in.

    Returns:
        The latest, unless a fault says otherwise.
    """
    if node.faults.is_on(Fault.UNSYNCED):
        return node.milestones[MILESTONE_START_INDEX]
    behind = 1 if node.faults.is_on(Fault.LAGGING_MILESTONE) else 0
    return node.milestones[max(node.latest.index - behind, 0)]


def node_info(devnet: Devnet) -> dict[str, object]:
    """Collect the members of getNodeInfo that both dialects have.

    Args:
        devnet: The network.

    Returns:
        Member to value.
    """
    node = devnet.node
    solid = solid_milestone(node)
    return {
        "latestMilestone": node.latest.hash,
        "latestMilestoneIndex": node.latest.index,
        "latestSolidSubtangleMilestone": solid.hash,
        "latestSolidSubtangleMilestoneIndex": solid.index,
        "milestoneStartIndex": MILESTONE_START_INDEX,
        "lastSnapshottedMilestoneIndex": pruned_until(node),
        "neighbors": 0,
        "time": devnet.clock_ms(),
        "tips": len(node.tips),
        "transactionsToRequest": 0,
        "coordinatorAddress": coordinator_address(),
    }


def balances(node: Node, addresses: Iterable[str]) -> dict[str, object]:
    """Answer getBalances.

    Args:
        node: The state to look in.
        addresses: 81 trytes each.

    Returns:
        Balances as text, and the milestone they belong to.
    """
    solid = solid_milestone(node)
    held = balances_at(node, solid.index)
    return {
        "balances": [str(held.get(address, 0)) for address in addresses],
        "references": [solid.hash],
        "milestoneIndex": solid.index,
    }


def balances_at(node: Node, index: int) -> Mapping[str, int]:
    """Say who owned what after a milestone.

    Args:
        node: The state to look in.
        index: From 0 to the latest.

    Returns:
        Address to iota.
    """
    if index == node.latest.index:
        return node.balances
    held = dict(node.balances)
    for milestone in node.milestones[index + 1 :]:
        for address, change in milestone.diff.items():
            held[address] -= change
    return held


def visible(node: Node, tx_hash: str) -> Record | None:
    """Find a transaction that history has not lost.

    Args:
        node: The state to look in.
        tx_hash: 81 trytes.

    Returns:
        The record, or None.
    """
    confirmation = node.confirmations.get(tx_hash)
    is_pruned = (
        confirmation is not None
        and confirmation.index <= pruned_until(node)
        and tx_hash not in node.milestone_transactions
    )
    return None if is_pruned else node.tangle.get(tx_hash)


def trytes_of(node: Node, hashes: Iterable[str]) -> list[str]:
    """Answer getTrytes.

    Args:
        node: The state to look in.
        hashes: 81 trytes each.

    Returns:
        2673 trytes each; nines where a transaction is unknown.
    """
    records = (visible(node, tx_hash) for tx_hash in hashes)
    return [record.trytes if record else UNKNOWN_TRYTES for record in records]


def inclusion_states(node: Node, hashes: Iterable[str]) -> list[bool]:
    """Answer getInclusionStates.

    Args:
        node: The state to look in.
        hashes: 81 trytes each.

    Returns:
        True for what is known, confirmed for this node and not conflicting.
    """
    solid = solid_milestone(node)
    return [
        visible(node, tx_hash) is not None
        and (confirmation := node.confirmations.get(tx_hash)) is not None
        and confirmation.index <= solid.index
        and not confirmation.conflicting
        for tx_hash in hashes
    ]


def find(node: Node, search: Search) -> list[str]:
    """Answer findTransactions.

    Args:
        node: The state to look in.
        search: At least one kind with a value.

    Returns:
        Hashes that match any value of every kind given, oldest first.
    """
    tangle = node.tangle
    padded = [tag.ljust(_TAG_TRYTES, "9") for tag in search.tags]
    kinds = [
        {tx_hash: None for value in values for tx_hash in index.get(value)}
        for index, values in (
            (tangle.by_bundle, search.bundles),
            (tangle.by_address, search.addresses),
            (tangle.by_tag, padded),
            (tangle.by_approvee, search.approvees),
        )
        if values
    ]
    if not kinds:
        return []
    found = [
        tx_hash
        for tx_hash in kinds[0]
        if all(tx_hash in kind for kind in kinds[1:])
        and visible(node, tx_hash) is not None
    ]
    most = node.faults.get(Fault.TRUNCATED_FIND)
    return found if most is None else found[: int(most)]


def spent_states(node: Node, addresses: Iterable[str]) -> list[bool]:
    """Answer wereAddressesSpentFrom.

    Args:
        node: The state to look in.
        addresses: 81 trytes each.

    Returns:
        True where a valid bundle spends from it.
    """
    forget = node.faults.is_on(Fault.SPENT_SET_LOST)
    return [node.is_spent(address, forget_confirmed=forget) for address in addresses]


def ledger_diff(node: Node, index: int) -> Mapping[str, int]:
    """Say what a milestone did to the balances.

    Args:
        node: The state to look in.
        index: From 0 to the latest.

    Returns:
        Address to change in iota; empty once it is pruned.
    """
    return node.milestones[index].diff if index > pruned_until(node) else {}


def confirmed_values(node: Node, index: int) -> list[list[Record]]:
    """List the bundles whose value a milestone moved.

    Args:
        node: The state to look in.
        index: Of the milestone.

    Returns:
        Their transactions, index 0 first.
    """
    wanted = (
        bundle
        for tail, bundle in node.bundles.items()
        if bundle.changes
        and (confirmation := node.confirmations.get(tail)) is not None
        and confirmation.index == index
        and not confirmation.conflicting
    )
    return [list(bundle.records) for bundle in wanted]


def pruned_until(node: Node) -> int:
    """Say which milestones history has lost.

    Args:
        node: The state to look in.

    Returns:
        The last of them; 0 if it has them all.
    """
    wanted = node.faults.get(Fault.PRUNED_HISTORY)
    return node.latest.index if wanted is True else int(wanted or 0)
