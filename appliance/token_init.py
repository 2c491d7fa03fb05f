# SPDX-License-Identifier: Apache-2.0
"""Initialise a free slot of a PKCS#11 module without a PIN in any argv.

python-pkcs11 has no C_InitToken, and vendors' tools take PINs as arguments, so
this calls the three functions themselves. Runs in a worker process that does
nothing else.

Source: PKCS#11 v2.40, CK_FUNCTION_LIST and section 5 (general functions).
"""

import ctypes
from typing import Any, Final

from appliance.errors import HsmError
from appliance.pkcs11_module import Init, function_list, initialise

_Ulong = ctypes.c_ulong
_GET_SLOT_LIST, _GET_TOKEN_INFO = 4, 6
_INIT_TOKEN, _INIT_PIN, _OPEN_SESSION, _LOGIN = 9, 10, 12, 18
_RW_SESSION: Final = 0x2 | 0x4  # CKF_RW_SESSION | CKF_SERIAL_SESSION
_TOKEN_INITIALIZED: Final = 0x400  # CKF_TOKEN_INITIALIZED
_SECURITY_OFFICER: Final = 0  # CKU_SO
_FLAGS_OFFSET: Final = 96  # of CK_TOKEN_INFO: label 32, maker 32, model 16, serial 16
_TOKEN_INFO_BYTES: Final = 256
_LABEL_BYTES: Final = 32


class _Module:
    """The function list of one module, called by position."""

    def __init__(self, path: str, init: Init) -> None:
        self._list = function_list(path)
        initialise(path, init)

    def call(self, position: int, *arguments: Any) -> None:  # noqa: ANN401 - ctypes
        kinds = [
            _Ulong if isinstance(value, int) else ctypes.c_void_p for value in arguments
        ]
        function = ctypes.CFUNCTYPE(_Ulong, *kinds)(self._list[position] or 0)
        status = function(
            *(
                value
                if value is None or isinstance(value, int)
                else ctypes.addressof(value)
                for value in arguments
            )
        )
        if status:
            raise HsmError(f"PKCS#11 function {position} gave {status:#x}")


def _free_slot(module: _Module) -> int:
    count = _Ulong()
    module.call(_GET_SLOT_LIST, 1, None, count)
    slots = (_Ulong * count.value)()
    module.call(_GET_SLOT_LIST, 1, slots, count)
    for slot in slots:
        info = (ctypes.c_ubyte * _TOKEN_INFO_BYTES)()
        module.call(_GET_TOKEN_INFO, int(slot), info)
        if not _Ulong.from_buffer(info, _FLAGS_OFFSET).value & _TOKEN_INITIALIZED:
            return int(slot)
    raise HsmError("no uninitialised slot is left on this module")


def initialise_token(
    header: dict[str, Any], body: bytes
) -> tuple[dict[str, Any], bytes]:
    """Initialise a free slot with a label, a security officer PIN and a user PIN.

    Args:
        header: ``module`` (path), ``init`` (of the profile) and ``token_label`` (at
            most 32 bytes), ``officer_bytes`` (length of the first PIN).
        body: The security officer's PIN, then the user's.

    Returns:
        An empty header and body.

    Raises:
        HsmError: If a call fails or no slot is free.
    """
    size = header["officer_bytes"]
    officer, user = (
        ctypes.create_string_buffer(pin, len(pin)) for pin in (body[:size], body[size:])
    )
    label = header["token_label"].encode().ljust(_LABEL_BYTES)
    if len(label) != _LABEL_BYTES:
        raise HsmError("a token label has at most 32 bytes")
    module = _Module(header["module"], header["init"])
    slot = _free_slot(module)
    text = ctypes.create_string_buffer(label, _LABEL_BYTES)
    module.call(_INIT_TOKEN, slot, officer, len(officer), text)
    session = _Ulong()
    # SoftHSM moves an initialised token to a slot of its own: find it again.
    module.call(_OPEN_SESSION, slot, _RW_SESSION, None, None, session)
    module.call(_LOGIN, session.value, _SECURITY_OFFICER, officer, len(officer))
    module.call(_INIT_PIN, session.value, user, len(user))
    for pin in (officer, user):
        ctypes.memset(pin, 0, len(pin))
    return {}, b""
