# SPDX-License-Identifier: Apache-2.0
"""Load a PKCS#11 module as its profile says it wants to be initialised.

python-pkcs11 calls C_Initialize with nothing. Modules that want locking named, or
parameters of their own, are initialised here first, through the function list; the
library object is then made without its own call.

Source: PKCS#11 v2.40, CK_C_INITIALIZE_ARGS; NSS, CK_C_INITIALIZE_ARGS with
LibraryParameters before pReserved (nss/lib/util/pkcs11t.h).
"""

import ctypes
import os
from typing import Any, Final, Literal

import pkcs11
from pkcs11 import _pkcs11

from appliance.errors import HsmError

PARAMETERS: Final = "SALTKEEP_MODULE_PARAMETERS"
"""Environment variable with a module's own initialisation string."""
_OS_LOCKING: Final = 2  # CKF_OS_LOCKING_OK
_OK: Final = frozenset({0, 0x191})  # CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED
_WORD_BYTES: Final = ctypes.sizeof(ctypes.c_void_p)
Init = Literal["null", "os-locking", "nss"]

_CALLBACKS: Final = [
    (name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")
]


class _Arguments(ctypes.Structure):
    _fields_ = (
        *_CALLBACKS,
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


class _NssArguments(ctypes.Structure):
    _fields_ = (
        *_CALLBACKS,
        ("flags", ctypes.c_ulong),
        ("parameters", ctypes.c_char_p),
        ("reserved", ctypes.c_void_p),
    )


def function_list(path: str) -> Any:  # noqa: ANN401 - ctypes
    """Return the functions of a module by position (C_Initialize is 0).

    Args:
        path: Of the module.

    Returns:
        An array of pointers; the module stays loaded.

    Raises:
        HsmError: If it is no PKCS#11 module.
    """
    try:
        module = ctypes.CDLL(path)
        listed = ctypes.c_void_p()
        refused = module.C_GetFunctionList(ctypes.byref(listed))
    except (OSError, AttributeError) as error:
        raise HsmError(f"{path} is no PKCS#11 module: {error}") from error
    if refused or not listed.value:
        raise HsmError(f"{path} is no PKCS#11 module")
    return ctypes.cast(listed.value + _WORD_BYTES, ctypes.POINTER(ctypes.c_void_p))


def initialise(path: str, init: Init) -> None:
    """Call C_Initialize.

    Args:
        path: Of the module.
        init: How.

    Raises:
        HsmError: If the module refuses.
    """
    argument: Any = None
    parameters = os.environ.get(PARAMETERS, "").encode() or None
    if init == "nss":
        argument = ctypes.pointer(
            _NssArguments(flags=_OS_LOCKING, parameters=parameters)
        )
    elif init == "os-locking":
        argument = ctypes.pointer(_Arguments(flags=_OS_LOCKING, reserved=parameters))
    prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)
    status = prototype(function_list(path)[0])(argument)
    if status not in _OK:
        raise HsmError(f"C_Initialize of {path} ({init}) gave {status:#x}")


def load(path: str, init: Init) -> Any:  # noqa: ANN401 - untyped library
    """Load and initialise a module; once per process.

    Args:
        path: Of the module.
        init: How C_Initialize is called.

    Returns:
        The ``pkcs11.lib`` object.
    """
    if init == "null":
        return pkcs11.lib(path)
    library = _pkcs11.lib.__new__(_pkcs11.lib, path)  # type: ignore[call-arg]
    initialise(path, init)
    return library
