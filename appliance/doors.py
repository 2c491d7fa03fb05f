# SPDX-License-Identifier: Apache-2.0
"""The dangerous doors: second signatures and exported seeds.

Both are shut unless the policy opens them, and passed only by an act that two
operators approved. ``shown`` says what approvers see and refuses what can not be;
``pass_by`` does the act, once.
"""

import asyncio
from dataclasses import dataclass

import msgspec

from appliance.approvals import Ripe
from appliance.approved import ApprovedAct
from appliance.config import Client
from appliance.durable import write_durably
from appliance.errors import BrokenInvariantError, ForbiddenError, RefusedError
from appliance.intent import commit, require_size
from appliance.lifecycle import Lifecycle
from appliance.second_signature import (
    DoorAsked,
    OpenedDoor,
    require_open,
    transfer_of,
)
from appliance.seed_export import SeedAsked
from appliance.steps import Steps
from appliance.wire import ExportSeed, SecondSignature
from failpoints import failpoint


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of an act.

    Attributes:
        steps: What was done, in words.
        export: A seed, encrypted to its officer.
    """

    steps: list[str]
    export: str = ""


@dataclass(slots=True)
class DangerousDoors:
    """Guards both doors.

    Attributes:
        life: The appliance's parts.
    """

    life: Lifecycle

    async def shown(self, act: SecondSignature | ExportSeed, who: Client) -> list[str]:
        """Say what approvers must see of an act that is proposed.

        Args:
            act: What is asked.
            who: The proposer: limits and windows are theirs.

        Returns:
            What they are shown, line by line.
        """
        match act:
            case SecondSignature():
                asked = self._asked(act)
                signing = self.life.require_ready().signing
                return await signing.consider(asked, client=who)
            case ExportSeed():
                seed = SeedAsked(act, self.life.require_ready())
                doors = seed.running.policy.content.doors
                require_open(open_now=doors.seed_export, door="seed_export")
                record = await self.life.journal_thread(seed.find)
                return await self.life.journal_thread(seed.describe, record)

    async def pass_by(self, ripe: Ripe, who: Client) -> Passed:
        """Do an act that has all its approvals.

        Args:
            ripe: The act and the approvals.
            who: Whose approval was the last.

        Returns:
            What was done.

        Raises:
            BrokenInvariantError: If the act is none of a door.
        """
        approved = ApprovedAct(ripe.pending, tuple(ripe.signatures))
        match ripe.act:
            case SecondSignature():
                return await self._sign(ripe.act, approved)
            case ExportSeed():
                return await self._export(ripe.act, approved, who)
            case _:
                raise BrokenInvariantError("an act of no door came to a door")

    def _asked(self, act: SecondSignature) -> DoorAsked:
        """Check what costs nothing to check.

        Returns:
            The bundle asked for.
        """
        running, limits = self.life.require_ready(), self.life.config.limits
        doors = running.policy.content.doors
        require_open(open_now=doors.second_signatures, door="second_signatures")
        require_size(
            act.transactions,
            act.inputs,
            max_transactions=limits.max_transactions,
            max_inputs=limits.max_inputs,
        )
        return DoorAsked(act, running.policy, running.signing.levels)

    async def _sign(self, act: SecondSignature, approved: ApprovedAct) -> Passed:
        door = OpenedDoor(self._asked(act), approved)
        try:
            await self.life.require_ready().signing.sign(
                transfer_of(act),
                client=self._client(approved.pending.proposer),
                steps=Steps(),
                door=door,
            )
        except RefusedError as error:
            error.final_for = act.bundle_hash
            raise
        return Passed([f"signed; fetch bundle {act.bundle_hash}"])

    async def _export(
        self, act: ExportSeed, approved: ApprovedAct, who: Client
    ) -> Passed:
        seed = SeedAsked(act, self.life.require_ready())
        record = await self.life.journal_thread(seed.find)
        grant = None
        if seed.running.policy.content.doors.presence:
            presence = seed.running.signing.presence
            grant = await presence.ask(seed.question(record, approved))
        await self.life.journal_thread(
            seed.running.journal.commit_export,
            commit(act.seed_uuid),
            client=who.name,
            payload=lambda: seed.spend(record, approved, grant),
        )
        failpoint("export.journalled")
        self.life.require_ready()  # a seal that fell meanwhile holds it back
        sealed = msgspec.json.format(msgspec.json.encode(await seed.seal(record)))
        path = self.life.paths.exports / f"seed-{approved.pending.id}.json"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(
            write_durably, path, sealed, before_rename="export.before-rename"
        )
        failpoint("export.written")
        steps = [
            "1. journalled the key as spent, for a hash nobody knows",
            f"2. encrypted the seed to {act.officer}: {path.name}",
        ]
        return Passed(steps, sealed.decode())

    def _client(self, name: str) -> Client:
        """Return whose limits and windows hold.

        Raises:
            ForbiddenError: If the proposer's certificate was taken out since.
        """
        for client in self.life.roster.clients:
            if client.name == name:
                return client
        raise ForbiddenError(f"who proposed it, {name:.80}, is no client any more")
