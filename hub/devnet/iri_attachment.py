# SPDX-License-Identifier: Apache-2.0
"""IRI 1.8.6's commands on the way of a bundle into the Tangle.

Source: IRI 1.8.6 service/API.java; WalkValidatorImpl.java for consistency.
"""

from collections.abc import Mapping
from typing import Final

from hub.devnet import queries
from hub.devnet.attaching import Place
from hub.devnet.config import BELOW_MAX_DEPTH, HIGHEST_MIN_WEIGHT_MAGNITUDE
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError, InvalidTransactionError
from hub.devnet.faults import Fault
from hub.devnet.iri_parameters import read_integer, read_list, read_text
from hub.devnet.pow_desk import PowDesk
from hub.devnet.replies import Json
from hub.devnet.tips import is_below_max_depth, is_consistent, offered
from hub.devnet.validation import Flaw
from trinary.errors import CancelledError

_NOT_UPDATED: Final = (
    "This operation cannot be executed: The subtangle has not been updated yet."
)
_INCONSISTENT: Final = (
    "tails are not consistent"
    " (would lead to inconsistent ledger state or below max depth)"
)
_HASH: Final = 81
_TRYTES: Final = 2673


def require_updated(devnet: Devnet) -> None:
    """Refuse while the node knows no solid milestone but its first.

    Args:
        devnet: The network.

    Raises:
        ApiError: It has not caught up.
    """
    if queries.solid_milestone(devnet.node).index == queries.MILESTONE_START_INDEX:
        raise ApiError(_NOT_UPDATED)


class AttachmentCommands:
    """Tips, proof of work, storing, consistency.

    Args:
        devnet: The network to speak for.
    """

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._node = devnet.node
        self._desk = PowDesk(clock_ms=devnet.clock_ms)

    async def to_approve(self, parameters: Mapping[str, object]) -> Json:
        """Answer getTransactionsToApprove.

        Args:
            parameters: ``depth`` 1 to 15, and maybe a ``reference``.

        Returns:
            Trunk and branch; the branch is the reference when there is one.

        Raises:
            ApiError: The depth or the reference is not usable.
        """
        depth = read_integer(parameters, "depth")
        reference = (
            read_text(parameters, "reference", _HASH)
            if "reference" in parameters
            else None
        )
        if not 1 <= depth <= BELOW_MAX_DEPTH:
            raise ApiError("Invalid depth input")
        require_updated(self._devnet)
        if reference is None:
            trunk, branch = offered(self._node, count=2)
        else:
            self._require_usable(reference, depth)
            trunk, branch = offered(self._node, count=1)[0], reference
        return {"trunkTransaction": trunk, "branchTransaction": branch}

    def _require_usable(self, reference: str, depth: int) -> None:
        if queries.visible(self._node, reference) is None:
            raise ApiError("reference transaction not found")
        confirmation = self._node.confirmations.get(reference)
        latest = self._node.latest.index
        if confirmation is not None and latest - confirmation.index > depth:
            raise ApiError("reference transaction is too old")
        if not self._node.tangle.is_solid(reference) or not self._is_valid([reference]):
            raise ApiError(f"entry point failed consistency check: {reference}")

    async def attach(self, parameters: Mapping[str, object]) -> Json:
        """Answer attachToTangle.

        Args:
            parameters: Trunk, branch, weight and trytes.

        Returns:
            The attached trytes, tail first; nothing when interrupted.

        Raises:
            ApiError: A parameter is not usable.
        """
        place = Place(
            trunk=read_text(parameters, "trunkTransaction", _HASH),
            branch=read_text(parameters, "branchTransaction", _HASH),
            min_weight_magnitude=read_integer(parameters, "minWeightMagnitude"),
        )
        trytes = read_list(parameters, "trytes", _TRYTES)
        if not 1 <= place.min_weight_magnitude <= HIGHEST_MIN_WEIGHT_MAGNITUDE:
            raise ApiError("Invalid minWeightMagnitude input")
        try:
            return {"trytes": await self._desk.attach(trytes, place=place)}
        except CancelledError:
            return {"trytes": []}
        except InvalidTransactionError as error:
            raise ApiError("Invalid trytes input") from error

    async def interrupt(self, _: Mapping[str, object]) -> Json:
        """Answer interruptAttachingToTangle.

        Args:
            _: Not looked at.

        Returns:
            Nothing.
        """
        self._desk.interrupt()
        return {}

    async def store(self, parameters: Mapping[str, object]) -> Json:
        """Answer storeTransactions.

        Args:
            parameters: Holds ``trytes``.

        Returns:
            Nothing.
        """
        self._refuse_by_fault()
        trytes = read_list(parameters, "trytes", _TRYTES)
        for each in trytes:
            await self._store_one(each)
        return {}

    async def _store_one(self, trytes: str) -> None:
        try:
            await self._devnet.store([trytes])
        except InvalidTransactionError as error:
            # Too light a hash is dropped without a word by the pipeline behind.
            if error.code != Flaw.WEIGHT:
                raise ApiError("Invalid trytes input") from error

    async def broadcast(self, parameters: Mapping[str, object]) -> Json:
        """Answer broadcastTransactions, which stores nothing and has no peers.

        Args:
            parameters: Holds ``trytes``.

        Returns:
            Nothing.
        """
        self._refuse_by_fault()
        read_list(parameters, "trytes", _TRYTES)
        return {}

    def _refuse_by_fault(self) -> None:
        refusal = self._devnet.faults.get(Fault.STORE_REFUSED)
        if refusal:
            raise ApiError("Invalid trytes input" if refusal is True else str(refusal))

    async def check_consistency(self, parameters: Mapping[str, object]) -> Json:
        """Answer checkConsistency.

        Args:
            parameters: Holds ``tails``.

        Returns:
            ``state``, and ``info`` on what is wrong.

        Raises:
            ApiError: One of them is not a known tail.
        """
        require_updated(self._devnet)
        tails = read_list(parameters, "tails", _HASH)
        for tail in tails:
            if queries.visible(self._node, tail) is None:
                raise ApiError(f"Invalid transaction, missing: {tail}")
            if not self._node.tangle.is_tail(tail):
                raise ApiError(f"Invalid transaction, not a tail: {tail}")
            if not self._node.tangle.is_solid(tail):
                info = f"tails are not solid (missing a referenced tx): {tail}"
                return {"state": False, "info": info}
            if tail not in self._node.bundles:
                info = f"tails are not consistent (bundle is invalid): {tail}"
                return {"state": False, "info": info}
        if not self._is_valid(tails):
            return {"state": False, "info": _INCONSISTENT}
        return {"state": True, "info": ""}

    def _is_valid(self, tails: list[str]) -> bool:
        pending = [tail for tail in tails if tail not in self._node.confirmations]
        if any(is_below_max_depth(self._node, tail) for tail in pending):
            return False
        return is_consistent(self._node, self._node.cone(pending))
