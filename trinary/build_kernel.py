# SPDX-License-Identifier: Apache-2.0
"""Build ``trinary._kernel``, the C kernel, with cffi in API mode.

setuptools reads ``ffibuilder`` from here (``cffi-modules``). Run as a program,
for work in a checkout, this file compiles in place; with a folder as argument
it puts a copy of the whole package there and compiles that, so that a sanitized
build does not replace the one in use. In API mode every call releases the
interpreter lock.

Environment:
    SALTKEEP_SANITIZE: A value for ``-fsanitize=``, such as
        ``address,undefined``; unset for a normal build.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

MODULE = "trinary._kernel"
# What setuptools calls it: under another name the older of two would be found.
_FILE = "_kernel.abi3.so"
_HERE = Path(__file__).resolve().parent
_HEADER = _HERE / "kernel" / "kernel.h"
_SOURCES = sorted(
    f"trinary/kernel/{path.name}" for path in (_HERE / "kernel").glob("*.c")
)
_HEADERS = sorted(
    f"trinary/kernel/{path.name}" for path in (_HERE / "kernel").glob("*.h")
)

# No -march=native: the wheel runs on any machine of its architecture, and wider
# instructions are chosen when it runs.
_COMPILE_ARGS = [
    "-std=c11",
    "-O3",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wvla",
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion",
    "-Werror=return-type",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-pthread",
]
_LINK_ARGS = ["-pthread", "-Wl,-z,relro,-z,now"]


def _declarations() -> str:
    """Return the part of kernel.h that is meant for cffi.

    Returns:
        C declarations between the two cffi marks.
    """
    text = _HEADER.read_text(encoding="ascii")
    return text.partition("/* cffi: begin */")[2].partition("/* cffi: end */")[0]


def _sanitizer_args() -> list[str]:
    """Return the flags that ``SALTKEEP_SANITIZE`` asks for.

    Returns:
        Flags for both compiler and linker; empty when the variable is unset.
    """
    sanitizers = os.environ.get("SALTKEEP_SANITIZE", "")
    if not sanitizers:
        return []
    return [
        f"-fsanitize={sanitizers}",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
        "-g",
    ]


def make_builder() -> FFI:
    """Describe the extension module.

    Returns:
        The builder, with sources relative to the folder above ``trinary``.
    """
    builder = FFI()
    builder.cdef(_declarations())
    builder.set_source(
        MODULE,
        '#include "kernel.h"',
        sources=_SOURCES,
        include_dirs=["trinary/kernel"],
        depends=_HEADERS,
        extra_compile_args=[*_COMPILE_ARGS, *_sanitizer_args()],
        libraries=["m"],
        extra_link_args=[*_LINK_ARGS, *_sanitizer_args()],
    )
    return builder


def compile_into(package: Path) -> Path:
    """Compile in a scratch folder and put the module into a package.

    The module is replaced in one step: programs that run keep the old one. One
    that was built under another name goes.

    Args:
        package: The folder of this package, or of a copy of it.

    Returns:
        Where the module now is.
    """
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(_HERE / "kernel", Path(scratch) / "trinary" / "kernel")
        built = Path(make_builder().compile(tmpdir=scratch))
        target = package / _FILE
        staged = target.with_suffix(f".{os.getpid()}")
        shutil.copy(built, staged)
        staged.replace(target)
    for other in package.glob("_kernel.*.so"):
        if other != target:
            other.unlink()
    return target


def main(arguments: list[str]) -> None:
    """Compile in place, or a copy of the package.

    Args:
        arguments: None, or the folder that is to hold the copy.
    """
    package = _HERE
    if arguments:
        package = Path(arguments[0]) / "trinary"
        left_out = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(_HERE, package, ignore=left_out, dirs_exist_ok=True)
    compile_into(package)


ffibuilder = make_builder()

if __name__ == "__main__":
    main(sys.argv[1:])
