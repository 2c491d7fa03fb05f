# SPDX-License-Identifier: Apache-2.0
"""What happens in a devnet, published by ZMQ as IRI and HORNET do it.

Topics ``lmi``, ``sn``, ``lmsi`` and ``lmhs``, in this order for each milestone; not
``tx`` and ``trytes``, which nobody here listens to. One frame a message, its fields
parted by spaces. Source: facts of IRI 1.8.6 (ZMQ events) and HORNET 0.5.6.
"""

from typing import Final

import zmq

from hub.devnet.errors import InvalidConfigError
from hub.devnet.node import Milestone, Node

_QUEUED: Final = 10_000
"""Messages kept for a slow subscriber; further ones are dropped, as a node does."""


class ZmqFeed:
    """A publisher.

    Args:
        endpoint: ``tcp://HOST:PORT``; port ``*`` takes a free one.

    Raises:
        InvalidConfigError: Nothing can be published there.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUED)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise InvalidConfigError(f"zmq {endpoint}: {error}") from error
        self.url = str(self._socket.get_string(zmq.LAST_ENDPOINT)).rstrip("\0")

    def publish(self, node: Node, milestone: Milestone) -> None:
        """Tell of a milestone; never waits for anybody.

        Args:
            node: That has it.
            milestone: Its latest.
        """
        older, newer = milestone.index - 1, milestone.index
        self._send(f"lmi {older} {newer}")
        for tx_hash in milestone.confirmed:
            record = node.tangle.get(tx_hash)
            if record is None or node.confirmations[tx_hash].conflicting:
                continue
            tx = record.tx
            self._send(
                f"sn {newer} {tx_hash} {tx.address} {tx.trunk} {tx.branch} {tx.bundle}"
            )
        self._send(f"lmsi {older} {newer}")
        self._send(f"lmhs {milestone.hash}")

    def close(self) -> None:
        """Let go of the port."""
        self._context.destroy(linger=0)

    def _send(self, text: str) -> None:
        self._socket.send_string(text, zmq.DONTWAIT)
