# SPDX-License-Identifier: Apache-2.0
"""Write a profile down as TOML."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from hsm_profiles.schema import HsmProfile


def profile_text(profile: HsmProfile, *, heading: str) -> str:
    """Return a profile's TOML, which ``parse_profile`` reads back as the same.

    Args:
        profile: What to write.
        heading: One line for people, at the top.

    Returns:
        The text.
    """
    content = msgspec.to_builtins(profile, builtin_types=(dt.date,))
    return f"# {heading}\n" + "\n".join(_table("", content)).strip() + "\n"


def _table(path: str, content: dict[str, Any]) -> Iterator[str]:
    if path:
        yield ""
        yield f"[{path}]"
    tables = {name: one for name, one in content.items() if isinstance(one, dict)}
    rows = {name: one for name, one in content.items() if _is_rows(one)}
    for name, value in content.items():
        if name not in tables and name not in rows:
            yield f"{_key(name)} = {_value(value)}"
    for name, each in rows.items():
        for row in each:
            yield ""
            yield f"[[{_key(name)}]]"
            yield from (f"{key} = {_value(one)}" for key, one in row.items())
    for name, table in tables.items():
        yield from _table(f"{path}.{_key(name)}" if path else _key(name), table)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _key(name: str) -> str:
    return json.dumps(name) if "." in name else name


def _value(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)
