# SPDX-License-Identifier: Apache-2.0
"""From the transactions shown to what they mean; never a bare hash.

Pure: bytes in, values out. ``understand`` recomputes the bundle hash and works
out where the value goes; whatever it cannot make full sense of is refused with
a code of its own. Whether the value *may* go there is for ``policy``; whether
the keys are still unspent is for ``journal``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NewType

from appliance.errors import BadRequestError, RefusedError
from appliance.wire import (
    InputClaim,
    ShownTransaction,
    SignTransfer,
    commitment_of,
)
from trinary.bundle import TOTAL_SUPPLY_I, Essence, bundle_hash
from trinary.trytes import is_trytes, last_trit_is_zero
from trinary.winternitz import used_fragments_contain_13

Commitment = NewType("Commitment", str)

_SEED_UUID: Final = re.compile(r"[A-Za-z0-9+/]{64}")
_LATEST_TIMESTAMP_S: Final = (3**27 - 1) // 2  # what 27 trits hold
_ADDRESS_TRYTES: Final = 81
_TAG_TRYTES: Final = 27


@dataclass(frozen=True, slots=True)
class TransferInput:
    """One input of ours.

    Attributes:
        index: Its first transaction.
        address: 81 trytes.
        amount_i: Iota taken from it, positive.
        seed_uuid: Of its key.
        commitment: Of the seed UUID.
        generation: The salt generation claimed for it.
    """

    index: int
    address: str
    amount_i: int
    seed_uuid: str
    commitment: Commitment
    generation: int


@dataclass(frozen=True, slots=True)
class TransferOutput:
    """One receiver.

    Attributes:
        index: Its transaction.
        address: 81 trytes.
        amount_i: Iota, positive.
        claimed_own: The client says it comes back to us.
    """

    index: int
    address: str
    amount_i: int
    claimed_own: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """A bundle understood.

    Attributes:
        bundle_hash: Recomputed, 81 trytes.
        transactions: As shown.
        claims: As stated.
        inputs: In order of index.
        outputs: In order of index.
    """

    bundle_hash: str
    transactions: Sequence[ShownTransaction]
    claims: Sequence[InputClaim]
    inputs: tuple[TransferInput, ...]
    outputs: tuple[TransferOutput, ...]

    @property
    def commitments(self) -> tuple[Commitment, ...]:
        """Commitments of the keys it spends."""
        return tuple(entry.commitment for entry in self.inputs)


def commit(seed_uuid: str) -> Commitment:
    """Return the commitment of a seed UUID: SHA-256(label, UUID), hex.

    Raises:
        RefusedError: ``seed-uuid`` if it is not 64 base64 characters.
    """
    if not _SEED_UUID.fullmatch(seed_uuid):
        raise RefusedError(
            "seed-uuid", "a seed UUID is 64 characters of the base64 alphabet"
        )
    return Commitment(commitment_of(seed_uuid))


def computed_hash(transactions: Sequence[ShownTransaction]) -> str:
    """Return the bundle hash of what is shown, 81 trytes.

    Raises:
        RefusedError: ``malformed`` if any field is out of its range.
    """
    for index, shown in enumerate(transactions):
        _require_well_formed(index, shown)
    last = len(transactions) - 1
    return bundle_hash(
        [
            Essence(
                address=shown.address,
                value_i=shown.value_i,
                obsolete_tag=shown.obsolete_tag,
                timestamp_s=shown.timestamp_s,
                current_index=index,
                last_index=last,
            )
            for index, shown in enumerate(transactions)
        ]
    )


def require_size(
    transactions: Sequence[ShownTransaction],
    inputs: Sequence[InputClaim],
    *,
    max_transactions: int,
    max_inputs: int,
) -> None:
    """Insist that a bundle is within the configured limits, before any work on it.

    Args:
        transactions: All of them.
        inputs: Their claims.
        max_transactions: From the configuration.
        max_inputs: From the configuration.

    Raises:
        BadRequestError: If it is not.
    """
    if not 1 < len(transactions) <= max_transactions:
        raise BadRequestError(
            f"a bundle has 2 to {max_transactions} transactions here,"
            f" {len(transactions)} came"
        )
    if len(inputs) > max_inputs:
        raise BadRequestError(
            f"a bundle has at most {max_inputs} inputs here, {len(inputs)} came"
        )


def understand(request: SignTransfer, *, levels: Mapping[int, int]) -> Transfer:
    """Work out what a signing request means.

    Args:
        request: All transactions, the claims, the hash believed.
        levels: Security level of each salt generation.

    Returns:
        The transfer, consistent in itself.

    Raises:
        RefusedError: The first of ``malformed``, ``bundle-hash-mismatch``,
            ``sum-not-zero``, ``unknown-generation``, ``foreign-input``, ``shape``,
            ``duplicate-key``, ``output-to-input``, ``own-output``,
            ``payout-first``, ``thirteen-in-hash`` that applies.
    """
    transfer = understand_unmined(request, levels=levels)
    level = max(levels[entry.generation] for entry in transfer.inputs)
    if used_fragments_contain_13(transfer.bundle_hash, level=level):
        raise RefusedError(
            "thirteen-in-hash",
            "the normalised bundle hash holds a 13, which would lay a key fragment"
            " bare; raise the obsolete tag of transaction 0",
        )
    return transfer


def understand_unmined(request: SignTransfer, *, levels: Mapping[int, int]) -> Transfer:
    """Work out what a bundle means whose counter is still to be chosen.

    Args:
        request: As for ``understand``; its hash may not be fit to sign.
        levels: Security level of each salt generation.

    Returns:
        The transfer, consistent in itself.

    Raises:
        RefusedError: As ``understand``, but for ``thirteen-in-hash``.
    """
    recomputed = computed_hash(request.transactions)
    if recomputed != request.bundle_hash:
        raise RefusedError(
            "bundle-hash-mismatch",
            f"the transactions shown hash to {recomputed}, not to the hash stated",
        )
    total_i = sum(shown.value_i for shown in request.transactions)
    if total_i != 0:
        raise RefusedError("sum-not-zero", f"the bundle's values add up to {total_i}")
    inputs = tuple(_inputs(request, levels))
    outputs = tuple(_outputs(request, inputs, levels))
    _require_distinct(inputs)
    _require_sane_outputs(request, inputs, outputs)
    return Transfer(recomputed, request.transactions, request.inputs, inputs, outputs)


def _require_well_formed(index: int, shown: ShownTransaction) -> None:
    problem = ""
    if not is_trytes(shown.address, length=_ADDRESS_TRYTES):
        problem = "its address is not 81 trytes"
    elif not is_trytes(shown.obsolete_tag, length=_TAG_TRYTES):
        problem = "its obsolete tag is not 27 trytes"
    elif abs(shown.value_i) > TOTAL_SUPPLY_I:
        problem = "its value is beyond the supply"
    elif not 0 <= shown.timestamp_s <= _LATEST_TIMESTAMP_S:
        problem = "its timestamp does not fit 27 trits"
    elif shown.value_i and not last_trit_is_zero(shown.address):
        problem = "the last trit of its address is not 0"
    if problem:
        raise RefusedError("malformed", f"transaction {index}: {problem}")


def _inputs(
    request: SignTransfer, levels: Mapping[int, int]
) -> Iterator[TransferInput]:
    negative = [i for i, shown in enumerate(request.transactions) if shown.value_i < 0]
    claimed = [claim.index for claim in request.inputs]
    if claimed != negative or not negative:
        raise RefusedError(
            "foreign-input",
            f"inputs stand at {negative}, the claims name {claimed}: each input"
            " needs exactly one claim, and there must be one",
        )
    for claim in request.inputs:
        if claim.generation not in levels:
            raise RefusedError(
                "unknown-generation", f"no salt generation {claim.generation} here"
            )
        shown = request.transactions[claim.index]
        yield TransferInput(
            index=claim.index,
            address=shown.address,
            amount_i=-shown.value_i,
            seed_uuid=claim.seed_uuid,
            commitment=commit(claim.seed_uuid),
            generation=claim.generation,
        )


def _outputs(
    request: SignTransfer,
    inputs: Sequence[TransferInput],
    levels: Mapping[int, int],
) -> Iterator[TransferOutput]:
    """Yield the receivers; every other transaction must carry a signature."""
    carriers = set()
    for entry in inputs:
        for index in range(entry.index + 1, entry.index + levels[entry.generation]):
            _require_carrier(request.transactions, index, entry.address)
            carriers.add(index)
    own = set(request.own_outputs)
    for index, shown in enumerate(request.transactions):
        if shown.value_i > 0:
            yield TransferOutput(index, shown.address, shown.value_i, index in own)
        elif shown.value_i == 0 and index not in carriers:
            raise RefusedError(
                "shape", f"transaction {index} moves nothing and carries no signature"
            )


def _require_carrier(
    transactions: Sequence[ShownTransaction], index: int, address: str
) -> None:
    if (
        index >= len(transactions)
        or transactions[index].value_i != 0
        or transactions[index].address != address
    ):
        raise RefusedError(
            "shape", f"transaction {index} should carry the rest of a signature"
        )


def _require_distinct(inputs: Sequence[TransferInput]) -> None:
    if len({entry.commitment for entry in inputs}) != len(inputs):
        raise RefusedError("duplicate-key", "two inputs name the same seed UUID")
    if len({entry.address for entry in inputs}) != len(inputs):
        raise RefusedError("duplicate-key", "two inputs take from the same address")


def _require_sane_outputs(
    request: SignTransfer,
    inputs: Sequence[TransferInput],
    outputs: Sequence[TransferOutput],
) -> None:
    spent = {entry.address for entry in inputs}
    positions = {output.index for output in outputs}
    if any(output.address in spent for output in outputs):
        raise RefusedError(
            "output-to-input", "an output goes to an address this bundle spends"
        )
    strays = sorted(set(request.own_outputs) - positions)
    if strays:
        raise RefusedError("own-output", f"own outputs {strays} are no outputs")
    if any(output.index == 0 and not output.claimed_own for output in outputs):
        raise RefusedError(
            "payout-first",
            "transaction 0 pays out: its obsolete tag is the counter that keeps 13"
            " out of the hash, so a payout must not stand there",
        )
