# SPDX-License-Identifier: Apache-2.0
"""The dialect of IRI 1.8.6.

Source: IRI 1.8.6 service/API.java and service/restserver/resteasy/RestEasy.java.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from hub.devnet import queries
from hub.devnet.attaching import Place
from hub.devnet.config import BELOW_MAX_DEPTH
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError, InvalidTransactionError
from hub.devnet.faults import Fault
from hub.devnet.pow_desk import PowDesk
from hub.devnet.replies import Json, Reply, Request
from hub.devnet.tips import is_below_max_depth, is_consistent, offered
from hub.devnet.validation import Flaw
from trinary.errors import CancelledError
from trinary.trytes import is_trytes

MAX_REQUESTS_LIST: Final = 1_000
MAX_GET_TRYTES: Final = 10_000
MAX_FIND_TRANSACTIONS: Final = 100_000
MAX_BODY_CHARACTERS: Final = 1_000_000

REMOTE_LIMITED: Final = frozenset(
    {
        "addNeighbors",
        "getNeighbors",
        "removeNeighbors",
        "attachToTangle",
        "interruptAttachingToTangle",
    }
)

_TOO_MUCH: Final = "Could not complete request"
_NO_PARAMETER: Final = "Invalid parameters"
_NOT_UPDATED: Final = (
    "This operation cannot be executed: The subtangle has not been updated yet."
)
_INCONSISTENT: Final = (
    "tails are not consistent"
    " (would lead to inconsistent ledger state or below max depth)"
)
_HASH: Final = 81
_TRYTES: Final = 2673
_TAG: Final = 27

_Handler: TypeAlias = Callable[[Mapping[str, object]], Awaitable[Json]]


class IriApi:
    """Answers as IRI 1.8.6 did.

    Args:
        devnet: The network to speak for.
    """

    realm = "Iota Realm"

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._node = devnet.node
        self._desk = PowDesk(clock_ms=devnet.clock_ms)
        self._commands: dict[str, _Handler] = {
            "addNeighbors": self._add_neighbors,
            "attachToTangle": self._attach,
            "broadcastTransactions": self._broadcast,
            "checkConsistency": self._check_consistency,
            "findTransactions": self._find,
            "getBalances": self._balances,
            "getInclusionStates": self._inclusion_states,
            "getMissingTransactions": self._missing,
            "getNeighbors": self._neighbors,
            "getNodeAPIConfiguration": self._configuration,
            "getNodeInfo": self._info,
            "getTips": self._tips,
            "getTransactionsToApprove": self._to_approve,
            "getTrytes": self._trytes,
            "interruptAttachingToTangle": self._interrupt,
            "removeNeighbors": self._remove_neighbors,
            "storeTransactions": self._store,
            "wereAddressesSpentFrom": self._spent,
        }

    async def answer(self, request: Request) -> Reply:
        """Run one command.

        Args:
            request: As received.

        Returns:
            The reply, with its ``duration`` in milliseconds.
        """
        began = time.monotonic()
        try:
            body, status = await self._run(request), HTTPStatus.OK
        except ApiError as error:
            body, status = {error.field: str(error)}, error.status
        duration_ms = int((time.monotonic() - began) * 1000)
        return Reply({**body, "duration": duration_ms}, status)

    async def _run(self, request: Request) -> Json:
        if not request.has_version:
            raise ApiError("Invalid API Version")
        if len(request.body) > MAX_BODY_CHARACTERS:
            raise ApiError("Request too long")
        parameters = _parse(request.body)
        command = parameters.get("command")
        if command is None:
            raise ApiError("COMMAND parameter has not been specified in the request.")
        handler = self._commands.get(str(command))
        if handler is None:
            raise ApiError(f"Command [{command}] is unknown")
        if self._is_refused(str(command)):
            raise ApiError(
                f"COMMAND {command} is not available on this node",
                HTTPStatus.UNAUTHORIZED,
            )
        return await handler(parameters)

    def _is_refused(self, command: str) -> bool:
        if command == "attachToTangle":
            refused = self._devnet.faults.is_on(Fault.REMOTE_POW_REFUSED)
            return refused or self._devnet.config.remote_limit
        return self._devnet.config.remote_limit and command in REMOTE_LIMITED

    def _require_updated(self) -> None:
        solid = queries.solid_milestone(self._node)
        if solid.index == queries.MILESTONE_START_INDEX:
            raise ApiError(_NOT_UPDATED)

    async def _info(self, _: Mapping[str, object]) -> Json:
        return {
            "appName": "IRI",
            "appVersion": "1.8.6-RELEASE",
            "jreAvailableProcessors": 2,
            "jreFreeMemory": 1 << 28,
            "jreVersion": "1.8.0",
            "jreMaxMemory": 1 << 30,
            "jreTotalMemory": 1 << 29,
            "packetsQueueSize": 0,
            "dbSizeInBytes": len(self._node.tangle) * _TRYTES,
            "features": ["RemotePOW"],
            **queries.node_info(self._devnet),
        }

    async def _configuration(self, _: Mapping[str, object]) -> Json:
        return {
            "maxFindTransactions": MAX_FIND_TRANSACTIONS,
            "maxRequestsList": MAX_REQUESTS_LIST,
            "maxGetTrytes": MAX_GET_TRYTES,
            "maxBodyLength": MAX_BODY_CHARACTERS,
            "testNet": True,
            "milestoneStartIndex": queries.MILESTONE_START_INDEX,
        }

    async def _balances(self, parameters: Mapping[str, object]) -> Json:
        addresses = _list(parameters, "addresses", _HASH)
        return queries.balances(self._node, addresses)

    async def _find(self, parameters: Mapping[str, object]) -> Json:
        kinds = {"bundles": _HASH, "addresses": _HASH, "tags": 0, "approvees": _HASH}
        if not kinds.keys() & parameters.keys():
            raise ApiError(_NO_PARAMETER)
        given = {
            kind: _list(parameters, kind, length)
            for kind, length in kinds.items()
            if kind in parameters
        }
        if any(len(tag) > _TAG or not is_trytes(tag) for tag in given.get("tags", [])):
            raise ApiError("Invalid tags input")
        hashes = queries.find(self._node, queries.Search(**given))
        if len(hashes) > MAX_FIND_TRANSACTIONS:
            raise ApiError(_TOO_MUCH)
        # A kind that was given and is empty matches nothing.
        return {"hashes": hashes if all(given.values()) else []}

    async def _trytes(self, parameters: Mapping[str, object]) -> Json:
        hashes = _list(parameters, "hashes", _HASH)
        return {"trytes": queries.trytes_of(self._node, hashes)}

    async def _inclusion_states(self, parameters: Mapping[str, object]) -> Json:
        self._require_updated()
        hashes = _list(parameters, "transactions", _HASH)
        return {"states": queries.inclusion_states(self._node, hashes)}

    async def _spent(self, parameters: Mapping[str, object]) -> Json:
        addresses = _list(parameters, "addresses", _HASH)
        return {"states": queries.spent_states(self._node, addresses)}

    async def _to_approve(self, parameters: Mapping[str, object]) -> Json:
        depth = _integer(parameters, "depth")
        reference = (
            _text(parameters, "reference", _HASH) if "reference" in parameters else None
        )
        if not 1 <= depth <= BELOW_MAX_DEPTH:
            raise ApiError("Invalid depth input")
        self._require_updated()
        if reference is None:
            trunk, branch = offered(self._node, count=2)
        else:
            self._require_usable(reference, depth)
            trunk, branch = offered(self._node, count=1)[0], reference
        return {"trunkTransaction": trunk, "branchTransaction": branch}

    def _require_usable(self, reference: str, depth: int) -> None:
        if queries.visible(self._node, reference) is None:
            raise ApiError("reference transaction not found")
        confirmation = self._node.confirmations.get(reference)
        latest = self._node.latest.index
        if confirmation is not None and latest - confirmation.index > depth:
            raise ApiError("reference transaction is too old")
        if not self._node.tangle.is_solid(reference) or not self._is_valid([reference]):
            raise ApiError(f"entry point failed consistency check: {reference}")

    async def _attach(self, parameters: Mapping[str, object]) -> Json:
        place = Place(
            trunk=_text(parameters, "trunkTransaction", _HASH),
            branch=_text(parameters, "branchTransaction", _HASH),
            min_weight_magnitude=_integer(parameters, "minWeightMagnitude"),
        )
        trytes = _list(parameters, "trytes", _TRYTES)
        if place.min_weight_magnitude < 1:
            raise ApiError("Invalid minWeightMagnitude input")
        try:
            return {"trytes": await self._desk.attach(trytes, place=place)}
        except CancelledError:
            return {"trytes": []}

    async def _interrupt(self, _: Mapping[str, object]) -> Json:
        self._desk.interrupt()
        return {}

    async def _store(self, parameters: Mapping[str, object]) -> Json:
        self._refuse_by_fault()
        trytes = _list(parameters, "trytes", _TRYTES)
        for each in trytes:
            await self._store_one(each)
        return {}

    async def _store_one(self, trytes: str) -> None:
        try:
            await self._devnet.store([trytes])
        except InvalidTransactionError as error:
            # Too light a hash is dropped without a word by the pipeline behind.
            if error.code != Flaw.WEIGHT:
                raise ApiError("Invalid trytes input") from error

    async def _broadcast(self, parameters: Mapping[str, object]) -> Json:
        """Check only: there is nobody to broadcast to, and IRI stores apart.

        Args:
            parameters: Holds ``trytes``.

        Returns:
            Nothing.
        """
        self._refuse_by_fault()
        _list(parameters, "trytes", _TRYTES)
        return {}

    def _refuse_by_fault(self) -> None:
        refusal = self._devnet.faults.get(Fault.STORE_REFUSED)
        if refusal:
            raise ApiError("Invalid trytes input" if refusal is True else str(refusal))

    async def _check_consistency(self, parameters: Mapping[str, object]) -> Json:
        self._require_updated()
        tails = _list(parameters, "tails", _HASH)
        for tail in tails:
            if queries.visible(self._node, tail) is None:
                raise ApiError(f"Invalid transaction, missing: {tail}")
            if not self._node.tangle.is_tail(tail):
                raise ApiError(f"Invalid transaction, not a tail: {tail}")
            if not self._node.tangle.is_solid(tail):
                info = f"tails are not solid (missing a referenced tx): {tail}"
                return {"state": False, "info": info}
            if tail not in self._node.bundles:
                info = f"tails are not consistent (bundle is invalid): {tail}"
                return {"state": False, "info": info}
        if not self._is_valid(tails):
            return {"state": False, "info": _INCONSISTENT}
        return {"state": True, "info": ""}

    def _is_valid(self, tails: list[str]) -> bool:
        pending = [tail for tail in tails if tail not in self._node.confirmations]
        if any(is_below_max_depth(self._node, tail) for tail in pending):
            return False
        return is_consistent(self._node, self._node.cone(pending))

    async def _tips(self, _: Mapping[str, object]) -> Json:
        return {"hashes": list(self._node.tips)}

    async def _missing(self, _: Mapping[str, object]) -> Json:
        return {"hashes": []}

    async def _neighbors(self, _: Mapping[str, object]) -> Json:
        return {"neighbors": []}

    async def _add_neighbors(self, parameters: Mapping[str, object]) -> Json:
        _list(parameters, "uris", 0)
        return {"addedNeighbors": 0}

    async def _remove_neighbors(self, parameters: Mapping[str, object]) -> Json:
        _list(parameters, "uris", 0)
        return {"removedNeighbors": 0}


def _parse(body: bytes) -> Mapping[str, object]:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise ApiError(f"Invalid JSON syntax: {error}") from error
    if parsed is None:
        raise ApiError(
            f"Invalid request payload: '{body.decode()}'",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            field="exception",
        )
    if not isinstance(parsed, dict):
        raise ApiError("Invalid JSON syntax: expected an object")
    return parsed


def _list(parameters: Mapping[str, object], name: str, length: int) -> list[str]:
    """Read a list of texts.

    Args:
        parameters: Of the request.
        name: Of the parameter.
        length: Trytes of each, or 0 to leave them unchecked.

    Returns:
        The list.

    Raises:
        ApiError: It is missing, too long or holds something else.
    """
    if name not in parameters:
        raise ApiError(_NO_PARAMETER)
    values = parameters[name]
    if not isinstance(values, list):
        raise ApiError(f"Invalid {name} input")
    if len(values) > MAX_REQUESTS_LIST:
        raise ApiError(_TOO_MUCH)
    if not all(_is_text(value, length) for value in values):
        raise ApiError(f"Invalid {name} input")
    return values


def _text(parameters: Mapping[str, object], name: str, length: int) -> str:
    if name not in parameters:
        raise ApiError(_NO_PARAMETER)
    value = parameters[name]
    if not isinstance(value, str) or not _is_text(value, length):
        raise ApiError(f"Invalid {name} input")
    return value


def _integer(parameters: Mapping[str, object], name: str) -> int:
    if name not in parameters:
        raise ApiError(_NO_PARAMETER)
    value = parameters[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ApiError(f"Invalid {name} input")
    return int(value)


def _is_text(value: object, length: int) -> bool:
    if not isinstance(value, str):
        return False
    return length == 0 or is_trytes(value, length=length)
