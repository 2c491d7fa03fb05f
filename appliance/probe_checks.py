# SPDX-License-Identifier: Apache-2.0
"""What ``probe`` tries on a token; each check runs in a worker process of its own.

A check makes its own keys, for the session where the token has such keys, and
destroys them whatever happens. ``clean`` destroys what a check that was killed left
behind: everything whose label begins with the probe's own.

Absent on purpose: several threads. The worker has one, so no token is asked for more.
"""
# ruff: noqa: ANN401 - python-pkcs11 has no types

import hashlib
import hmac
import os
from contextlib import suppress
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error
from pkcs11.exceptions import OperationActive
from pkcs11.mechanisms import GCMParams

from appliance.errors import ApplianceError
from appliance.probe_attacks import Attacks, judge
from appliance.token_keys import TokenKeyError, TokenKeys
from hsm_profiles import WRAPS, HsmProfile, WrapMechanism

KINDS: Final = ("aes", "hmac", "rsa", "ec")
_AAD: Final = bytes(range(32))
_LARGE_BYTES: Final = 9000  # a vault file with three generations
_SECRETS: Final = {
    "aes": Attribute.VALUE,
    "hmac": Attribute.VALUE,
    "rsa": Attribute.PRIVATE_EXPONENT,
    "ec": Attribute.VALUE,
}
_ROLES: Final = {
    "secret": ("DERIVE", "WRAP", "UNWRAP"),
    "rsa_private": ("DERIVE", "UNWRAP", "SIGN"),
    "rsa_public": ("WRAP", "VERIFY"),
    "ec_private": ("DERIVE", "DECRYPT", "UNWRAP"),
    "ec_public": ("ENCRYPT", "WRAP"),
}
"""What a template can do without, where a token refuses even a false capability."""
CHECKS: Final = (
    *(f"make {kind}" for kind in KINDS),
    *(f"keep {kind}" for kind in KINDS),
    *(f"wrap {mechanism}" for mechanism in WRAPS),
    "mac hmac-sha256",
    "mac ecdsa-p256",
    "identity es256",
    "random",
)
"""In the order made; the key kinds first, since the others need them."""


class CheckError(ApplianceError):
    """A check that came out wrong, as opposed to one the token refuses."""

    code = "probe"


class Checks:
    """The checks on one logged-in session.

    Args:
        session: Of python-pkcs11, read-write.
        profile: What the token is said to do.
        prefix: Begins the label of every object made.
    """

    def __init__(self, session: Any, profile: HsmProfile, prefix: str) -> None:
        self._session = session
        self._profile = profile
        self._prefix = prefix
        self._made: list[Any] = []
        self._labels: list[str] = []

    def run(self, name: str) -> dict[str, Any]:
        """Make one check.

        Args:
            name: Of ``CHECKS``, or ``clean``.

        Returns:
            ``outcome`` (``yes``, ``no``, ``withstood``, ``warning``, ``unsafe`` or
            ``untried``), ``detail``, and what else was found.
        """
        verb, _, subject = name.partition(" ")
        checks: dict[str, Any] = {
            "make": self._check_make,
            "keep": self._check_keep,
            "wrap": self._check_wrap,
            "mac": self._check_mac,
            "identity": self._check_identity,
            "random": self._check_random,
            "clean": self._clean,
        }
        try:
            found: dict[str, Any] = checks[verb](subject)
        except (PKCS11Error, ApplianceError, NotImplementedError) as error:
            said = f"{type(error).__name__} {error}".strip()
            broken = isinstance(error, CheckError)
            makes_none = isinstance(error, TokenKeyError)
            outcome = "untried" if verb == "keep" and not makes_none else "no"
            return {"outcome": outcome, "detail": said, "broken": broken}
        else:
            return {"outcome": "yes", "detail": ""} | found
        finally:
            self._destroy()

    # --- the checks -------------------------------------------------------------

    def _check_make(self, kind: str) -> dict[str, Any]:
        label, persistent, omit = self._make(kind)
        unsafe = self._keys(omit).unsafe_attributes(label)
        if unsafe:
            raise CheckError(f"made, but {', '.join(unsafe)} is not as asked for")
        where = "for good only" if persistent else "for the session too"
        return {"detail": where, "omit": omit}

    def _check_keep(self, kind: str) -> dict[str, Any]:
        label, _, _ = self._make(kind)
        (key,) = [
            one
            for wanted in (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
            for one in self._session.get_objects(
                {Attribute.LABEL: label, Attribute.CLASS: wanted}
            )
        ]
        attacks = Attacks(self._session, self._own)
        verdict, why = judge(attacks.on(key, _SECRETS[kind]))
        return {"outcome": verdict, "detail": why}

    def _check_wrap(self, mechanism: WrapMechanism) -> dict[str, Any]:
        label, _, omit = self._make("rsa" if "rsa" in mechanism else "aes")
        keys = self._keys(omit, mechanism)
        given = {"label": label, "mechanism": mechanism}
        self._round_trip(keys, given)
        data_key, nonce, wrapped = self._round_trip(keys, given)
        changes = [(_flipped(wrapped), nonce, _AAD)]
        if nonce:
            changes.append((wrapped, _flipped(nonce), _AAD))
        if mechanism == "aes-gcm":
            changes.append((wrapped, nonce, _flipped(_AAD)))
        for other, other_nonce, aad in changes:
            try:
                found = keys.unwrap(other, nonce=other_nonce, aad=aad, **given)
            except OperationActive:  # some never end an operation that they refused
                return {"detail": "round trip; a refusal ends the use of the session"}
            except PKCS11Error:
                continue
            if mechanism == "aes-gcm" or found == data_key:
                raise CheckError("a change was not found")
        return {"detail": self._compare(mechanism)}

    def _round_trip(
        self, keys: TokenKeys, given: dict[str, str]
    ) -> tuple[bytes, bytes, bytes]:
        """Wrap a data key and unwrap it.

        Returns:
            The data key, nonce or IV, the wrapped key.

        Raises:
            CheckError: If another key comes back.
        """
        data_key = os.urandom(32)
        nonce, wrapped = keys.wrap(data_key, aad=_AAD, **given)
        back = keys.unwrap(wrapped, nonce=nonce, aad=_AAD, **given)
        if back != data_key or data_key in wrapped:
            raise CheckError("what came back is not what went in")
        return data_key, nonce, wrapped

    def _compare(self, mechanism: str) -> str:
        """Compare with software under a known key, where the token takes one."""
        if "rsa" in mechanism:
            return "encrypted in software, decrypted in the token"
        value, nonce, data = os.urandom(32), os.urandom(16), os.urandom(32)
        try:
            key = self._import(value, KeyType.AES, {Attribute.ENCRYPT: True})
        except PKCS11Error:
            return "round trip; no key can be imported to compare with software"
        if mechanism == "aes-gcm":
            nonce = nonce[:12]
            expected = AESGCM(value).encrypt(nonce, data, _AAD)
            parameter: Any = GCMParams(nonce, _AAD, 128)
            found = key.encrypt(
                data, mechanism=Mechanism.AES_GCM, mechanism_param=parameter
            )
        else:
            cipher = Cipher(algorithms.AES(value), modes.CBC(nonce)).encryptor()
            expected = cipher.update(data)
            found = key.encrypt(
                data, mechanism=Mechanism.AES_CBC, mechanism_param=nonce
            )
        if bytes(found) != expected:
            raise CheckError("software encrypts the same to something else")
        return "round trip, and the same as in software"

    def _check_mac(self, mechanism: str) -> dict[str, Any]:
        label, _, omit = self._make("hmac" if mechanism == "hmac-sha256" else "ec")
        taken = "data" if mechanism == "hmac-sha256" else "sha256"
        if taken == "data" and not self._takes_much(label, omit):
            taken = "sha256"
        keys = self._keys(omit, mac={"mechanism": mechanism, "input": taken})
        data = os.urandom(_LARGE_BYTES)
        tag = keys.mac(data, label=label)
        if not keys.mac_matches(data, tag, label=label):
            raise CheckError("its own tag is not recognised")
        if keys.mac_matches(data[1:], tag, label=label):
            raise CheckError("a tag of other data is recognised")
        detail = f"given the {'data' if taken == 'data' else 'SHA-256 of the data'}"
        if mechanism == "hmac-sha256":
            detail += self._compare_mac()
        return {"detail": detail, "input": taken}

    def _takes_much(self, label: str, omit: Any) -> bool:
        mac = {"mechanism": "hmac-sha256", "input": "data"}
        try:
            self._keys(omit, mac=mac).mac(bytes(_LARGE_BYTES), label=label)
        except PKCS11Error:
            return False
        return True

    def _compare_mac(self) -> str:
        value = os.urandom(32)
        try:
            key = self._import(value, KeyType.GENERIC_SECRET, {Attribute.SIGN: True})
        except PKCS11Error:
            return ""
        found = bytes(key.sign(b"data", mechanism=Mechanism.SHA256_HMAC))
        if not hmac.compare_digest(found, hmac.digest(value, b"data", "sha256")):
            raise CheckError("software computes another HMAC")
        return ", the same as in software"

    def _check_identity(self, _: str) -> dict[str, Any]:
        label, _persistent, omit = self._make("ec")
        keys = self._keys(omit, mac={"mechanism": "ecdsa-p256", "input": "sha256"})
        data = os.urandom(100)
        signature = keys.sign(hashlib.sha256(data).digest(), label=label)
        if not keys.mac_matches(data, signature, label=label):
            raise CheckError("its signature does not verify in software")
        return {"detail": "verified in software"}

    def _check_random(self, _: str) -> dict[str, Any]:
        drawn = [self._keys({}).random(1000) for _ in range(2)]
        if drawn[0] == drawn[1] or len(set(drawn[0])) < len(drawn[0]) // 8:
            raise CheckError("the random bytes repeat")
        for size in (4096, 1024, 256):
            with suppress(PKCS11Error):
                if len(self._session.generate_random(size * 8)) == size:
                    return {"detail": f"{size} bytes in one call", "chunk": size}
        raise CheckError("no 256 random bytes in one call")

    # --- objects ----------------------------------------------------------------

    def _make(self, kind: str) -> tuple[str, bool, Any]:
        """Make a key of a kind in the first way the token takes.

        Returns:
            Its label, whether it outlives the session, what was left out.

        Raises:
            TokenKeyError: If it takes none.
        """
        said = ""
        for persistent in (False, True):
            for omit in (self._profile.keys.omit, _omitted(kind)):
                label = f"{self._prefix}-{kind}-{os.urandom(4).hex()}"
                self._labels.append(label)
                keys = self._keys(omit, persistent=persistent)
                try:
                    keys.make(kind, label, os.urandom(8))
                    keys.unsafe_attributes(label)
                except (PKCS11Error, TokenKeyError) as error:
                    said = f"{type(error).__name__} {error}".strip()
                    continue
                return label, persistent, omit
        raise TokenKeyError(said)

    def _keys(
        self,
        omit: Any,
        mechanism: WrapMechanism | None = None,
        *,
        persistent: bool = True,
        mac: dict[str, str] | None = None,
    ) -> TokenKeys:
        replace = msgspec.structs.replace
        profile = replace(self._profile, keys=replace(self._profile.keys, omit=omit))
        if mechanism is not None:
            profile = replace(
                profile, wrap=replace(profile.wrap, mechanisms=[mechanism])
            )
        if mac is not None:
            profile = replace(profile, mac=replace(profile.mac, **mac))
        return TokenKeys(self._session, profile, persistent=persistent)

    def _import(self, value: bytes, kind: KeyType, more: dict[Attribute, Any]) -> Any:
        template = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: kind,
            Attribute.VALUE: value,
            Attribute.TOKEN: False,
        }
        return self._own(self._session.create_object(template | more))

    def _own(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def _destroy(self) -> None:
        for made in self._made:
            with suppress(PKCS11Error):
                made.destroy()
        with suppress(PKCS11Error):  # a session of no use: `clean` does it
            for label in self._labels:
                for found in list(self._session.get_objects({Attribute.LABEL: label})):
                    found.destroy()

    def _clean(self, _: str) -> dict[str, Any]:
        """Destroy what killed checks left; say what could not be."""
        left = 0
        for found in list(self._session.get_objects()):
            with suppress(PKCS11Error):
                if str(found[Attribute.LABEL]).startswith(self._prefix):
                    left += 1
                    found.destroy()
        return {"detail": f"{left} objects destroyed", "left": left}


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _omitted(kind: str) -> dict[str, list[str]]:
    names = (
        ("secret",)
        if kind in {"aes", "hmac"}
        else (f"{kind}_private", f"{kind}_public")
    )
    return {name: list(_ROLES[name]) for name in names}
