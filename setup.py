# SPDX-License-Identifier: Apache-2.0
"""The C kernel's build; everything else stands in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["trinary/build_kernel.py:ffibuilder"])
