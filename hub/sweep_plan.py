# SPDX-License-Identifier: Apache-2.0
"""What the next sweep shall do; pure.

``plan_sweep`` chooses, the other functions turn the choice into a bundle's inputs,
outputs and claims.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.model import OwnAddress, SweepInput, SweepPlan, Withdrawal
from hub.signer import Claim
from hub.tangle import Draft, DraftInput, DraftOutput


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """How large one sweep may be.

    Attributes:
        max_withdrawals: Withdrawals paid by it.
        max_deposits: Deposit addresses emptied by it.
        max_hub_inputs: Hub addresses emptied by it.
    """

    max_withdrawals: int
    max_deposits: int
    max_hub_inputs: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sweep shall do.

    Attributes:
        inputs: Emptied whole: deposit addresses, then hub addresses.
        withdrawals: Paid, the oldest first.
        rest_i: What comes back to us, in iota.
    """

    inputs: tuple[OwnAddress, ...]
    withdrawals: tuple[Withdrawal, ...]
    rest_i: int


def plan_sweep(
    *,
    deposits: Sequence[OwnAddress],
    hub_addresses: Sequence[OwnAddress],
    withdrawals: Sequence[Withdrawal],
    limits: SweepLimits,
) -> Choice | None:
    """Choose inputs and withdrawals.

    Deposit addresses come first, the oldest ones; hub addresses are added, the
    smallest ones that suffice, only as far as withdrawals need them. A withdrawal
    that can not be paid from what there is waits and does not hold up younger ones.
    One that all hub addresses together could pay, but not as many as fit into a
    bundle, has the largest joined into one. An address that a waiting withdrawal
    pays into is left alone.

    Args:
        deposits: Deposit addresses fit to be swept, the oldest first.
        hub_addresses: Hub addresses fit to be swept, the smallest first.
        withdrawals: Waiting, the oldest first; each amount positive.
        limits: How large a sweep may be.

    Returns:
        The choice; None when there is nothing to do.
    """
    receiving = {withdrawal.payout_address for withdrawal in withdrawals}
    free = [own for own in deposits if own.address not in receiving]
    taken = free[: limits.max_deposits]
    spare = [own for own in hub_addresses if own.address not in receiving]
    largest = spare[-limits.max_hub_inputs :]
    paid, waiting = _payable(
        withdrawals, _sum_i(taken) + _sum_i(largest), limits.max_withdrawals
    )
    owed_i = sum(withdrawal.amount_i for withdrawal in paid)
    out_of_reach = [w for w in waiting if w.amount_i <= _sum_i(spare)]
    if out_of_reach and len(spare) > len(largest) > 1:
        taken = [*taken, *largest]
    else:
        missing_i = owed_i - _sum_i(taken)
        taken = [*taken, *_smallest(spare, missing_i, limits.max_hub_inputs)]
    if not taken:
        return None
    return Choice(tuple(taken), tuple(paid), _sum_i(taken) - owed_i)


def _sum_i(addresses: Sequence[OwnAddress]) -> int:
    return sum(own.balance_i for own in addresses)


def _payable(
    withdrawals: Sequence[Withdrawal], reachable_i: int, most: int
) -> tuple[list[Withdrawal], list[Withdrawal]]:
    """Split into those paid now and those too large for what can be reached."""
    paid: list[Withdrawal] = []
    too_large: list[Withdrawal] = []
    for withdrawal in withdrawals:
        if withdrawal.amount_i > reachable_i:
            too_large.append(withdrawal)
        elif len(paid) < most:
            paid.append(withdrawal)
            reachable_i -= withdrawal.amount_i
    return paid, too_large


def _smallest(
    addresses: Sequence[OwnAddress], missing_i: int, most: int
) -> list[OwnAddress]:
    """Return the smallest neighbours, at most ``most``, that hold ``missing_i``."""
    if missing_i <= 0:
        return []
    start = 0
    while _sum_i(addresses[start : start + most]) < missing_i:
        start += 1
    chosen: list[OwnAddress] = []
    for own in addresses[start : start + most]:
        if _sum_i(chosen) >= missing_i:
            break
        chosen.append(own)
    return chosen


def make_plan(choice: Choice, rest: OwnAddress | None, draft: Draft) -> SweepPlan:
    """Return what is stored before the appliance is asked.

    Args:
        choice: What the sweep does.
        rest: Where what is left goes, if anything is.
        draft: The whole unsigned bundle.

    Returns:
        The plan.
    """
    return SweepPlan(
        bundle_hash=draft.bundle_hash,
        essence=draft.to_text(),
        inputs=tuple(
            SweepInput(address_id=own.address_id, amount_i=own.balance_i)
            for own in choice.inputs
        ),
        withdrawal_ids=tuple(w.withdrawal_id for w in choice.withdrawals),
        remainder_address_id=rest.address_id if rest else None,
        remainder_i=choice.rest_i,
    )


def draft_inputs(choice: Choice) -> list[DraftInput]:
    """Return the bundle's inputs, each emptied whole."""
    return [
        DraftInput(own.address, own.balance_i, own.issued.security_level)
        for own in choice.inputs
    ]


def draft_outputs(choice: Choice, rest: OwnAddress | None) -> list[DraftOutput]:
    """Return the bundle's outputs: payouts, then the rest if there is any."""
    outputs = [
        DraftOutput(w.payout_address, w.amount_i, w.tag) for w in choice.withdrawals
    ]
    if rest is not None:
        outputs.append(DraftOutput(rest.address, choice.rest_i))
    return outputs


def claims_of(draft: Draft, inputs: Sequence[OwnAddress]) -> list[Claim]:
    """Return which key signs which input, in rising order of index.

    Args:
        draft: The bundle.
        inputs: The addresses it empties.

    Returns:
        One claim per input.
    """
    issued = {str(own.address): own.issued for own in inputs}
    return [
        Claim(index, issued[t.address].seed_uuid, issued[t.address].generation)
        for index, t in enumerate(draft.transactions)
        if t.value_i < 0
    ]


def own_outputs(draft: Draft, plan: SweepPlan) -> list[int]:
    """Return the index of the remainder: the last output, if there is one."""
    if plan.remainder_address_id is None:
        return []
    return [len(draft.transactions) - 1]
