# SPDX-License-Identifier: Apache-2.0
"""The hub: accounts, deposits, withdrawals and sweeps, and never a key.

It keeps a double-entry ledger of what each user owns, asks the appliance for
addresses and signatures, and carries bundles to a quorum of nodes. In the order
to read it:

- ``model``, ``states`` and ``ledger``: values, what may follow what, and what every
  posting keeps true; pure.
- ``store``: the only SQLAlchemy; one transaction object, one module per noun.
- the flows, each alone: ``addresses`` (a fresh deposit address), ``deposits``
  (looked at by ``deposit_monitor`` and ``address_rounds``, woken by ``hints``),
  ``withdrawals``, ``transfers``, ``sweeps``, ``attachments``.
- the doors to the outside: ``signer`` (appliance), ``nodes`` (quorum), ``pow``,
  ``tangle`` (the only PyOTA).
- ``api``: what exchange back ends call. ``config``: one strict TOML file.
- ``service``: where everything is built. ``devnet``: a whole legacy node in one
  process, for tests and demonstrations; it imports nothing else of the hub.

Two ideas shape it. A withdrawal or sweep is one transaction on rows that are
locked by the statement that changes them, so that nothing is decided on a look
that is out of date. And what is planned is stored before anybody outside is
asked, so that a crash anywhere is followed by the very same question.
"""
