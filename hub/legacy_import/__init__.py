# SPDX-License-Identifier: Apache-2.0
"""Bring the database of a Hub 1.4 over: read, check, hand over spent keys, write.

Read ``rows`` (what the old database holds), ``checks`` (what must not be in it),
``spent`` (which keys may have signed, as the file that the appliance's operators
import), ``plan`` (what becomes of the rows here, as ``values``), then ``importing``,
the only part that acts. ``hub.store.legacy_source`` reads the old database,
``hub.store.imports`` writes ours. The ceremony is ``docs/migrate-from-hub.md``.
"""
