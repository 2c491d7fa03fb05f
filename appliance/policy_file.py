# SPDX-License-Identifier: Apache-2.0
"""The policy: a TOML text that two operators of the policy in force signed.

The text is judged byte for byte: what was signed is what is parsed. Its version
rises with every change; the first one, at ``init``, is signed by two of the
operators it names itself. Public keys of operators and exchanges
live in it, so that whoever holds the hub, or the appliance's configuration, can not
talk the policy around.
"""

import base64
import hashlib
import tomllib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta

from appliance.config import Spending
from appliance.errors import RefusedError
from appliance.wire import OperatorSignature
from trinary.trytes import is_trytes

POLICY_LABEL: Final = b"saltkeep/policy/v1\0"
SIGNATURES_NEEDED: Final = 2
LEAST_APPROVALS: Final = 2
"""Distinct operators that a dangerous door takes, whatever a policy says."""
_ADDRESS_TRYTES: Final = 81
_KEY_BYTES: Final = 32


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Common strictness of every table."""


class Operator(_Strict, frozen=True, kw_only=True):
    """Somebody who approves."""

    name: Annotated[str, Meta(min_length=1, description="Name in the journal.")]
    key: Annotated[str, Meta(description="Ed25519 public key, 32 bytes in base64.")]


class Issuer(_Strict, frozen=True, kw_only=True):
    """An exchange's key that authorises withdrawals."""

    id: Annotated[str, Meta(min_length=1, description="The `kid` of its tokens.")]
    algorithm: Annotated[
        str, Meta(pattern="^(EdDSA|ES256)$", description="`EdDSA` or `ES256`.")
    ]
    key: Annotated[str, Meta(description="Public key, PEM.")]


class OpeningHours(_Strict, frozen=True, kw_only=True):
    """When transfers are signed, in UTC; outside of it they are deferred."""

    weekdays: Annotated[
        list[Annotated[int, Meta(ge=0, le=6)]],
        Meta(min_length=1, description="Days, 0 is Monday."),
    ]
    from_minute: Annotated[
        int, Meta(ge=0, le=1439, description="First minute of the day, from 0.")
    ]
    to_minute: Annotated[
        int, Meta(ge=1, le=1440, description="Minute of the day it ends.")
    ]


class Approvals(_Strict, frozen=True, kw_only=True):
    """How many distinct operators each act needs; 1: asked is done."""

    unseal: Annotated[int, Meta(ge=2, description="Clear the seal latch.")] = 2
    policy: Annotated[int, Meta(ge=2, description="Sign the next policy.")] = 2
    accept_head: Annotated[
        int, Meta(ge=1, description="Vouch for the journal's head after a start.")
    ] = 1
    ceremony: Annotated[
        int, Meta(ge=1, description="Rotate, retire, destroy a key, abandon.")
    ] = 1
    custody: Annotated[
        int,
        Meta(ge=2, description="Acts on a salt itself, such as importing one."),
    ] = 2
    doors: Annotated[
        int, Meta(ge=2, description="Second signatures and exported seeds.")
    ] = 2


class Doors(_Strict, frozen=True, kw_only=True):
    """The dangerous doors; each is shut unless it is opened here."""

    second_signatures: Annotated[
        bool,
        Meta(description="Let approved bundles be signed by keys that have signed."),
    ] = False
    seed_export: Annotated[
        bool, Meta(description="Let approved seeds leave, encrypted to an officer.")
    ] = False
    least_bits: Annotated[
        int,
        Meta(
            ge=0,
            description="Exposure every spent key must have left after signing, bits."
            " 0: also keys with an unknown hash.",
        ),
    ] = 80
    most_signatures: Annotated[
        int, Meta(ge=2, description="Signatures a key may make in all.")
    ] = 2
    presence: Annotated[
        bool, Meta(description="Ask the panel for presence as well.")
    ] = False


class PresenceRules(_Strict, frozen=True, kw_only=True):
    """What needs a person at the panel, besides `presence_above_i` and `doors`.

    Without a panel, what needs one is never done: it is put off.
    """

    unseal: Annotated[
        bool,
        Meta(
            description="Clear the seal latch. The press that clears a latched tamper"
            " counts."
        ),
    ] = False
    ceremonies: Annotated[
        bool,
        Meta(description="Run a ceremony; not a dry run, `backup` or `verify`."),
    ] = False
    policy: Annotated[bool, Meta(description="Put the next policy in force.")] = False


class Officer(_Strict, frozen=True, kw_only=True):
    """Somebody that seeds may be exported to."""

    name: Annotated[str, Meta(min_length=1, description="Name in the journal.")]
    key: Annotated[str, Meta(description="X25519 public key, 32 bytes in base64.")]


class PanelRules(_Strict, frozen=True, kw_only=True):
    """The front panel; whatever the appliance's configuration says."""

    required: Annotated[
        bool,
        Meta(
            description="Use no key unless an armed panel, enrolled by `ceremony"
            " enrol-panel`, counts."
        ),
    ] = False


class Policy(_Strict, frozen=True, kw_only=True):
    """The whole file."""

    version: Annotated[int, Meta(ge=1, description="Rises with every change.")]
    network: Annotated[
        str, Meta(min_length=1, description="The network it is meant for.")
    ]
    operators: Annotated[
        list[Operator], Meta(min_length=2, description="Who approves.")
    ]
    approvals: Annotated[Approvals, Meta(description="How many must.")] = Approvals()
    limits: Annotated[Spending, Meta(description="For every client.")] = Spending()
    clients: Annotated[
        dict[str, Spending],
        Meta(description="Instead of `limits`, by client name."),
    ] = {}
    roles: Annotated[
        dict[str, Spending], Meta(description="Instead of `limits`, by role.")
    ] = {}
    allow: Annotated[
        list[str], Meta(description="If not empty, the only outside destinations.")
    ] = []
    deny: Annotated[list[str], Meta(description="Destinations never paid.")] = []
    issuers: Annotated[
        list[Issuer], Meta(description="Keys that authorise withdrawals.")
    ] = []
    hours: Annotated[
        list[OpeningHours], Meta(description="If not empty, when it signs.")
    ] = []
    doors: Annotated[Doors, Meta(description="The dangerous doors.")] = Doors()
    presence: Annotated[
        PresenceRules, Meta(description="What needs a person at the panel.")
    ] = PresenceRules()
    officers: Annotated[
        list[Officer], Meta(description="Whom seeds may be exported to.")
    ] = []
    panel: Annotated[PanelRules, Meta(description="The front panel.")] = PanelRules()

    def limits_of(self, client: str, role: str) -> Spending:
        """Return the limits of one client: by its name, its role, or everybody's."""
        return self.clients.get(client) or self.roles.get(role) or self.limits


class SignedPolicy(_Strict, frozen=True, kw_only=True):
    """A policy's text with its signatures, as the journal keeps it."""

    text: str
    signatures: list[OperatorSignature]


def policy_digest(text: str) -> bytes:
    """Return what operators sign: SHA-256(label, the file's bytes)."""
    return hashlib.sha256(POLICY_LABEL + text.encode()).digest()


def parse_policy(text: str) -> Policy:
    """Parse a policy text strictly.

    Args:
        text: TOML.

    Returns:
        Its content.

    Raises:
        RefusedError: ``policy-malformed``, with what is wrong.
    """
    try:
        content = msgspec.convert(tomllib.loads(text), Policy)
    except tomllib.TOMLDecodeError as error:
        raise RefusedError("policy-malformed", f"no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise RefusedError("policy-malformed", str(error)) from error
    for what, values in _that_must_differ(content).items():
        if len(set(values)) != len(values):
            raise RefusedError("policy-malformed", f"two share {what}")
    for address in (*content.allow, *content.deny):
        if not is_trytes(address, length=_ADDRESS_TRYTES):
            raise RefusedError(
                "policy-malformed", f"{address:.90} is no address of 81 trytes"
            )
    if any(entry.from_minute >= entry.to_minute for entry in content.hours):
        raise RefusedError("policy-malformed", "opening hours end before they begin")
    _require_enough_operators(content)
    _require_keys(content)
    return content


def verify_policy(signed: SignedPolicy, *, in_force: Policy | None) -> Policy:
    """Check that a policy may take force.

    Args:
        signed: Text and signatures.
        in_force: The policy in force; None at ``init``, where the new one's own
            operators sign.

    Returns:
        Its content.

    Raises:
        RefusedError: ``policy-malformed``, ``policy-version`` if it does not rise,
            ``policy-network``, or ``policy-signatures`` if too few signed.
    """
    content = parse_policy(signed.text)
    if in_force is not None and content.version <= in_force.version:
        raise RefusedError(
            "policy-version",
            f"version {content.version} does not rise above {in_force.version}",
        )
    if in_force is not None and content.network != in_force.network:
        raise RefusedError(
            "policy-network", f"it is for {content.network}, not {in_force.network}"
        )
    judges = in_force or content
    needed = max(SIGNATURES_NEEDED, judges.approvals.policy)
    digest = policy_digest(signed.text)
    signers = signers_of(digest, signed.signatures, judges.operators)
    if len(signers) < needed:
        raise RefusedError(
            "policy-signatures",
            f"{len(signers)} operators of the policy in force signed, {needed} must",
        )
    return content


def signers_of(
    digest: bytes,
    signatures: Iterable[OperatorSignature],
    operators: Iterable[Operator],
) -> set[str]:
    """Return the names of operators whose signature over a digest is good."""
    keys = {operator.name: operator.key for operator in operators}
    return {
        entry.operator
        for entry in signatures
        if entry.operator in keys
        and _verifies(keys[entry.operator], entry.signature, digest)
    }


def _that_must_differ(content: Policy) -> dict[str, Sequence[str]]:
    return {
        "an operator's name": [one.name for one in content.operators],
        "an operator's key": [one.key for one in content.operators],
        "an issuer's id": [one.id for one in content.issuers],
        "an officer's name": [one.name for one in content.officers],
    }


def _require_enough_operators(content: Policy) -> None:
    most = max(msgspec.structs.astuple(content.approvals))
    if most > len(content.operators):
        raise RefusedError(
            "policy-malformed",
            f"{most} approvals are asked for and there are"
            f" {len(content.operators)} operators: nobody could ever act",
        )


def _require_keys(content: Policy) -> None:
    for operator in content.operators:
        if not _is_raw_key(operator.key):
            raise RefusedError(
                "policy-malformed",
                f"the key of {operator.name} is not 32 bytes, base64",
            )
    for officer in content.officers:
        if not _is_agreement_key(officer.key):
            raise RefusedError(
                "policy-malformed",
                f"the key of officer {officer.name} is no X25519 key, base64",
            )
    for issuer in content.issuers:
        try:
            load_pem_public_key(issuer.key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise RefusedError(
                "policy-malformed", f"the key of issuer {issuer.id} is no PEM key"
            ) from error


def _is_raw_key(text: str) -> bool:
    """Say whether a text is 32 bytes as base64 spells them, and only so."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    # The last letter has two bits to spare: with those set, one key would be two.
    return len(key) == _KEY_BYTES and base64.b64encode(key).decode() == text


def _is_agreement_key(text: str) -> bool:
    """Say whether something can be encrypted to a key; some points are none."""
    if not _is_raw_key(text):
        return False
    public = X25519PublicKey.from_public_bytes(base64.b64decode(text))
    try:
        X25519PrivateKey.generate().exchange(public)
    except ValueError:
        return False
    return True


def _verifies(key: str, signature: str, digest: bytes) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
        public.verify(base64.b64decode(signature, validate=True), digest)
    except (ValueError, InvalidSignature):
        return False
    return True
