# SPDX-License-Identifier: Apache-2.0
"""The reference firmware of a panel, in the subset of Python that MicroPython runs.

One source for CPython, the unix port of MicroPython and RP2040-class boards; only
``hal_host`` and ``hal_rp2`` differ. It shares no code with the host's side: each checks
the other: own COBS, frames, CBOR, MACs and link.

Read in this order: ``cobs``, ``frame``, ``cbor``, ``mac``: the line's formats.
``link``: each message once. ``memory`` and ``logbook``: what survives a restart.
``guard``: tamper loops, key switch, buttons. ``question``: asking a person.
``control``: handshake and pairing. ``commands``: what a host may ask in a session.
``sentinel``: all of it, fed with bytes and times. ``main``: the loop on a board.
"""
