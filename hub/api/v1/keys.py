# SPDX-License-Identifier: Apache-2.0
"""API keys and the audit: what an administrator sees and changes."""

from dataclasses import dataclass

from hub import errors
from hub.api.v1.bodies import AuditQuery, ListQuery, NewApiKey
from hub.api.v1.operations import Call, Effect, Keyed, Operation
from hub.api.v1.paging import read_page
from hub.api.v1.resources import ApiKey, ApiKeyMade, AuditLine, Page
from hub.api_keys import ApiKey as StoredKey
from hub.api_keys import KeyId, Scope, digest_of, make_key
from hub.store import Store, Transaction
from hub.store.audit import AuditLine as StoredLine


@dataclass(frozen=True, slots=True)
class KeyOperations:
    """What concerns keys.

    Attributes:
        store: The database.
    """

    store: Store

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="create-api-key",
                method="POST",
                path="/v1/api-keys",
                summary="Make an API key; its secret is shown this once.",
                scope=Scope.ADMIN,
                body=NewApiKey,
                reply=ApiKeyMade,
                status=201,
                keyed=Keyed.REQUIRED,
                plan=self.create_key,
                redact=_without_secret,
            ),
            Operation(
                name="list-api-keys",
                method="GET",
                path="/v1/api-keys",
                summary="List API keys, the newest first.",
                scope=Scope.ADMIN,
                query=ListQuery,
                reply=Page[ApiKey],
                read=self.list_keys,
            ),
            Operation(
                name="get-api-key",
                method="GET",
                path="/v1/api-keys/{key_id}",
                summary="Get an API key without its secret.",
                scope=Scope.ADMIN,
                reply=ApiKey,
                refusals=(errors.ApiKeyUnknownError,),
                read=self.get_key,
            ),
            Operation(
                name="revoke-api-key",
                method="DELETE",
                path="/v1/api-keys/{key_id}",
                summary="Refuse an API key from now on.",
                scope=Scope.ADMIN,
                reply=ApiKey,
                keyed=Keyed.OPTIONAL,
                refusals=(errors.ApiKeyUnknownError,),
                plan=self.revoke_key,
            ),
            Operation(
                name="list-audit",
                method="GET",
                path="/v1/audit",
                summary="List what was done by whom, the newest first.",
                scope=Scope.ADMIN,
                query=AuditQuery,
                reply=Page[AuditLine],
                read=self.list_audit,
            ),
        ]

    async def create_key(self, call: Call) -> Effect:
        """Make a key."""
        asked: NewApiKey = call.body
        fresh = make_key()

        async def add(tx: Transaction) -> ApiKeyMade:
            stored = await tx.api_keys.add(
                fresh.key_id,
                name=asked.name,
                digest=digest_of(fresh.text),
                scopes={Scope(name) for name in asked.scopes},
                expires_at_ms=asked.expires_at_ms,
            )
            return ApiKeyMade(key=_key_of(stored), secret=fresh.text)

        return add

    async def list_keys(self, call: Call) -> Page[ApiKey]:
        """List keys."""

        async def fetch(before: int | None, limit: int) -> list[StoredKey]:
            async with self.store.reading() as tx:
                return await tx.api_keys.page(before_id=before, limit=limit)

        return await read_page(
            call.query,
            of="api-keys",
            fetch=fetch,
            row_id=lambda key: key.row,
            show=_key_of,
        )

    async def get_key(self, call: Call) -> ApiKey:
        """Get a key."""
        async with self.store.reading() as tx:
            return _key_of(await tx.api_keys.by_id(_key_id(call)))

    async def revoke_key(self, call: Call) -> Effect:
        """Revoke a key."""
        key_id = _key_id(call)

        async def revoke(tx: Transaction) -> ApiKey:
            return _key_of(await tx.api_keys.revoke(key_id))

        return revoke

    async def list_audit(self, call: Call) -> Page[AuditLine]:
        """List the audit."""
        asked: AuditQuery = call.query

        async def fetch(before: int | None, limit: int) -> list[StoredLine]:
            async with self.store.reading() as tx:
                return await tx.audit.page(
                    before_id=before, limit=limit, actor=asked.actor
                )

        return await read_page(
            asked,
            of="audit",
            fetch=fetch,
            row_id=lambda line: line.row,
            show=lambda line: AuditLine(
                actor=line.actor,
                request_id=line.request_id,
                operation=line.operation,
                subject=line.subject,
                created_at_ms=line.created_at_ms,
            ),
        )


def _key_id(call: Call) -> KeyId:
    text = call.path["key_id"]
    if "\0" in text:
        raise errors.ApiKeyUnknownError("no such API key")
    return KeyId(text)


def _key_of(stored: StoredKey) -> ApiKey:
    return ApiKey(
        key_id=stored.key_id,
        name=stored.name,
        scopes=sorted(scope.value for scope in stored.scopes),
        created_at_ms=stored.created_at_ms,
        expires_at_ms=stored.expires_at_ms,
        revoked_at_ms=stored.revoked_at_ms,
        last_used_at_ms=stored.last_used_at_ms,
    )


def _without_secret(reply: ApiKeyMade) -> ApiKeyMade:
    return ApiKeyMade(key=reply.key, secret=None)
