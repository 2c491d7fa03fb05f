# SPDX-License-Identifier: Apache-2.0
"""Alembic's folder: ``env`` and one file per released revision."""
