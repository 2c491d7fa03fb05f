# SPDX-License-Identifier: Apache-2.0
"""An embedded legacy node: the old HTTP API over a real, small Tangle.

It answers as IRI 1.8.6 or as HORNET 0.5.6 did, runs its own coordinator and
can be told to misbehave in every way that hurt integrations of the time. It
holds no real value: its coordinator and faucet keys are in the source.

Read in this order: ``config`` (what can be set), ``validation`` and ``ledger``
(the pure rules), ``tangle`` and ``node`` (the graph and the one owner of all
state), ``storage``, ``tips`` (what may be built upon and confirmed),
``drafting``, ``attaching``, ``coordinator`` and ``faucet`` (who writes
transactions), ``faults`` (the switches), ``devnet`` (the network as its
operator sees it), ``queries`` (what both dialects answer alike), ``iri*`` and
``hornet*`` (the dialects), ``server`` and ``admin`` (HTTP; the latter lists
the devnet's own endpoints), and ``embedded`` (what tests use). It imports
``trinary`` and third parties only.

Absent on purpose: gossip with other nodes, ZMQ and MQTT (a hub treats pushes
as hints and reconciles by polling), Merkle-tree milestones (clients read a
milestone's index, hash and timestamp only).
"""
