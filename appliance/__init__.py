# SPDX-License-Identifier: Apache-2.0
"""The signing appliance: the only place where a seed ever exists.

It unwraps the salt with a key that never leaves the HSM, regenerates each seed
in locked memory, understands the whole bundle it is asked to sign, writes the
one-time key down as spent, and only then signs. It imports nothing of the hub.

Read in this order:

1. ``wire``: what may be asked and answered.
2. ``signing``: the one path to a signature; ``issuing``: the path to an address.
3. ``intent`` (what a bundle means), ``policy`` (may it be), ``journal`` (which
   keys are spent): the three rooms that path goes through.
4. ``derivation``, ``vault``, ``hsm``: where the key comes from.
5. ``seal``, ``hardening``, ``server``: when it may run at all, and for whom.
6. ``ceremony``: how an appliance comes to be.

Shaped by the one law: a Winternitz key that signs two different hashes gives
away itself and the money.
"""

from typing import Final

__version__: Final = "0.1.0"
