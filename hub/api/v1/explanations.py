# SPDX-License-Identifier: Apache-2.0
"""Why a withdrawal or a sweep waits, for back ends and their support desks."""

from dataclasses import dataclass
from typing import Final, Protocol

from hub import errors, explanation
from hub.api.v1.operations import Call, Operation
from hub.api.v1.resources import Explanation
from hub.api_keys import Scope
from hub.model import BundleHash, WithdrawalUuid
from hub.withdrawals import parse_uuid
from trinary.trytes import is_trytes

_HASH_TRYTES: Final = 81


class Explainer(Protocol):
    """Says why something waits."""

    async def withdrawal(self, uuid: WithdrawalUuid) -> explanation.Explanation:
        """Say why a withdrawal is not out yet, or that it is."""

    async def sweep(self, bundle_hash: BundleHash) -> explanation.Explanation:
        """Say why a sweep is not confirmed yet, or that it is."""


@dataclass(frozen=True, slots=True)
class ExplanationOperations:
    """What says why.

    Attributes:
        explainer: Gathers the facts and judges them.
    """

    explainer: Explainer

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="explain-withdrawal",
                method="GET",
                path="/v1/withdrawals/{uuid}/explanation",
                summary="Say why a withdrawal is not out yet, or that it is.",
                scope=Scope.READ,
                reply=Explanation,
                refusals=(errors.WithdrawalUnknownError,),
                read=self.explain_withdrawal,
            ),
            Operation(
                name="explain-sweep",
                method="GET",
                path="/v1/sweeps/{bundle_hash}/explanation",
                summary="Say why a sweep is not confirmed yet, or that it is.",
                scope=Scope.READ,
                reply=Explanation,
                refusals=(errors.SweepUnknownError,),
                read=self.explain_sweep,
            ),
        ]

    async def explain_withdrawal(self, call: Call) -> Explanation:
        """Explain a withdrawal."""
        uuid = parse_uuid(call.path["uuid"])
        return _shown(await self.explainer.withdrawal(uuid))

    async def explain_sweep(self, call: Call) -> Explanation:
        """Explain a sweep."""
        text = call.path["bundle_hash"]
        if not is_trytes(text, length=_HASH_TRYTES):
            raise errors.SweepUnknownError("a bundle hash is 81 trytes")
        return _shown(await self.explainer.sweep(BundleHash(text)))


def _shown(found: explanation.Explanation) -> Explanation:
    return Explanation(
        code=found.code,
        standing=found.standing.value,
        headline=found.headline,
        detail=found.detail,
        cure=found.cure,
        since_ms=found.since_ms,
        look=None if found.look is None else found.look.value,
        subject=found.subject or None,
        also=list(found.also),
    )
