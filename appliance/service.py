# SPDX-License-Identifier: Apache-2.0
"""Answers requests: may this client, within its limits; then the work itself.

Every outcome becomes a reply here and nowhere else. ``lifecycle`` says whether a
key may be used at all, ``signing`` and ``issuing`` do the work.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from appliance import __version__
from appliance.config import Client, Config
from appliance.custody import Custody
from appliance.doors import DangerousDoors
from appliance.errors import (
    ApplianceError,
    BadRequestError,
    BrokenInvariantError,
    DeferredError,
    FaultError,
    ForbiddenError,
    HsmError,
    JournalError,
    RefusedError,
)
from appliance.hardening import MemoryLocked
from appliance.instruments import answered
from appliance.intent import require_size
from appliance.journal_records import IssuedRecord
from appliance.lifecycle import Lifecycle, Running
from appliance.mining import Mining
from appliance.operators import Operators
from appliance.receipt import public_key_pem
from appliance.refusals import Refusals
from appliance.steps import Steps
from appliance.vault import VaultContent
from appliance.wire import (
    AcceptHead,
    AdoptAddress,
    ApproveAct,
    BlindSigned,
    CancelMining,
    Deferred,
    ExportSeed,
    Fault,
    FetchBundle,
    Fetched,
    GetPolicy,
    GetStatus,
    IssueAddress,
    Issued,
    LegacyAddress,
    ListActs,
    MakeCheckpoint,
    MineBundle,
    MiningStatus,
    ProposeAct,
    Refused,
    Reply,
    Request,
    RunCeremony,
    SealNow,
    SecondSignature,
    SetPolicy,
    SignBlind,
    Signed,
    SignTransfer,
    StatusReport,
    TailJournal,
    Unseal,
)
from failpoints import failpoint

_log = logging.getLogger(__name__)

ROLES: Final[dict[type, frozenset[str]]] = {
    GetStatus: frozenset({"hub", "operator", "auditor", "legacy-hub"}),
    IssueAddress: frozenset({"hub"}),
    AdoptAddress: frozenset({"hub"}),
    SignTransfer: frozenset({"hub"}),
    FetchBundle: frozenset({"hub", "operator"}),
    LegacyAddress: frozenset({"legacy-hub"}),
    SignBlind: frozenset({"legacy-hub"}),
    TailJournal: frozenset({"operator", "auditor"}),
    SealNow: frozenset({"operator"}),
    Unseal: frozenset(),  # only as an act that several approved
    SecondSignature: frozenset(),
    ExportSeed: frozenset(),
    MineBundle: frozenset({"hub", "operator"}),
    MiningStatus: frozenset({"hub", "operator"}),
    CancelMining: frozenset({"hub", "operator"}),
    ProposeAct: frozenset({"operator", "hub"}),
    ListActs: frozenset({"operator", "auditor"}),
    ApproveAct: frozenset({"operator"}),
    SetPolicy: frozenset({"operator"}),
    GetPolicy: frozenset({"operator", "auditor"}),
    AcceptHead: frozenset({"operator"}),
    RunCeremony: frozenset({"operator"}),
    MakeCheckpoint: frozenset({"operator", "auditor"}),
}
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_BUSY_RETRY_S = 1.0


def wall_clock_ms() -> int:
    """Return the system's clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Appliance:
    """One appliance, from start to stop.

    Attributes:
        config: Its configuration.
        memory_locked: What hardening achieved.
        clock_ms: The time in milliseconds since 1970.
        life: Its state.
    """

    config: Config
    memory_locked: MemoryLocked
    clock_ms: Callable[[], int] = wall_clock_ms
    life: Lifecycle = field(init=False)
    _custody: Custody = field(init=False)
    _operators: Operators = field(init=False)
    _mining: Mining = field(init=False)
    _refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.life = Lifecycle(self.config, self.clock_ms)
        self._custody = Custody(self.life)
        doors = DangerousDoors(self.life)
        self._operators = Operators(self.life, self._custody, doors)
        self._mining = Mining(self.life)
        self._refusals = Refusals(self.config.limits.refusals_per_minute)

    async def run(self) -> None:
        """Check, and keep checking, until cancelled."""
        await self.life.run()

    async def check(self) -> bool:
        """Bring the appliance up, or check that it still works.

        Returns:
            Whether it is ready.
        """
        return await self.life.check()

    async def close(self) -> None:
        """Stop, wiping what is held."""
        await self._mining.close()
        await self.life.close()

    # --- outcomes ---------------------------------------------------------------

    async def handle(self, request: Request, client: Client) -> Reply:
        """Answer one request of an authenticated client; never raises.

        Args:
            request: Already parsed.
            client: Whose certificate it came with.

        Returns:
            The reply; outcomes differ by type.
        """
        steps = Steps()
        running = self.life.running
        started_s = time.perf_counter()
        try:
            reply = await self._answer(request, client, steps)
        except ApplianceError as error:
            await self._react(error, running)
            reply = _as_reply(request.request_id, error)
        except Exception:  # noqa: BLE001 - a bug is a fault, never a hung client
            _log.exception("request failed kind=%s", type(request).__name__)
            reply = _as_reply(request.request_id, FaultError("internal error"))
        _log.info(
            "request kind=%s client=%s id=%.64r reply=%s",
            type(request).__name__,
            client.name,
            request.request_id,
            type(reply).__name__,
        )
        answered(
            type(request).__name__,
            type(reply).__name__,
            took_s=time.perf_counter() - started_s,
            code=getattr(reply, "code", ""),
            steps_ms=steps.elapsed_ms,
        )
        failpoint("appliance.before-reply")
        return _finish(reply, self.life.running, steps)

    async def _answer(self, request: Request, client: Client, steps: Steps) -> Reply:
        """Do the work; a refusal is journalled before it is given.

        Returns:
            The reply of a request that succeeded.

        Raises:
            RefusedError: Once it is written down.
        """
        try:
            return await self._admit(request, client, steps)
        except RefusedError as error:
            failpoint("appliance.refuse.decided")
            await self._refusals.commit(
                request,
                error,
                client=client.name,
                journal=self.life.require_running().journal,
                thread=self.life.journal_thread,
            )
            raise

    async def _react(self, error: ApplianceError, running: Running | None) -> None:
        """Seal on a broken invariant; start over where the journal failed."""
        match error:
            case BrokenInvariantError():
                await self.life.seal(error)
            case JournalError():
                await self.life.restart(running, reason=f"{error.code}: {error}")
            case HsmError():
                self.life.check_soon()

    async def _admit(self, request: Request, client: Client, steps: Steps) -> Reply:
        if not _REQUEST_ID.fullmatch(request.request_id):
            raise BadRequestError(
                "request_id has 1 to 64 letters, digits, dots, colons, dashes"
            )
        if client.role not in ROLES[type(request)]:
            raise ForbiddenError(
                f"role {client.role} may not ask {type(request).__name__}"
            )
        limit = self.config.limits.max_in_flight
        if self.life.in_flight >= limit and client.role != "operator":  # who may seal
            raise DeferredError(
                "busy",
                f"{self.life.in_flight} requests are being worked on",
                retry_after_s=_BUSY_RETRY_S,
            )
        self.life.in_flight += 1
        try:
            if self.life.running is not None:
                await self.life.running.heads.check(request.head)
            return await self._dispatch(request, client, steps)
        finally:
            self.life.in_flight -= 1

    async def _dispatch(self, request: Request, client: Client, steps: Steps) -> Reply:
        of_people = self._operators
        asked_by_people: dict[type, Callable[[Any, Client], Awaitable[Reply]]] = {
            TailJournal: of_people.tail,
            MakeCheckpoint: of_people.make_checkpoint,
            GetPolicy: of_people.get_policy,
            SetPolicy: of_people.set_policy,
            SealNow: of_people.seal,
            AcceptHead: of_people.accept_head,
            RunCeremony: of_people.run_ceremony,
            ProposeAct: of_people.propose,
            ListActs: of_people.list_acts,
            ApproveAct: of_people.approve,
            MineBundle: self._mining.start,
            MiningStatus: self._mining.status,
            CancelMining: self._mining.cancel,
        }
        if type(request) in asked_by_people:
            return await asked_by_people[type(request)](request, client)
        handlers: dict[type, Callable[[Any, Client, Steps], Awaitable[Reply]]] = {
            GetStatus: self._status,
            IssueAddress: self._issue,
            AdoptAddress: self._adopt,
            SignTransfer: self._sign,
            FetchBundle: self._fetch,
            LegacyAddress: self._legacy_address,
            SignBlind: self._sign_blind,
        }
        return await handlers[type(request)](request, client, steps)

    # --- requests of a hub ------------------------------------------------------

    async def _issue(
        self, request: IssueAddress, client: Client, steps: Steps
    ) -> Reply:
        issuing = self.life.require_ready().issuing
        record = await issuing.issue(request, client=client, steps=steps)
        self.life.require_ready()
        return _issued(request, record)

    async def _adopt(
        self, request: AdoptAddress, client: Client, steps: Steps
    ) -> Reply:
        issuing = self.life.require_ready().issuing
        record = await issuing.adopt(request, client=client, steps=steps)
        self.life.require_ready()
        return _issued(request, record)

    async def _sign(self, request: SignTransfer, client: Client, steps: Steps) -> Reply:
        self._require_within_limits(request)
        signing = self.life.require_ready().signing
        await signing.require_held(request.inputs)
        signatures = await signing.sign(request, client=client, steps=steps)
        self.life.require_ready()  # a seal that fell meanwhile holds them back
        return Signed(
            request_id=request.request_id,
            bundle_hash=request.bundle_hash,
            signatures=signatures,
        )

    def _require_within_limits(self, request: SignTransfer) -> None:
        limits = self.config.limits
        require_size(
            request.transactions,
            request.inputs,
            max_transactions=limits.max_transactions,
            max_inputs=limits.max_inputs,
        )

    async def _fetch(self, request: FetchBundle, _: Client, steps: Steps) -> Reply:
        signing = self.life.require_ready().signing
        record, signatures = await signing.fetch(request.bundle_hash, steps=steps)
        self.life.require_ready()
        return Fetched(
            request_id=request.request_id,
            bundle_hash=record.bundle_hash,
            transactions=list(record.transactions),
            inputs=list(record.claims),
            signatures=signatures,
        )

    # --- requests of an old Hub's gateway -----------------------------------------

    async def _legacy_address(
        self, request: LegacyAddress, client: Client, steps: Steps
    ) -> Reply:
        blind = self.life.require_ready().blind
        address, generation, receipt = await blind.address(
            request.seed_uuid, client=client, steps=steps
        )
        self.life.require_ready()
        return Issued(
            request_id=request.request_id,
            address=address,
            generation=generation.id,
            security_level=generation.security_level,
            receipt=receipt,
        )

    async def _sign_blind(
        self, request: SignBlind, client: Client, steps: Steps
    ) -> Reply:
        blind = self.life.require_ready().blind
        fragments = await blind.sign(request, client=client, steps=steps)
        self.life.require_ready()  # a seal that fell meanwhile holds them back
        return BlindSigned(
            request_id=request.request_id,
            bundle_hash=request.bundle_hash,
            fragments=fragments,
        )

    # --- status -----------------------------------------------------------------

    async def _status(self, request: GetStatus, _: Client, __: Steps) -> Reply:
        seal = self.life.latch.seal
        report = StatusReport(
            request_id=request.request_id,
            state=self.life.state,
            reason=f"{seal.code}: {seal.reason}" if seal else self.life.unready,
            latch_id=seal.latch_id if seal else "",
            anchored=False,
            journal_id="",
            epoch=0,
            sequence=-1,
            generation=0,
            generations=[],
            rotation="",
            security_level=0,
            blind_level=0,
            network="",
            identity_key="",
            successions=[],
            memory_locked=self.memory_locked,
            version=__version__,
            hsm=f"{self.life.hsm.profile.id} ({self.life.hsm.profile.production})",
        )
        running = self.life.running
        if running is None:
            return report
        rotation = self._custody.rotations.under_way
        named = msgspec.structs.replace(
            report, rotation=rotation.kind if rotation else ""
        )
        report = _with_running(named, running)
        held = self.life.panel_missing(running)
        if held is None or report.state != "ready":
            return report
        reason = f"{held.code}: {held}"
        return msgspec.structs.replace(report, state="unready", reason=reason)


def _issued(request: Request, record: IssuedRecord) -> Issued:
    return Issued(
        request_id=request.request_id,
        address=record.address,
        generation=record.generation,
        security_level=record.security_level,
        receipt=record.receipt,
    )


def _with_running(report: StatusReport, running: Running) -> StatusReport:
    """Fill in what only a running appliance knows."""
    journal, issuing = running.journal, running.vault.issuing
    anchored = running.heads.anchored
    if running.heads.recovering and report.state == "ready":
        report = msgspec.structs.replace(
            report,
            state="unready",
            reason="recovering: restored from a backup, run `ceremony recover-journal`",
        )
    return msgspec.structs.replace(
        report,
        anchored=anchored,
        journal_id=journal.journal_id,
        epoch=journal.epoch,
        sequence=journal.head.sequence if anchored else -1,
        generation=issuing.id,
        generations=[
            _named(number, running.vault.content)
            for number in sorted(running.vault.generations)
        ],
        security_level=issuing.security_level,
        blind_level=running.blind.security_level(),
        network=issuing.network,
        identity_key=public_key_pem(running.vault.identity_point),
        successions=running.vault.content.successions,
    )


def _named(number: int, content: VaultContent) -> str:
    if number in content.blind:
        return f"{number} (blind)"
    return f"{number} (retired)" if number in content.retired else str(number)


def _as_reply(request_id: str, error: ApplianceError) -> Reply:
    match error:
        case RefusedError():
            return Refused(
                request_id=request_id,
                code=error.code,
                message=str(error),
                recorded_bundle_hash=error.recorded_bundle_hash,
            )
        case DeferredError():
            return Deferred(
                request_id=request_id,
                code=error.code,
                message=str(error),
                retry_after_s=error.retry_after_s,
            )
        case _:
            return Fault(
                request_id=request_id,
                code=error.code,
                message=str(error),
                retry=error.retry if isinstance(error, FaultError) else True,
            )


def _finish(reply: Reply, running: Running | None, steps: Steps) -> Reply:
    """Add the head and the step times every reply carries."""
    head = running.heads.token() if running else None
    return msgspec.structs.replace(reply, head=head, steps_ms=steps.elapsed_ms)
