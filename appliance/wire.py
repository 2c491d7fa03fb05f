# SPDX-License-Identifier: Apache-2.0
"""What travels between a client and the appliance: typed JSON, nothing else.

The one module of the appliance that the hub may import. Every request is one
``POST /v1/request`` over mutually authenticated TLS 1.3; its body is one
``Request``, the answer one ``Reply``. Unknown fields, kinds and types are
refused while parsing, so past this module a value is what its type says.

A client tells outcomes apart by type alone:

- ``Issued``, ``Signed``, ``Fetched``, ``StatusReport``, ``JournalRows``,
  ``Done``: it happened.
- ``Deferred``: nothing was decided; ask the very same request again later.
- ``Refused``: final, journalled; this bundle hash will never be signed.
- ``Fault``: the appliance could not say; ``retry`` tells whether the very same
  request may be sent again. A time-out is a ``Fault`` that the client makes up.

No request of a hub carries a bare hash to be signed: a signature needs every
transaction of the bundle. The one exception is ``SignBlind``, for an old Hub that is
being moved over: see ``appliance.blind``.
"""

import hashlib
from typing import Final, Literal, TypeAlias

import msgspec

PATH: Final = "/v1/request"
MAX_BODY_BYTES: Final = 1 << 20
_COMMITMENT_LABEL: Final = b"saltkeep/seed-uuid/v1\0"
_ACT_LABEL: Final = b"saltkeep/act/v1\0"


def commitment_of(seed_uuid: str) -> str:
    """Return the commitment of a seed UUID: SHA-256(label, 64 ASCII bytes), hex.

    It stands for the UUID in receipts, journal and interchange; the same in every
    generation, level and network, since levels share key fragments.
    """
    return hashlib.sha256(_COMMITMENT_LABEL + seed_uuid.encode("ascii")).hexdigest()


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Common strictness of everything on the wire."""


class HeadToken(_Message, frozen=True, forbid_unknown_fields=True):
    """The journal's head as the appliance once stated it.

    A hub keeps the one with the highest (epoch, sequence) and sends it with
    every request: a rolled-back journal is then found out.

    Attributes:
        journal_id: Which journal, 32 hex characters.
        epoch: Rises by one with each restore.
        sequence: Number of the last row.
        hash: SHA-256 of that row, hex.
        mac: HMAC-SHA256 by the appliance over the fields above, hex.
    """

    journal_id: str
    epoch: int
    sequence: int
    hash: str
    mac: str


class ShownTransaction(_Message, frozen=True, forbid_unknown_fields=True):
    """The part of one transaction that enters the bundle hash.

    Its index is its place in the list; the last index follows from the length.

    Attributes:
        address: 81 trytes.
        value_i: Iota; negative for an input.
        obsolete_tag: 27 trytes.
        timestamp_s: Seconds since 1970.
    """

    address: str
    value_i: int
    obsolete_tag: str
    timestamp_s: int


class InputClaim(_Message, frozen=True, forbid_unknown_fields=True):
    """Which key the client says an input is signed with.

    Attributes:
        index: The input's place in the bundle (its first transaction).
        seed_uuid: 64 characters of the base64 alphabet.
        generation: The salt generation the address was issued under.
    """

    index: int
    seed_uuid: str
    generation: int


class InputSignature(_Message, frozen=True, forbid_unknown_fields=True):
    """The signature of one input.

    Attributes:
        index: The input's place in the bundle.
        fragments: One string of 2187 trytes per security level, for the
            transactions ``index``, ``index + 1``...
    """

    index: int
    fragments: list[str]


# --- requests ---------------------------------------------------------------


class _Request(
    _Message,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="kind",
):
    """What every request carries.

    Attributes:
        request_id: Chosen by the client, 1-64 characters; comes back in the
            reply and stands in both logs.
        head: The highest head token the client ever stored, if any.
    """

    request_id: str
    head: HeadToken | None = None


class GetStatus(_Request, frozen=True, kw_only=True, tag="status"):
    """Ask how the appliance is; open to every role."""


class IssueAddress(_Request, frozen=True, kw_only=True, tag="issue-address"):
    """Ask for the address of a fresh seed UUID, with its receipt (role hub).

    Attributes:
        seed_uuid: 64 characters of the base64 alphabet, drawn by the client
            from its OS generator, never used before.
        user_commitment: SHA-256 in hex that ties the receipt to a user without
            naming them; empty for an address of the hub's owner.
    """

    seed_uuid: str
    user_commitment: str = ""


class AdoptAddress(_Request, frozen=True, kw_only=True, tag="adopt-address"):
    """Ask that an address of an imported salt may be spent from (role hub).

    The reply is ``Issued`` without a receipt: others have held that salt, so nobody
    is told to pay there, and what goes there counts as gone.

    Attributes:
        seed_uuid: As the old Hub stored it, 64 characters of the base64 alphabet.
        generation: Of the imported salt.
        address: What it must derive to, 81 trytes.
    """

    seed_uuid: str
    generation: int
    address: str


class SignTransfer(_Request, frozen=True, kw_only=True, tag="sign-transfer"):
    """Ask for the signatures of a whole bundle (role hub).

    Attributes:
        transactions: All of them, in order.
        bundle_hash: What the client believes they hash to, 81 trytes.
        inputs: One claim per negative value, in rising order of index.
        own_outputs: Indices of outputs that come back to us (the remainder).
        authorisations: Compact JWS of the exchange, for payments that the policy
            wants them for.
    """

    transactions: list[ShownTransaction]
    bundle_hash: str
    inputs: list[InputClaim]
    own_outputs: list[int]
    authorisations: list[str] = []


class FetchBundle(_Request, frozen=True, kw_only=True, tag="fetch-bundle"):
    """Ask for a bundle signed earlier, whole (roles hub and operator)."""

    bundle_hash: str


class LegacyAddress(_Request, frozen=True, kw_only=True, tag="legacy-address"):
    """Ask for a seed UUID's address under the blind generation (legacy-hub)."""

    seed_uuid: str


class SignBlind(_Request, frozen=True, kw_only=True, tag="sign-blind"):
    """Ask for the signature of a bare hash, one per seed UUID (role legacy-hub).

    Attributes:
        seed_uuid: 64 characters of the base64 alphabet.
        bundle_hash: 81 trytes.
    """

    seed_uuid: str
    bundle_hash: str


class TailJournal(_Request, frozen=True, kw_only=True, tag="tail-journal"):
    """Read rows of the journal (roles auditor and operator).

    Attributes:
        after_sequence: Rows with a higher number only.
        limit: At most this many, 1-1000.
    """

    after_sequence: int = 0
    limit: int = 100


class MakeCheckpoint(_Request, frozen=True, kw_only=True, tag="make-checkpoint"):
    """Have the journal's head signed (roles auditor and operator)."""


class SealNow(_Request, frozen=True, kw_only=True, tag="seal"):
    """Stop all signing at once and latch it (role operator)."""

    reason: str


class Unseal(_Request, frozen=True, kw_only=True, tag="unseal"):
    """Clear the seal latch; always an act of several operators.

    Attributes:
        latch_id: Which seal is meant.
    """

    latch_id: str


class AcceptHead(_Request, frozen=True, kw_only=True, tag="accept-head"):
    """Vouch for the journal's head where no client holds a token (operator)."""

    sequence: int
    hash: str


class RunCeremony(_Request, frozen=True, kw_only=True, tag="run-ceremony"):
    """Change what the vault rests on, without stopping (role operator).

    Attributes:
        ceremony: ``rotate-kek``, ``rotate-mac``, ``rotate-identity``,
            ``rotate-salt``, ``import-salt``, ``retire``, ``destroy-key``,
            ``abandon``, ``set-backup-key``, ``backup``, ``import-interchange``,
            ``recover-journal``, ``enrol-client``, ``enrol-appliance``,
            ``enrol-panel``, ``revoke-client``, ``rotate-tls`` or ``verify``.
        subject: ``retire``: the generation's number; ``destroy-key``: the label;
            ``import-salt``: where the appliance reads it, never the salt itself;
            ``set-backup-key``: the public key; ``import-interchange``: the file, or
            ``file:PATH#SHA256`` on the host;
            ``recover-journal``: ``complete``, or nothing; ``enrol-client``: SHA-256
            of the client's public key; ``revoke-client``: that, or a name;
            ``enrol-appliance``: its request; ``rotate-tls``: the certificate in PEM,
            or nothing for the request.
        security_level: ``rotate-salt``, ``import-salt``: of the new generation; 0:
            as before.
        argon2: ``import-salt``: variant, passes and KiB it was used with, such as
            ``argon2id 4 131072``; empty: as before.
        blind: ``import-salt``: let an old Hub have bare hashes signed with it.
        name: ``enrol-client``: of the client.
        role: ``enrol-client``: its one role.
        dry_run: Say what would be done and do nothing.
    """

    ceremony: str
    subject: str = ""
    security_level: int = 0
    argon2: str = ""
    blind: bool = False
    name: str = ""
    role: str = ""
    dry_run: bool = False


class SecondSignature(_Request, frozen=True, kw_only=True, tag="second-signature"):
    """Sign with a key that has signed before; always an act of several operators.

    Attributes:
        purpose: ``sign-bundle`` or ``recover-funds``.
        transactions: All of them, in order.
        bundle_hash: What the client believes they hash to, 81 trytes.
        inputs: One claim per negative value, in rising order of index.
        spent_inputs: Indices of the inputs whose keys have signed before: exactly
            those that the journal knows as spent.
        own_outputs: Indices of outputs that come back to us.
        authorisations: As in ``SignTransfer``.
    """

    purpose: Literal["sign-bundle", "recover-funds"]
    transactions: list[ShownTransaction]
    bundle_hash: str
    inputs: list[InputClaim]
    spent_inputs: list[int]
    own_outputs: list[int] = []
    authorisations: list[str] = []


class ExportSeed(_Request, frozen=True, kw_only=True, tag="export-seed"):
    """Give a seed to an officer, encrypted; always an act of several operators.

    Its key is journalled as spent, hash unknown, before the seed is derived.

    Attributes:
        seed_uuid: Of an address that was issued here.
        generation: The salt generation it was issued under.
        officer: Whose key of the policy it is encrypted to.
    """

    seed_uuid: str
    generation: int
    officer: str


Act: TypeAlias = Unseal | AcceptHead | RunCeremony | SecondSignature | ExportSeed
"""What several operators may have to approve before it is done."""


class OperatorSignature(_Message, frozen=True, forbid_unknown_fields=True):
    """One operator's Ed25519 signature.

    Attributes:
        operator: Their name in the policy.
        signature: 64 bytes in base64.
    """

    operator: str
    signature: str


class PendingAct(_Message, frozen=True, forbid_unknown_fields=True):
    """An act that waits for approvals.

    Attributes:
        id: 32 hex characters.
        act: What would be done.
        proposer: Whose certificate asked.
        expires_ms: When it is forgotten, milliseconds since 1970.
        needed: Distinct operators that must approve.
        approved_by: Who has.
        shown: What the appliance adds for the approvers: what it comes to.
    """

    id: str
    act: Act
    proposer: str
    expires_ms: int
    needed: int
    approved_by: list[str] = []
    shown: list[str] = []


def act_digest(pending: PendingAct, *, journal_id: str) -> bytes:
    """Return what an operator signs to approve: SHA-256 over the act, whole.

    Args:
        pending: As the appliance shows it; approvals so far do not count.
        journal_id: Of the appliance it is meant for.

    Returns:
        32 bytes.
    """
    return approval_digest(
        journal_id,
        pending.id,
        act_text(pending.act),
        proposer=pending.proposer,
        expires_ms=pending.expires_ms,
        shown=pending.shown,
    )


def approval_digest(
    journal_id: str,
    act_id: str,
    text: str,
    *,
    proposer: str,
    expires_ms: int,
    shown: list[str],
) -> bytes:
    """Return what an operator signs, from an act's own text: a journal keeps that.

    Args:
        journal_id: Of the appliance it is meant for.
        act_id: Names the act.
        text: The act, as ``act_text`` gives it.
        proposer: Whose certificate asked.
        expires_ms: When it would be forgotten.
        shown: What the appliance added.

    Returns:
        32 bytes.
    """
    raw = msgspec.Raw(text.encode())
    fields = [journal_id, act_id, raw, proposer, expires_ms, shown]
    encoded = msgspec.json.encode(fields, order="deterministic")
    return hashlib.sha256(_ACT_LABEL + encoded).digest()


def act_text(act: Act) -> str:
    """Return an act as it is signed: JSON, always in the same order."""
    return msgspec.json.encode(act, order="deterministic").decode()


def act_in_words(act: Act) -> str:
    """Return every field of an act that says something, for people to compare."""
    if isinstance(act, SecondSignature):  # what it comes to stands in ``shown``
        return f"second-signature {act.purpose} bundle {act.bundle_hash}"
    fields = msgspec.to_builtins(act)
    kind = fields.pop("kind")
    told = [
        f"{name} {value}"
        for name, value in fields.items()
        if value and name not in {"request_id", "head"}
    ]
    return " ".join([kind, *told])


class ProposeAct(_Request, frozen=True, kw_only=True, tag="propose-act"):
    """Put an act up for approval (role operator; hub: a second signature only)."""

    act: Act


class ListActs(_Request, frozen=True, kw_only=True, tag="list-acts"):
    """Ask which acts wait (roles operator and auditor)."""


class ApproveAct(_Request, frozen=True, kw_only=True, tag="approve-act"):
    """Approve an act; the last approval has it done (role operator).

    Attributes:
        act_id: Which.
        signature: Over ``act_digest``.
    """

    act_id: str
    signature: OperatorSignature


class SetPolicy(_Request, frozen=True, kw_only=True, tag="set-policy"):
    """Put a policy in force that operators have signed (role operator).

    Attributes:
        text: The TOML file.
        signatures: Of operators of the policy in force.
    """

    text: str
    signatures: list[OperatorSignature]


class GetPolicy(_Request, frozen=True, kw_only=True, tag="get-policy"):
    """Ask for the policy in force (roles operator and auditor)."""


class MineBundle(_Request, frozen=True, kw_only=True, tag="mine-bundle"):
    """Look for the obsolete tag that gives away least of spent keys (operator, hub).

    Only where the door for second signatures is open. One search at a time; asked
    again while it runs, or after it is done, the same search answers.

    Attributes:
        transactions: All of them; the tag of transaction 0 is where it begins.
        inputs: One claim per negative value, all of one security level.
        own_outputs: Indices of outputs that come back to us.
        tries: How many tags to try.
    """

    transactions: list[ShownTransaction]
    inputs: list[InputClaim]
    own_outputs: list[int] = []
    tries: int


class MiningStatus(_Request, frozen=True, kw_only=True, tag="mining-status"):
    """Ask how a search is getting on (roles operator and hub)."""

    job: str


class CancelMining(_Request, frozen=True, kw_only=True, tag="cancel-mining"):
    """End a search; what it found so far is lost (roles operator and hub)."""

    job: str


Request: TypeAlias = (
    GetStatus
    | IssueAddress
    | AdoptAddress
    | SignTransfer
    | FetchBundle
    | LegacyAddress
    | SignBlind
    | TailJournal
    | SealNow
    | Unseal
    | AcceptHead
    | RunCeremony
    | MakeCheckpoint
    | ProposeAct
    | ListActs
    | ApproveAct
    | SetPolicy
    | GetPolicy
    | SecondSignature
    | ExportSeed
    | MineBundle
    | MiningStatus
    | CancelMining
)


# --- replies ----------------------------------------------------------------


class _Reply(
    _Message,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="kind",
):
    """What every reply carries.

    Attributes:
        request_id: As sent; empty when the request could not be parsed.
        head: The journal's head after this request; store it in the same
            transaction that acts on the reply. Absent while it is not anchored.
        steps_ms: Time spent in each step, in milliseconds.
    """

    request_id: str
    head: HeadToken | None = None
    steps_ms: dict[str, float] = {}


class Issued(_Reply, frozen=True, kw_only=True, tag="issued"):
    """An address, derived twice and journalled.

    Attributes:
        address: 81 trytes.
        generation: Its salt generation.
        security_level: 1, 2 or 3.
        receipt: Compact JWS (ES256) by the appliance's identity key; empty for an
            address that was adopted.
    """

    address: str
    generation: int
    security_level: int
    receipt: str


class Signed(_Reply, frozen=True, kw_only=True, tag="signed"):
    """The bundle is signed; every input's key is spent for it alone."""

    bundle_hash: str
    signatures: list[InputSignature]


class BlindSigned(_Reply, frozen=True, kw_only=True, tag="blind-signed"):
    """A bare hash is signed; its key is spent for it alone.

    Attributes:
        bundle_hash: 81 trytes.
        fragments: One string of 2187 trytes per security level.
    """

    bundle_hash: str
    fragments: list[str]


class Deferred(_Reply, frozen=True, kw_only=True, tag="deferred"):
    """Nothing was decided; the same request may succeed later.

    Attributes:
        code: Why, a stable word: ``window``, ``hours``, ``presence``, ``busy``.
        message: For people.
        retry_after_s: When asking again makes sense.
    """

    code: str
    message: str
    retry_after_s: float


class Refused(_Reply, frozen=True, kw_only=True, tag="refused"):
    """Final: journalled against the bundle hash (or seed UUID), never granted.

    Never given for a bundle that is signed: that is a ``Fault``, ``already-signed``.

    Attributes:
        code: Why, a stable word; see ``appliance.errors``.
        message: For people.
        recorded_bundle_hash: With ``key-spent``, the hash the key is spent for;
            empty when it is unknown or beside the point.
    """

    code: str
    message: str
    recorded_bundle_hash: str = ""


class Fault(_Reply, frozen=True, kw_only=True, tag="fault"):
    """The appliance could not say yes or no; nothing was decided.

    Attributes:
        code: What is wrong, a stable word.
        message: For people: what was expected, what came, what to do.
        retry: Whether the very same request may be sent again.
    """

    code: str
    message: str
    retry: bool


class Fetched(_Reply, frozen=True, kw_only=True, tag="fetched"):
    """A bundle signed earlier, whole.

    Attributes:
        bundle_hash: 81 trytes.
        transactions: As they were shown.
        inputs: The claims they were signed under.
        signatures: The same bytes as the first time.
    """

    bundle_hash: str
    transactions: list[ShownTransaction]
    inputs: list[InputClaim]
    signatures: list[InputSignature]


class StatusReport(_Reply, frozen=True, kw_only=True, tag="status-report"):
    """How the appliance is.

    Attributes:
        state: ``starting``, ``ready``, ``unready`` or ``sealed``.
        reason: Why it is not ready; empty when it is.
        latch_id: Names the seal latch that ``approve-unseal`` must quote.
        anchored: Whether a client or operator has confirmed the head since start.
        journal_id: 32 hex characters.
        epoch: The journal's epoch.
        sequence: Number of its last row; -1 while not anchored.
        generation: The salt generation that issues.
        generations: Every generation, as ``1``, ``1 (retired)`` or ``1 (blind)``.
        rotation: The rotation under way, if one was cut short.
        security_level: Of addresses issued now.
        blind_level: Security level of the blind generation; 0: that door is shut.
        network: The network name of that generation.
        identity_key: PEM of the identity key; pin it from `init`, not from here.
        successions: Statements by which each identity key named the next one:
            who pinned an older one follows them from there.
        memory_locked: ``all``, ``buffers`` or ``none``.
        version: Of the software.
        hsm: Profile of the token and what it is worth: ``accepted``, ``software``,
            ``untried`` or ``unsafe``.
    """

    state: str
    reason: str
    latch_id: str
    anchored: bool
    journal_id: str
    epoch: int
    sequence: int
    generation: int
    generations: list[str]
    rotation: str
    security_level: int
    blind_level: int
    network: str
    identity_key: str
    successions: list[str]
    memory_locked: str
    version: str
    hsm: str = ""


class JournalRow(_Message, frozen=True, forbid_unknown_fields=True):
    """One row of the journal as it was hashed; see ``appliance.journal``."""

    sequence: int
    time_ms: int
    client: str
    kind: str
    payload: str
    previous_hash: str
    hash: str


class JournalRows(_Reply, frozen=True, kw_only=True, tag="journal-rows"):
    """Rows in rising order of sequence."""

    rows: list[JournalRow]


class Done(_Reply, frozen=True, kw_only=True, tag="done"):
    """An operator's request took effect; ``message`` says what happened."""

    message: str


class Checkpoint(_Reply, frozen=True, kw_only=True, tag="checkpoint"):
    """A statement by the identity key of where the journal ends.

    Attributes:
        statement: Compact JWS (ES256) over journal_id, epoch, sequence, hash and
            issued_at. Keep it where the appliance can not reach.
    """

    statement: str


class CeremonyReport(_Reply, frozen=True, kw_only=True, tag="ceremony-report"):
    """What a ceremony did, or would do.

    Attributes:
        done: False for a dry run.
        steps: Numbered, in words.
    """

    done: bool
    steps: list[str]


class PendingActs(_Reply, frozen=True, kw_only=True, tag="pending-acts"):
    """Acts that wait, the oldest first.

    Attributes:
        journal_id: Part of what is signed.
        acts: See there.
    """

    journal_id: str
    acts: list[PendingAct]


class ActReport(_Reply, frozen=True, kw_only=True, tag="act-report"):
    """What came of an approval.

    Attributes:
        missing: Approvals still missing; 0: it was done.
        steps: What was done, in words.
        export: A seed that was exported, encrypted to the officer.
    """

    missing: int
    steps: list[str]
    export: str = ""


class KeyExposure(_Message, frozen=True, forbid_unknown_fields=True):
    """What one spent key has left, as the appliance reckons from its journal.

    Attributes:
        index: The input it would sign.
        signatures: How many it has made.
        bits_before: -log2 of the chance that a random bundle is signed by them
            already; 0 where a hash is unknown.
        bits_after: The same with the bundle's signature.
    """

    index: int
    signatures: int
    bits_before: float
    bits_after: float


class MiningReport(_Reply, frozen=True, kw_only=True, tag="mining-report"):
    """How a search is getting on.

    Attributes:
        job: Names it.
        state: ``running``, ``done``, ``cancelled`` or ``failed``.
        tried: Tags tried so far.
        tries: How many are to be tried.
        obsolete_tag: The best so far, for transaction 0; empty: none yet.
        bundle_hash: The bundle's hash with it.
        exposures: What each spent key would have left.
        message: Why it failed.
    """

    job: str
    state: Literal["running", "done", "cancelled", "failed"]
    tried: int
    tries: int
    obsolete_tag: str = ""
    bundle_hash: str = ""
    exposures: list[KeyExposure] = []
    message: str = ""


class PolicyReport(_Reply, frozen=True, kw_only=True, tag="policy-report"):
    """The policy in force.

    Attributes:
        journal_id: Of the appliance.
        text: The TOML file, as it was signed.
        signatures: By whom.
    """

    journal_id: str
    text: str
    signatures: list[OperatorSignature]


Reply: TypeAlias = (
    Issued
    | Signed
    | BlindSigned
    | Deferred
    | Refused
    | Fault
    | Fetched
    | StatusReport
    | JournalRows
    | Done
    | CeremonyReport
    | Checkpoint
    | PendingActs
    | ActReport
    | PolicyReport
    | MiningReport
)

_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_reply_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """Serialise a request or reply to JSON."""
    return msgspec.json.encode(message)


def decode_request(body: bytes) -> Request:
    """Parse one request.

    Returns:
        The request, every field of its type.

    Raises:
        msgspec.ValidationError: If it is no request of this protocol.
        msgspec.DecodeError: If it is not JSON.
    """
    return _request_decoder.decode(body)


def decode_reply(body: bytes) -> Reply:
    """Parse one reply.

    Returns:
        The reply, every field of its type.

    Raises:
        msgspec.ValidationError: If it is no reply of this protocol.
        msgspec.DecodeError: If it is not JSON.
    """
    return _reply_decoder.decode(body)
