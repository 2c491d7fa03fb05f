# SPDX-License-Identifier: Apache-2.0
"""The hub: accounts, deposits, withdrawals and sweeps, and never a key.

It keeps a double-entry ledger of what each user owns, asks the appliance for
addresses and signatures, and carries bundles to a quorum of nodes. Read
``model`` and ``ledger`` first (pure), then ``store``, then one flow at a time;
``service`` is where everything is built. ``devnet`` is a whole legacy node in
one process, for tests and demonstrations; it imports nothing else of the hub.
"""
