# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL's catalogue must say of a journal's schema.

Its own tables and nothing else: no trigger, rule, row filter or function that could
hide or change a row; every index valid and every column as it was made.
"""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from appliance.journal_schema import FORMAT, broken, tables

_HERE: Final = "relnamespace = current_schema()::regnamespace"

# One line per thing; what is not exactly so does not match its expected line.
_RELATIONS: Final = f"""
SELECT 'table ' || relname || CASE WHEN relkind = 'r' AND relpersistence = 'p'
  AND NOT relrowsecurity AND NOT relhasrules AND NOT relhassubclass
  AND NOT relispartition AND relam = (SELECT oid FROM pg_am WHERE amname = 'heap')
  THEN '' ELSE ' that is not plain' END
FROM pg_class WHERE {_HERE} AND relkind <> 'i'
"""  # noqa: S608 - constants
_COLUMNS: Final = f"""
SELECT 'column ' || c.relname || '.' || a.attname || ' '
  || format_type(a.atttypid, a.atttypmod)
  || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
  || CASE WHEN l.collname IS NULL THEN '' ELSE ' collate ' || l.collname END
  || CASE WHEN a.atthasdef OR a.attidentity <> '' THEN ' default' ELSE '' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE {_HERE} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""  # noqa: S608
_INDEXES: Final = f"""
SELECT CASE WHEN i.indisunique THEN 'unique index ' ELSE 'index ' END || c.relname
  || '(' || (SELECT string_agg(a.attname, ',' ORDER BY k.place)
    FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number)
  || ')' || CASE WHEN i.indisvalid AND i.indisready AND i.indislive
    AND i.indpred IS NULL AND i.indexprs IS NULL THEN '' ELSE ' invalid' END
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE {_HERE}
"""  # noqa: S608
_STRANGERS: Final = f"""
SELECT 'trigger ' || tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  WHERE {_HERE} AND NOT tgisinternal
UNION ALL SELECT 'function ' || proname FROM pg_proc
  WHERE pronamespace = current_schema()::regnamespace
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
  WHERE evtenabled <> 'D'
"""  # noqa: S608


def require_structure(connection: sa.Connection) -> None:
    """Compare the schema in use with what ``create_tables`` makes.

    Args:
        connection: Its search path is the journal's schema.
    """
    queries = (_RELATIONS, _COLUMNS, _INDEXES, _STRANGERS)
    found = [
        str(row[0]) for query in queries for row in connection.exec_driver_sql(query)
    ]
    expected = _expected()
    if not found:
        broken("the schema is empty")
    if sorted(found) != sorted(expected):
        difference = sorted(set(found) ^ set(expected)) or ["something twice"]
        broken(f"it has another structure than a {FORMAT}: {', '.join(difference)}")


def _expected() -> list[str]:
    lines = []
    for table in tables():
        lines.append(f"table {table.name}")
        lines += [_column(column) for column in table.columns]
        keys = [_names(table.primary_key.columns)]
        keys += [_names([c]) for c in table.columns if c.unique]
        lines += [f"unique index {table.name}({key})" for key in keys]
        lines += [
            f"index {table.name}({_names(index.columns)})" for index in table.indexes
        ]
    return lines


def _column(column: sa.Column[Any]) -> str:
    text = isinstance(column.type, sa.String)
    kind = "text" if text else "bigint"
    null = "" if column.nullable else " not null"
    return f"column {column.table}.{column.name} {kind}{null}" + (
        " collate C" if text else ""
    )


def _names(columns: Iterable[sa.Column[Any]]) -> str:
    return ",".join(column.name for column in columns)
