# SPDX-License-Identifier: Apache-2.0
"""The appliances of one journal, as one signer: they share the work, one may die.

Which of them is asked does not matter for what is signed: the journal is one, and the
same bundle gives the same bytes everywhere. What lives in one appliance's memory
(approvals, a search for a tag) is always asked of the first.
"""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from hub.errors import ApplianceUnavailableError
from hub.model import Address, BundleHash, IssuedAddress, SeedUuid
from hub.signer import (
    AdoptionOutcome,
    Claim,
    MiningProgress,
    Purpose,
    RequestRejectedError,
    SecondOutcome,
    SeedUuidRefusedError,
    Signer,
    SigningDeferred,
    SigningOutcome,
    StatusReport,
)
from hub.tangle import Draft

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_REST_S: Final = 10.0
"""How long one that did not answer is asked last, unless a status says it can."""
_FULL: Final = frozenset({"busy", "derivations-queued"})
"""What one says that has too much to do; another one may have room."""
_ISSUE_RUNS: Final = 2
"""Argon2 runs of one address: ours, and the reference's that must agree."""


class _Member:
    """One appliance, what it has to do for us, and since when it is out."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.runs = 0
        self.state = "away"
        self.report: StatusReport | None = None
        self.rests_until_s = 0.0

    @contextlib.contextmanager
    def working(self, runs: int) -> Iterator[None]:
        self.runs += runs
        try:
            yield
        finally:
            self.runs -= runs


class Appliances:
    """One signer made of several; use it with ``async with``.

    A request goes to the appliance that has the fewest Argon2 runs to do for this
    hub, and to the next one when that decided nothing. The methods, what they return
    and what they raise are those of ``Signer``.

    Args:
        signers: At least one; the first is asked for what lives in one memory.
        clock_s: The monotonic time in seconds.
    """

    def __init__(
        self,
        signers: Sequence[Signer],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = [_Member(signer) for signer in signers]
        self._clock_s = clock_s
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load every signer's files.

        Returns:
            The appliances.
        """
        async with contextlib.AsyncExitStack() as opening:
            for member in self._members:
                await opening.enter_async_context(member.signer)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._open.aclose()

    @property
    def places(self) -> list[str]:
        """Where they are."""
        return [member.signer.where for member in self._members]

    @property
    def states(self) -> dict[str, str]:
        """What each last said of itself, by its place; ``away``: nothing."""
        return {member.signer.where: member.state for member in self._members}

    @property
    def reports(self) -> dict[str, StatusReport | None]:
        """What each last said of itself, by its place; None: nothing."""
        return {member.signer.where: member.report for member in self._members}

    async def status_of(self, place: str) -> StatusReport:
        """Ask one how it is; a ready one is asked for work again at once.

        Args:
            place: Of ``places``.

        Returns:
            What it says.

        Raises:
            ApplianceUnavailableError: If it does not say.
        """
        member = next(one for one in self._members if one.signer.where == place)
        try:
            report = await member.signer.status()
        except ApplianceUnavailableError:
            member.state = "away"
            member.report = None
            self._rest(member)
            raise
        member.state = report.state
        member.report = report
        if report.state == "ready":
            member.rests_until_s = 0.0
        else:
            self._rest(member)
        return report

    async def status(self) -> StatusReport:
        """Ask how they are: one that is ready speaks for all.

        Returns:
            What a ready one says; if there is none, what the last one says.

        Raises:
            ApplianceUnavailableError: If none says anything.
        """
        last: StatusReport | None = None
        failure: ApplianceUnavailableError | None = None
        for place in self.places:
            try:
                last = await self.status_of(place)
            except ApplianceUnavailableError as error:
                failure = error
                continue
            if last.state == "ready":
                return last
        if last is None:
            assert failure is not None
            raise failure
        return last

    async def issue(self, user_commitment: str) -> IssuedAddress:
        """Get a fresh address; see ``Signer.issue``."""
        return await self._shared(
            lambda signer: signer.issue(user_commitment), runs=_ISSUE_RUNS
        )

    async def adopt(
        self, seed_uuid: SeedUuid, address: Address, *, generation: int
    ) -> AdoptionOutcome:
        """Let an old Hub's address be spent from; see ``Signer.adopt``."""
        return await self._shared(
            lambda signer: signer.adopt(seed_uuid, address, generation=generation),
            runs=_ISSUE_RUNS,
        )

    async def sign(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        authorisations: Sequence[str] = (),
    ) -> SigningOutcome:
        """Get a bundle's signatures; see ``Signer.sign``.

        Returns:
            What one decided; ``SigningDeferred`` of a full line only if all are full.
        """

        async def one(signer: Signer) -> SigningOutcome:
            outcome = await signer.sign(
                draft, claims, own_outputs=own_outputs, authorisations=authorisations
            )
            if isinstance(outcome, SigningDeferred) and outcome.code in _FULL:
                raise _BusyError(outcome)
            return outcome

        try:
            return await self._shared(one, runs=len(claims))
        except _BusyError as error:
            return error.outcome

    async def fetch_trytes(self, bundle_hash: BundleHash) -> tuple[str, ...]:
        """Get a bundle signed earlier; see ``Signer.fetch_trytes``."""
        return await self._shared(lambda signer: signer.fetch_trytes(bundle_hash))

    async def has_signed(self, bundle_hash: BundleHash) -> bool:
        """Say whether the journal has a bundle; see ``Signer.has_signed``."""
        return await self._shared(lambda signer: signer.has_signed(bundle_hash))

    async def ask_second_signature(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        spent_inputs: Sequence[int],
        own_outputs: Sequence[int],
        purpose: Purpose,
    ) -> SecondOutcome:
        """Ask the first for a second signature; see ``Signer``."""
        return await self._members[0].signer.ask_second_signature(
            draft,
            claims,
            spent_inputs=spent_inputs,
            own_outputs=own_outputs,
            purpose=purpose,
        )

    async def mine(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        tries: int,
    ) -> MiningProgress:
        """Have the first look for a tag; see ``Signer.mine``."""
        return await self._members[0].signer.mine(
            draft, claims, own_outputs=own_outputs, tries=tries
        )

    async def _shared(
        self, ask: Callable[[Signer], Awaitable[_Result]], *, runs: int = 0
    ) -> _Result:
        """Ask one after another until one decides.

        Returns:
            What it decided.

        Raises:
            ApplianceUnavailableError: If none decided anything: what the first said.
            SeedUuidRefusedError: What one said of the request; the others are not
                asked.
            RequestRejectedError: The same.
        """
        failure: ApplianceUnavailableError | None = None
        for member in self._in_turn():
            try:
                with member.working(runs):
                    return await ask(member.signer)
            except (SeedUuidRefusedError, RequestRejectedError):
                raise  # of the request, not of the appliance
            except _BusyError as error:
                failure = failure or error
            except ApplianceUnavailableError as error:
                failure = failure or error
                self._rest(member)
                if len(self._members) > 1:
                    _log.warning("appliance %s: %s", member.signer.where, error)
        assert failure is not None
        raise failure

    def _in_turn(self) -> list[_Member]:
        """Return those who answer first, each by how little it has to do."""
        now_s = self._clock_s()
        return sorted(
            self._members, key=lambda one: (one.rests_until_s > now_s, one.runs)
        )

    def _rest(self, member: _Member) -> None:
        member.rests_until_s = self._clock_s() + _REST_S


class _BusyError(ApplianceUnavailableError):
    """Its line is full; another one may have room."""

    code = "appliance-busy"

    def __init__(self, outcome: SigningDeferred) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome
