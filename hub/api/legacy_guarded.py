# SPDX-License-Identifier: Apache-2.0
"""The legacy commands that reached for keys; answered as disabled by default.

Hub 1.4.4 hid them behind flags, one of them behind none. Here no hub process can do
what they did: a second signature needs two operators at the appliance, and a seed
leaves only for an officer. ``SignBundle`` and ``RecoverFunds``, where they are
switched on, ask those operators; asking again tells how it is. Otherwise the replies
are those of the old flags left off, so that clients that probe for them see what
they know.
Source: Hub 1.4.4, hub/commands.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hub.addresses import SpentOracle, parse_address, require_unspent
from hub.api.legacy_errors import CommandRefusedError, LegacyError
from hub.api.legacy_fields import Fields
from hub.api.legacy_tokens import TokenGate, TokenInvalidError
from hub.api.ptree import Branch
from hub.errors import ApplianceUnavailableError
from hub.model import Address, AddressState, BundleHash, OwnAddress, UserId
from hub.recovery import (
    Progress,
    Recoveries,
    RecoveryRefusedError,
    RecoverySigner,
    StillMining,
)
from hub.signer import (
    AwaitingApproval,
    Claim,
    DoorClosedError,
    SignaturesGiven,
    SigningDeferred,
    SigningRefused,
)
from hub.store import Store
from hub.tangle import BundleInvalidError, Draft, read_draft

_log = logging.getLogger(__name__)
_RECOVER = "docs/ceremonies/recover-funds.md"
_EXPORT = "docs/ceremonies/export-seed.md"


class BalanceOracle(SpentOracle, Protocol):
    """What nodes say of an address."""

    async def balances(self, addresses: Sequence[Address]) -> dict[Address, int]:
        """Return what a quorum says addresses hold, in iota."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the two commands need where they are switched on.

    Attributes:
        signer: The appliance.
        oracle: The nodes.
        tokens: Who may ask for ``SignBundle``; None: it is off.
        recoveries: Does ``RecoverFunds``; None: it is off.
    """

    signer: RecoverySigner
    oracle: BalanceOracle
    tokens: TokenGate | None = None
    recoveries: Recoveries | None = None


class GuardedCommands:
    """The four commands.

    Args:
        store: The database.
        doors: What is switched on; None: nothing.
    """

    def __init__(self, store: Store, doors: Doors | None) -> None:
        self._store = store
        self._doors = doors

    async def sign_bundle(self, fields: Fields) -> Branch:
        """Answer ``SignBundle``; disabled: two errors at once, as the old one did.

        Args:
            fields: address, bundleHash, authenticationToken, validateChecksum, and
                ``trytes``: every transaction, unsigned, in order.

        Returns:
            The signature of the address's input, once it was approved.

        Raises:
            CommandRefusedError: In the old order.
        """
        if self._doors is None or self._doors.tokens is None:
            _log.warning("SignBundle is off: see %s", _RECOVER)
            second = (
                LegacyError.MISSING_ARGUMENT
                if fields.optional("address") is None
                else LegacyError.CANCELLED
            )
            raise CommandRefusedError(LegacyError.CANCELLED, second)
        text, stated = fields.text("address"), fields.text("bundleHash")
        token = fields.text("authenticationToken")
        trytes = fields.texts("trytes")
        checked = fields.flag("validateChecksum")
        own = await self._own(parse_address(text, checksum=checked))
        if own.state is not AddressState.SPENT:
            raise CommandRefusedError(LegacyError.INVALID_ADDRESS)
        bundle_hash = BundleHash(parse_address(stated, checksum=False))
        try:
            self._doors.tokens.admit(token, own.address, bundle_hash)
        except TokenInvalidError as error:
            _log.warning("SignBundle: token refused: %s", error)
            raise CommandRefusedError(LegacyError.INVALID_AUTHENTICATION) from error
        return await self._sign(self._doors.signer, own, _draft_of(trytes, bundle_hash))

    async def recover_funds(self, fields: Fields) -> Branch:
        """Answer ``RecoverFunds``.

        Args:
            fields: userId, address, payoutAddress, validateChecksum.

        Returns:
            Nothing, once the bundle is signed and sent to the nodes.

        Raises:
            CommandRefusedError: In the old order; ``Mining`` and ``Awaiting
                approval`` while it is under way.
        """
        user, text, payout = (
            fields.text(name) for name in ("userId", "address", "payoutAddress")
        )
        if self._doors is None or self._doors.recoveries is None:
            _log.warning("RecoverFunds is off: see %s", _RECOVER)
            raise CommandRefusedError(LegacyError.CANCELLED)
        async with self._store.reading() as tx:
            account = await tx.accounts.by_identifier(UserId(user))
        to = parse_address(payout, checksum=fields.flag("validateChecksum"))
        own = await self._own(parse_address(text, checksum=False))
        if own.account_id != account.account_id:
            raise CommandRefusedError(LegacyError.WRONG_USER)
        if own.state is not AddressState.SPENT:
            raise CommandRefusedError(LegacyError.INVALID_ADDRESS)
        oracle = self._doors.oracle
        await require_unspent(self._store, oracle, to)
        amount_i = (await oracle.balances([own.address])).get(own.address)
        if amount_i is None:
            raise CommandRefusedError(LegacyError.ADDRESS_NOT_KNOWN)
        if amount_i == 0:
            raise CommandRefusedError(LegacyError.BALANCE_ZERO)
        try:
            recoveries = self._doors.recoveries
            return _told(await recoveries.take_further(own, to, amount_i))
        except DoorClosedError as error:
            raise CommandRefusedError(LegacyError.CANCELLED) from error
        except RecoveryRefusedError as error:
            _log.error("recovery of %s refused: %s", own.address, error)
            raise CommandRefusedError(LegacyError.SIGNING_FAILED) from error

    async def get_seed_for_address(self, fields: Fields) -> Branch:
        """Answer ``GetSeedForAddress``: disabled, always.

        Args:
            fields: userId, address.

        Raises:
            CommandRefusedError: Always.
        """
        for name in ("userId", "address"):
            fields.text(name)
        _log.warning("seeds are not exported by a hub: see %s", _EXPORT)
        raise CommandRefusedError(LegacyError.CANCELLED)

    async def get_seed_for_uuid(self, fields: Fields) -> Branch:
        """Answer ``GetSeedForUUID``, which no flag guarded: disabled, always.

        Args:
            fields: uuid.

        Raises:
            CommandRefusedError: Always.
        """
        fields.text("uuid")
        _log.warning("seeds are not exported by a hub: see %s", _EXPORT)
        raise CommandRefusedError(LegacyError.CANCELLED)

    async def _own(self, text: Address) -> OwnAddress:
        async with self._store.reading() as tx:
            own = await tx.addresses.find(text)
        if own is None:
            raise CommandRefusedError(LegacyError.UNKNOWN_ADDRESS)
        return own

    async def _sign(
        self, signer: RecoverySigner, own: OwnAddress, draft: Draft
    ) -> Branch:
        parts = list(enumerate(draft.transactions))
        async with self._store.reading() as tx:
            found = await tx.addresses.find_many([Address(t.address) for _, t in parts])
        ours = {str(one.address): one for one in found}
        inputs = [(n, ours.get(t.address)) for n, t in parts if t.value_i < 0]
        known = [(n, one) for n, one in inputs if one is not None]
        if len(known) != len(inputs) or own not in [one for _, one in known]:
            raise CommandRefusedError(LegacyError.UNKNOWN_ADDRESS)
        try:
            outcome = await signer.ask_second_signature(
                draft,
                [Claim(n, o.issued.seed_uuid, o.issued.generation) for n, o in known],
                spent_inputs=[n for n, o in known if o.state is AddressState.SPENT],
                own_outputs=[
                    n for n, t in parts if t.value_i > 0 and t.address in ours
                ],
                purpose="sign-bundle",
            )
        except DoorClosedError as error:
            raise CommandRefusedError(LegacyError.CANCELLED) from error
        match outcome:
            case SignaturesGiven(signatures):
                (index,) = (n for n, one in known if one == own)
                return [("signature", "".join(signatures[index]))]
            case AwaitingApproval():
                raise _awaiting(outcome)
            case SigningRefused(code, message):
                _log.error("bundle %s refused %s: %s", draft.bundle_hash, code, message)
                raise CommandRefusedError(LegacyError.SIGNING_FAILED)
            case SigningDeferred(code, message):
                raise ApplianceUnavailableError(f"{code}: {message}")


def _draft_of(trytes: Sequence[str], bundle_hash: BundleHash) -> Draft:
    """Read the bundle shown; a bare hash is never passed on.

    Returns:
        The bundle.

    Raises:
        CommandRefusedError: If it is none, or not the one that is stated.
    """
    try:
        draft = read_draft(trytes)
    except BundleInvalidError as error:
        _log.info("SignBundle: %s", error)
        raise CommandRefusedError(LegacyError.SIGNING_FAILED) from error
    if draft.bundle_hash != bundle_hash:
        raise CommandRefusedError(LegacyError.SIGNING_FAILED)
    return draft


def _told(progress: Progress) -> Branch:
    match progress:
        case StillMining(tried):
            _log.info("mining: %d tags tried", tried)
            raise CommandRefusedError(LegacyError.MINING)
        case AwaitingApproval():
            raise _awaiting(progress)
        case _:
            return []


def _awaiting(outcome: AwaitingApproval) -> CommandRefusedError:
    _log.warning(
        "act %s waits: %d operators must approve it, %s have; see %s",
        outcome.act_id,
        outcome.needed,
        ", ".join(outcome.approved_by) or "none",
        _RECOVER,
    )
    return CommandRefusedError(LegacyError.AWAITING_APPROVAL)
