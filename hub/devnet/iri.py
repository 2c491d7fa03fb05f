# SPDX-License-Identifier: Apache-2.0
"""The dialect of IRI 1.8.6.

Source: IRI 1.8.6 service/API.java and service/restserver/resteasy/RestEasy.java.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from hub.devnet import queries
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError
from hub.devnet.faults import Fault
from hub.devnet.iri_attachment import AttachmentCommands, require_updated
from hub.devnet.iri_parameters import (
    MAX_REQUESTS_LIST,
    NO_PARAMETER,
    TOO_MUCH,
    parse,
    read_list,
)
from hub.devnet.replies import Json, Reply, Request
from trinary.trytes import is_trytes

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
        attachment = AttachmentCommands(devnet)
        self._commands: dict[str, _Handler] = {
            "addNeighbors": self._add_neighbors,
            "attachToTangle": attachment.attach,
            "broadcastTransactions": attachment.broadcast,
            "checkConsistency": attachment.check_consistency,
            "findTransactions": self._find,
            "getBalances": self._balances,
            "getInclusionStates": self._inclusion_states,
            "getMissingTransactions": self._missing,
            "getNeighbors": self._neighbors,
            "getNodeAPIConfiguration": self._configuration,
            "getNodeInfo": self._info,
            "getTips": self._tips,
            "getTransactionsToApprove": attachment.to_approve,
            "getTrytes": self._trytes,
            "interruptAttachingToTangle": attachment.interrupt,
            "removeNeighbors": self._remove_neighbors,
            "storeTransactions": attachment.store,
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
        parameters = parse(request.body)
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
        addresses = read_list(parameters, "addresses", _HASH)
        return queries.balances(self._node, addresses)

    async def _find(self, parameters: Mapping[str, object]) -> Json:
        kinds = {"bundles": _HASH, "addresses": _HASH, "tags": 0, "approvees": _HASH}
        if not kinds.keys() & parameters.keys():
            raise ApiError(NO_PARAMETER)
        given = {
            kind: read_list(parameters, kind, length)
            for kind, length in kinds.items()
            if kind in parameters
        }
        if any(len(tag) > _TAG or not is_trytes(tag) for tag in given.get("tags", [])):
            raise ApiError("Invalid tags input")
        hashes = queries.find(self._node, queries.Search(**given))
        if len(hashes) > MAX_FIND_TRANSACTIONS:
            raise ApiError(TOO_MUCH)
        # A kind that was given and is empty matches nothing.
        return {"hashes": hashes if all(given.values()) else []}

    async def _trytes(self, parameters: Mapping[str, object]) -> Json:
        hashes = read_list(parameters, "hashes", _HASH)
        return {"trytes": queries.trytes_of(self._node, hashes)}

    async def _inclusion_states(self, parameters: Mapping[str, object]) -> Json:
        require_updated(self._devnet)
        hashes = read_list(parameters, "transactions", _HASH)
        return {"states": queries.inclusion_states(self._node, hashes)}

    async def _spent(self, parameters: Mapping[str, object]) -> Json:
        addresses = read_list(parameters, "addresses", _HASH)
        return {"states": queries.spent_states(self._node, addresses)}

    async def _tips(self, _: Mapping[str, object]) -> Json:
        return {"hashes": list(self._node.tips)}

    async def _missing(self, _: Mapping[str, object]) -> Json:
        return {"hashes": []}

    async def _neighbors(self, _: Mapping[str, object]) -> Json:
        return {"neighbors": []}

    async def _add_neighbors(self, parameters: Mapping[str, object]) -> Json:
        read_list(parameters, "uris", 0)
        return {"addedNeighbors": 0}

    async def _remove_neighbors(self, parameters: Mapping[str, object]) -> Json:
        read_list(parameters, "uris", 0)
        return {"removedNeighbors": 0}
