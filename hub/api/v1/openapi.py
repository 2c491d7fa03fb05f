# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document, made from the operations themselves; pure.

What is not in an ``Operation`` is not in the document, and what is served is always
an ``Operation``: neither can drift from the other.
Source: OpenAPI Specification 3.1.0.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub import errors
from hub.api.v1 import errors as http_errors
from hub.api.v1.operations import PATH_PARAMETERS, Keyed, Operation
from hub.api.v1.problems import MEDIA_TYPE, status_of
from hub.api.v1.resources import Problem
from hub.api.v1.stream import MEDIA_TYPE as STREAM_TYPE
from hub.errors import HubError

_REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (
    http_errors.RequestMalformedError,
    http_errors.RouteUnknownError,
    HubError,
)
_WITH_KEY: Final = (
    errors.ApiKeyInvalidError,
    http_errors.ScopeMissingError,
    http_errors.RateLimitedError,
    errors.ApplianceUnavailableError,
    errors.DatabaseUnavailableError,
    errors.FaultError,
    errors.NodeUnavailableError,
)
_WITH_BODY: Final = (
    http_errors.BodyTooLargeError,
    http_errors.MediaTypeError,
)
_WITH_IDEMPOTENCY: Final = (
    http_errors.IdempotencyKeyMissingError,
    errors.IdempotencyKeyReusedError,
)
_LISTED: Final = (http_errors.CursorInvalidError,)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Make the document.

    Args:
        operations: All of them.

    Returns:
        An OpenAPI 3.1 document, in one fixed order.
    """
    types = [Problem, *_types_of(operations)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    refs = dict(zip(map(str, types), schemas, strict=True))
    queries = {operation.query.__name__ for operation in operations}
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        described = _operation(operation, refs, components)
        paths[operation.path][operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Saltkeep hub",
            "version": "1",
            "description": "Amounts are integers in iota, times are integers in"
            " milliseconds since 1970. See docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": {
                name: components[name] for name in sorted(components.keys() - queries)
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def refusals_of(operation: Operation) -> list[type[HubError]]:
    """List every error an operation may answer with.

    Args:
        operation: Any.

    Returns:
        Their classes.
    """
    kinds: list[type[HubError]] = [*_ALWAYS, *operation.refusals]
    if operation.scope is not None:
        kinds += _WITH_KEY
    if operation.body is not None:
        kinds += _WITH_BODY
    if operation.keyed is not Keyed.NEVER:
        kinds += _WITH_IDEMPOTENCY
    if "cursor" in operation.query.__struct_fields__:
        kinds += _LISTED
    return kinds


def _types_of(operations: Iterable[Operation]) -> list[Any]:
    types: list[Any] = []
    for operation in operations:
        for kind in (operation.reply, operation.body, operation.query):
            if kind is not None and kind not in types:
                types.append(kind)
    return types


def _operation(
    operation: Operation,
    refs: Mapping[str, Any],
    components: Mapping[str, Any],
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(components[operation.query.__name__]),
            *_header_parameters(operation),
        ],
        "responses": _responses(operation, refs),
    }
    if operation.scope is None:
        described["security"] = []
    else:
        described["description"] = f"Needs the scope `{operation.scope.value}`."
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": refs[str(operation.body)]}},
        }
    return described


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
        for name in names
    ]


def _query_parameters(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = component.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _without_null(schema),
        }
        for name, schema in component["properties"].items()
    ]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    # Absent is how a query parameter says null.
    kept = {k: v for k, v in schema.items() if k != "default" or v is not None}
    if "anyOf" in kept:
        some = [one for one in kept.pop("anyOf") if one.get("type") != "null"]
        kept |= some[0]
    if None in kept.get("enum", []):
        kept["enum"] = [one for one in kept["enum"] if one is not None]
    return kept


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.keyed is Keyed.NEVER:
        return []
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": operation.keyed is Keyed.REQUIRED,
            "description": "The same key with the same content has one effect.",
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": 128,
                "pattern": "^[!-~]+$",
            },
        }
    ]


def _responses(operation: Operation, refs: Mapping[str, Any]) -> dict[str, Any]:
    media_type = "application/json" if operation.stream is None else STREAM_TYPE
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": operation.summary,
            "content": {media_type: {"schema": refs[str(operation.reply)]}},
        }
    }
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for kind in refusals_of(operation):
        codes[status_of(kind).value].append(kind.code)
    for status in sorted(codes):
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in sorted(codes[status])),
            "content": {MEDIA_TYPE: {"schema": refs[str(Problem)]}},
        }
    return responses
