# SPDX-License-Identifier: Apache-2.0
"""Proof of work by an ICCFPGA module on a serial line.

The module is given transactions one by one; trunks, branches, times and the check of
every nonce are ours. A dead or lying module is a fault: the next engine is asked.
"""

from collections.abc import Callable, Sequence

from firmware_bridge.engines.iccfpga import IccFpga
from firmware_bridge.errors import EngineError
from hub.errors import NodeUnavailableError
from hub.pow import Place
from trinary.curl import transaction_hash
from trinary.errors import TrinaryError
from trinary.pow import weight_magnitude


class IccFpgaProofOfWork:
    """One module.

    Args:
        module: On its line.
        min_weight_magnitude: Trailing zero trits the network asks for.
        clock_ms: The time in milliseconds since 1970.
    """

    def __init__(
        self,
        module: IccFpga,
        *,
        min_weight_magnitude: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._module = module
        self._min_weight_magnitude = min_weight_magnitude
        self._clock_ms = clock_ms

    async def attach(
        self, trytes: Sequence[str], *, trunk: str, branch: str
    ) -> list[str]:
        """Attach a bundle.

        Returns:
            Attached transactions in order of index.

        Raises:
            NodeUnavailableError: If the module is dead, silent or wrong.
        """
        attached: list[str] = []
        place = Place(trunk, branch)
        for text in reversed(trytes):
            draft = place.draft(text, now_ms=self._clock_ms())
            attached.append(await self._find(draft))
            place = place.below(attached[-1])
        return attached[::-1]

    async def _find(self, draft: str) -> str:
        try:
            worked = await self._module.find_nonce(
                draft, min_weight_magnitude=self._min_weight_magnitude
            )
            reached = weight_magnitude(transaction_hash(worked.trytes))
        except (EngineError, TrinaryError) as error:
            raise NodeUnavailableError(f"the ICCFPGA module: {error}") from error
        if reached < self._min_weight_magnitude:
            raise NodeUnavailableError(
                f"the ICCFPGA module's nonce reaches a weight of {reached},"
                f" not {self._min_weight_magnitude}"
            )
        return worked.trytes
