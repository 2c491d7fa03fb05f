# SPDX-License-Identifier: Apache-2.0
"""When the appliance may use a key at all: starting, ready, unready, sealed.

Every start is ``starting`` until all checks have passed. *Unready* is what mends
itself (HSM away, disk full): tried again with back-off. *Sealed* is what looks
like attack or corruption: a latch that survives restarts.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.argon2_engines import Engine
from appliance.blind import Blind
from appliance.config import Config
from appliance.derivation import Derivation
from appliance.derivation_queue import Purpose
from appliance.durable import write_durably
from appliance.entropy import Entropy
from appliance.errors import (
    ApplianceError,
    BrokenInvariantError,
    FaultError,
    HsmError,
    JournalError,
    SealedError,
)
from appliance.heads import Heads
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm, require_private
from appliance.instruments import CHECK_FAILURES, CHECK_SUCCESS, SEALS
from appliance.issuing import Issuing
from appliance.journal import Journal
from appliance.journal_chain import Head
from appliance.journal_database import JournalDatabase, database_of
from appliance.panel import NoPanel, Presence
from appliance.panel_anchor import PanelAnchor
from appliance.panel_guard import PanelGuard
from appliance.policy_force import PolicyCopy, PolicyInForce
from appliance.roster import Roster
from appliance.row_seal import RowSeal
from appliance.seal import Seal, SealLatch
from appliance.signing import Signing
from appliance.threads import OwnerThread
from appliance.tls_identity import TlsIdentity
from appliance.vault import Vault
from failpoints import failpoint

_log = logging.getLogger(__name__)
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """Everything that exists only once the checks have passed."""

    vault: Vault
    journal: Journal
    heads: Heads
    policy: PolicyInForce
    derivation: Derivation
    issuing: Issuing
    signing: Signing
    blind: Blind


@dataclass(slots=True)
class Lifecycle:
    """Builds the running parts, checks them, takes them down.

    Attributes:
        config: The appliance's configuration.
        clock_ms: The time in milliseconds since 1970.
        latch: The seal latch.
        roster: Who may connect.
        tls: As whom it listens.
        journal_thread: Owns the journal.
        database: Where the journal lies.
        hsm: The token, shared by vault and ceremonies.
        guard: The front panel, if one is configured.
        entropy: Where random bytes that matter are drawn.
        running: The running parts; None unless every check has passed.
        unready: Why there are none; empty when there are.
        in_flight: Requests being worked on.
    """

    config: Config
    clock_ms: Callable[[], int]
    latch: SealLatch = field(init=False)
    roster: Roster = field(init=False)
    tls: TlsIdentity = field(init=False)
    journal_thread: OwnerThread = field(init=False)
    database: JournalDatabase = field(init=False)
    running: Running | None = None
    unready: str = "starting"
    in_flight: int = 0
    hsm: Hsm = field(init=False)
    guard: PanelGuard = field(init=False)
    entropy: Entropy = field(default_factory=Entropy)
    _hsm_thread: OwnerThread = field(init=False)
    _last_head: Head | None = None
    _alarm: asyncio.Task[None] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _left: dict[asyncio.Task[None], Hsm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_private(self.paths.folder, what="the state folder")
        what, secret = self.config.listen.secret
        require_private(Path(secret), what=what)
        self.latch = SealLatch(self.paths.latch)
        self.roster = Roster(self.config.clients, self.paths.clients)
        self.tls = TlsIdentity(self.config.listen)
        self.database = database_of(self.config)
        self.hsm = open_hsm(self.config)
        self._hsm_thread = OwnerThread("hsm")
        self.guard = PanelGuard(
            self.config.panel,
            allow_unlocked=self.config.derivation.allow_unlocked,
            alarm=self._panel_alarm,
        )
        self.journal_thread = OwnerThread("journal")

    @property
    def paths(self) -> Paths:
        """The files of the state folder."""
        return Paths(Path(self.config.state_dir))

    @property
    def policy_copy(self) -> PolicyCopy:
        """The policy as it was when the appliance last came up."""
        return PolicyCopy(self.paths.policy)

    @property
    def presence(self) -> Presence:
        """Who is asked where the policy wants a person."""
        return self.guard if self.guard.configured else NoPanel()

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``unready`` or ``sealed``."""
        if self.latch.seal is not None:
            return "sealed"
        if self.running is not None and not self.unready:
            return "ready"
        return "starting" if self.unready == "starting" else "unready"

    def require_ready(self, *, recovering: bool = False) -> Running:
        """Return the running parts if a key may be used now.

        Args:
            recovering: Also while a restored journal is not recovered, or its panel
                not enrolled; only for the ceremonies that do that.

        Returns:
            The parts, their head anchored.

        Raises:
            SealedError: If the latch is set.
            FaultError: ``recovering`` while the journal was restored and nobody has
                said what was signed since; ``panel-not-enrolled`` while the journal
                does not know the panel; ``panel-required`` if the policy wants one.
        """
        if self.latch.seal is not None:
            raise SealedError(
                f"sealed ({self.latch.seal.code}): {self.latch.seal.reason};"
                " operators clear it with `unseal`"
            )
        running = self.require_running()
        running.heads.require_anchored()
        if running.heads.recovering and not recovering:
            raise FaultError(
                "this journal was restored from a backup: keys may have signed since."
                " Import what is known of them, then run `ceremony recover-journal`",
                code="recovering",
            )
        if not recovering:
            self._require_panel(running)
        return running

    def _require_panel(self, running: Running) -> None:
        held = self.panel_missing(running)
        if held is not None:
            raise held

    def panel_missing(self, running: Running) -> FaultError | None:
        """Return why no panel counts the journal, where one has to; None: it may go on.

        Args:
            running: The parts.
        """
        if running.journal.counted_by:
            return None
        if self.guard.configured:
            return FaultError(
                f"the journal does not know panel {self.guard.panel_id}: operators"
                " enrol it with `ceremony enrol-panel`",
                code="panel-not-enrolled",
            )
        if running.policy.content.panel.required:
            return FaultError(
                "the policy in force wants a panel that counts, and none is configured",
                code="panel-required",
            )
        return None

    def require_running(self) -> Running:
        """Return the running parts, anchored or not.

        Returns:
            The parts.

        Raises:
            FaultError: ``unready`` if not every check has passed.
        """
        if self.running is None:
            raise FaultError(f"not ready: {self.unready}", code="unready")
        return self.running

    # --- checks -----------------------------------------------------------------

    async def run(self) -> None:
        """Check, and keep checking, until cancelled."""
        retry_s = _FIRST_RETRY_S
        while True:
            ready = await self.check()
            retry_s = _FIRST_RETRY_S if ready else min(retry_s * 2, _LAST_RETRY_S)
            interval_s = self.config.hsm.health_interval_s if ready else retry_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._wake.wait()
            self._wake.clear()

    async def check(self) -> bool:
        """Bring the appliance up, or check that it still works; never raises.

        Returns:
            Whether it is ready.
        """
        async with self._lock:
            if self.latch.seal is not None:
                self.latch.persist()
                await self._take_down()
                return False
            try:
                await self._check()
            except BrokenInvariantError as error:
                await self._seal(error)
            except Exception as error:  # noqa: BLE001 - unready, not dead
                if not isinstance(error, ApplianceError):
                    _log.exception("a check failed")
                code = getattr(error, "code", "internal")
                CHECK_FAILURES.labels(code).inc()
                self.unready = f"{code}: {error}"
                _log.warning("unready %s", self.unready)
                await self._take_down()
                if isinstance(error, HsmError):
                    await self._hsm_thread(self.hsm.disconnect)
            else:
                CHECK_SUCCESS.set_to_current_time()
                self.unready = ""
            return not self.unready

    async def _check(self) -> None:
        await self.guard.require_armed()
        await self.guard.stir(self.entropy)
        running = self.running  # an alarm takes it away at once
        if running is None:
            self.running = await self._bring_up()
            held = self.panel_missing(self.running)
            if held is not None:
                _log.warning("no key is used yet: %s: %s", held.code, held)
        else:
            await self._hsm_thread(running.vault.check_health)
            await self._check_journal(running.journal)
            await self.follow_policy()
        await self._journal_unseal()

    def note_unseal(self, client: str, payloads: Sequence[dict[str, object]]) -> None:
        """Keep what the journal must be told of an ``unseal``, until it is open.

        Args:
            client: The operator who asked.
            payloads: What its rows say.
        """
        noted = {"client": client, "payloads": list(payloads)}
        write_durably(self.paths.unsealed, msgspec.json.encode(noted))

    async def _journal_unseal(self) -> None:
        """Journal what was noted; again after a crash, but no grant twice."""
        path, running = self.paths.unsealed, self.running
        if running is None or not path.exists():
            return
        try:
            noted = msgspec.json.decode(path.read_bytes(), type=_Noted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokenInvariantError(
                f"{path.name} does not hold what an appliance notes of an unseal",
                code="unseal-note",
            ) from error
        for told in noted.payloads:
            presence = told.presence if isinstance(told, _Unsealed) else {}
            if not running.journal.holds_presence(presence.get("nonce", "")):
                await self.journal_thread(
                    running.journal.commit_ceremony,
                    client=noted.client,
                    payload=msgspec.to_builtins(told),
                )
        path.unlink()

    async def _check_journal(self, journal: Journal) -> None:
        journal.now_ms()
        try:
            free = os.statvfs(self.paths.folder).f_bavail
        except OSError as error:
            raise JournalError(f"the state folder: {error.strerror}") from error
        if free == 0:
            raise JournalError("the disk of the journal is full")
        await self.journal_thread(journal.check_writable)

    async def follow_policy(self) -> str:
        """Take in what other appliances have journalled, a new policy above all.

        Returns:
            The text of the policy in force, as the copy beside the vault has it.
        """
        running = self.running
        if running is not None:
            await self.journal_thread(self._follow, running.policy, running.vault)
        return self.policy_copy.read().policy.text

    def _follow(self, policy: PolicyInForce, vault: Vault) -> None:
        """Take in what was appended, and copy what it says of policy and clients.

        In the journal's thread, so that no older state is written over a newer one.
        A policy is copied only once its signatures are checked: the copy says whose
        approvals count, and a database could have slipped one in.
        """
        policy.journal.catch_up()
        _require_policy(policy, vault)
        self.policy_copy.write(policy.journal.journal_id, policy.newest)
        self.roster.adopt(policy.journal.clients)

    async def _bring_up(self) -> Running:
        """Run every check of a start, in this order; any failure undoes it."""
        undo = contextlib.ExitStack()
        try:
            vault = await self._hsm_thread(self.open_vault, self.hsm)
            await self._hsm_thread(vault.check_health)
            failpoint("appliance.start.vault-open")
            journal = await self.journal_thread(self._open_journal, vault)
            undo.callback(journal.close)
            failpoint("appliance.start.journal-open")
            await self._check_journal(journal)
            anchor = PanelAnchor(self.guard, journal, self.journal_thread)
            await anchor.compare()
            policy = PolicyInForce(
                journal, vault.content.policy_root, self.config.policy
            )
            await self.journal_thread(self._follow, policy, vault)
            derivation = await asyncio.to_thread(self._make_derivation, vault)
            undo.callback(derivation.close)
            await self.check_canaries(vault, derivation)
            head_key = await self._hsm_thread(vault.open_head_key)
            undo.callback(head_key.close)
            anchored = await anchor.begin()
        except BaseException:
            await self.journal_thread(undo.close)
            raise
        heads = Heads(journal, thread=self.journal_thread, key=head_key)
        heads.anchored = heads.anchored or anchored or self._last_head is not None
        _log.info("ready journal=%s row=%d", journal.journal_id, journal.head.sequence)
        return self._assemble(vault, heads, policy, derivation)

    def _assemble(
        self, vault: Vault, heads: Heads, policy: PolicyInForce, derivation: Derivation
    ) -> Running:
        journal = policy.journal
        issuing = Issuing(
            journal, self.journal_thread, vault, self._hsm_thread, derivation, policy
        )
        signing = Signing(
            journal,
            self.journal_thread,
            vault,
            self._hsm_thread,
            derivation,
            policy,
            self.presence,
        )
        blind = Blind(
            journal,
            self.journal_thread,
            vault,
            self._hsm_thread,
            derivation,
            policy,
            issuing,
        )
        return Running(
            vault, journal, heads, policy, derivation, issuing, signing, blind
        )

    def open_vault(self, hsm: Hsm) -> Vault:
        """Open and authenticate the vault file anew; blocks on the HSM.

        Args:
            hsm: The token to open it with.

        Returns:
            The vault.
        """
        return Vault(
            self.paths.vault,
            hsm=hsm,
            allow_unlocked=self.config.derivation.allow_unlocked,
        )

    def _open_journal(self, vault: Vault) -> Journal:
        """Open the journal; it must still hold the head this process knew."""
        journal_id = vault.content.journal_id
        with vault.open_head_key() as head_key:
            seal = RowSeal(head_key, journal_id=journal_id)
        try:
            journal = Journal(
                self.database, journal_id=journal_id, clock_ms=self.clock_ms, seal=seal
            )
        except BaseException:
            seal.close()
            raise
        missing = journal.verified.generations - set(vault.generations)
        if missing:
            journal.close()
            if journal.shared:  # another appliance may have made them
                raise JournalError(
                    f"generations {sorted(missing)} issued addresses and this vault"
                    " does not hold them: bring it up to date",
                    code="vault-behind",
                )
            raise BrokenInvariantError(
                f"generations {sorted(missing)} issued addresses and the vault does not"
                " hold them: it was put back from before their making",
                code="vault-regression",
            )
        known = self._last_head
        if known is not None and journal.hash_at(known.sequence) != known.hash:
            journal.close()
            raise BrokenInvariantError(
                f"the journal held row {known.sequence} before and does not now: it"
                " was rolled back",
                code="head-regression",
            )
        return journal

    def _make_derivation(self, vault: Vault) -> Derivation:
        settings = self.config.derivation
        generations = vault.generations.values()
        return Derivation(
            workers=settings.workers,
            memory_kib=max(g.argon2.memory_kib for g in generations),
            memory_budget_mib=settings.memory_budget_mib,
            allow_unlocked=settings.allow_unlocked,
            engine=Engine(settings.engine),
            max_waiting=settings.max_waiting,
        )

    async def check_canaries(self, vault: Vault, derivation: Derivation) -> None:
        """Derive the canary of every generation and compare.

        Args:
            vault: Whose salts.
            derivation: Where to derive.

        Raises:
            BrokenInvariantError: ``canary`` if one differs.
        """
        for generation in vault.generations.values():
            salt = await self._hsm_thread(vault.open_salt, generation.id)
            seeds = await derivation.seeds(
                [generation.canary_uuid],
                salt=salt,
                parameters=generation.argon2,
                level=generation.security_level,
                purpose=Purpose.CUSTODY,
            )
            with contextlib.closing(seeds):
                (address,) = await derivation.compute(seeds.addresses)
            if address != generation.canary_address:
                raise BrokenInvariantError(
                    f"the canary of generation {generation.id} derives to another"
                    " address than at its making",
                    code="canary",
                )

    # --- going down -------------------------------------------------------------

    async def seal(self, error: BrokenInvariantError) -> Seal:
        """Latch the seal and wipe what is held.

        Args:
            error: What was found.

        Returns:
            The seal in force.
        """
        async with self._lock:
            return await self._seal(error)

    async def _panel_alarm(self, error: BrokenInvariantError) -> None:
        """Seal at once, even while a check holds the lock; then wipe and journal it."""
        seal = self.latch.close_latch(code=error.code, reason=str(error))
        running, self.running = self.running, None
        self._alarm = asyncio.create_task(self._wipe_and_journal(seal, running))
        await asyncio.shield(self._alarm)  # a stop of the guard does not cut it short

    async def _wipe_and_journal(self, seal: Seal, running: Running | None) -> None:
        wiping = asyncio.create_task(self._wipe(running))
        async with self._lock:  # in line from now on: no later check goes before
            await wiping
            if running is not None:
                try:
                    await self.journal_thread(
                        running.journal.commit_ceremony,
                        client="panel",
                        payload={
                            "step": "seal",
                            "code": seal.code,
                            "reason": seal.reason,
                        },
                    )
                except Exception:  # noqa: BLE001 - sealed in any case
                    _log.exception("the panel's seal could not be journalled")
                await self._shut(running)
            await self._sealed(seal)  # the latch may have been cleared by now

    async def restart(self, failed: Running | None, *, reason: str) -> None:
        """Take down the parts a request failed on, unless that was done already.

        Args:
            failed: What the request ran on.
            reason: Why.
        """
        async with self._lock:
            journal = self.running.journal if self.running else None
            if failed is not None and journal is failed.journal:
                self.unready = reason
                await self._take_down()
                self._wake.set()

    async def adopt(self, vault: Vault) -> None:
        """Let requests from now on use another vault.

        Those under way keep the one they began with: its keys are still in the HSM.

        Args:
            vault: Opened and checked, of the same journal.
        """
        async with self._lock:
            now = self.require_running()
            self.running = self._assemble(vault, now.heads, now.policy, now.derivation)

    async def change_token(self, hsm: Hsm, vault: Vault) -> None:
        """Let requests from now on use another token, and its vault.

        Those under way keep the old one, which stays open until none of them can be
        left.

        Args:
            hsm: The token to use; closed with the appliance.
            vault: Opened with it and checked, of the same journal.
        """
        async with self._lock:
            now = self.require_running()
            old, self.hsm = self.hsm, hsm
            self.running = self._assemble(vault, now.heads, now.policy, now.derivation)
            self._left[asyncio.create_task(self._leave(old))] = old

    async def _leave(self, hsm: Hsm) -> None:
        await asyncio.sleep(self.config.limits.request_timeout_s)
        await asyncio.to_thread(hsm.close)

    def check_soon(self) -> None:
        """Have the next check made now."""
        self._wake.set()

    async def close(self) -> None:
        """Stop, wiping what is held."""
        await self.guard.close()
        if self._alarm is not None:
            await self._alarm
        async with self._lock:
            self.unready = "stopped"
            await self._take_down()
        await asyncio.to_thread(self.journal_thread.close)
        for task, hsm in self._left.items():
            task.cancel()
            await asyncio.to_thread(hsm.close)
        await asyncio.to_thread(self.hsm.close)
        await asyncio.to_thread(self._hsm_thread.close)

    async def _seal(self, error: BrokenInvariantError) -> Seal:
        seal = self.latch.close_latch(code=error.code, reason=str(error))
        await self._sealed(seal)
        return seal

    async def _sealed(self, seal: Seal) -> None:
        self.unready = f"{seal.code}: {seal.reason}"
        SEALS.labels(seal.code).inc()
        _log.critical("sealed latch=%s %r", seal.latch_id, self.unready)
        await self._take_down()

    async def _take_down(self) -> None:
        running, self.running = self.running, None
        if running is not None:
            await self._wipe(running)
            await self._shut(running)

    async def _wipe(self, running: Running | None) -> None:
        """Wipe every key; waits for the runs under way, and for nothing else."""
        if running is None:
            return
        running.heads.close()
        running.derivation.give_up()
        await asyncio.to_thread(running.derivation.close)

    async def _shut(self, running: Running) -> None:
        await self.journal_thread(running.journal.close)
        if running.heads.anchored:
            self._last_head = running.journal.head


class _Unsealed(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="step",
    tag="unseal",
):
    """The row of an ``unseal``."""

    latch_id: str
    cleared_at_panel: bool = False
    presence: dict[str, str] = {}


class _Approved(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="step",
    tag="approved",
):
    """The row of its approvals."""

    act: dict[str, Any]
    operators: list[str]
    signatures: list[Any]


class _Noted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the journal must be told of an ``unseal``, and nothing else.

    The file has no MAC, since no key is there while it is sealed: whoever can write it
    must not have any other row made of it.
    """

    client: str
    payloads: list[_Unsealed | _Approved]


def _require_policy(policy: PolicyInForce, vault: Vault) -> None:
    """Check every policy the journal holds, and that the last is for this network."""
    if policy.content.network != vault.issuing.network:
        raise BrokenInvariantError(
            f"the policy is for {policy.content.network}, the vault for"
            f" {vault.issuing.network}",
            code="policy",
        )
