# SPDX-License-Identifier: Apache-2.0
"""HORNET's commands about the ledger and its history.

Source: HORNET 0.5.6 plugins/webapi/ledger.go, pruning.go, snapshot.go, debug.go.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from hub.devnet import queries
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError
from hub.devnet.faults import Fault
from hub.devnet.replies import Json
from hub.devnet.tangle import Record


class LedgerCommands:
    """Ledger differences, the whole ledger, pruning.

    Args:
        devnet: The network to speak for.
    """

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._node = devnet.node

    async def diff(self, parameters: Mapping[str, object]) -> Json:
        """Answer getLedgerDiff.

        Args:
            parameters: Holds ``milestoneIndex``.

        Returns:
            ``diff``, address to change in iota.
        """
        index = self._milestone_index(parameters)
        changes = queries.ledger_diff(self._node, index)
        return {"diff": dict(changes), "milestoneIndex": index}

    async def extended_diff(self, parameters: Mapping[str, object]) -> Json:
        """Answer getLedgerDiffExt.

        Args:
            parameters: Holds ``milestoneIndex``.

        Returns:
            ``diff``, and the transactions and bundles that made it.
        """
        index = self._milestone_index(parameters)
        bundles = queries.confirmed_values(self._node, index)
        return {
            "confirmedTxWithValue": [
                _transaction(record, tail=records[0])
                for records in bundles
                for record in records
                if record.tx.value_i
            ],
            "confirmedBundlesWithValue": [_bundle(records) for records in bundles],
            "diff": dict(queries.ledger_diff(self._node, index)),
            "milestoneIndex": index,
        }

    async def state(self, parameters: Mapping[str, object]) -> Json:
        """Answer getLedgerState.

        Args:
            parameters: Holds ``targetIndex``, 0 or missing for the latest.

        Returns:
            ``balances``, address to iota, without empty ones.

        Raises:
            ApiError: There is no such milestone.
        """
        latest = self._node.latest.index
        wanted = parameters.get("targetIndex") or latest
        if not isinstance(wanted, int) or not 0 <= wanted <= latest:
            raise ApiError(f"Invalid milestone index supplied, lsmi is {latest}")
        balances = queries.balances_at(self._node, wanted)
        held = {address: held_i for address, held_i in balances.items() if held_i}
        return {"balances": held, "milestoneIndex": wanted}

    async def prune(self, parameters: Mapping[str, object]) -> Json:
        """Answer pruneDatabase by throwing the fault switch of that name.

        Args:
            parameters: Holds ``targetIndex`` or ``depth``.

        Returns:
            Nothing.

        Raises:
            ApiError: Neither is given.
        """
        target, depth = parameters.get("targetIndex"), parameters.get("depth")
        if isinstance(depth, int) and depth > 0 and not target:
            target = max(self._node.latest.index - depth, 0)
        if not isinstance(target, int) or target < 1:
            raise ApiError("either depth or targetIndex has to be specified")
        self._devnet.faults.set(Fault.PRUNED_HISTORY, target)
        return {}

    async def create_snapshot(self, _: Mapping[str, object]) -> Json:
        """Refuse createSnapshotFile: an embedded node writes no such files.

        Args:
            _: Not looked at.

        Raises:
            ApiError: Always.
        """
        raise ApiError("not available on a devnet", HTTPStatus.INTERNAL_SERVER_ERROR)

    async def search_confirmed_approver(self, parameters: Mapping[str, object]) -> Json:
        """Answer searchConfirmedApprover.

        Args:
            parameters: Holds ``txHash``, and ``searchMilestone`` to go on to
                a milestone.

        Returns:
            The nearest confirmed approver and the path to it.

        Raises:
            ApiError: The transaction is unknown, or nothing confirmed leads to it.
        """
        wanted = str(parameters.get("txHash"))
        if self._node.tangle.get(wanted) is None:
            raise ApiError("unknown transaction")
        only_milestones = parameters.get("searchMilestone") is True
        paths: dict[str, tuple[Json, ...]] = {wanted: ()}
        for tx_hash in (queue := [wanted]):
            confirmation = self._node.confirmations.get(tx_hash)
            is_end = not only_milestones or (
                tx_hash in self._node.milestone_transactions
            )
            if confirmation is not None and is_end:
                path = paths[tx_hash]
                return {
                    "confirmedTxHash": tx_hash,
                    "confirmedByMilestoneIndex": confirmation.index,
                    "tanglePath": list(path),
                    "tanglePathLength": len(path),
                }
            for approver in self._node.tangle.by_approvee.get(tx_hash):
                if approver in paths:
                    continue
                by_trunk = self._node.tangle.parents(approver)[0] == tx_hash
                step = {"txHash": approver, "referencedByTrunk": by_trunk}
                paths[approver] = (*paths[tx_hash], step)
                queue.append(approver)
        raise ApiError("no confirmed approver found")

    def _milestone_index(self, parameters: Mapping[str, object]) -> int:
        wanted = parameters.get("milestoneIndex", 0)
        latest = queries.solid_milestone(self._node).index
        if not isinstance(wanted, int) or not 0 <= wanted <= latest:
            raise ApiError(f"Invalid milestone index supplied, lsmi is {latest}")
        return wanted


def _transaction(record: Record, *, tail: Record) -> Json:
    return {
        "txHash": record.hash,
        "tailTxHash": tail.hash,
        "bundleHash": record.tx.bundle,
        "address": record.tx.address,
        "value": record.tx.value_i,
    }


def _bundle(records: Sequence[Record]) -> Json:
    return {
        "bundleHash": records[0].tx.bundle,
        "tailTxHash": records[0].hash,
        "lastIndex": records[0].tx.last_index,
        "txs": [
            {
                "txHash": record.hash,
                "address": record.tx.address,
                "index": record.tx.current_index,
                "value": record.tx.value_i,
            }
            for record in records
        ],
    }
