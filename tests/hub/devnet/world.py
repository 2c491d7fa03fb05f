# SPDX-License-Identifier: Apache-2.0
"""What devnet tests speak and pay with: a caller and a wallet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import aiohttp

from hub.devnet.attaching import Place, attach_bundle
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.devnet import Devnet
from hub.devnet.drafting import Entry, draft, make_signable, signature, with_signature
from hub.devnet.embedded import system_clock_ms
from hub.devnet.tangle import Record
from trinary.bundle import Transaction
from trinary.curl import transaction_hash
from trinary.pow import weight_magnitude
from trinary.trytes import trytes_from_int
from trinary.winternitz import address

PLAIN = DevnetConfig(min_weight_magnitude=1)
STRANGER = "STRANGER".ljust(81, "9")
UNKNOWN = "UNKNOWN".ljust(81, "9")


@dataclass(frozen=True)
class Caller:
    """Speaks to one node."""

    url: str
    session: aiohttp.ClientSession

    async def __call__(
        self, command: str, *, version: bool = True, **parameters: object
    ) -> dict[str, object]:
        status, reply = await self.raw(
            {"command": command, **parameters}, version=version
        )
        assert status == 200, reply
        return reply

    async def raw(
        self, body: object, *, version: bool = True, path: str = "/"
    ) -> tuple[int, dict[str, object]]:
        headers = {"X-IOTA-API-Version": "1"} if version else {}
        sent = {"data": body} if isinstance(body, str | bytes) else {"json": body}
        async with self.session.post(self.url + path, headers=headers, **sent) as reply:
            return reply.status, await reply.json()


@dataclass(frozen=True)
class Wallet:
    """A seed of test money."""

    seed: bytes = b"a wallet of the tests".ljust(48, b".")
    level: int = 2

    def address(self, index: int = 0) -> str:
        return address(self.seed, level=self.level, index=index)

    def spend(
        self,
        *,
        amount_i: int,
        to: Mapping[str, int],
        index: int = 0,
        timestamp_s: int | None = None,
    ) -> list[Transaction]:
        """Sign a bundle that empties one address."""
        source = self.address(index)
        entries = [
            *(Entry(target, value_i) for target, value_i in to.items()),
            Entry(source, -amount_i),
            *(Entry(source) for _ in range(self.level - 1)),
        ]
        if timestamp_s is None:
            timestamp_s = system_clock_ms() // 1000
        txs = make_signable(draft(entries, timestamp_s=timestamp_s))
        fragments = signature(
            self.seed, index=index, level=self.level, signed_hash=txs[0].bundle
        )
        return with_signature(txs, first=len(to), fragments=fragments)


def message(text: str = "9") -> list[Transaction]:
    """Draft a bundle of one transaction without value."""
    entry = Entry(STRANGER, 0, text.ljust(27, "9"))
    return draft([entry], timestamp_s=system_clock_ms() // 1000)


def attach(
    devnet: Devnet,
    txs: Sequence[Transaction],
    *,
    trunk: str | None = None,
    branch: str | None = None,
) -> list[Record]:
    """Attach a bundle without storing it, on the latest milestone if not told."""
    latest = devnet.node.latest.hash
    place = Place(trunk or latest, branch or latest, devnet.config.min_weight_magnitude)
    return attach_bundle(txs, place=place, clock_ms=devnet.clock_ms)


def too_light(trytes: str) -> str:
    """Change a transaction's nonce until its hash ends in no zero trit."""
    for number in range(100):
        nonce = trytes_from_int(number, length_trytes=27)
        changed = trytes[:-27] + nonce
        if weight_magnitude(transaction_hash(changed)) == 0:
            return changed
    raise AssertionError("two in three hashes end in another trit")


def without_signature(txs: Sequence[Transaction]) -> list[Transaction]:
    """Take all signatures off a bundle."""
    return [replace(tx, signature_message="9" * 2187) for tx in txs]


async def put(
    devnet: Devnet,
    txs: Sequence[Transaction],
    *,
    trunk: str | None = None,
    branch: str | None = None,
) -> list[Record]:
    """Attach and store a bundle; gives its records, tail first."""
    records = attach(devnet, txs, trunk=trunk, branch=branch)
    await devnet.store([record.trytes for record in records])
    return records


async def funded(devnet: Devnet, wallet: Wallet, amount_i: int = 100) -> None:
    """Give a wallet's first address some iota and confirm it."""
    await devnet.deposit(wallet.address(), amount_i)
    await devnet.tick()


def plain(dialect: Dialect, **changes: object) -> DevnetConfig:
    """Configure a small devnet."""
    return replace(PLAIN, dialect=dialect, **changes)


@dataclass
class Clock:
    """A clock that stands still until told."""

    now_ms: int = field(default_factory=system_clock_ms)

    def __call__(self) -> int:
        return self.now_ms
