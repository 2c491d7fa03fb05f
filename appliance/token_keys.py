# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ANN401 - python-pkcs11 has no types
"""What the keys in a token do, as its profile says; runs in the worker process.

A key has a *role*: ``kek`` wraps data keys, ``mac`` authenticates the vault file,
``identity`` signs receipts. What kind of key that is follows from the profile:

- ``kek``: AES-256 for ``aes-gcm`` and ``aes-cbc``; an RSA pair for ``rsa-oaep-*``,
  whose public half encrypts in software and whose private half decrypts in the token.
- ``mac``: an HMAC key, or a P-256 pair where the token has no HMAC.
- ``identity``: a P-256 pair.
"""

import hashlib
import hmac
import os
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    encode_dss_signature,
)
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import AttributeTypeInvalid
from pkcs11.mechanisms import GCMParams
from pkcs11.util.ec import encode_named_curve_parameters

from appliance.errors import ApplianceError
from hsm_profiles import HsmProfile

HARD: Final = {
    Attribute.EXTRACTABLE: False,
    Attribute.SENSITIVE: True,
    Attribute.PRIVATE: True,
}
"""What every key here must be."""
_GCM_NONCE_BYTES: Final = 12
_CBC_IV_BYTES: Final = 16
_GCM_TAG_BITS: Final = 128
_AES_BITS: Final = 256
_POINT_BYTES: Final = 65
_HALF_BYTES: Final = 32
_CHALLENGE_BYTES: Final = 32
_OWNED: Final = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
_OAEP: Final = {
    "rsa-oaep-sha1": (hashes.SHA1(), Mechanism.SHA_1, MGF.SHA1),  # noqa: S303 - OAEP
    "rsa-oaep-sha256": (hashes.SHA256(), Mechanism.SHA256, MGF.SHA256),
}


class TokenKeyError(ApplianceError):
    """The token holds no such key, or not as asked."""

    code = "token-key"


class TokenKeys:
    """The keys of one logged-in session.

    Args:
        session: Of python-pkcs11, read-write.
        profile: What this kind of token can do.
        persistent: False where keys shall die with the session (probe).
    """

    def __init__(
        self, session: Any, profile: HsmProfile, *, persistent: bool = True
    ) -> None:
        self._session = session
        self._profile = profile
        self._persistent = persistent

    # --- keys -------------------------------------------------------------------

    def provide(self, role: str, label: str, key_id: bytes) -> None:
        """Make a key; or find the one that the token's own tool made.

        Args:
            role: ``kek``, ``mac`` or ``identity``.
            label: Its label.
            key_id: Its CKA_ID.

        Raises:
            TokenKeyError: If the label is taken; or, with keys of an external tool,
                if there is none or it could leave the token.
        """
        kind = self.kind_of(role)
        if self._profile.keys.made_by == "external-tool":
            self._require_made(label, kind)
            return
        if list(self._session.get_objects({Attribute.LABEL: label})):
            raise TokenKeyError(f"a key labelled {label!r} is there already")
        self.make(kind, label, key_id)

    def kind_of(self, role: str) -> str:
        """Return ``aes``, ``rsa``, ``hmac`` or ``ec``: what a role's key is."""
        if role == "kek":
            return "rsa" if self._profile.wrap.mechanisms[0] in _OAEP else "aes"
        if role == "mac" and self._profile.mac.mechanism == "hmac-sha256":
            return "hmac"
        return "ec"

    def make(self, kind: str, label: str, key_id: bytes) -> None:
        """Make a key that can not leave the token.

        Args:
            kind: ``aes``, ``rsa``, ``hmac`` or ``ec``.
            label: Its label.
            key_id: Its CKA_ID.
        """
        named = {"store": self._persistent, "label": label, "id": key_id}
        sign = MechanismFlag.SIGN | MechanismFlag.VERIFY
        crypt = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        if kind in {"aes", "hmac"}:
            self._session.generate_key(
                KeyType.AES if kind == "aes" else KeyType.GENERIC_SECRET,
                _AES_BITS if kind == "aes" else self._profile.mac.key_bits,
                capabilities=crypt if kind == "aes" else sign,
                template=HARD | self._omitted("secret"),
                **named,
            )
        elif kind == "rsa":
            self._session.generate_keypair(
                KeyType.RSA,
                self._profile.wrap.rsa_bits,
                capabilities=crypt,
                private_template=HARD | self._omitted("rsa_private"),
                public_template=self._omitted("rsa_public"),
                **named,
            )
        else:
            curve = self._session.create_domain_parameters(
                KeyType.EC,
                {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
                local=True,
            )
            curve.generate_keypair(
                capabilities=sign,
                private_template=HARD | self._omitted("ec_private"),
                public_template=self._omitted("ec_public"),
                **named,
            )

    def unsafe_attributes(self, label: str) -> list[str]:
        """Name the attributes that would let a key out; a missing one counts.

        Args:
            label: Of the key.

        Returns:
            Names; empty if all are as they must be.
        """
        key = self._owned(label)
        return [
            attribute.name
            for attribute, wanted in HARD.items()
            if _attribute(key, attribute) is not wanted
        ]

    def destroy(self, label: str) -> None:
        """Destroy a key for ever, both halves of a pair.

        Args:
            label: Exactly one key that the token keeps must carry it.
        """
        key = self._owned(label)
        public = self._find(label, ObjectClass.PUBLIC_KEY)
        for one in (key, *public):
            one.destroy()

    # --- what they do -----------------------------------------------------------

    def wrap(
        self, data_key: bytes, *, label: str, mechanism: str, aad: bytes
    ) -> tuple[bytes, bytes]:
        """Encrypt a 32-byte data key.

        Args:
            data_key: 32 bytes.
            label: Of the key-encryption key.
            mechanism: Of the profile.
            aad: Bound to it where the mechanism can (``aes-gcm``).

        Returns:
            Nonce or IV (empty for RSA), ciphertext.
        """
        self._require_mechanism(mechanism)
        if mechanism in _OAEP:
            algorithm = _OAEP[mechanism][0]
            scheme = padding.OAEP(padding.MGF1(algorithm), algorithm, None)
            return b"", self._rsa_public(label).encrypt(data_key, scheme)
        nonce = os.urandom(
            _GCM_NONCE_BYTES if mechanism == "aes-gcm" else _CBC_IV_BYTES
        )
        key = self._one(label, ObjectClass.SECRET_KEY)
        how, parameter = _cipher(mechanism, nonce, aad)
        return nonce, bytes(
            key.encrypt(data_key, mechanism=how, mechanism_param=parameter)
        )

    def unwrap(
        self, wrapped: bytes, *, label: str, mechanism: str, nonce: bytes, aad: bytes
    ) -> bytes:
        """Decrypt what ``wrap`` made; the arguments are the same.

        Returns:
            The data key.
        """
        self._require_mechanism(mechanism)
        rsa_key = mechanism in _OAEP
        kind = ObjectClass.PRIVATE_KEY if rsa_key else ObjectClass.SECRET_KEY
        how, parameter = _cipher(mechanism, nonce, aad)
        key = self._one(label, kind)
        return bytes(key.decrypt(wrapped, mechanism=how, mechanism_param=parameter))

    def mac(self, data: bytes, *, label: str) -> bytes:
        """Authenticate data: HMAC-SHA256, or an ECDSA signature (r, s).

        Args:
            data: Any length.
            label: Of the MAC key.

        Returns:
            32 or 64 bytes.
        """
        given = data
        if self._profile.mac.input == "sha256":
            given = hashlib.sha256(data).digest()
        if self._profile.mac.mechanism == "ecdsa-p256":
            return self.sign(given, label=label)
        key = self._one(label, ObjectClass.SECRET_KEY)
        return bytes(key.sign(given, mechanism=Mechanism.SHA256_HMAC))

    def mac_matches(self, data: bytes, tag: bytes, *, label: str) -> bool:
        """Say whether ``mac`` made this tag over this data.

        For signatures the public half is not taken at its word, since some modules
        keep it where others can write: the private half must sign a challenge that
        it verifies.

        Args:
            data: What was authenticated.
            tag: The tag.
            label: Of the MAC key.

        Returns:
            Whether it matches.

        Raises:
            TokenKeyError: If the two halves do not belong together.
        """
        if self._profile.mac.mechanism == "hmac-sha256":
            return hmac.compare_digest(self.mac(data, label=label), tag)
        public = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), self.point(label=label)
        )
        challenge = os.urandom(_CHALLENGE_BYTES)
        if not _verifies(public, challenge, self.sign(challenge, label=label)):
            raise TokenKeyError(
                f"the public half of {label!r} does not belong to the private half:"
                " the token's store was altered"
            )
        return _verifies(public, hashlib.sha256(data).digest(), tag)

    def sign(self, digest: bytes, *, label: str) -> bytes:
        """Sign a SHA-256 digest: ECDSA P-256, r and s (64 bytes)."""
        key = self._one(label, ObjectClass.PRIVATE_KEY)
        return bytes(key.sign(digest, mechanism=Mechanism.ECDSA))

    def point(self, *, label: str) -> bytes:
        """Return the uncompressed public point of a P-256 key (65 bytes)."""
        key = self._one(label, ObjectClass.PUBLIC_KEY)
        return bytes(key[Attribute.EC_POINT])[-_POINT_BYTES:]

    def random(self, size: int) -> bytes:
        """Return random bytes, asked for in pieces the token gives."""
        most, least = self._profile.random.chunk_bytes, self._profile.random.least_bytes
        drawn = b""
        while len(drawn) < size:
            count = min(most, max(least, size - len(drawn)))
            drawn += bytes(self._session.generate_random(count * 8))
        return drawn[:size]

    def secret_object(self, label: str) -> bytes:
        """Read a salt that is kept as an object of the token.

        Args:
            label: Of one private data object, or one generic secret that may leave.

        Returns:
            Its value.

        Raises:
            TokenKeyError: If there is none, there are several, or it may not leave.
        """
        found = [
            one
            for kind in (ObjectClass.DATA, ObjectClass.SECRET_KEY)
            for one in self._find(label, kind)
        ]
        if len(found) != 1:
            raise TokenKeyError(
                f"expected one data object or generic secret labelled {label!r},"
                f" found {len(found)}"
            )
        if _attribute(found[0], Attribute.PRIVATE) is not True:
            raise TokenKeyError(f"{label!r} can be read without a login: no secret")
        return bytes(found[0][Attribute.VALUE])

    # --- finding ----------------------------------------------------------------

    def _require_made(self, label: str, kind: str) -> None:
        try:
            unsafe = self.unsafe_attributes(label)
        except TokenKeyError as error:
            raise TokenKeyError(
                f"make one {_KINDS[kind]} labelled {label!r} with the token's own tool,"
                f" not extractable, then ask again ({error})"
            ) from error
        if unsafe:
            raise TokenKeyError(
                f"the key labelled {label!r} could leave: {', '.join(unsafe)}"
            )

    def _require_mechanism(self, mechanism: str) -> None:
        if mechanism not in self._profile.wrap.mechanisms:
            raise TokenKeyError(
                f"the profile {self._profile.id} does not wrap by {mechanism!r}"
            )

    def _omitted(self, kind: Any) -> dict[Attribute, Any]:
        omitted = self._profile.keys.omit.get(kind, [])
        return {Attribute[name]: DEFAULT for name in omitted}

    def _rsa_public(self, label: str) -> rsa.RSAPublicKey:
        key = self._one(label, ObjectClass.PUBLIC_KEY)
        exponent = int.from_bytes(key[Attribute.PUBLIC_EXPONENT])
        modulus = int.from_bytes(key[Attribute.MODULUS])
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def _owned(self, label: str) -> Any:
        found = [one for kind in _OWNED for one in self._find(label, kind)]
        if len(found) != 1:
            raise TokenKeyError(
                f"expected one key labelled {label!r}, found {len(found)}"
            )
        return found[0]

    def _one(self, label: str, kind: ObjectClass) -> Any:
        found = self._find(label, kind)
        if len(found) != 1:
            raise TokenKeyError(
                f"expected one {kind.name} labelled {label!r}, found {len(found)}"
            )
        return found[0]

    def _find(self, label: str, kind: ObjectClass) -> list[Any]:
        sought = {Attribute.LABEL: label, Attribute.CLASS: kind}
        return list(self._session.get_objects(sought))


_KINDS: Final = {
    "aes": "AES-256 key",
    "rsa": "RSA key pair",
    "hmac": "HMAC-SHA256 key (generic secret)",
    "ec": "P-256 key pair",
}


def _cipher(mechanism: str, nonce: bytes, aad: bytes) -> tuple[Mechanism, Any]:
    if mechanism in _OAEP:
        _, hashed, masked = _OAEP[mechanism]
        return Mechanism.RSA_PKCS_OAEP, (hashed, masked, None)
    if mechanism == "aes-gcm":
        return Mechanism.AES_GCM, GCMParams(nonce, aad, _GCM_TAG_BITS)
    return Mechanism.AES_CBC, nonce


def _verifies(key: ec.EllipticCurvePublicKey, digest: bytes, tag: bytes) -> bool:
    if len(tag) != 2 * _HALF_BYTES:
        return False
    r, s = (int.from_bytes(half) for half in (tag[:_HALF_BYTES], tag[_HALF_BYTES:]))
    try:
        key.verify(
            encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256()))
        )
    except InvalidSignature:
        return False
    return True


def _attribute(key: Any, attribute: Attribute) -> Any:
    try:
        return key[attribute]
    except AttributeTypeInvalid:
        return None
