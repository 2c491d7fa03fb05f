# SPDX-License-Identifier: Apache-2.0
"""The configuration reference, written from the code's own descriptions."""

from itertools import groupby

from hub.config import Config
from hub.strict_toml import describe


def reference() -> str:
    """Return every section and key as Markdown, in the order of the code."""
    lines: list[str] = []
    for section, settings in groupby(describe(Config), key=lambda s: s.section):
        lines += [f"### `[{section}]`", "", "| field | default | meaning |"]
        lines.append("| --- | --- | --- |")
        for setting in settings:
            default = "required" if setting.default is None else f"`{setting.default}`"
            lines.append(f"| `{setting.name}` | {default} | {setting.doc} |")
        lines.append("")
    return "\n".join(lines)
