# SPDX-License-Identifier: Apache-2.0
"""Messages of ``hub.rpc`` from and to the texts that commands read and write; pure.

A field goes by its name. Where the two dialects spell a name differently, the call's
table says so; the shapes that differ more have a function each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hub.api import hub_pb2 as pb
from hub.api.ptree import Branch, Tree

_UUID: Final = {"withdrawalUuid": "withdrawalUUID"}


def branch_of(message: Message) -> Branch:
    """Read every field of a request; one that is not set is its default.

    Args:
        message: The request.

    Returns:
        Its fields by their names; one of a ``oneof`` only if it is set.
    """
    branch: Branch = []
    for described in message.DESCRIPTOR.fields:
        value = getattr(message, described.name)
        if described.is_repeated:
            branch.append((described.name, [("", _tree(one)) for one in value]))
        elif not described.containing_oneof or message.HasField(described.name):
            branch.append((described.name, _tree(value)))
    return branch


def fill(message: Message, branch: Branch, names: Mapping[str, str]) -> Message:
    """Write texts into a reply.

    Args:
        message: The reply, empty.
        branch: What the command returned; an inner branch is one of ``events``.
        names: Keys that the message spells differently.

    Returns:
        The reply.
    """
    fields = message.DESCRIPTOR.fields_by_name
    for key, tree in branch:
        if not isinstance(tree, str):
            fill(getattr(message, "events").add(), tree, names)  # noqa: B009 - of one kind of reply only
            continue
        described = fields[names.get(key, key)]
        if described.is_repeated:
            getattr(message, described.name).append(_scalar(described, tree))
        else:
            setattr(message, described.name, _scalar(described, tree))
    return message


def _sign_bundle(request: Message) -> Branch:
    renamed = {"authentication": "authenticationToken"}
    return [(renamed.get(key, key), tree) for key, tree in branch_of(request)]


def _sweep_info(request: Message) -> Branch:
    branch = dict(branch_of(request))
    if "withdrawalUUID" in branch:
        uuid = branch["withdrawalUUID"]
        return [("requestByUuid", "true"), ("withdrawalUuid", uuid)]
    return [("requestByUuid", "false"), ("bundleHash", branch.get("bundleHash", ""))]


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call.

    Attributes:
        request: Its message.
        reply: Its message.
        names: Keys of the command's reply that the message spells differently.
        read: How the request becomes the command's fields.
    """

    request: type[Message]
    reply: type[Message]
    names: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Message], Branch] = branch_of


UNARY: Final[Mapping[str, Call]] = {
    "CreateUser": Call(pb.CreateUserRequest, pb.CreateUserReply),
    "GetBalance": Call(pb.GetBalanceRequest, pb.GetBalanceReply),
    "GetDepositAddress": Call(pb.GetDepositAddressRequest, pb.GetDepositAddressReply),
    "GetAddressInfo": Call(pb.GetAddressInfoRequest, pb.GetAddressInfoReply),
    "GetUserHistory": Call(
        pb.GetUserHistoryRequest,
        pb.GetUserHistoryReply,
        names={"userID": "userId", "reason": "type"},
    ),
    "SweepInfo": Call(pb.SweepInfoRequest, pb.SweepEvent, _UUID, _sweep_info),
    "SweepDetail": Call(pb.SweepDetailRequest, pb.SweepDetailReply),
    "UserWithdraw": Call(pb.UserWithdrawRequest, pb.UserWithdrawReply),
    "UserWithdrawCancel": Call(
        pb.UserWithdrawCancelRequest, pb.UserWithdrawCancelReply
    ),
    "WasWithdrawalCancelled": Call(
        pb.WasWithdrawalCancelledRequest, pb.WasWithdrawalCancelledReply
    ),
    "WasAddressSpentFrom": Call(
        pb.WasAddressSpentFromRequest, pb.WasAddressSpentFromReply
    ),
    "ProcessTransferBatch": Call(
        pb.ProcessTransferBatchRequest, pb.ProcessTransferBatchReply
    ),
    "GetStats": Call(pb.StatsRequest, pb.StatsReply),
    "SignBundle": Call(pb.SignBundleRequest, pb.SignBundleReply, read=_sign_bundle),
    "RecoverFunds": Call(pb.RecoverFundsRequest, pb.RecoverFundsReply),
    "GetSeedForAddress": Call(pb.GetSeedForAddressRequest, pb.GetSeedForAddressReply),
    "GetSeedForUUID": Call(pb.GetSeedForUUIDRequest, pb.GetSeedForUUIDReply),
}


def sweep_event(line: Branch) -> Message:
    """Write one event of ``SweepSubscription``.

    Args:
        line: As REST tells it.

    Returns:
        The event.
    """
    return fill(pb.SweepEvent(), line, _UUID)


def balance_event(line: Branch) -> Message:
    """Write one event of ``BalanceSubscription``.

    Args:
        line: As REST tells it, its kind first.

    Returns:
        The event.
    """
    (_, kind), *rest = line
    event = pb.BalanceEvent()
    match kind:
        case "USER_ACCOUNT":
            fill(event.userAccountEvent, rest, _UUID | {"reason": "type"})
        case "USER_ADDRESS":
            fill(event.userAddressEvent, rest, {})
        case _:
            fill(event.hubAddressEvent, rest, {})
    return event


def _tree(value: object) -> Tree:
    if isinstance(value, Message):
        return branch_of(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(described: FieldDescriptor, text: str) -> Any:  # noqa: ANN401 - as the field has it
    if described.type == FieldDescriptor.TYPE_STRING:
        return text
    if described.type == FieldDescriptor.TYPE_BOOL:
        return text == "true"
    if described.enum_type is not None:
        return described.enum_type.values_by_name[text].number
    return int(text)
