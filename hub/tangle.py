# SPDX-License-Identifier: Apache-2.0
"""Bundles: drafting, finishing and checking them. The only pyota in the hub.

PyOTA builds and hashes the bundle, with an obsolete tag that the kernel found to
leave no 13 in the hash; the appliance understands it with ``trinary``; PyOTA checks
the signed bundle before it is sent. Two independent implementations must agree at
each step. PyOTA is slow (about a quarter of a second for one hash of forty
transactions, longer for a check) and holds the interpreter, so ``BundleDesk`` runs
it in a process of its own.
"""

import asyncio
import hashlib
import json
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from typing import Final, TypeVar

from hub.errors import FaultError, InvariantError
from hub.model import Address, BundleHash, Tag
from trinary import bundle as kernel
from trinary.errors import TrinaryError
from trinary.trytes import int_from_trytes, trytes_from_int
from trinary.winternitz import FRAGMENT_TRYTES, normalise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pkg_resources and old syntax inside pyota
    import iota
    from iota.transaction.validator import BundleValidator

NO_HASH: Final = "9" * 81
NO_TAG: Final = Tag("9" * 27)
_UNSIGNABLE: Final = 13
_REMEMBERED: Final = 1000
"""Checked bundles that are not checked again."""
_EMPTY_FRAGMENT: Final = "9" * FRAGMENT_TRYTES
_Result = TypeVar("_Result")


class BundleInvalidError(InvariantError):
    """Two implementations disagree about a bundle of ours."""

    code = "bundle-invalid"


class BundleDeskError(FaultError):
    """The process that builds and checks bundles ended; asking again restarts it."""

    code = "bundle-desk"


@dataclass(frozen=True, slots=True)
class DraftInput:
    """An address to be emptied.

    Attributes:
        address: 81 trytes.
        amount_i: All it holds, in iota.
        security_level: How many transactions its signature fills.
    """

    address: Address
    amount_i: int
    security_level: int


@dataclass(frozen=True, slots=True)
class DraftOutput:
    """A receiver.

    Attributes:
        address: 81 trytes.
        amount_i: Iota, positive.
        tag: 27 trytes.
    """

    address: Address
    amount_i: int
    tag: Tag = NO_TAG


@dataclass(frozen=True, slots=True)
class DraftTransaction:
    """One transaction before signature and attachment.

    Attributes:
        address: 81 trytes.
        value_i: Iota, negative for an input.
        obsolete_tag: 27 trytes; the counter stands in transaction 0.
        timestamp_s: Seconds since 1970.
        tag: 27 trytes.
    """

    address: str
    value_i: int
    obsolete_tag: str
    timestamp_s: int
    tag: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished, unsigned bundle.

    Attributes:
        bundle_hash: 81 trytes.
        transactions: In order.
    """

    bundle_hash: BundleHash
    transactions: tuple[DraftTransaction, ...]

    def to_text(self) -> str:
        """Return the form that is stored with a planned sweep."""
        return json.dumps([asdict(entry) for entry in self.transactions])

    @staticmethod
    def from_text(bundle_hash: BundleHash, text: str) -> "Draft":
        """Read a stored draft back."""
        entries = tuple(DraftTransaction(**fields) for fields in json.loads(text))
        return Draft(bundle_hash, entries)


def draft_bundle(
    inputs: Sequence[DraftInput], outputs: Sequence[DraftOutput], *, timestamp_s: int
) -> Draft:
    """Build a bundle: inputs first, then outputs in the order given.

    Inputs stand first so that transaction 0, whose obsolete tag is the counter
    against 13, is never a payout.

    Args:
        inputs: Emptied whole.
        outputs: Their sum is that of the inputs.
        timestamp_s: Of every transaction, seconds since 1970.

    Returns:
        The draft, its hash free of 13 in every fragment.

    Raises:
        BundleInvalidError: If PyOTA and the kernel hash it differently.
    """
    proposed = iota.ProposedBundle()
    proposed.add_inputs(
        iota.Address(
            entry.address,
            balance=entry.amount_i,
            key_index=0,
            security_level=entry.security_level,
        )
        for entry in inputs
    )
    for output in outputs:
        proposed.add_transaction(
            iota.ProposedTransaction(
                address=iota.Address(output.address),
                value=output.amount_i,
                tag=iota.Tag(output.tag),
            )
        )
    for transaction in proposed:
        transaction.timestamp = timestamp_s
    # PyOTA would find the counter too, at a quarter of a second a try; one in twenty
    # serves. The kernel looks for it, and PyOTA hashes and judges the result.
    proposed[0]._legacy_tag = iota.Tag(_counter(_entries(proposed)))  # noqa: SLF001
    proposed.finalize()
    draft = Draft(BundleHash(str(proposed.hash)), _entries(proposed))
    if hash_of(draft) != draft.bundle_hash:
        raise BundleInvalidError("PyOTA and the kernel disagree about a bundle hash")
    return draft


def _entries(proposed: iota.ProposedBundle) -> tuple[DraftTransaction, ...]:
    return tuple(
        DraftTransaction(
            str(entry.address),
            entry.value,
            str(entry.legacy_tag),
            entry.timestamp,
            str(entry.tag or NO_TAG),
        )
        for entry in proposed
    )


def _counter(entries: Sequence[DraftTransaction]) -> str:
    """Count up transaction 0's obsolete tag until the normalised hash holds no 13.

    Returns:
        The tag, 27 trytes.
    """
    first, *rest = entries
    while True:
        value = hash_of(Draft(BundleHash(NO_HASH), (first, *rest)))
        if _UNSIGNABLE not in normalise(value):
            return first.obsolete_tag
        counted = int_from_trytes(first.obsolete_tag) + 1
        tag = trytes_from_int(counted, length_trytes=len(NO_TAG))
        first = replace(first, obsolete_tag=tag)


def hash_of(draft: Draft) -> str:
    """Return the draft's bundle hash as the kernel computes it.

    Raises:
        BundleInvalidError: If a field is out of its range.
    """
    try:
        return _kernel_hash(draft)
    except TrinaryError as error:
        raise BundleInvalidError(f"this is no bundle: {error}") from error


def _kernel_hash(draft: Draft) -> str:
    last_index = len(draft.transactions) - 1
    return kernel.bundle_hash(
        [
            kernel.Essence(
                address=entry.address,
                value_i=entry.value_i,
                obsolete_tag=entry.obsolete_tag,
                timestamp_s=entry.timestamp_s,
                current_index=index,
                last_index=last_index,
            )
            for index, entry in enumerate(draft.transactions)
        ]
    )


def read_draft(trytes: Sequence[str]) -> Draft:
    """Read a bundle that somebody else built; signatures in it are not looked at.

    Args:
        trytes: 2673 trytes per transaction, in order of index.

    Returns:
        The draft, under the hash that the kernel computes.

    Raises:
        BundleInvalidError: If it is no bundle.
    """
    try:
        parts = [kernel.parse_transaction(text) for text in trytes]
        last = len(parts) - 1
        if any(
            (p.current_index, p.last_index) != (n, last) for n, p in enumerate(parts)
        ):
            raise BundleInvalidError("the transactions are not in order of index")
        value = kernel.bundle_hash([part.essence for part in parts])
    except TrinaryError as error:
        raise BundleInvalidError(f"this is no bundle: {error}") from error
    entries = tuple(
        DraftTransaction(p.address, p.value_i, p.obsolete_tag, p.timestamp_s, p.tag)
        for p in parts
    )
    return Draft(BundleHash(value), entries)


def with_counter(draft: Draft, obsolete_tag: str) -> Draft:
    """Return a bundle with another counter in transaction 0.

    Args:
        draft: The bundle.
        obsolete_tag: 27 trytes.

    Returns:
        The bundle, under its new hash.
    """
    first, *rest = draft.transactions
    entries = (replace(first, obsolete_tag=obsolete_tag), *rest)
    counted = Draft(draft.bundle_hash, entries)
    return replace(counted, bundle_hash=BundleHash(hash_of(counted)))


def finish(draft: Draft, signatures: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
    """Put signatures into a draft.

    Args:
        draft: The bundle.
        signatures: Fragments by the index of their input.

    Returns:
        2673 trytes per transaction in order of index, not attached yet.

    Raises:
        BundleInvalidError: If a fragment is no signature fragment.
    """
    fragments = {
        index + offset: fragment
        for index, parts in signatures.items()
        for offset, fragment in enumerate(parts)
    }
    try:
        return tuple(
            _serialised(draft, index, fragments.get(index, _EMPTY_FRAGMENT))
            for index in range(len(draft.transactions))
        )
    except TrinaryError as error:
        raise BundleInvalidError(f"the appliance's answer is odd: {error}") from error


def _serialised(draft: Draft, index: int, fragment: str) -> str:
    entry = draft.transactions[index]
    return kernel.serialise_transaction(
        kernel.Transaction(
            signature_message=fragment,
            address=entry.address,
            value_i=entry.value_i,
            obsolete_tag=entry.obsolete_tag,
            timestamp_s=entry.timestamp_s,
            current_index=index,
            last_index=len(draft.transactions) - 1,
            bundle=draft.bundle_hash,
            trunk=NO_HASH,
            branch=NO_HASH,
            tag=entry.tag,
            attachment_timestamp_ms=0,
            attachment_lower=0,
            attachment_upper=0,
            nonce=NO_TAG,
        )
    )


def require_valid(trytes: Sequence[str]) -> None:
    """Let PyOTA check a signed bundle: indices, sum, hash and every signature.

    Args:
        trytes: In order of index.

    Raises:
        BundleInvalidError: If it finds anything.
    """
    # PyOTA computes a hash that is missing, at 167 ms each; nines count as missing.
    unused = iota.TransactionHash("A" * len(NO_HASH))
    bundle = iota.Bundle(
        [iota.Transaction.from_tryte_string(text, unused) for text in trytes]
    )
    validator = BundleValidator(bundle)
    if not validator.is_valid():
        raise BundleInvalidError(f"PyOTA refuses our bundle: {validator.errors}")


class BundleDesk:
    """Drafts and checks bundles in a process of its own.

    Args:
        timeout_s: Deadline of one bundle; then the process is ended.
    """

    def __init__(self, *, timeout_s: float = 120.0) -> None:
        self._timeout_s = timeout_s
        self._pool: ProcessPoolExecutor | None = None
        self._passed: dict[bytes, None] = {}

    async def draft(
        self,
        inputs: Sequence[DraftInput],
        outputs: Sequence[DraftOutput],
        *,
        timestamp_s: int,
    ) -> Draft:
        """Build a bundle; see ``draft_bundle``."""
        return await self._run(_draft, list(inputs), list(outputs), timestamp_s)

    async def check(self, trytes: Sequence[str]) -> None:
        """Check a signed bundle; see ``require_valid``.

        One that passed is remembered: a sweep is attached again and again, and a
        check of twenty signatures takes PyOTA seconds.
        """
        digest = hashlib.sha256("\n".join(trytes).encode()).digest()
        if digest in self._passed:
            return
        await self._run(require_valid, list(trytes))
        while len(self._passed) >= _REMEMBERED:
            del self._passed[next(iter(self._passed))]
        self._passed[digest] = None

    async def _run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                max_workers=1, mp_context=context, initializer=_end_with_parent
            )
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await loop.run_in_executor(self._pool, work, *arguments)
        except (BrokenProcessPool, TimeoutError) as error:
            self.close()
            raise BundleDeskError("the bundle process ended; ask again") from error

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):  # noqa: SLF001
                process.kill()  # a stuck one would hold up the event loop
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _end_with_parent() -> None:
    """Let a killed hub leave no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _draft(
    inputs: Sequence[DraftInput], outputs: Sequence[DraftOutput], timestamp_s: int
) -> Draft:
    return draft_bundle(inputs, outputs, timestamp_s=timestamp_s)
