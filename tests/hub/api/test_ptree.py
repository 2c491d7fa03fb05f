# SPDX-License-Identifier: Apache-2.0
"""The legacy JSON, byte for byte, and what is taken for JSON at all.

Expected texts: Boost.PropertyTree 1.74's write_json, as observed with Hub
1.4.4 and derived from its documented behaviour.
"""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.ptree import Branch, SyntaxRefusedError, Tree, first, read, write


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ([], "{\n}\n"),
        ([("available", "123")], '{\n    "available": "123"\n}\n'),
        ([("a", "")], '{\n    "a": ""\n}\n'),
        ([("a", [])], '{\n    "a": ""\n}\n'),
        ([("t", "1"), ("t", "2")], '{\n    "t": "1",\n    "t": "2"\n}\n'),
        (
            [("event_0", [("amount", "-1"), ("x", [("y", "z")])])],
            (
                '{\n    "event_0": {\n        "amount": "-1",\n        "x": {\n'
                '            "y": "z"\n        }\n    }\n}\n'
            ),
        ),
        (
            [("list", [("", "a"), ("", [("k", "v")])])],
            (
                '{\n    "list": [\n        "a",\n        {\n            "k": "v"\n'
                "        }\n    ]\n}\n"
            ),
        ),
        ([("u", "a/b+c")], '{\n    "u": "a\\/b+c"\n}\n'),
        ([("k/", '"\\')], '{\n    "k\\/": "\\"\\\\"\n}\n'),
        ([("c", "\b\f\n\r\t")], '{\n    "c": "\\b\\f\\n\\r\\t"\n}\n'),
        ([("c", "\x00\x1b\x1f")], '{\n    "c": "\\u0000\\u001B\\u001F"\n}\n'),
        ([("c", "\x7f")], '{\n    "c": "\x7f"\n}\n'),
        ([("name", "Zoë 💰")], '{\n    "name": "Zoë 💰"\n}\n'),
        ([("q", "it's <b>&")], '{\n    "q": "it\'s <b>&"\n}\n'),
    ],
)
def test_a_tree_is_written_byte_for_byte(tree: Branch, text: str) -> None:
    assert write(tree) == text.encode()


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        (b'{"a": 1}', [("a", "1")]),
        (b'{"a": 1e3, "b": 1.50, "c": -0}', [("a", "1e3"), ("b", "1.50"), ("c", "-0")]),
        (
            b'{"a": true, "b": false, "c": null}',
            [("a", "true"), ("b", "false"), ("c", "null")],
        ),
        (b'{"a": "1", "a": "2"}', [("a", "1"), ("a", "2")]),
        (b'{"l": [1, {"k": "v"}]}', [("l", [("", "1"), ("", [("k", "v")])])]),
        (b' {"a":{}} \n', [("a", [])]),
        (b"{}", []),
        (b"[]", []),
        (b'"text"', "text"),
        (b"17", "17"),
        (b'{"a": "\\u00eb\\ud83d\\udcb0"}', [("a", "ë💰")]),
        (b'{"a": %s}' % (b"9" * 5000), [("a", "9" * 5000)]),
    ],
)
def test_a_request_keeps_the_spelling_of_its_scalars(body: bytes, tree: Tree) -> None:
    assert read(body) == tree


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} x",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1,}',
        b'{"a": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(SyntaxRefusedError):
        read(body)


def test_of_duplicate_keys_the_first_counts() -> None:
    branch: Branch = [("a", "1"), ("a", "2")]
    assert first(branch, "a") == "1"
    assert first(branch, "b") is None


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_survives_writing_and_reading(text: str) -> None:
    assert json.loads(write([("k", text)]))["k"] == text
    assert read(write([("k", text)])) == [("k", text)]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(SyntaxRefusedError):
        read(body)
