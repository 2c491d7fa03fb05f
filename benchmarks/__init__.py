# SPDX-License-Identifier: Apache-2.0
"""How fast it is, as ratios to peers measured in the same run, interleaved.

``make bench`` prints a table; ``--json FILE`` writes the figures. ``rounds`` is
how a comparison is timed; ``kernel``, ``argon2`` and ``appliance`` hold what is
compared; ``__main__`` runs them and says which bars are met.
"""
