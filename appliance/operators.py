# SPDX-License-Identifier: Apache-2.0
"""Requests of people: read the journal, seal, approve, run ceremonies, set policy."""

import json
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.approvals import (
    MOST_OF_A_HUB,
    MOST_OF_AN_OPERATOR,
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
from appliance.panel_guard import TAMPER
from appliance.policy_file import Policy, SignedPolicy, verify_policy
from appliance.policy_force import Copied, PolicyInForce
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
    _approvals: Approvals = field(default_factory=Approvals)
    _followed: str = ""

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
        steps = await self.custody.run(request, client=who.name)
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
        payload: dict[str, object] = {"step": "policy", "version": content.version}
        payload["policy"] = msgspec.to_builtins(signed)
        await self.life.journal_thread(
            running.journal.commit_ceremony,
            client=who.name,
            payload=payload,
            decide=lambda: _still(signed, running.policy),
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
                try:
                    steps = await self._unseal(ripe.act, who)
                except FaultError:
                    self._approvals.put_back(ripe)
                    raise
                if self.life.running is not None:
                    await self._journal_approvals(ripe, who)
                return Passed(steps)
            case AcceptHead():
                steps = await self._accept_head(ripe.act, who)
                await self._journal_approvals(ripe, who)
                return Passed(steps)
            case RunCeremony():
                await self._journal_approvals(ripe, who)
                steps = await self.custody.run(
                    ripe.act, client=who.name, approved=ripe.pending.shown
                )
                return Passed(steps)
            case SecondSignature() | ExportSeed():
                return await self._pass_door(ripe, who)

    async def _unseal(self, act: Unseal, who: Client) -> list[str]:
        if self.life.latch.require(act.latch_id).code == TAMPER:
            await self.life.guard.clear_tamper()
        self.life.latch.clear(act.latch_id)
        self.life.unready = "starting"
        if not await self.life.check():
            return [f"the latch is clear, but not ready: {self.life.unready}"]
        await self._journal(who, step="unseal", latch_id=act.latch_id)
        return ["unsealed and ready"]

    async def _accept_head(self, act: AcceptHead, who: Client) -> list[str]:
        heads = self.life.require_running().heads
        await heads.require_same(sequence=act.sequence, row_hash=act.hash)
        await self._journal(who, step="accept-head", sequence=act.sequence)
        heads.anchored = True
        return ["the head is confirmed"]

    async def _journal_approvals(self, ripe: Ripe, who: Client) -> None:
        await self._journal(
            who,
            step="approved",
            act=json.loads(msgspec.json.encode(ripe.act)),
            operators=ripe.operators,
            signatures=msgspec.to_builtins(ripe.signatures),
        )

    async def _journal(self, who: Client, **payload: object) -> None:
        await self.life.journal_thread(
            self.life.require_running().journal.commit_ceremony,
            client=who.name,
            payload=payload,
        )


def _still(signed: SignedPolicy, policy: PolicyInForce) -> None:
    """Refuse a policy that another appliance has overtaken; asked under the lock."""
    verify_policy(signed, in_force=policy.content)
