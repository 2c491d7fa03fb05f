# SPDX-License-Identifier: Apache-2.0
"""Attempts to get a key out of a token, on keys made for that; runs in a worker.

What counts is what came of it. A value that was read, or a key that was wrapped
although it may not leave, is ``unsafe``. A token that takes the attribute which would
let the key leave has to withstand real attempts on that very key afterwards, or
answer that it has no such function; where no attempt could be made, it is ``unsafe``
too. A token that refused everything is ``withstood``.

Source: R. Bardou et al., Efficient Padding Oracle Attacks on Cryptographic Hardware,
and M. Bortolozzo et al., Attacking and Fixing PKCS#11 Security Tokens: the tokens of
both took attributes back and wrapped what must not leave.
"""
# ruff: noqa: ANN401 - python-pkcs11 has no types

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import (
    Attribute,
    KeyType,
    Mechanism,
    MechanismFlag,
    ObjectClass,
    PKCS11Error,
)
from pkcs11.exceptions import (
    FunctionNotSupported,
    KeyNotWrappable,
    KeyUnextractable,
)

Verdict = Literal["withstood", "warning", "unsafe", "untried"]
_AES_BITS: Final = 256
_IV_BYTES: Final = 16
_AES_WRAPS: Final = (
    ("AES_KEY_WRAP", None),
    ("AES_KEY_WRAP_PAD", None),
    ("AES_KEY_WRAP_KWP", None),
    ("AES_CBC_PAD", bytes(_IV_BYTES)),
    ("AES_CBC", bytes(_IV_BYTES)),
    ("AES_ECB", None),
)
_RSA_WRAPS: Final = (("RSA_PKCS", None), ("RSA_PKCS_OAEP", None))
_ABOUT_THE_KEY: Final = (KeyUnextractable, KeyNotWrappable)
_UNMAPPED: Final = ("0x1b", "0x68")  # ACTION_PROHIBITED, KEY_FUNCTION_NOT_PERMITTED


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt.

    Attributes:
        what: E.g. ``read the value``.
        outcome: ``got`` (the value, or the wrapped key), ``accepted`` (an attribute
            that would let it leave), ``refused``, ``unsupported`` (the module has no
            such function), ``impossible`` (it could not be made at all).
        detail: What the token said.
    """

    what: str
    outcome: Literal["got", "accepted", "refused", "unsupported", "impossible"]
    detail: str = ""


def judge(attempts: list[Attempt]) -> tuple[Verdict, str]:
    """Say what a list of attempts on one key shows; pure.

    Args:
        attempts: In the order made; attempts on what an accepted attribute or copy
            gave stand behind it, and count for it.

    Returns:
        The verdict and why.
    """
    for attempt in attempts:
        if attempt.outcome == "got":
            return "unsafe", f"{attempt.what}: {attempt.detail}"
    accepted = [at for at, one in enumerate(attempts) if one.outcome == "accepted"]
    for number, start in enumerate(accepted):
        end = accepted[number + 1] if number + 1 < len(accepted) else len(attempts)
        after = attempts[start + 1 : end]
        if not (_tried(after, "read") and _tried(after, "wrap")):
            return "unsafe", (
                f"{attempts[start].what} was accepted, and whether the key can be got"
                " out then could not be tried"
            )
    if accepted:
        names = ", ".join(attempts[at].what for at in accepted)
        return "warning", f"accepted: {names}; its value was not to be had all the same"
    if not (_tried(attempts, "read") and _tried(attempts, "wrap")):
        missing = [one.what for one in attempts if one.outcome == "impossible"]
        return "untried", f"could not be tried: {', '.join(missing) or 'anything'}"
    return "withstood", f"{len(attempts)} attempts refused"


def _tried(attempts: list[Attempt], kind: str) -> bool:
    """Say whether one was really made, or the module has no such function at all."""
    outcomes = [one.outcome for one in attempts if one.what.startswith(kind)]
    if "refused" in outcomes or "got" in outcomes:
        return True
    return bool(outcomes) and set(outcomes) == {"unsupported"}


class Attacks:
    """Makes the attempts.

    Args:
        session: Of python-pkcs11, logged in.
        own: Called with each object made on the way, to be destroyed in the end.
    """

    def __init__(self, session: Any, own: Callable[[Any], Any]) -> None:
        self._session = session
        self._own = own

    def on(self, key: Any, secret: Attribute) -> list[Attempt]:
        """Try to get one key out.

        Args:
            key: Made not extractable and sensitive.
            secret: Its attribute that is the secret.

        Returns:
            Every attempt made.
        """
        attempts = list(self._take(key, secret))
        for attribute, value in (
            (Attribute.EXTRACTABLE, True),
            (Attribute.SENSITIVE, False),
        ):
            step = self._set(key, attribute, value=value)
            attempts.append(step)
            if step.outcome == "accepted":
                attempts += self._take(key, secret)
        for attribute, value in (
            (Attribute.EXTRACTABLE, True),
            (Attribute.SENSITIVE, False),
        ):
            step, copy = self._copy(key, attribute, value=value)
            attempts.append(step)
            if copy is not None:
                attempts += self._take(copy, secret)
        return attempts

    def _take(self, key: Any, secret: Attribute) -> Iterator[Attempt]:
        yield self._read(key, secret)
        yield from self._wrap_out(key)

    def _read(self, key: Any, secret: Attribute) -> Attempt:
        what = f"read {secret.name}"
        try:
            value = key[secret]
        except FunctionNotSupported as error:
            return Attempt(what, "unsupported", type(error).__name__)
        except PKCS11Error as error:
            return Attempt(what, "refused", type(error).__name__)
        size = len(value) if isinstance(value, (bytes, bytearray)) else 0
        if not size:
            return Attempt(what, "refused", "an empty value")
        return Attempt(what, "got", f"the token gave {size} bytes of it")

    def _set(self, key: Any, attribute: Attribute, *, value: bool) -> Attempt:
        what = f"set {attribute.name} to {value}"
        try:
            key[attribute] = value
        except FunctionNotSupported as error:
            return Attempt(what, "unsupported", type(error).__name__)
        except PKCS11Error as error:
            return Attempt(what, "refused", _said(error))
        return Attempt(what, "accepted", f"it now reads {_reads(key, attribute)}")

    def _copy(
        self, key: Any, attribute: Attribute, *, value: bool
    ) -> tuple[Attempt, Any]:
        what = f"copy it with {attribute.name} {value}"
        try:
            copy = key.copy({attribute: value, Attribute.TOKEN: False})
        except FunctionNotSupported as error:
            return Attempt(what, "unsupported", type(error).__name__), None
        except PKCS11Error as error:
            return Attempt(what, "refused", _said(error)), None
        self._own(copy)
        return Attempt(what, "accepted", f"it reads {_reads(copy, attribute)}"), copy

    def _wrap_out(self, key: Any) -> Iterator[Attempt]:
        """Wrap the key under keys of ours, by every mechanism there is for it."""
        wrappers = list(self._wrapping_keys())
        if not wrappers:
            yield Attempt("wrap it", "impossible", "no wrapping key could be made")
        for wrapper, mechanisms in wrappers:
            for name, parameter in mechanisms:
                yield self._wrap(wrapper, key, name, parameter)

    def _wrap(self, wrapper: Any, key: Any, name: str, parameter: Any) -> Attempt:
        what = f"wrap it by {name}"
        try:
            wrapped = wrapper.wrap_key(
                key, mechanism=Mechanism[name], mechanism_param=parameter
            )
        except FunctionNotSupported as error:
            return Attempt(what, "unsupported", type(error).__name__)
        except _ABOUT_THE_KEY as error:
            return Attempt(what, "refused", type(error).__name__)
        except PKCS11Error as error:
            said = _said(error)  # not of this mechanism: that proves nothing
            about = any(said.endswith(code) for code in _UNMAPPED)
            return Attempt(what, "refused" if about else "impossible", said)
        return Attempt(what, "got", f"{len(wrapped)} bytes of a key that may not leave")

    def _wrapping_keys(self) -> Iterator[tuple[Any, Any]]:
        """Make an AES key and an RSA public key whose other half we know."""
        with suppress(PKCS11Error):
            yield (
                self._own(
                    self._session.create_object(
                        {
                            Attribute.CLASS: ObjectClass.SECRET_KEY,
                            Attribute.KEY_TYPE: KeyType.AES,
                            Attribute.VALUE: os.urandom(_AES_BITS // 8),
                            Attribute.TOKEN: False,
                            Attribute.WRAP: True,
                            Attribute.UNWRAP: True,
                        }
                    )
                ),
                _AES_WRAPS,
            )
        with suppress(PKCS11Error):
            yield (
                self._own(
                    self._session.generate_key(
                        KeyType.AES,
                        _AES_BITS,
                        store=False,
                        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
                    )
                ),
                _AES_WRAPS,
            )
        numbers = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            .public_key()
            .public_numbers()
        )
        with suppress(PKCS11Error):
            yield (
                self._own(
                    self._session.create_object(
                        {
                            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                            Attribute.KEY_TYPE: KeyType.RSA,
                            Attribute.MODULUS: numbers.n.to_bytes(256),
                            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes(3),
                            Attribute.TOKEN: False,
                            Attribute.WRAP: True,
                        }
                    )
                ),
                _RSA_WRAPS,
            )


def _said(error: PKCS11Error) -> str:
    return f"{type(error).__name__} {error}".strip()


def _reads(key: Any, attribute: Attribute) -> str:
    try:
        return str(key[attribute])
    except PKCS11Error as error:
        return type(error).__name__
