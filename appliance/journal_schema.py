# SPDX-License-Identifier: Apache-2.0
"""The journal's tables, the same in every database that holds one.

In PostgreSQL every text compares by its bytes and every number has 64 bits; SQLite
does so by itself.
"""

from typing import Final, NoReturn

import sqlalchemy as sa

from appliance.errors import BrokenInvariantError

FORMAT: Final = "saltkeep-journal/3"

_metadata = sa.MetaData()


def _text(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Return text that compares by its bytes."""
    return sa.String(length).with_variant(sa.Text(collation="C"), "postgresql")


def _whole() -> sa.types.TypeEngine[int]:
    """Return a whole number that 32 bits suffice for, in SQLite's own words."""
    return sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def _row_number(*, primary_key: bool = False) -> sa.Column[int]:
    """Return the reference to the row a guard follows from."""
    reference = sa.ForeignKey("row.sequence")
    return sa.Column(
        "row",
        _whole(),
        reference,
        primary_key=primary_key,
        autoincrement=False,
        nullable=False,
        index=True,
    )


HEADER: Final = sa.Table(
    "header",
    _metadata,
    sa.Column("format", _text(), primary_key=True),
    sa.Column("journal_id", _text(), nullable=False),
    sa.Column("epoch", _whole(), nullable=False),
)
ROW: Final = sa.Table(
    "row",
    _metadata,
    sa.Column("sequence", _whole(), primary_key=True, autoincrement=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("client", _text(), nullable=False),
    sa.Column("kind", _text(), nullable=False),
    sa.Column(
        "payload",
        sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
        nullable=False,
    ),
    sa.Column("previous_hash", _text(64), nullable=False),
    sa.Column("hash", _text(64), nullable=False, unique=True),
)
ROW_MAC: Final = sa.Table(
    "row_mac",
    _metadata,
    _row_number(primary_key=True),
    sa.Column("mac", _text(64), nullable=False),
)
SPENT_KEY: Final = sa.Table(
    "spent_key",
    _metadata,
    sa.Column("commitment", _text(64), primary_key=True),
    sa.Column("n", _whole(), primary_key=True, autoincrement=False),
    sa.Column("bundle_hash", _text(81), nullable=True),
    _row_number(),
)
ISSUED: Final = sa.Table(
    "issued",
    _metadata,
    sa.Column("commitment", _text(64), primary_key=True),
    sa.Column("address", _text(81), nullable=False, unique=True),
    sa.Column("client", _text(), nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    _row_number(),
    sa.Index("issued_by_client", "client", "time_ms"),
)
REFUSED: Final = sa.Table(
    "refused",
    _metadata,
    sa.Column("bundle_hash", _text(81), primary_key=True),
    _row_number(),
)
SIGNED: Final = sa.Table(
    "signed",
    _metadata,
    sa.Column("bundle_hash", _text(81), primary_key=True),
    _row_number(),
    sa.Column("client", _text(), nullable=False, index=True),
    sa.Column("time_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("outside_i", sa.BigInteger, nullable=False),
    sa.Column("key_count", _whole(), nullable=False),
)
PAID: Final = sa.Table(
    "paid",
    _metadata,
    sa.Column("address", _text(81), primary_key=True),
    _row_number(primary_key=True),
    sa.Column("client", _text(), nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("amount_i", sa.BigInteger, nullable=False),
    sa.Index("paid_lately", "address", "time_ms"),
)
AUTHORISATION: Final = sa.Table(
    "authorisation",
    _metadata,
    sa.Column("issuer", _text(), primary_key=True),
    sa.Column("withdrawal", _text(), primary_key=True),
    sa.Column("bundle_hash", _text(81), nullable=False),
    _row_number(),
)
BLIND: Final = sa.Table(
    "blind",
    _metadata,
    sa.Column("commitment", _text(64), primary_key=True),
    sa.Column("client", _text(), nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    _row_number(),
    sa.Index("blind_by_client", "client", "time_ms"),
)
GUARDS: Final = (SPENT_KEY, ISSUED, REFUSED, SIGNED, PAID, AUTHORISATION, BLIND)


def broken(what: str) -> NoReturn:
    """Say that the journal is not what was written.

    Raises:
        BrokenInvariantError: Always.
    """
    raise BrokenInvariantError(f"journal: {what}", code="journal-broken")


def create_tables(engine: sa.Engine | sa.Connection) -> None:
    """Make the tables where there are none."""
    _metadata.create_all(engine, checkfirst=False)


def tables() -> list[sa.Table]:
    """Return every table of a journal."""
    return list(_metadata.sorted_tables)
