# SPDX-License-Identifier: Apache-2.0
"""HORNET 0.5.6's commands on the way of a bundle into the Tangle.

Source: HORNET 0.5.6 plugins/webapi/tips.go, pow.go and transactions.go.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from hub.devnet.attaching import Place
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError, InvalidTransactionError
from hub.devnet.faults import Fault
from hub.devnet.hornet_parameters import read_hash, read_list
from hub.devnet.pow_desk import PowDesk
from hub.devnet.replies import Json
from hub.devnet.tips import offered
from hub.devnet.validation import Flaw
from trinary.trytes import is_trytes

_TRYTES: Final = 2673

_FLAWS: Final = {
    Flaw.WEIGHT: "invalid transaction hash",
    Flaw.VALUE: "insufficient balance",
    Flaw.ADDRESS: "invalid address",
    Flaw.TIMESTAMP: "invalid timestamp",
}


class AttachmentCommands:
    """Tips, proof of work, storing.

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
            parameters: Maybe a ``reference``, taken unseen; ``depth`` is ignored.

        Returns:
            Trunk and branch; the branch is the reference when there is one.

        Raises:
            ApiError: Not synchronised, no tips, or no hash.
        """
        if self._devnet.faults.is_on(Fault.UNSYNCED):
            raise ApiError("node is not synchronized", HTTPStatus.SERVICE_UNAVAILABLE)
        if self._devnet.faults.is_on(Fault.NO_TIPS):
            raise ApiError("no tips available", HTTPStatus.SERVICE_UNAVAILABLE)
        trunk, branch = offered(self._node, count=2)
        if parameters.get("reference"):
            branch = read_hash(parameters, "reference")
        return {"trunkTransaction": trunk, "branchTransaction": branch}

    async def attach(self, parameters: Mapping[str, object]) -> Json:
        """Answer attachToTangle.

        Args:
            parameters: Trunk, branch, weight and trytes.

        Returns:
            The attached trytes, tail first.

        Raises:
            ApiError: A parameter is not usable, or the search failed.
        """
        wanted = self._devnet.config.min_weight_magnitude
        asked = parameters.get("minWeightMagnitude")
        if asked != wanted:
            raise ApiError(
                f"Wrong MinWeightMagnitude. requested: {asked}, expected: {wanted}"
            )
        trytes = read_list(parameters, "trytes")
        if not trytes:
            raise ApiError("No trytes given.")
        if not all(is_trytes(each, length=_TRYTES) for each in trytes):
            raise ApiError("invalid trytes")
        place = Place(
            trunk=read_hash(parameters, "trunkTransaction"),
            branch=read_hash(parameters, "branchTransaction"),
            min_weight_magnitude=wanted,
        )
        try:
            return {"trytes": await self._desk.attach(trytes, place=place)}
        except InvalidTransactionError as error:
            raise ApiError(_FLAWS[Flaw(error.code)]) from error

    async def store(self, parameters: Mapping[str, object]) -> Json:
        """Answer storeTransactions and broadcastTransactions.

        Args:
            parameters: Holds ``trytes``.

        Returns:
            Nothing.

        Raises:
            ApiError: There are none, or one of them breaks a rule.
        """
        refusal = self._devnet.faults.get(Fault.STORE_REFUSED)
        if refusal:
            raise ApiError("invalid transaction" if refusal is True else str(refusal))
        trytes = read_list(parameters, "trytes")
        if not trytes:
            raise ApiError("No trytes provided")
        for each in trytes:
            if not is_trytes(each):
                raise ApiError("invalid trytes")
            if len(each) != _TRYTES:
                raise ApiError("invalid transaction trytes")
        try:
            for each in trytes:
                await self._devnet.store([each])
        except InvalidTransactionError as error:
            raise ApiError(_FLAWS[Flaw(error.code)]) from error
        return {}
