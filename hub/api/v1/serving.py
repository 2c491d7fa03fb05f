# SPDX-License-Identifier: Apache-2.0
"""The one path around every operation: let in, read, act once, answer, tell.

A retried request is answered from the database, whatever else it would meet now. The
key, the effect, the audit line and the reply are one transaction: a crash leaves all
of them or none, and of two processes one commits; the other is told its reply.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web

from failpoints import failpoint
from hub import tracing
from hub.api.v1.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    RouteUnknownError,
)
from hub.api.v1.gate import Gate
from hub.api.v1.operations import Call, Effect, Operation
from hub.api.v1.problems import problem
from hub.api.v1.reading import (
    digest_of,
    read_body,
    read_idempotency_key,
    read_query,
    request_id_of,
)
from hub.api_keys import ApiKey, Scope
from hub.errors import FaultError, HubError, RefusedError
from hub.instruments import answered
from hub.publisher import Publisher
from hub.store import Store, Transaction
from hub.store.audit import Done
from hub.store.idempotency import KeptReply, TwinCommittedError

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = web.RequestKey("request_id", str)
_ACTOR: Final = web.RequestKey("actor", str)
_OPERATION: Final = web.RequestKey("operation", str)
_ROUNDS: Final = 3
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Once:
    # One request that shall have its effect once, whoever repeats it.
    operation: Operation
    call: Call
    actor: ApiKey
    key: str | None
    digest: str
    subject: str


class Serving:
    """Serves operations.

    Args:
        store: The database.
        gate: Who may enter.
        publisher: Woken after each effect.
        keep_replies_ms: How long a retry is answered from the database.
    """

    def __init__(
        self,
        store: Store,
        gate: Gate,
        *,
        publisher: Publisher,
        keep_replies_ms: int,
    ) -> None:
        self._store = store
        self._gate = gate
        self._publisher = publisher
        self._keep_replies_ms = keep_replies_ms
        # Twins in this process wait in turn, so that only one asks the appliance.
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def handler(self, operation: Operation) -> Handler:
        """Make the handler of an operation.

        Args:
            operation: Any.

        Returns:
            What aiohttp calls.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(operation, request)

        return handle

    async def _handle(
        self, operation: Operation, request: web.Request
    ) -> web.StreamResponse:
        actor = None
        if operation.scope is not None:
            actor = await self._gate.enter(request, operation.scope)
            request[_ACTOR] = actor.key_id
        request[_OPERATION] = operation.name
        key = read_idempotency_key(request, operation) if operation.plan else None
        body = operation.body
        call = Call(
            key=actor,
            path=dict(request.match_info),
            query=read_query(request, operation.query),
            body=None if body is None else await read_body(request, body),
            request_id=request[_REQUEST_ID],
        )
        if operation.stream is not None:
            return await operation.stream(call, request)
        if operation.read is not None:
            return _json(operation.status, await operation.read(call))
        assert actor is not None, "what changes something has a scope"
        once = _Once(
            operation=operation,
            call=call,
            actor=actor,
            key=key,
            digest=digest_of(request, call.body),
            subject=request.path[:256],
        )
        return await self._act(once)

    async def _act(self, once: _Once) -> web.Response:
        if once.key is None:
            reply = await self._attempt(once)
            return _json_text(reply)
        turn = self._turns.setdefault((once.actor.row, once.key), asyncio.Lock())
        async with turn:
            for _ in range(_ROUNDS):
                try:
                    return await self._act_in_turn(once, once.key)
                except TwinCommittedError:
                    continue
        raise FaultError("a twin of this request is being served; repeat it")

    async def _act_in_turn(self, once: _Once, key: str) -> web.Response:
        if once.operation.draws:
            kept = await self._kept(once, key)
            if kept is not None:
                return _replayed(kept)
        try:
            return _json_text(await self._attempt(once))
        except (RefusedError, FaultError):
            # A retry finds its key taken, or is refused for what it did itself. To
            # look first would cost every first request a round trip.
            kept = await self._kept(once, key)
            if kept is not None:
                return _replayed(kept)
            raise

    async def _kept(self, once: _Once, key: str) -> KeptReply | None:
        async with self._store.looking() as tx:
            return await tx.idempotency.find(once.actor.row, key, digest=once.digest)

    async def _attempt(self, once: _Once) -> KeptReply:
        assert once.operation.plan is not None
        with tracing.step("check"):
            effect = await once.operation.plan(once.call)
        failpoint("hub.v1.planned")
        with tracing.step("book"):
            reply = await self._store.run(lambda tx: self._commit(tx, once, effect))
        failpoint("hub.v1.committed")
        if once.operation.scope is Scope.ADMIN:
            self._gate.forget()  # it may have been a key's end
        self._publisher.wake()
        return reply

    async def _commit(self, tx: Transaction, once: _Once, effect: Effect) -> KeptReply:
        owner, operation = once.actor.row, once.operation
        answer = await effect(tx)
        done = Done(
            once.actor.key_id, once.call.request_id, operation.name, once.subject
        )
        if once.key is None:
            await tx.audit.add(done)
        else:
            kept = answer if operation.redact is None else operation.redact(answer)
            await tx.idempotency.keep(
                owner,
                once.key,
                _reply(operation.status, kept),
                digest=once.digest,
                lifetime_ms=self._keep_replies_ms,
                done=done,
            )
        failpoint("hub.v1.before-commit")
        return _reply(operation.status, answer)


@web.middleware
async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem; give each reply its id and its log line.

    Args:
        request: Any.
        handler: What comes next.

    Returns:
        The reply; nothing a client sends makes this raise.
    """
    request_id = request[_REQUEST_ID] = request_id_of(request)
    with tracing.step("request", api="v1", request_id=request_id) as step:
        step.asked_by(request.headers.get("traceparent", ""))
        return await _tell(request, handler, request_id=request_id, step=step)


async def _tell(
    request: web.Request, handler: Handler, *, request_id: str, step: tracing.Step
) -> web.StreamResponse:
    code = "ok"
    started_s = time.perf_counter()
    told: HubError | None = None
    try:
        reply = await handler(request)
    except (HubError, web.HTTPException) as error:
        told = _as_ours(error)
        code = told.code
        reply = problem(told, request_id=request_id)
        if isinstance(error, web.HTTPMethodNotAllowed):
            reply.headers["Allow"] = error.headers["Allow"]
    except Exception:  # noqa: BLE001 - no request may stop the process
        _log.exception("v1 failed: request %s", request_id)
        code = HubError.code
        told = HubError("failed")
        reply = problem(told, request_id=request_id)
    if not reply.prepared:
        reply.headers["X-Request-Id"] = request_id
        reply.headers["Server"] = "saltkeep"
    took_s = time.perf_counter() - started_s
    answered("v1", request.get(_OPERATION, "none"), took_s=took_s, error=told)
    step.tell(operation=request.get(_OPERATION, "none"))
    if told is not None:
        step.failed(told.code)
    actor = request.get(_ACTOR)
    if actor is not None:  # strangers are counted, never logged
        name = request.get(_OPERATION, request.method)
        _log.info("v1 %s: %s key=%s request=%s", name, code, actor, request_id)
    return reply


def _as_ours(error: HubError | web.HTTPException) -> HubError:
    match error:
        case HubError():
            if not isinstance(error, RefusedError | FaultError):
                _log.error("v1: %s", error, exc_info=error)
            return error
        case web.HTTPNotFound():
            return RouteUnknownError("there is nothing here")
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowedError("this path does not take this method")
        case web.HTTPRequestEntityTooLarge():
            return BodyTooLargeError("the body is too large")
        case _:
            return HubError(error.reason)


def _reply(status: int, answer: msgspec.Struct) -> KeptReply:
    return KeptReply(status, msgspec.json.encode(answer).decode())


def _json(status: int, answer: msgspec.Struct) -> web.Response:
    return _json_text(_reply(status, answer))


def _json_text(reply: KeptReply) -> web.Response:
    return web.Response(
        status=reply.status, text=reply.body, content_type="application/json"
    )


def _replayed(kept: KeptReply) -> web.Response:
    tracing.current().forget()  # the request that did it has told of it
    reply = _json_text(kept)
    reply.headers["Idempotency-Replayed"] = "true"
    return reply
