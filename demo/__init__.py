# SPDX-License-Identifier: Apache-2.0
"""The story of the README, played on this machine by ``make demo``.

``__main__`` tells it; ``processes`` runs appliance, hub and devnet as three
processes; ``wallet`` is somebody else's wallet, written with PyOTA and no code of
the hub; ``rest`` speaks the old Hub's REST dialect, as an exchange's back end does.
"""
