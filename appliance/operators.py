# SPDX-License-Identifier: Apache-2.0
"""Requests of people: read the journal, seal, approve, run ceremonies, set policy."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.approvals import (
    MOST_OF_A_HUB,
    MOST_OF_AN_OPERATOR,
    ONE_IS_ENOUGH,
    Approvals,
    Ripe,
    require_alone,
)
from appliance.config import Client
from appliance.custody import Custody
from appliance.doors import DangerousDoors, Passed
from appliance.errors import (
    BadRequestError,
    BrokenInvariantError,
    DeferredError,
    FaultError,
    ForbiddenError,
)
from appliance.lifecycle import Lifecycle
from appliance.panel import Grant, spend
from appliance.panel_guard import TAMPER
from appliance.policy_file import Policy, SignedPolicy, verify_policy
from appliance.policy_force import Copied, PolicyInForce
from appliance.presence_question import Question, ceremony, policy_change, unseal
from appliance.wire import (
    AcceptHead,
    Act,
    ActReport,
    ApproveAct,
    CeremonyReport,
    Checkpoint,
    Done,
    ExportSeed,
    GetPolicy,
    JournalRows,
    ListActs,
    MakeCheckpoint,
    PendingAct,
    PendingActs,
    PolicyReport,
    ProposeAct,
    RunCeremony,
    SealNow,
    SecondSignature,
    SetPolicy,
    TailJournal,
    Unseal,
    act_digest,
)
from failpoints import failpoint

_MAX_JOURNAL_ROWS: Final = 1000
_MAX_SEQUENCE: Final = (1 << 63) - 1


@dataclass(slots=True)
class Operators:
    """Answers operators and auditors.

    Attributes:
        life: The appliance's parts.
        custody: Its ceremonies.
        doors: Second signatures and exported seeds.
    """

    life: Lifecycle
    custody: Custody
    doors: DangerousDoors
    _approvals: Approvals = field(init=False)
    _followed: str = ""

    def __post_init__(self) -> None:
        self._approvals = Approvals(self.life.entropy.draw)

    # --- reading ----------------------------------------------------------------

    async def tail(self, request: TailJournal, _: Client) -> JournalRows:
        """Return rows of the journal."""
        if not 1 <= request.limit <= _MAX_JOURNAL_ROWS:
            raise BadRequestError(f"limit is 1 to {_MAX_JOURNAL_ROWS}")
        if not 0 <= request.after_sequence <= _MAX_SEQUENCE:
            raise BadRequestError("after_sequence is a row's number, or 0")
        rows = await self.life.journal_thread(
            self.life.require_running().journal.rows,
            after_sequence=request.after_sequence,
            limit=request.limit,
        )
        return JournalRows(request_id=request.request_id, rows=rows)

    async def make_checkpoint(self, request: MakeCheckpoint, who: Client) -> Checkpoint:
        """Have the identity key state where the journal ends."""
        statement = await self.custody.checkpoint(client=who.name)
        return Checkpoint(request_id=request.request_id, statement=statement)

    async def get_policy(self, request: GetPolicy, _: Client) -> PolicyReport:
        """Return the policy in force; also while sealed."""
        copy = self.life.policy_copy.read()
        return PolicyReport(
            request_id=request.request_id,
            journal_id=copy.journal_id,
            text=copy.policy.text,
            signatures=copy.policy.signatures,
        )

    async def list_acts(self, request: ListActs, _: Client) -> PendingActs:
        """Return the acts that wait for approvals."""
        return PendingActs(
            request_id=request.request_id,
            journal_id=self.life.policy_copy.read().journal_id,
            acts=self._approvals.waiting(now_ms=self.life.clock_ms()),
        )

    # --- what one operator may do ---------------------------------------------------

    async def seal(self, request: SealNow, who: Client) -> Done:
        """Stop all signing."""
        reason = f"sealed by {who.name}: {request.reason}"
        seal = await self.life.seal(BrokenInvariantError(reason, code="operator"))
        message = f"{seal.code}: {seal.reason}"
        return Done(request_id=request.request_id, message=message)

    async def accept_head(self, request: AcceptHead, who: Client) -> Done:
        """Confirm the journal's head, where the policy lets one operator."""
        require_alone(request, (await self._policy()).content)
        (step,) = await self._accept_head(request, who)
        return Done(request_id=request.request_id, message=step)

    async def run_ceremony(self, request: RunCeremony, who: Client) -> CeremonyReport:
        """Run a ceremony or try it, where the policy lets one operator."""
        require_alone(request, (await self._policy()).content)
        steps = await self._ceremony(request, who, ripe=None)
        return CeremonyReport(
            request_id=request.request_id, done=not request.dry_run, steps=steps
        )

    async def set_policy(self, request: SetPolicy, who: Client) -> Done:
        """Put a policy in force that operators of the one before have signed."""
        running = self.life.require_ready()
        await self._policy()
        signed = SignedPolicy(text=request.text, signatures=request.signatures)
        content = verify_policy(signed, in_force=running.policy.content)
        failpoint("policy.verified")
        asked = policy_change(
            signed.text, content.version, journal_id=running.journal.journal_id
        )
        grant = None
        if running.policy.content.presence.policy:
            grant = await self.life.presence.ask(asked)
        payload: dict[str, object] = {"step": "policy", "version": content.version}
        payload["policy"] = msgspec.to_builtins(signed)
        await self.life.journal_thread(
            running.journal.commit_ceremony,
            client=who.name,
            payload=payload,
            decide=lambda: _still(signed, running.policy, grant),
        )
        failpoint("policy.journalled")
        await self.life.follow_policy()
        self._approvals.clear()
        message = f"policy {content.version} is in force"
        return Done(request_id=request.request_id, message=message)

    # --- what several must approve --------------------------------------------------

    async def propose(self, request: ProposeAct, who: Client) -> PendingActs:
        """Put an act up for approval; a hub only asks for second signatures."""
        if who.role != "operator" and not isinstance(request.act, SecondSignature):
            raise ForbiddenError(
                f"role {who.role} may propose a second signature and nothing else"
            )
        copy = await self._policy()
        pending = await self._proposed(request.act, copy.content, who)
        return PendingActs(
            request_id=request.request_id, journal_id=copy.journal_id, acts=[pending]
        )

    async def _proposed(self, act: Act, policy: Policy, who: Client) -> PendingAct:
        """Return an act that waits: a hub asks the same until it is signed."""
        waits = self._approvals.find(
            act, proposer=who.name, now_ms=self.life.clock_ms()
        )
        if waits is not None and isinstance(act, SecondSignature):
            return waits
        shown = await self._shown(act, who)
        return self._approvals.propose(
            act,
            policy,
            proposer=who.name,
            now_ms=self.life.clock_ms(),
            shown=shown,
            most=MOST_OF_A_HUB if who.role == "hub" else MOST_OF_AN_OPERATOR,
        )

    async def approve(self, request: ApproveAct, who: Client) -> ActReport:
        """Add an approval; the last one has the act done."""
        copy = await self._policy()
        ripe = self._approvals.approve(
            request.act_id,
            request.signature,
            copy.content,
            journal_id=copy.journal_id,
            now_ms=self.life.clock_ms(),
        )
        if isinstance(ripe, int):
            return ActReport(
                request_id=request.request_id,
                missing=ripe,
                steps=[f"approval noted, {ripe} more needed"],
            )
        failpoint("act.approved")
        passed = await self._do(ripe, who)
        return ActReport(
            request_id=request.request_id,
            missing=0,
            steps=passed.steps,
            export=passed.export,
        )

    async def _pass_door(self, ripe: Ripe, who: Client) -> Passed:
        """Do an act of a door; its row holds its approvals."""
        try:
            return await self.doors.pass_by(ripe, who)
        except (DeferredError, FaultError) as error:
            if isinstance(error, DeferredError) or error.retry:
                self._approvals.put_back(ripe)
            raise

    async def _policy(self) -> Copied:
        """Return the policy in force; approvals given under another are void.

        Another appliance of the same journal may have put it in force.

        Returns:
            The copy beside the vault, brought up to date.
        """
        text = await self.life.follow_policy()
        if self._followed not in {"", text}:
            self._approvals.clear()
        self._followed = text
        return self.life.policy_copy.read()

    async def _shown(self, act: Act, who: Client) -> list[str]:
        """Return what approvers should see besides the act; refuse what can not be."""
        match act:
            case Unseal():
                seal = self.life.latch.require(act.latch_id)
                return [f"sealed for {seal.code}: {seal.reason}"]
            case AcceptHead():
                heads = self.life.require_running().heads
                await heads.require_same(sequence=act.sequence, row_hash=act.hash)
                return []
            case RunCeremony():
                dry = msgspec.structs.replace(act, dry_run=True)
                return await self.custody.run(dry, client=who.name)
            case SecondSignature() | ExportSeed():
                return await self.doors.shown(act, who)

    async def _do(self, ripe: Ripe, who: Client) -> Passed:
        """Do an act; its approvals are journalled with it."""
        match ripe.act:
            case Unseal():
                with self._kept_if_put_off(ripe):
                    return Passed(await self._unseal(ripe.act, who, ripe))
            case AcceptHead():
                steps = await self._accept_head(ripe.act, who)
                await self._journal(who, **_approvals_of(ripe))
                return Passed(steps)
            case RunCeremony():
                return Passed(await self._ceremony(ripe.act, who, ripe=ripe))
            case SecondSignature() | ExportSeed():
                return await self._pass_door(ripe, who)

    @contextlib.contextmanager
    def _kept_if_put_off(self, ripe: Ripe | None) -> Iterator[None]:
        """Let an act keep its approvals if nobody confirmed it or the panel is away."""
        try:
            yield
        except (DeferredError, FaultError):
            if ripe is not None:
                self._approvals.put_back(ripe)
            raise

    async def _ceremony(
        self, act: RunCeremony, who: Client, *, ripe: Ripe | None
    ) -> list[str]:
        """Run a ceremony; who approved and who confirmed it is journalled before.

        Args:
            act: Which.
            who: The operator who asks, or whose approval was the last.
            ripe: The act with its approvals; None where one operator may.

        Returns:
            Its steps, in words.
        """
        rules = self.life.require_running().policy
        grant = None
        if wants_presence(act, rules.content):
            dry = msgspec.structs.replace(act, dry_run=True)
            await self.custody.run(dry, client=who.name)
            with self._kept_if_put_off(ripe):
                grant = await self.life.presence.ask(self._question(act, ripe))
        if ripe is not None or grant is not None:
            with self._kept_if_put_off(ripe):
                await self._journal_confirmed(act, who, ripe=ripe, grant=grant)
        approved = ripe.pending.shown if ripe is not None else None
        return await self.custody.run(act, client=who.name, approved=approved)

    async def _journal_confirmed(
        self, act: RunCeremony, who: Client, *, ripe: Ripe | None, grant: Grant | None
    ) -> None:
        running = self.life.require_running()
        payload: dict[str, object] = {"step": "confirmed", "act": _act_of(act)}
        await self.life.journal_thread(
            running.journal.commit_ceremony,
            client=who.name,
            payload=_approvals_of(ripe) if ripe is not None else payload,
            decide=lambda: spend(
                grant,
                self._question(act, ripe),
                wanted=wants_presence(act, running.policy.content),
            ),
        )

    def _question(self, act: RunCeremony, ripe: Ripe | None) -> Question:
        journal_id = self.life.require_running().journal.journal_id
        digest = b""
        if ripe is not None:
            digest = act_digest(ripe.pending, journal_id=journal_id)
        return ceremony(act, approved=digest, journal_id=journal_id)

    async def _unseal(self, act: Unseal, who: Client, ripe: Ripe) -> list[str]:
        """Clear the latch; its rows are written once the journal is open."""
        confirmed = await self._confirm_unseal(act, ripe)
        told = {"step": "unseal", "latch_id": act.latch_id, **confirmed}
        self.life.note_unseal(who.name, [told, _approvals_of(ripe)])
        self.life.latch.clear(act.latch_id)
        self.life.unready = "starting"
        if not await self.life.check():
            return [f"the latch is clear, but not ready: {self.life.unready}"]
        return ["unsealed and ready"]

    async def _confirm_unseal(self, act: Unseal, ripe: Ripe) -> dict[str, object]:
        """Have the panel cleared, and somebody confirm where the policy asks for it.

        The policy is that of the copy beside the vault: the journal is closed. A
        latched tamper takes a key in the switch and a press already; nobody is asked
        twice.

        Returns:
            What the row says of it.
        """
        sealed_for = self.life.latch.require(act.latch_id).code
        if sealed_for == TAMPER and await self.life.guard.clear_tamper():
            return {"cleared_at_panel": True}
        copy = self.life.policy_copy.read()
        if not copy.content.presence.unseal:
            return {}
        digest = act_digest(ripe.pending, journal_id=copy.journal_id)
        asked = unseal(act.latch_id, act=digest, journal_id=copy.journal_id)
        grant = await self.life.guard.ask_while_sealed(asked)
        self.life.latch.require(act.latch_id)  # another may have been first
        return grant.spend(asked)

    async def _accept_head(self, act: AcceptHead, who: Client) -> list[str]:
        heads = self.life.require_running().heads
        await heads.require_same(sequence=act.sequence, row_hash=act.hash)
        await self._journal(who, step="accept-head", sequence=act.sequence)
        heads.anchored = True
        return ["the head is confirmed"]

    async def _journal(self, who: Client, **payload: object) -> None:
        await self.life.journal_thread(
            self.life.require_running().journal.commit_ceremony,
            client=who.name,
            payload=payload,
        )


def wants_presence(act: RunCeremony, policy: Policy) -> bool:
    """Say whether a policy wants somebody at the panel for a ceremony."""
    harmless = act.dry_run or act.ceremony in ONE_IS_ENOUGH
    return policy.presence.ceremonies and not harmless


def _act_of(act: Act) -> dict[str, object]:
    fields: dict[str, object] = json.loads(msgspec.json.encode(act))
    return fields


def _approvals_of(ripe: Ripe) -> dict[str, object]:
    return {
        "step": "approved",
        "act": _act_of(ripe.act),
        "operators": ripe.operators,
        "signatures": msgspec.to_builtins(ripe.signatures),
    }


def _still(
    signed: SignedPolicy, policy: PolicyInForce, grant: Grant | None
) -> dict[str, object]:
    """Judge a policy once more; called with the journal's lock held.

    Returns:
        What the row says besides.

    Raises:
        RefusedError: If another appliance has overtaken it.
    """
    in_force = policy.content
    content = verify_policy(signed, in_force=in_force)
    asked = policy_change(
        signed.text, content.version, journal_id=policy.journal.journal_id
    )
    return spend(grant, asked, wanted=in_force.presence.policy)
