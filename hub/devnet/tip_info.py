# SPDX-License-Identifier: Apache-2.0
"""getTipInfo: whether a pending bundle needs a promotion or a new attachment.

Source: HORNET 0.5.6 plugins/webapi/tips.go.
"""

from hub.devnet import queries
from hub.devnet.config import OLDEST_ROOT_LAG, YOUNGEST_ROOT_LAG
from hub.devnet.errors import ApiError
from hub.devnet.node import Node
from hub.devnet.replies import Json
from hub.devnet.tips import is_below_max_depth, roots
from trinary.trytes import is_trytes

_HASH = 81


def tip_info(node: Node, tail: object) -> Json:
    """Judge a tail.

    Args:
        node: The state to look in.
        tail: As the client named it.

    Returns:
        Four flags, of which one is true at most.

    Raises:
        ApiError: It is not a solid tail that this node knows.
    """
    if not isinstance(tail, str) or not is_trytes(tail, length=_HASH):
        raise ApiError("invalid tail hash supplied")
    if queries.visible(node, tail) is None:
        raise ApiError("unknown tail transaction")
    if not node.tangle.is_tail(tail):
        raise ApiError("transaction is not a tail")
    if not node.tangle.is_solid(tail):
        raise ApiError("transaction is not solid")
    confirmation = node.confirmations.get(tail)
    if confirmation is not None:
        flag = "conflicting" if confirmation.conflicting else "confirmed"
        return _flags(flag)
    if is_below_max_depth(node, tail):
        return _flags("shouldReattach")
    found, latest = roots(node, tail), node.latest.index
    is_old = (
        latest - found.youngest > YOUNGEST_ROOT_LAG
        or latest - found.oldest > OLDEST_ROOT_LAG
    )
    return _flags("shouldPromote" if is_old else "")


def _flags(which: str) -> Json:
    names = ("confirmed", "conflicting", "shouldPromote", "shouldReattach")
    return {name: name == which for name in names}
