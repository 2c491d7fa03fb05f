# SPDX-License-Identifier: Apache-2.0
"""The configuration reference, written from the code's own descriptions."""

import inspect
from typing import Any

import msgspec

from appliance.config import Config


def reference(root: type[msgspec.Struct] = Config) -> str:
    """Return every table and field as Markdown, in the order of the code.

    Args:
        root: What a whole file is: a ``Config`` or a ``policy_file.Policy``.

    Returns:
        One section a table.
    """
    schema = msgspec.json.schema(root)
    definitions: dict[str, Any] = schema["$defs"]
    sections = [(root.__name__, "top level")]
    for name, field in definitions[root.__name__]["properties"].items():
        target = _target(field)
        if target:
            repeated = field.get("type") == "array"
            sections.append((target, f"[[{name}]]" if repeated else f"[{name}]"))
    return "\n".join(_section(definitions[key], title) for key, title in sections)


def _section(definition: dict[str, Any], title: str) -> str:
    described = inspect.cleandoc(definition.get("description", ""))
    lines = [f"### `{title}`", "", described, ""]
    lines += ["| field | default | meaning |", "| --- | --- | --- |"]
    for name, field in definition["properties"].items():
        if _target(field):
            continue
        required = name in definition.get("required", [])
        default = "required" if required else f"`{_shown(field.get('default'))}`"
        lines.append(f"| `{name}` | {default} | {field.get('description', '')} |")
    return "\n".join([*lines, ""])


def _shown(default: object) -> str:
    return msgspec.json.encode(default).decode()


def _target(field: dict[str, Any]) -> str:
    """Return the table a field refers to, if it is one."""
    options = [field, field.get("items", {}), *field.get("anyOf", [])]
    options += field.get("allOf", [])
    for option in options:
        if "$ref" in option:
            return str(option["$ref"]).rsplit("/", 1)[-1]
    return ""
