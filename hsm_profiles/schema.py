# SPDX-License-Identifier: Apache-2.0
"""What a profile says of one kind of token, and why it may be believed.

Every field below is read by the appliance, by ``probe``, or by an operator who
plans an installation (those say so). An unknown key is an error. Each field must
have a fact: where it comes from, on which day that was looked at, and whether it
was tried on such a token or only read.
"""

import datetime as dt
import re
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

WrapMechanism = Literal["aes-gcm", "aes-cbc", "rsa-oaep-sha256", "rsa-oaep-sha1"]
"""How an HSM protects a 32-byte data key; none of them needs padding for it."""
MacMechanism = Literal["hmac-sha256", "ecdsa-p256"]
"""How an HSM authenticates the vault file."""
WRAPS: Final[tuple[WrapMechanism, ...]] = get_args(WrapMechanism)
MACS: Final[tuple[MacMechanism, ...]] = get_args(MacMechanism)
Production = Literal["accepted", "software", "untried", "unsafe"]
KeyRole = Literal["secret", "ec_private", "ec_public", "rsa_private", "rsa_public"]
Capability = Literal["ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "DERIVE"]


class ProfileError(Exception):
    """A profile is unknown, malformed, or its module is not installed."""

    code = "hsm-profile"


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Common strictness of every table."""


class Module(_Table, frozen=True, kw_only=True):
    """The shared library.

    Attributes:
        candidates: Where it may lie, in order.
        init: How C_Initialize is called: with nothing (``null``), with
            CKF_OS_LOCKING_OK (``os-locking``), or with NSS's own parameters.
        environment: Variables the worker must be given in ``[hsm] environment``.
    """

    candidates: list[str]
    init: Literal["null", "os-locking", "nss"]
    environment: list[str]


class Login(_Table, frozen=True, kw_only=True):
    """The login as the user who owns the keys.

    Attributes:
        pin_pattern: Regular expression the whole PIN matches; checked before the
            token sees it, since a try costs.
        pin_form: The same for people, e.g. ``CU_user:password``.
        shows_tries_left: Whether the token's flags tell of wrong PINs before.
        lockout: For the operator: what wrong PINs do.
        max_sessions: For the operator: how many the token serves; 0: not known.
            One appliance holds one.
    """

    pin_pattern: str
    pin_form: str
    shows_tries_left: bool
    lockout: str
    max_sessions: int


class Keys(_Table, frozen=True, kw_only=True):
    """How keys come into the token.

    Attributes:
        made_by: ``generate`` (the appliance makes them), or ``external-tool``: the
            operator makes a key with the label that the appliance asks for.
        initialise: ``c-init-token`` where the standard calls work, else ``external``
            (the vendor's tool).
        omit: Per kind of object the capabilities left out of its template, where a
            token refuses even a false one.
    """

    made_by: Literal["generate", "external-tool"]
    initialise: Literal["c-init-token", "external"]
    omit: dict[KeyRole, list[Capability]]


class Wrap(_Table, frozen=True, kw_only=True):
    """How the HSM protects a 32-byte data key.

    Attributes:
        mechanisms: New keys use the first; what an older envelope names is opened if
            it stands anywhere here.
        rsa_bits: Size of the key where the mechanism is RSA-OAEP.
    """

    mechanisms: list[WrapMechanism]
    rsa_bits: int


class Mac(_Table, frozen=True, kw_only=True):
    """How the HSM authenticates the vault file.

    Attributes:
        mechanism: HMAC, or a signature where the token has none.
        key_bits: Length of the HMAC key.
        input: What the token is given: the ``data``, or its SHA-256 where one call
            takes too little.
    """

    mechanism: MacMechanism
    key_bits: int
    input: Literal["data", "sha256"]


class Identity(_Table, frozen=True, kw_only=True):
    """The key that signs receipts.

    Attributes:
        mechanism: Receipts and their verifiers know ``es256`` only; ``none`` where the
            token makes no P-256 keys, so that no appliance can rest on it.
    """

    mechanism: Literal["es256", "none"]


class Random(_Table, frozen=True, kw_only=True):
    """The token's random numbers.

    Attributes:
        chunk_bytes: The most one call is asked for.
        least_bytes: The least one call gives; more is drawn and dropped.
    """

    chunk_bytes: int
    least_bytes: int


class Recover(_Table, frozen=True, kw_only=True):
    """When the token or its daemon was away.

    Attributes:
        note: For the operator: what comes back by itself. The appliance always
            starts a new worker process, which every module survives.
    """

    note: str


class Bug(_Table, frozen=True, kw_only=True):
    """A known bug that this program avoids.

    Attributes:
        id: Its name.
        versions: Where it was seen.
        effect: What it does, and how it is avoided.
        source: Where that was seen.
    """

    id: str
    versions: str
    effect: str
    source: str


class Fact(_Table, frozen=True, kw_only=True):
    """Why a field says what it says.

    Attributes:
        source: An observation with its version, or a document.
        checked: When.
        tried: On such a token, by us. False: read or remembered, never run.
    """

    source: str
    checked: dt.date
    tried: bool


class HsmProfile(_Table, frozen=True, kw_only=True):
    """One kind of token.

    Attributes:
        id: Name used in configuration.
        title: Name for people.
        tier: ``tested`` (the custody suite runs on it) or ``documented`` (it was
            written from documents: run ``probe`` before you believe it).
        production: ``accepted``: the attack checks were run and none got a key out;
            ``software``: so too, but its keys lie in files of the host; ``untried``;
            ``unsafe``: a key can be got out.
        production_reason: Why, in one sentence.
        module: See there; so for the other tables.
        login: See there.
        keys: See there.
        wrap: See there.
        mac: See there.
        identity: See there.
        random: See there.
        recover: See there.
        bugs: Known ones.
        facts: Per field (``wrap.mechanisms``) or per table (``wrap``).
    """

    id: str
    title: str
    tier: Literal["tested", "documented"]
    production: Production
    production_reason: str
    module: Module
    login: Login
    keys: Keys
    wrap: Wrap
    mac: Mac
    identity: Identity
    random: Random
    recover: Recover
    facts: dict[str, Fact]
    bugs: list[Bug] = []

    def find_module(self) -> str:
        """Return the first installed module of the candidates.

        Returns:
            Its path.

        Raises:
            ProfileError: If none is there.
        """
        for candidate in self.module.candidates:
            if Path(candidate).is_file():
                return candidate
        tried = ", ".join(self.module.candidates)
        raise ProfileError(
            f"no PKCS#11 module of {self.title} found; tried {tried}. Install it"
            " or set hsm.module in the configuration"
        )

    def unfounded(self) -> list[str]:
        """Return what in this profile can not be believed as it stands.

        Returns:
            One line per fault: a field without a fact, a fact of no field, a
            pattern that is none, a documented profile that claims a trial.
        """
        fields = {
            f"{table}.{name}"
            for table in _TABLES
            for name in getattr(self, table).__struct_fields__
        } | {"production"}
        known = fields | set(_TABLES)
        wrong = [
            f"fact of an unknown field {name}" for name in self.facts.keys() - known
        ]
        wrong += [
            f"{field} has no fact"
            for field in sorted(fields)
            if not self.facts.keys() & {field, field.partition(".")[0]}
        ]
        if not self.wrap.mechanisms:
            wrong.append("wrap.mechanisms is empty")
        if (self.mac.mechanism, self.mac.input) == ("ecdsa-p256", "data"):
            wrong.append("mac.input must be sha256 where the MAC is a signature")
        try:
            re.compile(self.login.pin_pattern)
        except re.error as error:
            wrong.append(f"login.pin_pattern: {error}")
        return wrong


_TABLES: Final = (
    "module",
    "login",
    "keys",
    "wrap",
    "mac",
    "identity",
    "random",
    "recover",
)
