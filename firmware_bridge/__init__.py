# SPDX-License-Identifier: Apache-2.0
"""A panel that can stop the money, and engines that do the work, on serial lines.

A leaf: it imports nothing of ours. Read in this order:

1. ``frames`` on ``cobs``, ``messages`` on ``fields`` and ``flat_cbor``: the line.
2. ``link``: each message once and in order. ``keys`` and ``session``: the handshake.
3. ``panel_session``: every decision to trust, or to stop trusting, a panel; no I/O.
4. ``panel`` on ``panel_driver`` and ``serial_line``: what an appliance uses, with
   ``panel_events``, ``presence``, ``attestation``, ``device_log``, ``self_test`` and
   ``health`` as its nouns, and ``errors``.
5. ``pairing``, ``trace``, ``dashboard``, ``simulator``: behind ``saltkeep-panel``.
6. ``firmware/``: the device, an implementation of its own in MicroPython's subset.
7. ``engines/``: proof of work on a serial line, for the hub.
8. ``transport/``: an appliance's wire protocol on a serial line.

What shaped it: everything that decides is fed with bytes and times, so that a hundred
thousand faults can be played in memory; a line may end trust and never create it.
This file must be one that MicroPython can import.
"""
