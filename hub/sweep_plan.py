# SPDX-License-Identifier: Apache-2.0
"""What the next sweep shall do; pure.

``plan_sweep`` chooses, the other functions turn the choice into a bundle's inputs,
outputs and claims.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hub.model import AccountId, OwnAddress, SweepInput, SweepPlan, Withdrawal
from hub.signer import Claim
from hub.tangle import Draft, DraftInput, DraftOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    """How large one sweep may be.

    Attributes:
        max_transactions: Size of its bundle. An input takes as many transactions as
            its security level, a payout one, and one is kept for the remainder.
        kept_hub_addresses: Hub addresses that stay apart: several small sums let
            several sweeps run at once. What is beyond is joined, the smallest first.
        max_withdrawals: Withdrawals paid by it; None: as many as fit.
        max_deposits: Deposit addresses emptied by it; None: as many as fit.
        max_hub_inputs: Hub addresses emptied by it; None: as many as fit.
    """

    max_transactions: int
    kept_hub_addresses: int
    max_withdrawals: int | None = None
    max_deposits: int | None = None
    max_hub_inputs: int | None = None


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
    generation: int,
) -> Choice | None:
    """Choose inputs and withdrawals until the bundle is full.

    Payouts and deposits may each have half of the bundle, and what the other leaves.
    Deposit addresses come as given, the first first; hub addresses are added, the
    smallest neighbours that suffice, only as far as withdrawals need them. A
    withdrawal that can not be paid from what there is waits and does not hold up
    younger ones. One that all hub addresses together could pay, but not as many as
    fit into a bundle, has the largest joined into one. An address that a waiting
    withdrawal pays into is left alone.

    Room that is left takes hub addresses of older generations, then the smallest
    ones beyond those to be kept. These two make a sweep of their own only where it
    leaves less to do: an older generation, or twice as many as are to be kept.

    The work grows with the logarithm of the number of hub addresses for each
    withdrawal.

    Args:
        deposits: Deposit addresses fit to be swept, in the order wanted.
        hub_addresses: Hub addresses fit to be swept, the smallest first.
        withdrawals: Waiting, the oldest first; each amount positive.
        limits: How large a sweep may be.
        generation: The salt generation that issues; lower ones are drained.

    Returns:
        The choice; None when there is nothing to do.
    """
    receiving = {withdrawal.payout_address for withdrawal in withdrawals}
    free = [own for own in deposits if own.address not in receiving]
    spare = [own for own in hub_addresses if own.address not in receiving]
    room = _Room(limits)
    taken = room.fill(free, room.left // 2, limits.max_deposits)
    funds = _Funds(spare, most=limits.max_hub_inputs)
    paid, waiting = _payable(withdrawals, _sum_i(taken), room, funds)
    needed_i = sum(withdrawal.amount_i for withdrawal in paid) - _sum_i(taken)
    room.take(len(paid))
    hub_room = funds.most_in(room.left)
    out_of_reach = any(w.amount_i <= funds.total_i for w in waiting)
    if out_of_reach and len(spare) > hub_room > 1:
        chosen = spare[-hub_room:]
    else:
        chosen = _smallest(spare, needed_i, hub_room)
    room.take(sum(own.issued.security_level for own in chosen))
    more = None if limits.max_deposits is None else limits.max_deposits - len(taken)
    taken += room.fill(free[len(taken) :], room.left, more)
    extra = [own for own in spare if own not in chosen]
    stale = [own for own in extra if own.issued.generation < generation]
    small = extra[: max(0, len(extra) - limits.kept_hub_addresses)]
    if taken or chosen or stale or len(small) > limits.kept_hub_addresses:
        most = None if limits.max_hub_inputs is None else hub_room - len(chosen)
        rest = [*stale, *(own for own in small if own not in stale)]
        chosen += room.fill(rest, room.left, most)
    inputs = (*taken, *chosen)
    joins = len(chosen) > 1 or stale
    if not (taken or paid or joins):
        return None
    owed_i = sum(withdrawal.amount_i for withdrawal in paid)
    return Choice(inputs, tuple(paid), _sum_i(inputs) - owed_i)


def within_window(
    withdrawals: Sequence[Withdrawal],
    *,
    total_i: int,
    left_i: int,
    exempt: AccountId,
) -> list[Withdrawal]:
    """Keep what may leave before the window's limit is reached; pure.

    The oldest come first, and none overtakes one that only has to wait for the window
    to move on: small ones would keep a large one out for ever. One larger than the
    whole limit is left out, until people raise it or cancel.

    Args:
        withdrawals: Waiting, the oldest first.
        total_i: The limit, in iota.
        left_i: What of it is left in the window, in iota; may be negative.
        exempt: The account whose withdrawals do not count.

    Returns:
        Those that may be paid now, in the same order.
    """
    kept = []
    full = False
    for withdrawal in withdrawals:
        if withdrawal.account_id == exempt:
            kept.append(withdrawal)
        elif withdrawal.amount_i <= total_i and not full:
            full = withdrawal.amount_i > left_i
            if not full:
                left_i -= withdrawal.amount_i
                kept.append(withdrawal)
    return kept


class _Room:
    """Transactions that are left in the bundle; one is the remainder's."""

    def __init__(self, limits: SweepLimits) -> None:
        self.left = limits.max_transactions - 1
        self.payouts = limits.max_withdrawals

    def take(self, transactions: int) -> None:
        self.left -= transactions

    def fill(
        self, addresses: Sequence[OwnAddress], share: int, most: int | None
    ) -> list[OwnAddress]:
        """Take the first addresses that fit into a share of the room."""
        taken: list[OwnAddress] = []
        for own in addresses[:most]:
            if own.issued.security_level > share:
                break
            taken.append(own)
            share -= own.issued.security_level
            self.left -= own.issued.security_level
        return taken


class _Funds:
    """What hub addresses can add, counted from the largest on."""

    def __init__(self, spare: Sequence[OwnAddress], *, most: int | None) -> None:
        self.level = max((own.issued.security_level for own in spare), default=1)
        self._most = len(spare) if most is None else min(most, len(spare))
        amounts_i = [own.balance_i for own in reversed(spare)]
        self._sums_i = list(itertools.accumulate(amounts_i, initial=0))
        self.total_i = self._sums_i[-1]

    def most_in(self, room: int) -> int:
        """Return how many of them fit, whichever they are."""
        return max(0, min(self._most, room // self.level))

    def reach_i(self, room: int) -> int:
        """Return the most that they can add in so much room, in iota."""
        return self._sums_i[self.most_in(room)]


def _sum_i(addresses: Sequence[OwnAddress]) -> int:
    return sum(own.balance_i for own in addresses)


def _payable(
    withdrawals: Sequence[Withdrawal], taken_i: int, room: _Room, funds: _Funds
) -> tuple[list[Withdrawal], list[Withdrawal]]:
    """Split into those paid now and those too large for what can be reached.

    Once there is one that addresses must be joined for, payouts leave room for that.

    Returns:
        Paid and too large, each the oldest first.
    """
    paid: list[Withdrawal] = []
    too_large: list[Withdrawal] = []
    owed_i, most = 0, room.left
    for withdrawal in withdrawals:
        left = room.left - len(paid) - 1
        if len(paid) >= most or len(paid) == room.payouts:
            break
        if owed_i + withdrawal.amount_i > taken_i + funds.reach_i(left):
            too_large.append(withdrawal)
            if withdrawal.amount_i <= funds.total_i:
                most = min(room.left // 2, room.left - 2 * funds.level)
        else:
            paid.append(withdrawal)
            owed_i += withdrawal.amount_i
    return paid, too_large


def _smallest(
    addresses: Sequence[OwnAddress], missing_i: int, most: int
) -> list[OwnAddress]:
    """Return the smallest neighbours, at most ``most``, that hold ``missing_i``."""
    if missing_i <= 0:
        return []
    sums_i = list(itertools.accumulate((o.balance_i for o in addresses), initial=0))
    start = 0
    while sums_i[min(start + most, len(addresses))] - sums_i[start] < missing_i:
        start += 1
    end = start
    while sums_i[end] - sums_i[start] < missing_i:
        end += 1
    return list(addresses[start:end])


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
