# SPDX-License-Identifier: Apache-2.0
"""Proof-of-work engines on a serial line; the hub checks every nonce they find."""
