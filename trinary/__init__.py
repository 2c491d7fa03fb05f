# SPDX-License-Identifier: Apache-2.0
"""IOTA's trinary number system and hashes: a C kernel behind a Python face.

A leaf: it imports nothing of ours and asks nothing of the network, so that the
hub and the appliance can both stand on it and the appliance stays auditable.

Read in this order:

1. ``trytes``: the text, its numbers and its 48-byte form.
2. ``kerl`` and ``curl``: the two hashes.
3. ``winternitz``: addresses and one-time signatures.
4. ``bundle``: transactions, and the hash that is signed.
5. ``pow``: proof of work.
6. ``miner``: what a second signature gives away, and how to give away least.
7. ``memory``: where secrets live.
8. ``shares``: a secret split among several keepers.
9. ``argon2``: from a password to a seed, slowly, as fast as that can be done.
10. ``errors``: what can go wrong, as a tree.
11. ``kernel/``: the C. ``kernel.h`` is its outside; ``word.h`` has the idea that
    makes it fast, a 243-trit word as one 384-bit number; ``lanes.h`` hashes many
    of them side by side; ``build_kernel`` makes ``_kernel`` of it.

What shaped it: secrets are read where they lie and never become Python objects;
what is computed from them is wiped before a call returns, and takes the same
time whatever they are. Nothing is re-exported here: a module's name tells what
its functions are about.
"""
