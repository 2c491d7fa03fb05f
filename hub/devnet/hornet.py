# SPDX-License-Identifier: Apache-2.0
"""The dialect of HORNET 0.5.6: its envelope and its own way to say no.

Source: HORNET 0.5.6 plugins/webapi/*.go.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from hub.devnet import queries
from hub.devnet.devnet import Devnet
from hub.devnet.errors import ApiError
from hub.devnet.faults import Fault
from hub.devnet.hornet_attachment import AttachmentCommands
from hub.devnet.hornet_ledger import LedgerCommands
from hub.devnet.hornet_parameters import parse, plain_address, read_list
from hub.devnet.replies import Json, Reply, Request
from hub.devnet.tip_info import tip_info
from trinary.trytes import is_trytes

MAX_FIND_TRANSACTIONS: Final = 1_000
MAX_REQUESTS_LIST: Final = 1_000
MAX_GET_TRYTES: Final = 1_000
MAX_BODY_BYTES: Final = 1_000_000

PROTECTED: Final = frozenset(
    {"attachtotangle", "prunedatabase", "createsnapshotfile", "getledgerstate"}
)
"""Commands that strangers may not give while ``remote_limit`` is set."""

_NOT_SYNCED: Final = "node not synced"
_HASH: Final = 81

_Handler: TypeAlias = Callable[[Mapping[str, object]], Awaitable[Json]]


class HornetApi:
    """Answers as HORNET 0.5.6 did.

    Args:
        devnet: The network to speak for.
    """

    realm = "Hornet"

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._node = devnet.node
        attachment = AttachmentCommands(devnet)
        ledger = LedgerCommands(devnet)
        commands: dict[str, _Handler] = {
            "attachToTangle": attachment.attach,
            "broadcastTransactions": attachment.store,
            "checkConsistency": self._check_consistency,
            "createSnapshotFile": ledger.create_snapshot,
            "findTransactions": self._find,
            "getBalances": self._balances,
            "getInclusionStates": self._inclusion_states,
            "getLedgerDiff": ledger.diff,
            "getLedgerDiffExt": ledger.extended_diff,
            "getLedgerState": ledger.state,
            "getNeighbors": self._neighbors,
            "getNodeAPIConfiguration": self._configuration,
            "getNodeInfo": self._info,
            "getTipInfo": self._tip_info,
            "getTransactionsToApprove": attachment.to_approve,
            "getTrytes": self._trytes,
            "pruneDatabase": ledger.prune,
            "searchConfirmedApprover": ledger.search_confirmed_approver,
            "storeTransactions": attachment.store,
            "wereAddressesSpentFrom": self._spent,
        }
        # Commands are found whatever their case.
        self._commands = {name.lower(): run for name, run in commands.items()}

    async def answer(self, request: Request) -> Reply:
        """Run one command.

        Args:
            request: As received; no version header is needed.

        Returns:
            The reply; only success carries a ``duration``, always 0.
        """
        try:
            body = await self._run(request)
        except ApiError as error:
            return Reply({error.field: str(error)}, error.status)
        return Reply({**body, "duration": 0})

    async def _run(self, request: Request) -> Json:
        parameters = parse(request.body)
        said = parameters.get("command")
        if not isinstance(said, str):
            raise ApiError("error parsing command")
        command = said.lower()
        handler = self._commands.get(command)
        if handler is None:
            raise ApiError(f"command [{said}] is unknown")
        if self._is_protected(command):
            raise ApiError(f"command [{said}] is protected", HTTPStatus.FORBIDDEN)
        return await handler(parameters)

    def _is_protected(self, command: str) -> bool:
        if command == "attachtotangle":
            refused = self._devnet.faults.is_on(Fault.REMOTE_POW_REFUSED)
            return refused or self._devnet.config.remote_limit
        return self._devnet.config.remote_limit and command in PROTECTED

    def _is_synced(self) -> bool:
        return not self._devnet.faults.is_on(Fault.UNSYNCED)

    def _require_synced(self, text: str = _NOT_SYNCED) -> None:
        if not self._is_synced():
            raise ApiError(text)

    async def _info(self, _: Mapping[str, object]) -> Json:
        return {
            "appName": "HORNET",
            "appVersion": "0.5.6",
            "isSynced": self._is_synced(),
            "isHealthy": self._devnet.is_healthy(),
            "features": ["RemotePOW", "WereAddressesSpentFrom"],
            **queries.node_info(self._devnet),
            "milestoneStartIndex": queries.pruned_until(self._node),
        }

    async def _configuration(self, _: Mapping[str, object]) -> Json:
        return {
            "maxFindTransactions": MAX_FIND_TRANSACTIONS,
            "maxRequestsList": MAX_REQUESTS_LIST,
            "maxGetTrytes": MAX_GET_TRYTES,
            "maxBodyLength": MAX_BODY_BYTES,
            "milestoneStartIndex": queries.MILESTONE_START_INDEX,
        }

    async def _balances(self, parameters: Mapping[str, object]) -> Json:
        addresses = read_list(parameters, "addresses")
        if not addresses:
            raise ApiError("No addresses provided")
        plain = [plain_address(address) for address in addresses]
        self._require_synced()
        return queries.balances(self._node, plain)

    async def _find(self, parameters: Mapping[str, object]) -> Json:
        addresses = read_list(parameters, "addresses")
        search = queries.Search(
            bundles=read_list(parameters, "bundles"),
            addresses=[address[:_HASH] for address in addresses],
            tags=read_list(parameters, "tags"),
            approvees=read_list(parameters, "approvees"),
        )
        hashes = queries.find(self._node, search)
        if parameters.get("valueOnly") is True:
            hashes = [tx_hash for tx_hash in hashes if self._moves_value(tx_hash)]
        wanted = parameters.get("maxresults")
        limit = wanted if isinstance(wanted, int) and wanted > 0 else len(hashes)
        return {"hashes": hashes[: min(limit, MAX_FIND_TRANSACTIONS)]}

    def _moves_value(self, tx_hash: str) -> bool:
        record = self._node.tangle.get(tx_hash)
        return record is not None and record.tx.value_i != 0

    async def _trytes(self, parameters: Mapping[str, object]) -> Json:
        hashes = read_list(parameters, "hashes")
        if len(hashes) > MAX_GET_TRYTES:
            raise ApiError(f"Too many hashes. Max. allowed: {MAX_GET_TRYTES}")
        for tx_hash in hashes:
            if not is_trytes(tx_hash, length=_HASH):
                raise ApiError(f"Invalid hash supplied: {tx_hash}")
        return {"trytes": queries.trytes_of(self._node, hashes)}

    async def _inclusion_states(self, parameters: Mapping[str, object]) -> Json:
        hashes = read_list(parameters, "transactions")
        for tx_hash in hashes:
            if not is_trytes(tx_hash, length=_HASH):
                raise ApiError(f"Invalid reference hash supplied: {tx_hash}")
        self._require_synced()
        return {"states": queries.inclusion_states(self._node, hashes)}

    async def _spent(self, parameters: Mapping[str, object]) -> Json:
        if self._devnet.faults.is_on(Fault.SPENT_UNAVAILABLE):
            raise ApiError("wereAddressesSpentFrom not available in this node")
        addresses = read_list(parameters, "addresses")
        if not addresses:
            raise ApiError("No addresses provided")
        plain = [plain_address(address) for address in addresses]
        self._require_synced()
        return {"states": queries.spent_states(self._node, plain)}

    async def _check_consistency(self, _: Mapping[str, object]) -> Json:
        return {"state": True}

    async def _tip_info(self, parameters: Mapping[str, object]) -> Json:
        self._require_synced("node is not synced")
        return tip_info(self._node, parameters.get("tailTransaction"))

    async def _neighbors(self, _: Mapping[str, object]) -> Json:
        return {"neighbors": []}
