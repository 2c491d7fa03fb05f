# SPDX-License-Identifier: Apache-2.0
"""The hub's only door to the appliance; the one module that knows its wire format.

Every reply's head token is remembered before its content is acted on, and the
highest one goes out with every request: a rolled-back appliance is found out, and
an anchored one can be told. A time-out decides nothing; the same request follows.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias

import aiohttp
import jwt
import msgspec

from appliance import wire
from channel import ChannelError
from firmware_bridge.errors import BridgeError
from hub import tracing
from hub.errors import ApplianceUnavailableError, ConfigError, InvariantError
from hub.instruments import timed_appliance
from hub.model import Address, BundleHash, HeadToken, IssuedAddress, SeedUuid
from hub.receipts import RECEIPT_TYPE, decode_receipt
from hub.tangle import Draft, DraftTransaction, finish

_MOST_WORDS: Final = 600
"""Characters of an act that a page shows; an interchange file may be its subject."""
_SEED_UUID_BYTES: Final = 48
_ROWS: Final = 500
_RETRY_S: Final = 0.5
REQUEST_PATH: Final = wire.PATH
_NO_REPLY: Final = (
    TimeoutError,
    aiohttp.ClientError,
    ChannelError,
    BridgeError,
    msgspec.DecodeError,
)
"""What ends an attempt without a reply: the same may be asked again."""


def commitment_of(seed_uuid: str) -> str:
    """Return what stands for a seed UUID wherever it must not be read.

    Args:
        seed_uuid: 64 characters of the base64 alphabet.

    Returns:
        64 hex characters.
    """
    return wire.commitment_of(seed_uuid)


class ReceiptInvalidError(InvariantError):
    """An address came without a receipt of the pinned identity key."""

    code = "receipt-invalid"


class SeedUuidRefusedError(ApplianceUnavailableError):
    """The appliance will not issue this seed UUID; another one may do."""

    code = "seed-uuid-refused"


class DoorClosedError(ApplianceUnavailableError):
    """The appliance's policy does not open the door for second signatures."""

    code = "door-closed"


class RequestRejectedError(ApplianceUnavailableError):
    """The appliance will not look at this request: beyond its limits, say.

    Nothing was decided, and the same request meets the same answer until somebody
    has changed the appliance's configuration.
    """

    code = "request-rejected"


@dataclass(frozen=True, slots=True)
class SignaturesGiven:
    """The bundle is signed.

    Attributes:
        signatures: Fragments of 2187 trytes by the index of their input.
        journal_sequence: The journal's last row when they were given, if it was told.
    """

    signatures: Mapping[int, Sequence[str]]
    journal_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class SigningDeferred:
    """Nothing was decided; ask for the very same bundle again."""

    code: str
    message: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class SigningRefused:
    """Final: this bundle is never signed, its inputs may be released."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActAsked:
    """An act that waits for operators at the appliance; shown, never approved here.

    Attributes:
        act_id: 32 hex characters.
        what: Every field of it, in words; no seed UUID, no more than a page takes.
        shown: What the appliance adds for the approvers: what it comes to.
        proposer: Whose certificate asked.
        approved_by: Who has approved.
        needed: Distinct operators that must.
        expires_at_ms: When it is forgotten, milliseconds since 1970.
    """

    act_id: str
    what: str
    shown: tuple[str, ...]
    proposer: str
    approved_by: tuple[str, ...]
    needed: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class AdoptionRefused:
    """Final: this address of an old Hub is not spent from here.

    Attributes:
        code: ``seed-uuid-known`` if its key is known to have signed;
            ``other-address`` if the salt, its cost or its level are others.
        message: For people.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AdoptionDeferred:
    """Nothing was decided; ask the same again then.

    Attributes:
        retry_after_s: When, in seconds.
    """

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class AwaitingApproval:
    """Operators must approve it first; ask for the very same again.

    Attributes:
        act_id: What they approve.
        approved_by: Who has.
        needed: How many must.
    """

    act_id: str
    approved_by: tuple[str, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class MiningProgress:
    """How a search for a tag is getting on; ask again until it is done.

    Attributes:
        state: ``running``, ``done``, ``cancelled`` or ``failed``.
        tried: Tags tried so far.
        obsolete_tag: The best so far; empty: none yet.
        bundle_hash: The bundle's hash with it.
        least_bits: What the worst key has left after it.
    """

    state: str
    tried: int
    obsolete_tag: str
    bundle_hash: str
    least_bits: float


SecondOutcome: TypeAlias = (
    SignaturesGiven | SigningDeferred | SigningRefused | AwaitingApproval
)
"""What may become of a second signature that was asked for."""
Purpose: TypeAlias = Literal["sign-bundle", "recover-funds"]
AdoptionOutcome: TypeAlias = IssuedAddress | AdoptionRefused | AdoptionDeferred
SigningOutcome: TypeAlias = SignaturesGiven | SigningDeferred | SigningRefused
StatusReport: TypeAlias = wire.StatusReport


@dataclass(frozen=True, slots=True)
class Claim:
    """Which key signs an input.

    Attributes:
        index: The input's place in the bundle.
        seed_uuid: Of its address.
        generation: The salt generation it was issued under.
    """

    index: int
    seed_uuid: SeedUuid
    generation: int


class HeadBook(Protocol):
    """Where the highest head token is kept."""

    async def get(self) -> HeadToken | None:
        """Return the highest token stored."""

    async def remember(self, token: HeadToken) -> None:
        """Store a token if it is the highest; durable on return."""


@dataclass(frozen=True, slots=True)
class SignerSettings:
    """What to believe of the appliance.

    Attributes:
        identity_key: PEM path of the identity key from the ``init`` print-out,
            with its successors after it.
        network: The network every receipt must name.
        attempts: How often one is sent before it counts as not answered; one where
            another appliance can be asked instead.
    """

    identity_key: Path
    network: str
    attempts: int = 3


class Carrier(Protocol):
    """Carries a request to the appliance and a reply back; opened and closed with it.

    Attributes:
        where: The appliance's place, for messages.
    """

    where: str

    async def __aenter__(self) -> Self:
        """Look at its files."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what is open."""

    async def carry(self, body: bytes) -> bytes:
        """Return the reply; what it raises is one of ``_NO_REPLY``."""


class Signer:
    """A connection to the appliance; use it with ``async with``.

    Args:
        settings: What to believe.
        heads: Where the highest head token is kept.
        carrier: How it is reached.
    """

    def __init__(
        self, settings: SignerSettings, heads: HeadBook, *, carrier: Carrier
    ) -> None:
        self._settings = settings
        self._heads = heads
        self._carrier = carrier
        self._identity_key = ""

    @property
    def where(self) -> str:
        """The appliance's place."""
        return self._carrier.where

    async def __aenter__(self) -> Self:
        """Load the files.

        Returns:
            The signer itself.

        Raises:
            ConfigError: If one is missing or does not fit.
        """
        try:
            self._identity_key = self._settings.identity_key.read_text()
            await self._carrier.__aenter__()
        except (OSError, ChannelError, BridgeError) as error:
            raise ConfigError(f"[appliance]: {error}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._carrier.__aexit__(kind, error, traceback)

    async def status(self) -> wire.StatusReport:
        """Ask how the appliance is, and remember its head.

        Returns:
            What it says.

        Raises:
            ApplianceUnavailableError: If it does not say.
        """
        reply = await self._ask(wire.GetStatus(request_id=_request_id()))
        if not isinstance(reply, wire.StatusReport):
            raise ApplianceUnavailableError(_said(reply))
        return reply

    async def issue(self, user_commitment: str) -> IssuedAddress:
        """Get a fresh address and check its receipt.

        Args:
            user_commitment: 64 hex characters, or empty for the hub's owner.

        Returns:
            The address with its seed UUID and receipt.

        Raises:
            ApplianceUnavailableError: If the appliance can not be asked now.
            ReceiptInvalidError: If the receipt is not the identity key's.
            SeedUuidRefusedError: If the appliance knows the UUID drawn.
        """
        seed_uuid = base64.b64encode(secrets.token_bytes(_SEED_UUID_BYTES)).decode()
        reply = await self._ask(
            wire.IssueAddress(
                request_id=_request_id(),
                seed_uuid=seed_uuid,
                user_commitment=user_commitment,
            )
        )
        if isinstance(reply, wire.Refused):
            raise SeedUuidRefusedError(f"{reply.code}: {reply.message}")
        if not isinstance(reply, wire.Issued):
            raise ApplianceUnavailableError(_said(reply))
        self._require_receipt(reply, seed_uuid, user_commitment)
        return IssuedAddress(
            address=Address(reply.address),
            seed_uuid=SeedUuid(seed_uuid),
            generation=reply.generation,
            security_level=reply.security_level,
            receipt=reply.receipt,
        )

    async def adopt(
        self, seed_uuid: SeedUuid, address: Address, *, generation: int
    ) -> AdoptionOutcome:
        """Ask that an address of an old Hub may be spent from; safe to repeat.

        Args:
            seed_uuid: As the old Hub stored it.
            address: What it must derive to, 81 trytes.
            generation: Of the salt that the appliance took over.

        Returns:
            The address, without a receipt, or why not.

        Raises:
            ApplianceUnavailableError: If it decided nothing.
            InvariantError: If it answered about another address.
        """
        request = wire.AdoptAddress(
            request_id=_request_id(),
            seed_uuid=seed_uuid,
            generation=generation,
            address=address,
        )
        reply = await self._ask(request)
        match reply:
            case wire.Issued():
                if (reply.address, reply.generation) != (address, generation):
                    raise InvariantError("the appliance adopted another address")
                return IssuedAddress(
                    address=address,
                    seed_uuid=seed_uuid,
                    generation=generation,
                    security_level=reply.security_level,
                    receipt=reply.receipt,
                )
            case wire.Refused():
                return AdoptionRefused(reply.code, reply.message)
            case wire.Deferred():
                return AdoptionDeferred(reply.retry_after_s)
            case _:
                raise ApplianceUnavailableError(_said(reply))

    async def sign(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        authorisations: Sequence[str] = (),
    ) -> SigningOutcome:
        """Ask for the signatures of a bundle; safe to repeat for ever.

        Args:
            draft: The bundle, stored before this is called.
            claims: One per input, in rising order of index.
            own_outputs: Indices of outputs that come back to us.
            authorisations: The exchange's signatures on payouts, as they came.

        Returns:
            What the appliance decided.

        Raises:
            ApplianceUnavailableError: If it decided nothing: repeat the same.
            RequestRejectedError: If it will not even look at this one.
            InvariantError: If it answered about another bundle.
        """
        reply = await self._ask(
            wire.SignTransfer(
                request_id=_request_id(),
                transactions=_shown(draft),
                bundle_hash=draft.bundle_hash,
                inputs=_claimed(claims),
                own_outputs=list(own_outputs),
                authorisations=list(authorisations),
            )
        )
        match reply:
            case wire.Signed():
                if reply.bundle_hash != draft.bundle_hash:
                    raise InvariantError("the appliance signed another bundle")
                given = {entry.index: entry.fragments for entry in reply.signatures}
                row = None if reply.head is None else reply.head.sequence
                return SignaturesGiven(given, row)
            case wire.Deferred():
                return SigningDeferred(reply.code, reply.message, reply.retry_after_s)
            case wire.Refused():
                return SigningRefused(reply.code, reply.message)
            case wire.Fault(code="already-signed"):
                return await self._signed_before(draft)
            case wire.Fault(code="bad-request"):
                raise RequestRejectedError(_said(reply))
            case _:
                raise ApplianceUnavailableError(_said(reply))

    async def fetch(self, bundle_hash: BundleHash) -> wire.Fetched:
        """Get a bundle signed earlier, content and signatures.

        Returns:
            The bundle as it was shown, and the same signatures again.

        Raises:
            ApplianceUnavailableError: If it can not be had now, or never was.
        """
        reply = await self._ask(
            wire.FetchBundle(request_id=_request_id(), bundle_hash=bundle_hash)
        )
        if not isinstance(reply, wire.Fetched):
            raise ApplianceUnavailableError(_said(reply))
        return reply

    async def fetch_trytes(self, bundle_hash: BundleHash) -> tuple[str, ...]:
        """Get a bundle signed earlier, ready to be attached.

        Args:
            bundle_hash: 81 trytes.

        Returns:
            2673 trytes per transaction. The tags of payouts are not part of what is
            signed and not kept: each transaction's tag is its obsolete tag.
        """
        fetched = await self.fetch(bundle_hash)
        entries = tuple(
            DraftTransaction(
                t.address, t.value_i, t.obsolete_tag, t.timestamp_s, t.obsolete_tag
            )
            for t in fetched.transactions
        )
        given = {entry.index: entry.fragments for entry in fetched.signatures}
        return finish(Draft(bundle_hash, entries), given)

    async def signed_after(self, sequence: int) -> tuple[int, list[BundleHash]]:
        """Read what the journal says was signed; needs an auditor's certificate.

        Args:
            sequence: The last row read; 0 to begin.

        Returns:
            The last row read now, the same again at the end, and the bundles.

        Raises:
            ApplianceUnavailableError: If the journal can not be read now.
        """
        reply = await self._ask(
            wire.TailJournal(
                request_id=_request_id(), after_sequence=sequence, limit=_ROWS
            )
        )
        if not isinstance(reply, wire.JournalRows):
            raise ApplianceUnavailableError(_said(reply))
        names = [
            BundleHash(json.loads(row.payload)["bundle_hash"])
            for row in reply.rows
            if row.kind == "signed"
        ]
        return (reply.rows[-1].sequence if reply.rows else sequence), names

    async def has_signed(self, bundle_hash: BundleHash) -> bool:
        """Say whether the appliance's journal has a bundle.

        Args:
            bundle_hash: 81 trytes.

        Returns:
            Whether it was signed there, by whichever hub's request.

        Raises:
            ApplianceUnavailableError: If the appliance can not tell now.
        """
        reply = await self._ask(
            wire.FetchBundle(request_id=_request_id(), bundle_hash=bundle_hash)
        )
        match reply:
            case wire.Fetched():
                return True
            case wire.Fault(code="unknown-bundle"):
                return False
            case _:
                raise ApplianceUnavailableError(_said(reply))

    async def ask_second_signature(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        spent_inputs: Sequence[int],
        own_outputs: Sequence[int],
        purpose: Purpose,
    ) -> SecondOutcome:
        """Ask that keys which have signed sign this bundle too; safe to repeat.

        Two operators must approve it at the appliance; asking again tells how it is.

        Args:
            draft: The bundle, mined and stored before this is called.
            claims: One per input, in rising order of index.
            spent_inputs: Indices of the inputs whose keys have signed.
            own_outputs: Indices of outputs that come back to us.
            purpose: What for.

        Returns:
            What became of it so far.

        Raises:
            ApplianceUnavailableError: If nothing was decided: repeat the same.
            DoorClosedError: If the policy does not allow it at all.
        """
        act = wire.SecondSignature(
            request_id="",
            purpose=purpose,
            transactions=_shown(draft),
            bundle_hash=draft.bundle_hash,
            inputs=_claimed(claims),
            spent_inputs=list(spent_inputs),
            own_outputs=list(own_outputs),
        )
        reply = await self._ask(wire.ProposeAct(request_id=_request_id(), act=act))
        match reply:
            case wire.PendingActs(acts=[pending]):
                return AwaitingApproval(
                    pending.id, tuple(pending.approved_by), pending.needed
                )
            case wire.Deferred():
                return SigningDeferred(reply.code, reply.message, reply.retry_after_s)
            case wire.Refused():
                return SigningRefused(reply.code, reply.message)
            case wire.Fault(code="already-signed"):
                return await self._signed_before(draft)
            case wire.Fault(code="door-closed"):
                raise DoorClosedError(_said(reply))
            case _:
                raise ApplianceUnavailableError(_said(reply))

    async def acts(self) -> list[ActAsked]:
        """List what waits for operators; only an auditor's certificate may ask.

        Returns:
            The acts.

        Raises:
            ApplianceUnavailableError: If it does not say.
        """
        reply = await self._ask(wire.ListActs(request_id=_request_id()))
        if not isinstance(reply, wire.PendingActs):
            raise ApplianceUnavailableError(_said(reply))
        return [
            ActAsked(
                act_id=one.id,
                what=_in_words(one.act),
                shown=tuple(one.shown),
                proposer=one.proposer,
                approved_by=tuple(one.approved_by),
                needed=one.needed,
                expires_at_ms=one.expires_ms,
            )
            for one in reply.acts
        ]

    async def mine(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        tries: int,
    ) -> MiningProgress:
        """Have the appliance look for the best tag; the same request tells how it is.

        Args:
            draft: The bundle, its counter still to be chosen.
            claims: One per input, in rising order of index.
            own_outputs: Indices of outputs that come back to us.
            tries: How many tags to try.

        Returns:
            How the search is getting on.

        Raises:
            ApplianceUnavailableError: If it can not search now.
            DoorClosedError: If the policy does not allow it at all.
            RequestRejectedError: If it will not look at this one.
        """
        reply = await self._ask(
            wire.MineBundle(
                request_id=_request_id(),
                transactions=_shown(draft),
                inputs=_claimed(claims),
                own_outputs=list(own_outputs),
                tries=tries,
            )
        )
        match reply:
            case wire.MiningReport():
                bits = [one.bits_after for one in reply.exposures]
                return MiningProgress(
                    reply.state,
                    reply.tried,
                    reply.obsolete_tag,
                    reply.bundle_hash,
                    min(bits, default=0.0),
                )
            case wire.Fault(code="door-closed"):
                raise DoorClosedError(_said(reply))
            case wire.Refused() | wire.Fault(code="bad-request" | "unknown-hash"):
                raise RequestRejectedError(_said(reply))
            case _:
                raise ApplianceUnavailableError(_said(reply))

    async def _signed_before(self, draft: Draft) -> SignaturesGiven:
        """Fetch the signatures of a bundle whose claims we no longer know right.

        Returns:
            The signatures.

        Raises:
            InvariantError: If what was signed under this hash is not our draft.
        """
        fetched = await self.fetch(draft.bundle_hash)
        if fetched.transactions != _shown(draft):
            raise InvariantError("the appliance signed another bundle under our hash")
        given = {entry.index: entry.fragments for entry in fetched.signatures}
        return SignaturesGiven(given)

    def _require_receipt(
        self, reply: wire.Issued, seed_uuid: str, user_commitment: str
    ) -> None:
        expected = {
            "network": self._settings.network,
            "address": reply.address,
            "generation": reply.generation,
            "security_level": reply.security_level,
            "commitment": wire.commitment_of(seed_uuid),
            "user_commitment": user_commitment,
        }
        try:
            token = decode_receipt(reply.receipt, self._identity_key)
        except jwt.InvalidTokenError as error:
            raise ReceiptInvalidError(
                f"the receipt of {reply.address} is not of the pinned key: {error}"
            ) from error
        claims: dict[str, Any] = token["payload"]
        claims.pop("issued_at", None)
        if claims != expected or token["header"].get("typ") != RECEIPT_TYPE:
            raise ReceiptInvalidError(
                f"the receipt of {reply.address} says {claims}, expected {expected}"
            )

    async def _ask(self, request: wire.Request) -> wire.Reply:
        """Send a request, again while a fault allows it.

        Returns:
            The reply, of any type.

        Raises:
            ApplianceUnavailableError: If no attempt brought a reply.
        """
        failure = ""
        for attempt in range(self._settings.attempts):
            if attempt:
                await asyncio.sleep(_RETRY_S * attempt)
            try:
                reply = await self._attempt(request)
            except _NO_REPLY as error:
                failure = str(error) or type(error).__name__
                continue
            retry = isinstance(reply, wire.Fault) and reply.retry
            if not retry or attempt == self._settings.attempts - 1:
                return reply
        raise ApplianceUnavailableError(f"{self._carrier.where}: {failure}")

    async def _attempt(self, request: wire.Request) -> wire.Reply:
        head = await self._heads.get()
        if head is None and not isinstance(request, wire.GetStatus):
            # Hold a head before anything is journalled for us: after a crash in
            # between, nobody could tell the appliance that its journal is whole.
            await self.status()
            head = await self._heads.get()
        if head is not None:
            request = msgspec.structs.replace(request, head=_to_wire(head))
        kind = type(request).__name__
        with (
            timed_appliance(self.where, kind) as asked,
            tracing.step("ask appliance", peer=self.where, request=kind) as asking,
        ):
            reply = wire.decode_reply(await self._carrier.carry(wire.encode(request)))
            code = getattr(reply, "code", "")
            asked.replied(type(reply).__name__, code=code, steps_ms=reply.steps_ms)
            asking.tell(request_id=request.request_id, reply=type(reply).__name__)
            if code:
                asking.failed(code)
            asking.lay(reply.steps_ms, peer="appliance", request_id=request.request_id)
        if reply.request_id not in {request.request_id, ""}:
            raise InvariantError("the appliance answered another request")
        if reply.head is not None:
            await self._heads.remember(_from_wire(reply.head))
        return reply


def _shown(draft: Draft) -> list[wire.ShownTransaction]:
    return [
        wire.ShownTransaction(t.address, t.value_i, t.obsolete_tag, t.timestamp_s)
        for t in draft.transactions
    ]


def _claimed(claims: Sequence[Claim]) -> list[wire.InputClaim]:
    return [wire.InputClaim(c.index, c.seed_uuid, c.generation) for c in claims]


def _in_words(act: wire.Act) -> str:
    """Say what an act asks: a seed UUID by its commitment, a file by its start."""
    if isinstance(act, wire.ExportSeed):
        known = f"commitment {wire.commitment_of(act.seed_uuid)}"
        return f"export-seed {known} generation {act.generation} officer {act.officer}"
    words = wire.act_in_words(act)
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"


def _said(reply: wire.Reply) -> str:
    code = getattr(reply, "code", type(reply).__name__)
    return f"{code}: {getattr(reply, 'message', '')}"


def _request_id() -> str:
    return secrets.token_hex(8)


def _to_wire(token: HeadToken) -> wire.HeadToken:
    return wire.HeadToken(
        token.journal_id, token.epoch, token.sequence, token.hash, token.mac
    )


def _from_wire(token: wire.HeadToken) -> HeadToken:
    return HeadToken(
        journal_id=token.journal_id,
        epoch=token.epoch,
        sequence=token.sequence,
        hash=token.hash,
        mac=token.mac,
    )
