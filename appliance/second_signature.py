# SPDX-License-Identifier: Apache-2.0
"""The only way a spent key signs again: two operators, and bits left after it.

What approvers are shown is reckoned from the journal, and reckoned again inside the
transaction that spends the key: if it comes to anything else by then, it is not what
they approved. A key with an unknown hash has 0 bits left, before and after.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.approved import ApprovedAct
from appliance.errors import ForbiddenError, RefusedError
from appliance.intent import Commitment, Transfer, TransferInput
from appliance.journal_records import Spent
from appliance.policy_file import Doors
from appliance.policy_force import PolicyInForce
from appliance.wire import KeyExposure, SecondSignature, SignTransfer
from trinary.miner import exposure_bits, reach_of


@dataclass(frozen=True, slots=True)
class DoorAsked:
    """A second signature that is asked for.

    Attributes:
        act: What is asked.
        policy: The policy in force.
        levels: Security level of each salt generation.
    """

    act: SecondSignature
    policy: PolicyInForce
    levels: Mapping[int, int]

    @property
    def request(self) -> SignTransfer:
        """The same as an ordinary request, to be understood as one."""
        return transfer_of(self.act)

    def describe(
        self, transfer: Transfer, own: Mapping[str, Commitment], spent: Spent
    ) -> list[str]:
        """Say what approvers must see, if it may be approved at all.

        Args:
            transfer: The bundle understood.
            own: Commitments of the outputs that are ours, by address.
            spent: The recorded hashes of the spent keys among its inputs.

        Returns:
            One line for the policy, each input, each output, and what leaves.

        Raises:
            ForbiddenError: ``door-closed``.
            RefusedError: ``spent-inputs``, ``too-many-signatures`` or ``exposure``.
        """
        content = self.policy.content
        require_open(open_now=content.doors.second_signatures, door="second_signatures")
        _require_stated(self.act, transfer, spent)
        exposures = exposures_of(transfer, spent, self.levels)
        _require_harmless(exposures, content.doors)
        doors = content.doors
        rules = (
            f"policy {content.version}: at least {doors.least_bits} bits left, at most"
            f" {doors.most_signatures} signatures of a key"
        )
        return [
            rules,
            *_inputs(transfer, exposures),
            *_outputs(transfer, own),
        ]


@dataclass(frozen=True, slots=True)
class OpenedDoor:
    """A second signature that operators approved; for one commit.

    Attributes:
        asked: What they were shown.
        approved: Their approvals.
    """

    asked: DoorAsked
    approved: ApprovedAct

    def pass_with(
        self, transfer: Transfer, own: Mapping[str, Commitment], spent: Spent
    ) -> dict[str, object]:
        """Judge once more; called with the journal's lock held.

        Args:
            transfer: What is about to be signed.
            own: Commitments of the outputs that are ours, by address.
            spent: The recorded hashes of the spent keys among its inputs.

        Returns:
            What the row says besides: which signature of each key, the exposures,
            and the approvals.

        Raises:
            RefusedError: ``changed-since-approval`` if it comes to something else
                than was approved.
        """
        content = self.asked.policy.content
        now = self.asked.describe(transfer, own, spent)
        if now != self.approved.pending.shown:
            raise RefusedError(
                "changed-since-approval",
                "journal or policy changed since this was approved; this hash is barred"
                " from now on: mine another bundle and propose that",
            )
        journal_id = self.asked.policy.journal.journal_id
        self.approved.require(content, journal_id=journal_id)
        exposures = exposures_of(transfer, spent, self.asked.levels)
        return {
            "purpose": self.asked.act.purpose,
            "n": [len(spent.get(c, ())) for c in transfer.commitments],
            "bits": [[e.index, e.bits_before, e.bits_after] for e in exposures],
            "door": self.approved.payload(),
        }


def require_open(*, open_now: bool, door: str) -> None:
    """Insist that the policy opens a door.

    Args:
        open_now: What it says.
        door: The door's name in the policy.

    Raises:
        ForbiddenError: ``door-closed``.
    """
    if not open_now:
        raise ForbiddenError(
            f"this door is shut: the policy in force has no `doors.{door} = true`",
            code="door-closed",
        )


def transfer_of(act: SecondSignature) -> SignTransfer:
    """Return the request that an act would be without its door."""
    return SignTransfer(
        request_id="",
        transactions=act.transactions,
        bundle_hash=act.bundle_hash,
        inputs=act.inputs,
        own_outputs=act.own_outputs,
        authorisations=act.authorisations,
    )


def exposures_of(
    transfer: Transfer, spent: Spent, levels: Mapping[int, int]
) -> list[KeyExposure]:
    """Reckon what each spent key of a transfer has left, before and after it.

    Args:
        transfer: What would be signed.
        spent: The recorded hashes of the spent keys.
        levels: Security level of each salt generation.

    Returns:
        One entry for each input whose key is spent.
    """
    return [
        _exposure(entry, spent[entry.commitment], transfer.bundle_hash, levels)
        for entry in transfer.inputs
        if entry.commitment in spent
    ]


def _exposure(
    entry: TransferInput,
    recorded: Sequence[str | None],
    bundle_hash: str,
    levels: Mapping[int, int],
) -> KeyExposure:
    known = [one for one in recorded if one is not None]
    if len(known) < len(recorded):  # anything may be signed by it already
        return KeyExposure(entry.index, len(recorded), 0.0, 0.0)
    level = levels[entry.generation]
    before, after = (
        exposure_bits(reach_of(hashes, level=level), level=level)
        for hashes in (known, [*known, bundle_hash])
    )
    return KeyExposure(entry.index, len(recorded), before, after)


def _require_stated(act: SecondSignature, transfer: Transfer, spent: Spent) -> None:
    """Insist that the client knows which keys have signed; one has to."""
    found = [e.index for e in transfer.inputs if e.commitment in spent]
    if not found or act.spent_inputs != found:
        raise RefusedError(
            "spent-inputs",
            f"inputs {act.spent_inputs} are called spent, the journal says {found};"
            " a bundle of unspent keys is signed without a door",
        )


def _require_harmless(exposures: Sequence[KeyExposure], doors: Doors) -> None:
    for one in exposures:
        if one.signatures >= doors.most_signatures:
            raise RefusedError(
                "too-many-signatures",
                f"the key of input {one.index} has made {one.signatures} signatures,"
                f" the policy allows {doors.most_signatures}",
            )
        if one.bits_after < doors.least_bits:
            raise RefusedError(
                "exposure",
                f"the key of input {one.index} would have {one.bits_after:.1f} bits"
                f" left, the policy wants {doors.least_bits}: mine the bundle longer",
            )


def _inputs(transfer: Transfer, exposures: Sequence[KeyExposure]) -> Iterator[str]:
    by_index = {one.index: one for one in exposures}
    for entry in transfer.inputs:
        told = "never signed before"
        if entry.index in by_index:
            one = by_index[entry.index]
            told = (
                f"signed before: {one.signatures}, {one.bits_before:.1f} bits left;"
                f" after this {one.bits_after:.1f}"
            )
        yield f"input {entry.index}: {entry.amount_i} i of {entry.address}, {told}"


def _outputs(transfer: Transfer, own: Mapping[str, Commitment]) -> Iterator[str]:
    outside_i = 0
    for output in transfer.outputs:
        whose = "ours" if output.address in own else "outside"
        outside_i += 0 if output.address in own else output.amount_i
        yield f"output {output.index}: {output.amount_i} i to {output.address}, {whose}"
    yield f"{outside_i} i leave our addresses"
