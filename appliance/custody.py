# SPDX-License-Identifier: Apache-2.0
"""Ceremonies on a running appliance: what its vault rests on, changed under load.

``rotate-kek``, ``rotate-mac`` and ``rotate-identity`` replace HSM keys (``rotation``),
``move-hsm`` all three by keys of another token;
``rotate-salt`` adds a salt generation for new addresses, ``import-salt`` one for
addresses made elsewhere; ``retire`` stops one from issuing, and no salt is ever
destroyed; ``destroy-key`` ends a key that nothing needs; ``abandon`` takes back a
rotation that was cut short. Each is asked by an operator, can be tried as a dry run,
and stands in the journal.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from appliance.argon2_engines import Argon2Parameters
from appliance.backup import require_backup_key
from appliance.ceremony import (
    RANDOM_SALT_BYTES,
    FirstGeneration,
    check_strength,
    with_canary,
)
from appliance.checkup import Checkup
from appliance.enrolment import Enrolment
from appliance.errors import BadRequestError, BrokenInvariantError, ConfigError
from appliance.hsm import Hsm
from appliance.installation import MAX_SALT_BYTES, open_other_token, read_salt
from appliance.intent import commit
from appliance.journal_records import ENROL_PANEL
from appliance.lifecycle import Lifecycle
from appliance.panel_anchor import PanelAnchor
from appliance.receipt import CHECKPOINT_TYPE, make_statement
from appliance.rotation import Record, Rotations
from appliance.vault import (
    Sealed,
    Vault,
    VaultContent,
    seal,
    sealed_for,
    write_vault,
)
from appliance.wire import RunCeremony
from appliance.worst_day import WorstDay
from failpoints import failpoint
from trinary.memory import LockedBuffer

_LEVELS: Final = (2, 3)
_RECOVERING: Final = frozenset({"import-interchange", "recover-journal", ENROL_PANEL})
_Ceremony = Callable[[RunCeremony, str], Awaitable[list[str]]]


@dataclass(slots=True)
class Custody:
    """Runs one ceremony at a time.

    Attributes:
        life: The appliance's parts.
    """

    life: Lifecycle
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def rotations(self) -> Rotations:
        """Rotations of the vault in force."""
        return self._rotations_to(None)

    def _rotations_to(self, target: Hsm | None) -> Rotations:
        paths = self.life.paths
        return Rotations(
            paths.vault,
            paths.rotation,
            hsm=self.life.hsm,
            open_vault=self.life.open_vault,
            target=target,
        )

    async def run(
        self,
        request: RunCeremony,
        *,
        client: str,
        approved: Sequence[str] | None = None,
    ) -> list[str]:
        """Do a ceremony, or say what it would do.

        Args:
            request: Which.
            client: The operator who asks.
            approved: The steps that operators were shown and signed, if any were.

        Returns:
            Its steps, in words.

        Raises:
            BadRequestError: If there is no such ceremony.
        """
        channel, worst_day = Enrolment(self.life), WorstDay(self.life)
        ceremonies: dict[str, _Ceremony] = {
            "rotate-kek": self._rotate_key,
            "rotate-mac": self._rotate_key,
            "rotate-identity": self._rotate_key,
            "move-hsm": partial(self._move_hsm, approved=approved),
            "rotate-salt": self._rotate_salt,
            "import-salt": self._import_salt,
            "retire": self._retire,
            "destroy-key": self._destroy_key,
            "abandon": self._abandon,
            "set-backup-key": self._set_backup_key,
            "backup": worst_day.backup,
            "import-interchange": worst_day.import_interchange,
            "recover-journal": worst_day.recover_journal,
            "enrol-client": channel.enrol_client,
            "revoke-client": channel.revoke_client,
            "rotate-tls": channel.rotate_tls,
            "enrol-appliance": channel.enrol_appliance,
            ENROL_PANEL: partial(self._enrol_panel, approved=approved),
            "verify": self._verify,
        }
        ceremony = ceremonies.get(request.ceremony)
        if ceremony is None:
            raise BadRequestError(
                f"no ceremony {request.ceremony!r}; there are {sorted(ceremonies)}"
            )
        recovering = request.ceremony in _RECOVERING
        self.life.require_ready(recovering=recovering)
        async with self._lock:
            return await ceremony(request, client)

    async def checkpoint(self, *, client: str) -> str:
        """Have the identity key sign where the journal ends, and journal that.

        Args:
            client: Who asks.

        Returns:
            The statement.
        """
        running = self.life.require_ready()
        journal, vault = running.journal, running.vault
        head = journal.head
        claims = {
            "journal_id": journal.journal_id,
            "epoch": journal.epoch,
            "sequence": head.sequence,
            "hash": head.hash,
            "issued_at": journal.now_ms() // 1000,
        }
        statement = await asyncio.to_thread(
            make_statement,
            CHECKPOINT_TYPE,
            claims,
            point=vault.identity_point,
            sign_digest=vault.sign_digest,
        )
        await self._journal(client, "checkpoint", statement=statement)
        return statement

    async def _rotate_key(self, request: RunCeremony, client: str) -> list[str]:
        rotations = self.rotations
        record = await asyncio.to_thread(rotations.plan, request.ceremony)
        if request.dry_run:
            return record.steps()
        record, vault = await asyncio.to_thread(rotations.run, request.ceremony)
        await self.life.adopt(vault)
        await self._journal(client, request.ceremony, old=record.old, new=record.new)
        await asyncio.to_thread(rotations.finish)
        return record.steps()

    async def _move_hsm(
        self, request: RunCeremony, client: str, *, approved: Sequence[str] | None
    ) -> list[str]:
        """Make the keys in another token, seal everything for it, go on with it.

        Args:
            request: Its subject is a file on this host that describes the token.
            client: The operator who asks.
            approved: The steps as approved; they name the token, the file may have
                been changed since.

        Returns:
            The steps, in words.

        Raises:
            BadRequestError: If the file describes another token by now.
        """
        path = _absolute(request.subject)
        async with self._other_token(path) as target:
            rotations = self._rotations_to(target)
            record = await asyncio.to_thread(self._plan_move, rotations, target, path)
            if request.dry_run:
                return record.steps()
            if approved is not None and list(approved) != record.steps():
                raise BadRequestError(
                    f"approved was: {approved[0]}; now it would be:"
                    f" {record.steps()[0]}. Propose it again"
                )
            record, vault = await asyncio.to_thread(
                rotations.run, request.ceremony, target=path
            )
            await self.life.change_token(target, vault)
            await self._journal(
                client,
                request.ceremony,
                old=record.old,
                new=record.new,
                token=record.token,
            )
            await asyncio.to_thread(rotations.finish)
            return record.steps()

    def _plan_move(self, rotations: Rotations, target: Hsm, path: str) -> Record:
        if rotations.under_way is None and sealed_for(target) == sealed_for(
            self.life.hsm
        ):
            raise BadRequestError(f"{path} describes the token that is in use")
        return rotations.plan("move-hsm", target=path)

    @contextlib.asynccontextmanager
    async def _other_token(self, path: str) -> AsyncIterator[Hsm]:
        """Open the token that a file describes; close it if it was not adopted."""
        try:
            hsm = open_other_token(Path(path), allow_unlocked=self._allow_unlocked)
        except ConfigError as error:
            raise BadRequestError(str(error)) from error
        try:
            yield hsm
        finally:
            if hsm is not self.life.hsm:
                await asyncio.to_thread(hsm.close)

    async def _rotate_salt(self, request: RunCeremony, client: str) -> list[str]:
        vault = self.life.require_running().vault
        level = request.security_level or max(vault.issuing.security_level, _LEVELS[0])
        if level not in _LEVELS:
            raise BadRequestError("a new salt generation has security level 2 or 3")
        number = self._next_generation(vault)
        steps = [
            f"1. draw {RANDOM_SALT_BYTES} random bytes: salt {number}, level {level}",
            "2. derive its canary; journal that seed UUID as never to be issued",
            f"3. write the vault: generation {number} issues, older ones only sign",
        ]
        if not request.dry_run:
            before = vault.issuing
            first = FirstGeneration(before.network, level, before.argon2)
            salt = LockedBuffer(RANDOM_SALT_BYTES, allow_unlocked=self._allow_unlocked)
            with salt:
                await asyncio.to_thread(self.life.hsm.random_into, salt.view)
                for place, byte in enumerate(self.life.entropy.draw(salt.size)):
                    salt.view[place] ^= byte
                made = await self._seal_salt(vault, number, first, salt)
            await self._add_generation(vault, made, request.ceremony, client)
        return steps

    async def _import_salt(self, request: RunCeremony, client: str) -> list[str]:
        """Take over a salt that addresses were made with elsewhere.

        It signs for those addresses and never issues: it was in another's hands.

        Args:
            request: Where it is, and what it was used with.
            client: The operator who asks.

        Returns:
            The steps, in words.
        """
        vault = self.life.require_running().vault
        if request.blind:
            self._require_no_doubt()
        number = self._next_generation(vault)
        first = FirstGeneration(
            vault.issuing.network,
            request.security_level or vault.issuing.security_level,
            _argon2(request.argon2) if request.argon2 else vault.issuing.argon2,
        )
        with await asyncio.to_thread(self._read_salt, request.subject) as salt:
            _require_strength(first, salt)
            cost = first.argon2
            told = (
                f"{salt.size} bytes, level {first.security_level},"
                f" {cost.variant} {cost.time_cost} {cost.memory_kib}"
            )
            steps = [
                f"1. read the salt from {request.subject}: {told}",
                "2. derive its canary; journal that seed UUID as never to be issued",
                f"3. write the vault: generation {number} signs and never issues",
            ]
            if request.blind:
                steps.append(
                    f"4. let an old Hub (role legacy-hub) have bare hashes signed with"
                    f" generation {number}, whatever they pay, one per seed UUID"
                )
            if not request.dry_run:
                made = await self._seal_salt(vault, number, first, salt)
                await self._add_generation(
                    vault,
                    made,
                    request.ceremony,
                    client,
                    retired=[number],
                    blind=[number] if request.blind else [],
                )
        arena_kib = max(one.argon2.memory_kib for one in vault.generations.values())
        if not request.dry_run and first.argon2.memory_kib > arena_kib:
            await self.life.restart(self.life.running, reason="starting")
        return steps

    @property
    def _allow_unlocked(self) -> bool:
        return self.life.config.derivation.allow_unlocked

    def _require_no_doubt(self) -> None:
        """Keep the old Hub's door shut where its signatures may be forgotten.

        Its keys need not have been issued here, so that a recovery that does not know
        them marks none of them as spent.

        Raises:
            BadRequestError: If the journal was ever recovered without them.
        """
        if self.life.require_running().journal.verified.doubtful:
            raise BadRequestError(
                "this journal was restored and recovered without all that was spent:"
                " keys that signed bare hashes since are not known here, so that no"
                " salt may be blind; sweep its addresses as whole bundles"
            )

    def _next_generation(self, vault: Vault) -> int:
        """Return a number that was never given, also where the vault lost it."""
        made = self.life.require_running().journal.verified.newest_generation
        return max(*vault.generations, made) + 1

    def _read_salt(self, source: str) -> LockedBuffer:
        """Read a salt on the appliance's own host.

        Args:
            source: As ``installation.read_salt`` takes it, or ``hsm:LABEL``.

        Returns:
            The salt; the caller closes it.

        Raises:
            BadRequestError: If there is none, or it is open to others.
        """
        if source.startswith("hsm:"):
            return self._read_salt_object(source.removeprefix("hsm:"))
        try:
            return read_salt(source, allow_unlocked=self._allow_unlocked)
        except ConfigError as error:
            raise BadRequestError(str(error)) from error

    def _read_salt_object(self, label: str) -> LockedBuffer:
        with LockedBuffer(MAX_SALT_BYTES, allow_unlocked=self._allow_unlocked) as room:
            size = self.life.hsm.read_object(label=label, into=room.view)
            if not size:
                raise BadRequestError(f"the object {label!r} is empty")
            salt = LockedBuffer(size, allow_unlocked=self._allow_unlocked)
            salt.view[:] = room.view[:size]
            return salt

    async def _seal_salt(
        self, vault: Vault, number: int, first: FirstGeneration, salt: LockedBuffer
    ) -> Sealed:
        """Derive a new generation's canary and put its salt into an envelope."""
        generation = await with_canary(
            number,
            first,
            salt,
            allow_unlocked=self._allow_unlocked,
            draw=self.life.entropy.draw,
        )
        envelope = await asyncio.to_thread(
            seal,
            salt.view,
            purpose="salt",
            aad=vault.associated_data("salt", generation),
            hsm=self.life.hsm,
            kek_label=vault.content.head_key.kek_label,
        )
        return Sealed(generation, envelope)

    async def _add_generation(
        self,
        vault: Vault,
        made: Sealed,
        step: str,
        client: str,
        *,
        retired: Sequence[int] = (),
        blind: Sequence[int] = (),
    ) -> None:
        failpoint("rotate-salt.sealed")
        await self._journal(
            client,
            step,
            generation=made.generation.id,
            blind=bool(blind),
            never_issue=[commit(made.generation.canary_uuid)],
        )
        failpoint("rotate-salt.journalled")
        await self._switch(
            vault,
            generations=[*vault.content.generations, made],
            retired=[*vault.content.retired, *retired],
            blind=[*vault.content.blind, *blind],
        )
        failpoint("rotate-salt.switched")

    async def _retire(self, request: RunCeremony, client: str) -> list[str]:
        vault = self.life.require_running().vault
        if request.subject in map(str, vault.content.blind):
            return await self._close_blind(request, client)
        active = sorted(set(vault.generations) - set(vault.content.retired))
        if request.subject not in map(str, active):
            raise BadRequestError(
                f"generation {request.subject!r} does not issue; {active} do"
            )
        if active == [int(request.subject)]:
            raise BadRequestError(
                "it is the only one that issues: rotate the salt first"
            )
        steps = [
            f"1. journal that generation {request.subject} issues no more",
            "2. write the vault; its salt stays, its addresses can still be swept",
        ]
        if not request.dry_run:
            await self._journal(client, "retire", generation=int(request.subject))
            failpoint("retire.journalled")
            retired = [*vault.content.retired, int(request.subject)]
            await self._switch(vault, retired=retired)
        return steps

    async def _close_blind(self, request: RunCeremony, client: str) -> list[str]:
        steps = [
            f"1. journal that no bare hash is signed with generation {request.subject}",
            "2. write the vault; its addresses can still be swept as whole bundles",
        ]
        if not request.dry_run:
            number, vault = int(request.subject), self.life.require_running().vault
            await self._journal(client, "retire", generation=number, blind=False)
            left = [one for one in vault.content.blind if one != number]
            await self._switch(vault, blind=left)
        return steps

    async def _destroy_key(self, request: RunCeremony, client: str) -> list[str]:
        steps = [f"1. destroy {request.subject} in the HSM, for ever"]
        if not request.dry_run:
            await asyncio.to_thread(self.rotations.destroy_key, request.subject)
            await self._journal(client, "destroy-key", label=request.subject)
        return steps

    async def _abandon(self, request: RunCeremony, client: str) -> list[str]:
        record = self.rotations.under_way
        if record is None:
            raise BadRequestError("no rotation is under way")
        steps = [f"1. destroy {record.new} in the HSM and forget {record.kind}"]
        if not request.dry_run:
            async with contextlib.AsyncExitStack() as stack:
                target = None
                if record.target:
                    opening = self._other_token(record.target)
                    target = await stack.enter_async_context(opening)
                await asyncio.to_thread(self._rotations_to(target).abandon)
            await self._journal(client, "abandon", kind=record.kind, new=record.new)
        return steps

    async def _set_backup_key(self, request: RunCeremony, client: str) -> list[str]:
        vault = self.life.require_running().vault
        key = require_backup_key(request.subject).hex()
        steps = [
            f"1. journal that backups are for key {key} from now on",
            "2. write the vault with it",
        ]
        if not request.dry_run:
            await self._journal(client, "set-backup-key", key=key)
            failpoint("set-backup-key.journalled")
            await self._switch(vault, backup_key=key)
        return steps

    async def _enrol_panel(
        self, request: RunCeremony, client: str, *, approved: Sequence[str] | None
    ) -> list[str]:
        """Let the panel that is there anchor the journal from now on.

        Args:
            request: Nothing but its name.
            client: The operator who asks.
            approved: The steps as approved; they name the panel and its counter.

        Returns:
            The steps, in words.

        Raises:
            BadRequestError: If it is another panel by now, or has counted since.
        """
        life = self.life
        journal = life.require_running().journal
        anchor = PanelAnchor(life.guard, journal, life.journal_thread)
        steps = await anchor.plan()
        if approved is not None and approved[0] != steps[0]:
            raise BadRequestError(
                f"approved was: {approved[0]}; now it would be: {steps[0]}. Propose it"
                " again"
            )
        if not request.dry_run:
            await anchor.enrol(client=client)
        return steps

    async def _verify(self, request: RunCeremony, client: str) -> list[str]:
        if request.dry_run:
            return ["1. check vault, salts, identity, journal, policy and channel"]
        found = await Checkup(self.life).run()
        await self._journal(client, "verify", found=found)
        return found

    async def _switch(self, vault: Vault, **changes: object) -> None:
        """Write the vault with changes, open it anew and let requests use it."""
        content: VaultContent = msgspec.structs.replace(vault.content, **changes)
        await asyncio.to_thread(
            write_vault, self.life.paths.vault, content, hsm=self.life.hsm
        )
        switched = await asyncio.to_thread(self.life.open_vault, self.life.hsm)
        if switched.content != content:
            raise BrokenInvariantError("the vault does not hold what was written")
        await self.life.adopt(switched)

    async def _journal(self, client: str, step: str, **payload: object) -> None:
        await self.life.journal_thread(
            self.life.require_running().journal.commit_ceremony,
            client=client,
            payload={"step": step, **payload},
        )


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _argon2(text: str) -> Argon2Parameters:
    """Read ``argon2id 4 131072``: variant, passes, KiB.

    Args:
        text: As above.

    Returns:
        The parameters.

    Raises:
        BadRequestError: If it is not of that form.
    """
    variant, _, costs = text.partition(" ")
    try:
        time_cost, memory_kib = (int(cost) for cost in costs.split())
        fields = {"variant": variant, "time_cost": time_cost, "memory_kib": memory_kib}
        return msgspec.convert(fields, Argon2Parameters)
    except (ValueError, msgspec.ValidationError) as error:
        raise BadRequestError(
            f"argon2 is variant, passes and KiB, e.g. `argon2id 4 131072`: {error}"
        ) from error


def _require_strength(first: FirstGeneration, salt: LockedBuffer) -> None:
    try:
        check_strength(first, salt)
    except ConfigError as error:
        raise BadRequestError(str(error)) from error
