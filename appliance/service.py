# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds the appliance, checks it, answers requests.

Every start is ``starting`` until all checks have passed. *Unready* is what mends
itself (HSM away, disk full): faults, tried again with back-off. *Sealed* is what
looks like attack or corruption: a latch that survives restarts.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from appliance import __version__
from appliance.config import Client, Config
from appliance.derivation import Derivation
from appliance.errors import (
    ApplianceError,
    BadRequestError,
    BrokenInvariantError,
    DeferredError,
    FaultError,
    ForbiddenError,
    JournalError,
    RefusedError,
    SealedError,
)
from appliance.hardening import MemoryLocked
from appliance.heads import Heads
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm
from appliance.intent import computed_hash
from appliance.issuing import Issuing
from appliance.journal import Journal
from appliance.panel import NoPanel
from appliance.receipt import public_key_pem
from appliance.seal import SealLatch
from appliance.signing import Signing
from appliance.steps import Steps
from appliance.threads import OwnerThread
from appliance.vault import Vault
from appliance.wire import (
    AcceptHead,
    ApproveUnseal,
    Deferred,
    Done,
    Fault,
    Fetched,
    FetchBundle,
    GetStatus,
    IssueAddress,
    Issued,
    JournalRows,
    Refused,
    Reply,
    Request,
    SealNow,
    Signed,
    SignTransfer,
    StatusReport,
    TailJournal,
)
from failpoints import failpoint
from trinary.trytes import is_trytes

_log = logging.getLogger(__name__)

ROLES: Final[dict[type, frozenset[str]]] = {
    GetStatus: frozenset({"hub", "operator", "auditor"}),
    IssueAddress: frozenset({"hub"}),
    SignTransfer: frozenset({"hub"}),
    FetchBundle: frozenset({"hub"}),
    TailJournal: frozenset({"operator", "auditor"}),
    SealNow: frozenset({"operator"}),
    ApproveUnseal: frozenset({"operator"}),
    AcceptHead: frozenset({"operator"}),
}
_MAX_REQUEST_ID = 64
_MAX_JOURNAL_ROWS = 1000
_BUSY_RETRY_S = 1.0
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 30.0
_MINUTE_S = 60.0


def wall_clock_ms() -> int:
    """Return the system's clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Running:
    """Everything that exists only once the checks have passed."""

    vault: Vault
    journal: Journal
    heads: Heads
    derivation: Derivation
    issuing: Issuing
    signing: Signing


@dataclass(slots=True)
class Appliance:
    """One appliance, from start to stop.

    Attributes:
        config: Its configuration.
        memory_locked: What hardening achieved.
        clock_ms: The time in milliseconds since 1970.
    """

    config: Config
    memory_locked: MemoryLocked
    clock_ms: Callable[[], int] = wall_clock_ms
    _latch: SealLatch = field(init=False)
    _hsm: Hsm = field(init=False)
    _hsm_thread: OwnerThread = field(init=False)
    _journal_thread: OwnerThread = field(init=False)
    _running: _Running | None = None
    _unready: str = "starting"
    _in_flight: int = 0
    _refusals: dict[str, deque[float]] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._latch = SealLatch(
            self._paths.latch, approvals_needed=self.config.policy.unseal_approvals
        )
        self._hsm = open_hsm(self.config)
        self._hsm_thread = OwnerThread("hsm")
        self._journal_thread = OwnerThread("journal")

    @property
    def _paths(self) -> Paths:
        return Paths(Path(self.config.state_dir))

    # --- life -------------------------------------------------------------------

    async def run(self) -> None:
        """Check, and keep checking, until cancelled."""
        retry_s = _FIRST_RETRY_S
        while True:
            ready = await self.check()
            retry_s = _FIRST_RETRY_S if ready else min(retry_s * 2, _LAST_RETRY_S)
            interval_s = self.config.hsm.health_interval_s if ready else retry_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), interval_s)
            self._wake.clear()

    async def check(self) -> bool:
        """Bring the appliance up, or check that it still works.

        Returns:
            Whether it is ready.
        """
        async with self._lock:
            if self._latch.seal is not None:
                await self._tear_down()
                return False
            try:
                if self._running is None:
                    await self._bring_up()
                else:
                    await self._check_health(self._running)
            except BrokenInvariantError as error:
                await self._seal(error)
            except ApplianceError as error:
                self._unready = f"{error.code}: {error}"
                _log.warning("unready %s", self._unready)
                await self._tear_down(reason=self._unready)
            else:
                self._unready = ""
            return not self._unready

    async def _bring_up(self) -> None:
        """Run every check of a start, in this order; any failure undoes it."""
        self._unready = self._unready or "starting"
        undo = contextlib.ExitStack()
        try:
            vault = await self._hsm_thread(self._open_vault)
            await self._hsm_thread(vault.check_health)
            journal = await self._journal_thread(
                Journal,
                self._paths.journal,
                journal_id=vault.content.journal_id,
                clock_ms=self.clock_ms,
            )
            undo.callback(journal.close)
            derivation = self._make_derivation(vault)
            undo.callback(derivation.close)
            await self._check_canaries(vault, derivation)
            head_key = await self._hsm_thread(vault.open_head_key)
        except BaseException:
            await self._journal_thread(undo.close)
            raise
        self._running = self._assemble(
            vault,
            journal,
            derivation,
            Heads(journal, thread=self._journal_thread, key=head_key),
        )
        _log.info("ready journal=%s row=%d", journal.journal_id, journal.head.sequence)

    def _assemble(
        self, vault: Vault, journal: Journal, derivation: Derivation, heads: Heads
    ) -> _Running:
        issuing = Issuing(
            journal, self._journal_thread, vault, self._hsm_thread, derivation
        )
        signing = Signing(
            journal,
            self._journal_thread,
            vault,
            self._hsm_thread,
            derivation,
            self.config.policy,
            NoPanel(),
        )
        return _Running(vault, journal, heads, derivation, issuing, signing)

    def _open_vault(self) -> Vault:
        return Vault(
            self._paths.vault,
            hsm=self._hsm,
            allow_unlocked=self.config.derivation.allow_unlocked,
        )

    def _make_derivation(self, vault: Vault) -> Derivation:
        settings = self.config.derivation
        generations = vault.generations.values()
        return Derivation(
            workers=settings.workers,
            memory_kib=max(g.argon2.memory_kib for g in generations),
            memory_budget_mib=settings.memory_budget_mib,
            allow_unlocked=settings.allow_unlocked,
        )

    async def _check_canaries(self, vault: Vault, derivation: Derivation) -> None:
        for generation in vault.generations.values():
            salt = await self._hsm_thread(vault.open_salt, generation.id)
            seeds = await derivation.seeds(
                [generation.canary_uuid],
                salt=salt,
                parameters=generation.argon2,
                level=generation.security_level,
            )
            try:
                address = await derivation.compute(lambda s=seeds: s.address(0))  # type: ignore[misc]
            finally:
                seeds.close()
            if address != generation.canary_address:
                raise BrokenInvariantError(
                    f"the canary of generation {generation.id} derives to another"
                    " address than at its making",
                    code="canary",
                )

    async def _check_health(self, running: _Running) -> None:
        await self._hsm_thread(running.vault.check_health)
        running.journal.now_ms()
        free = os.statvfs(self._paths.folder)
        if free.f_bavail == 0:
            raise JournalError("the disk of the journal is full")

    async def _tear_down(self, *, reason: str = "") -> None:
        running, self._running = self._running, None
        if reason:
            self._unready = reason
        if running is not None:
            running.heads.close()
            await self._journal_thread(running.journal.close)
            await asyncio.to_thread(running.derivation.close)

    async def _seal(self, error: BrokenInvariantError) -> None:
        seal = self._latch.close_latch(code=error.code, reason=str(error))
        self._unready = f"{seal.code}: {seal.reason}"
        _log.critical("sealed latch=%s %s", seal.latch_id, self._unready)
        await self._tear_down()

    async def close(self) -> None:
        """Stop, wiping what is held."""
        await self._tear_down(reason="stopped")
        self._journal_thread.close()
        await asyncio.to_thread(self._hsm.close)
        self._hsm_thread.close()

    # --- requests ---------------------------------------------------------------

    async def handle(self, request: Request, client: Client) -> Reply:
        """Answer one request of an authenticated client; never raises.

        Args:
            request: Already parsed.
            client: Whose certificate it came with.

        Returns:
            The reply; outcomes differ by type.
        """
        steps = Steps()
        try:
            reply = await self._admit(request, client, steps)
        except RefusedError as error:
            reply = await self._journalled_refusal(request, client, error)
        except ApplianceError as error:
            await self._react(error)
            reply = _as_reply(request.request_id, error)
        except Exception:
            _log.exception("request failed id=%s", request.request_id)
            reply = _as_reply(request.request_id, FaultError("internal error"))
        _log.info(
            "request kind=%s client=%s id=%s reply=%s",
            type(request).__name__,
            client.name,
            request.request_id,
            type(reply).__name__,
        )
        failpoint("appliance.before-reply")
        return _finish(reply, self._running, steps)

    async def _react(self, error: ApplianceError) -> None:
        """Seal on a broken invariant; start over where the journal failed."""
        if isinstance(error, BrokenInvariantError):
            async with self._lock:
                await self._seal(error)
        elif isinstance(error, JournalError):
            async with self._lock:
                await self._tear_down(reason=f"{error.code}: {error}")
            self._wake.set()

    async def _admit(self, request: Request, client: Client, steps: Steps) -> Reply:
        if not 0 < len(request.request_id) <= _MAX_REQUEST_ID:
            raise BadRequestError(f"request_id has 1 to {_MAX_REQUEST_ID} characters")
        if client.role not in ROLES[type(request)]:
            raise ForbiddenError(
                f"role {client.role} may not ask {type(request).__name__}"
            )
        if self._in_flight >= self.config.limits.max_in_flight:
            raise DeferredError(
                "busy",
                f"{self._in_flight} requests are being worked on",
                retry_after_s=_BUSY_RETRY_S,
            )
        self._in_flight += 1
        try:
            if self._running is not None:
                await self._running.heads.check(request.head)
            return await self._dispatch(request, client, steps)
        finally:
            self._in_flight -= 1

    async def _dispatch(self, request: Request, client: Client, steps: Steps) -> Reply:
        match request:
            case GetStatus():
                return self._status(request)
            case IssueAddress():
                return await self._issue(request, client, steps)
            case SignTransfer():
                return await self._sign(request, client, steps)
            case FetchBundle():
                return await self._fetch(request, steps)
            case TailJournal():
                return await self._tail(request)
            case SealNow():
                return await self._seal_now(request, client)
            case ApproveUnseal():
                return await self._approve_unseal(request, client)
            case AcceptHead():
                return await self._accept_head(request, client)

    def _ready(self) -> _Running:
        """Return the running parts if a key may be used now.

        Raises:
            SealedError: If the latch is set.
            FaultError: If not every check has passed.
            NotAnchoredError: If nobody confirmed the journal's head.
        """
        if self._latch.seal is not None:
            raise SealedError(
                f"sealed ({self._latch.seal.code}): {self._latch.seal.reason};"
                " operators clear it with `unseal`"
            )
        if self._running is None:
            raise FaultError(f"not ready: {self._unready}", code="unready")
        self._running.heads.require_anchored()
        return self._running

    async def _issue(
        self, request: IssueAddress, client: Client, steps: Steps
    ) -> Reply:
        running = self._ready()
        record = await running.issuing.issue(request, client=client.name, steps=steps)
        return Issued(
            request_id=request.request_id,
            address=record.address,
            generation=record.generation,
            security_level=record.security_level,
            receipt=record.receipt,
        )

    async def _sign(
        self, request: SignTransfer, client: Client, steps: Steps
    ) -> Reply:
        self._require_within_limits(request)
        running = self._ready()
        signatures = await running.signing.sign(
            request, client=client.name, steps=steps
        )
        self._ready()  # a seal that fell meanwhile holds the signatures back
        return Signed(
            request_id=request.request_id,
            bundle_hash=request.bundle_hash,
            signatures=signatures,
        )

    def _require_within_limits(self, request: SignTransfer) -> None:
        limits = self.config.limits
        if not 1 < len(request.transactions) <= limits.max_transactions:
            raise BadRequestError(
                f"a bundle has 2 to {limits.max_transactions} transactions here,"
                f" {len(request.transactions)} came"
            )
        if len(request.inputs) > limits.max_inputs:
            raise BadRequestError(
                f"a bundle has at most {limits.max_inputs} inputs here,"
                f" {len(request.inputs)} came"
            )

    async def _fetch(self, request: FetchBundle, steps: Steps) -> Reply:
        running = self._ready()
        record, signatures = await running.signing.fetch(
            request.bundle_hash, steps=steps
        )
        return Fetched(
            request_id=request.request_id,
            bundle_hash=record.bundle_hash,
            transactions=list(record.transactions),
            inputs=list(record.claims),
            signatures=signatures,
        )

    async def _tail(self, request: TailJournal) -> Reply:
        if not 1 <= request.limit <= _MAX_JOURNAL_ROWS:
            raise BadRequestError(f"limit is 1 to {_MAX_JOURNAL_ROWS}")
        if self._running is None:
            raise FaultError(f"not ready: {self._unready}", code="unready")
        rows = await self._journal_thread(
            self._running.journal.rows,
            after_sequence=request.after_sequence,
            limit=request.limit,
        )
        return JournalRows(request_id=request.request_id, rows=rows)

    async def _seal_now(self, request: SealNow, client: Client) -> Reply:
        async with self._lock:
            await self._seal(
                BrokenInvariantError(
                    f"sealed by {client.name}: {request.reason}", code="operator"
                )
            )
        return Done(request_id=request.request_id, message=self._unready)

    async def _approve_unseal(self, request: ApproveUnseal, client: Client) -> Reply:
        missing = self._latch.approve(operator=client.name, latch_id=request.latch_id)
        if missing:
            message = f"approval of {client.name} noted, {missing} more needed"
            return Done(request_id=request.request_id, message=message)
        self._unready = "starting"
        if await self.check() and self._running is not None:
            await self._journal_thread(
                self._running.journal.commit_ceremony,
                client=client.name,
                payload={"step": "unseal", "latch_id": request.latch_id},
            )
            return Done(request_id=request.request_id, message="unsealed and ready")
        return Done(
            request_id=request.request_id,
            message=f"the latch is clear, but not ready: {self._unready}",
        )

    async def _accept_head(self, request: AcceptHead, client: Client) -> Reply:
        if self._running is None:
            raise FaultError(f"not ready: {self._unready}", code="unready")
        self._running.heads.accept(sequence=request.sequence, row_hash=request.hash)
        await self._journal_thread(
            self._running.journal.commit_ceremony,
            client=client.name,
            payload={"step": "accept-head", "sequence": request.sequence},
        )
        return Done(request_id=request.request_id, message="the head is confirmed")

    def _status(self, request: GetStatus) -> Reply:
        running, seal = self._running, self._latch.seal
        state = "ready" if running and not self._unready else "unready"
        if self._unready == "starting":
            state = "starting"
        if seal is not None:
            state = "sealed"
        anchored = running is not None and running.heads.anchored
        return StatusReport(
            request_id=request.request_id,
            state=state,
            reason=f"{seal.code}: {seal.reason}" if seal else self._unready,
            latch_id=seal.latch_id if seal else "",
            anchored=anchored,
            journal_id=running.journal.journal_id if running else "",
            epoch=running.journal.epoch if running else 0,
            sequence=running.journal.head.sequence if running and anchored else -1,
            generation=running.vault.issuing.id if running else 0,
            security_level=running.vault.issuing.security_level if running else 0,
            network=running.vault.issuing.network if running else "",
            identity_key=public_key_pem(running.vault.identity_point)
            if running
            else "",
            memory_locked=self.memory_locked,
            version=__version__,
        )

    async def _journalled_refusal(
        self, request: Request, client: Client, error: RefusedError
    ) -> Reply:
        """Write a refusal down before it is given; too many are deferred."""
        if self._running is None:
            return _as_reply(request.request_id, FaultError("not ready"))
        if self._refuses_too_often(client.name):
            return Deferred(
                request_id=request.request_id,
                code="busy",
                message="too many refusals; nothing was decided",
                retry_after_s=_MINUTE_S,
            )
        try:
            await self._journal_thread(
                self._running.journal.commit_refusal,
                client=client.name,
                bundle_hashes=_hashes_of(request),
                code=error.code,
                message=str(error),
            )
        except ApplianceError as fault:
            return _as_reply(request.request_id, fault)
        return _as_reply(request.request_id, error)

    def _refuses_too_often(self, client: str) -> bool:
        now_s = time.monotonic()
        recent = self._refusals.setdefault(client, deque())
        while recent and recent[0] < now_s - _MINUTE_S:
            recent.popleft()
        if len(recent) >= self.config.limits.refusals_per_minute:
            return True
        recent.append(now_s)
        return False


def _hashes_of(request: Request) -> list[str]:
    """Return the hashes a refusal is final for: as stated and as recomputed."""
    if not isinstance(request, SignTransfer):
        return []
    hashes = [request.bundle_hash] if is_trytes(request.bundle_hash, length=81) else []
    try:
        recomputed = computed_hash(request.transactions)
    except RefusedError:
        return hashes
    return list(dict.fromkeys([*hashes, recomputed]))


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
        case FaultError():
            return Fault(
                request_id=request_id,
                code=error.code,
                message=str(error),
                retry=error.retry,
            )
        case _:
            return Fault(
                request_id=request_id, code=error.code, message=str(error), retry=True
            )


def _finish(reply: Reply, running: _Running | None, steps: Steps) -> Reply:
    """Add the head and the step times every reply carries."""
    head = running.heads.token() if running else None
    return msgspec.structs.replace(reply, head=head, steps_ms=steps.elapsed_ms)
