# SPDX-License-Identifier: Apache-2.0
"""What the exchange asks of withdrawals beyond a balance; pure.

Two limits count over sliding windows. What one *user* may request is decided when it
is requested, in the transaction that reserves it. What may leave *in total* is decided
by the sweep planner, the only writer of payouts: a withdrawal that does not fit waits,
and nobody has to lock one counter for each request.

Two thresholds are about who has looked. Above one, a key other than the one that asked
must approve; above the other, the exchange's own signature must come, which the
appliance checks.
"""

from dataclasses import dataclass
from typing import Final

from hub.model import WithdrawalState

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalRules:
    """The rules in force; None: no such rule.

    Attributes:
        authorise_above_i: A larger withdrawal waits for the exchange's signature, which
            only ``/v1`` takes, in iota.
        approve_above_i: A larger one waits for another key's approval, in iota.
        per_user_i: Most that one account may request within a window, in iota.
        total_i: Most that sweeps may pay within a window, in iota; moves to cold
            storage do not count.
        window_ms: The window, in milliseconds.
    """

    authorise_above_i: int | None = None
    approve_above_i: int | None = None
    per_user_i: int | None = None
    total_i: int | None = None
    window_ms: int = DAY_MS

    def since_ms(self, now_ms: int) -> int | None:
        """Return from when on requests count against a user's limit, if there is one.

        Args:
            now_ms: Milliseconds since 1970.

        Returns:
            The window's beginning.
        """
        return None if self.per_user_i is None else now_ms - self.window_ms

    def room_i(self, requested_i: int) -> int:
        """Return what one account may still request, in iota; 0 or less: nothing."""
        assert self.per_user_i is not None, "asked only where there is a limit"
        return self.per_user_i - requested_i

    def needs_approval(self, amount_i: int) -> bool:
        """Return whether another key must approve."""
        return self.approve_above_i is not None and amount_i > self.approve_above_i

    def needs_authorisation(self, amount_i: int) -> bool:
        """Return whether the exchange must sign."""
        return self.authorise_above_i is not None and amount_i > self.authorise_above_i

    def state_on_request(self, amount_i: int, *, authorised: bool) -> WithdrawalState:
        """Decide the state a withdrawal begins in.

        Args:
            amount_i: Iota.
            authorised: Whether the exchange's signature came along.

        Returns:
            What it waits for first: approval, authorisation, or a sweep.
        """
        if self.needs_approval(amount_i):
            return WithdrawalState.AWAITING_APPROVAL
        return self.state_once_approved(amount_i, authorised=authorised)

    def state_once_approved(
        self, amount_i: int, *, authorised: bool
    ) -> WithdrawalState:
        """Decide the state that follows an approval.

        Args:
            amount_i: Iota.
            authorised: Whether the exchange's signature is there.

        Returns:
            What it waits for next.
        """
        if self.needs_authorisation(amount_i) and not authorised:
            return WithdrawalState.AWAITING_AUTHORISATION
        return WithdrawalState.REQUESTED


NO_RULES: Final = WithdrawalRules()
