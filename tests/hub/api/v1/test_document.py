# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is what is served, and names exactly what is routed."""

from pathlib import Path

import pytest

from hub.api.v1.app import (
    DOCUMENT_PATH,
    build_app,
    document_text,
    operations,
    whole_document,
)
from hub.api.v1.event_types import TYPES
from hub.api.v1.openapi import refusals_of
from hub.config import V1ApiSection
from hub.model import EventReason, NoticeReason
from tests.hub.api.v1.serving import V1, ports_of

ROOT = Path(__file__).parents[4]


def test_the_document_checked_in_is_of_this_version() -> None:
    written = (ROOT / "docs" / "openapi.json").read_text()
    assert document_text(whole_document()) == written, "run `make docs`"


async def test_the_document_is_served_to_everybody(v1: V1) -> None:
    served = await v1.ask("GET", DOCUMENT_PATH, key="")
    assert served.status == 200
    assert served.text == document_text(whole_document())


async def test_every_route_is_in_the_document_and_the_other_way_round(v1: V1) -> None:
    app = build_app(V1ApiSection(), ports_of(v1))
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {
        (method.upper(), path)
        for path, item in whole_document()["paths"].items()
        for method in item
    }
    assert routed == described | {("GET", DOCUMENT_PATH)}


async def test_every_code_is_explained(v1: V1) -> None:
    every = operations(V1ApiSection(), ports_of(v1), refused={})
    codes = {kind.code for one in every for kind in refusals_of(one)}
    text = (ROOT / "docs" / "api.md").read_text()
    missing = [code for code in sorted(codes) if f"`{code}`" not in text]
    assert not missing


def test_every_type_of_event_is_named_and_explained() -> None:
    assert set(TYPES) == {*EventReason, *NoticeReason}
    assert len(set(TYPES.values())) == len(TYPES)
    text = (ROOT / "docs" / "api.md").read_text()
    assert not [name for name in TYPES.values() if f"`{name}`" not in text]


@pytest.mark.parametrize("name", ["Problem", "Withdrawal", "NewWithdrawal"])
def test_the_schemas_are_those_of_the_types(name: str) -> None:
    schema = whole_document()["components"]["schemas"][name]
    assert schema["type"] == "object"
    assert schema["properties"]
