# SPDX-License-Identifier: Apache-2.0
"""An ICCFPGA module on a pty, that does the real work with our kernel.

Its protocol is CryptoCore's: a line of JSON that ends with a carriage return is
answered by one that ends with a newline. Its vices are those of a real one, and worse.
"""

import contextlib
import json
import os
import pty
import select
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field

from trinary.pow import find_nonce

NONCE_TRYTES = 27


@dataclass
class Module:
    """A simulated module.

    Attributes:
        device: Its serial device.
        vice: ``""`` for none; ``lies``: a nonce that does not do; ``silent``;
            ``garbage``; ``another``: another transaction's trytes; ``refuses``;
            ``chatty``: prints other lines before its reply, as a debugging module does.
        requests: What it was asked.
    """

    device: str
    vice: str = ""
    requests: list[dict[str, object]] = field(default_factory=list)

    def answer(self, line: bytes) -> bytes:
        request = json.loads(line)
        self.requests.append(request)
        if self.vice == "silent":
            return b""
        if self.vice == "garbage":
            return b"\xff\xfe{]\x00" * 20 + b"\n"
        if self.vice == "refuses":
            return b'{"code":400,"error":"unknown command"}\n'
        reply = {"code": 200, "command": request["command"], "duration": 3}
        if request["command"] == "version":
            reply["version"] = "0.17rev"
        else:
            reply["trytes"] = [self._work(text, request) for text in request["trytes"]]
        said = json.dumps(reply).encode() + b"\n"
        return b"[dbg] nonce found\r\n{}\n" + said if self.vice == "chatty" else said

    def _work(self, text: str, request: dict[str, object]) -> str:
        if self.vice == "lies":
            return text[:-NONCE_TRYTES] + "A" * NONCE_TRYTES
        if self.vice == "another":
            return "A" + text[1:]
        nonce = find_nonce(
            text, min_weight_magnitude=int(str(request["minWeightMagnitude"]))
        )
        return text[:-NONCE_TRYTES] + nonce


@contextlib.contextmanager
def simulated_module(vice: str = "") -> Iterator[Module]:
    """Lend a module that answers on a pty."""
    ours, theirs = pty.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    module = Module(os.ttyname(theirs), vice)
    stop, stopping = os.pipe()
    worker = threading.Thread(target=_serve, args=(module, ours, stop))
    worker.start()
    try:
        yield module
    finally:
        os.close(stopping)
        worker.join()
        for end in (ours, theirs, stop):
            os.close(end)


def _serve(module: Module, line: int, stop: int) -> None:
    pending = b""
    while True:
        readable, _, _ = select.select([line, stop], [], [])
        if stop in readable:
            return
        pending += os.read(line, 4096)
        *requests, pending = pending.split(b"\r")
        for request in requests:
            reply = module.answer(request)
            while reply:
                reply = reply[os.write(line, reply[:1024]) :]
