# SPDX-License-Identifier: Apache-2.0
"""An appliance's wire protocol on a serial line, for a signer without a network.

It carries requests and replies and knows nothing of what is in them. Read in order:

1. ``pairing_keys``: every key and every MAC, and which of them encrypts what.
2. ``handshake``: who is on the other side; both ends, no I/O.
3. ``parts``: messages cut into frames, interleaved, and put together again.
4. ``session``: an agreed session; no I/O. ``listening_end``: what the appliance has on
   the line: at most one handshake and one session; no I/O.
5. ``wire_pump``: bytes between a line and an event loop. ``listener`` and ``carrier``:
   the appliance's end and a client's.

What shaped it: one line is one conversation at a time, so a client lets go of it
whenever it has nothing to ask; a line may end a session and never create one; and what
was asked is never asked again by the transport, since only its client knows that the
very same request may follow.
"""
