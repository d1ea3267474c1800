"""Names and schemas that strangers chose."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.mcp.naming import tool_names, visible
from tools.mcp.schema import UnusableSchemaError, safe_schema

NAMES = st.text(alphabet="ab_./é -", min_size=1, max_size=90)


@given(st.sets(st.tuples(NAMES, NAMES), max_size=12))
def test_names_are_ones_that_providers_take_and_no_two_tools_share_one(
    offered: set[tuple[str, str]],
) -> None:
    names = tool_names(offered)
    assert names.keys() == offered
    assert len(set(names.values())) == len(offered)
    assert all(re.fullmatch(r"mcp_[a-zA-Z0-9_-]{1,60}", name) for name in names.values())
    assert tool_names(sorted(offered, reverse=True)) == names


def test_a_name_is_plain_unless_it_is_long_or_shared() -> None:
    assert tool_names([("git", "git_log")]) == {("git", "git_log"): "mcp_git_git_log"}
    shared = tool_names([("a_b", "c"), ("a", "b_c")])
    assert all(re.fullmatch(r"mcp_a_b_c_[0-9a-f]{8}", name) for name in shared.values())


def test_a_schema_keeps_its_own_references_and_loses_what_could_stall() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "pattern": "^(a+)+$", "description": "A word."},
            "tree": {"$ref": "#/$defs/node"},
        },
        "required": ["pattern"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "tag": {"const": {"$ref": "x"}}},
            }
        },
    }
    safe = safe_schema(schema)
    assert safe["properties"]["pattern"] == {
        "type": "string",
        "description": "A word. Must match ^(a+)+$",
    }
    assert safe["properties"]["tree"] == {"$ref": "#/$defs/node"}
    assert safe["$defs"] == schema["$defs"]
    assert "$schema" not in safe


_HIDDEN: dict[str, Any] = {"default": {"type": "string", "pattern": "^(a+)+$"}}
_BY_PATTERN: dict[str, Any] = {"patternProperties": {"b": {"pattern": "^(a+)+$"}}}


def test_a_definition_may_be_named_like_a_keyword() -> None:
    schema: dict[str, Any] = {
        "properties": {"a": {"$ref": "#/$defs/default"}},
        "$defs": {"default": {}},
    }
    assert safe_schema(schema)["properties"] == schema["properties"]


def test_what_no_person_would_see_is_not_shown_to_a_model_either() -> None:
    hidden = "Adds\u200b two\U000e0041\u202e numbers\x1b[31m.\n\tDone"
    assert visible(hidden) == "Adds two numbers[31m.\n\tDone"
    told = {"type": "string", "description": hidden, "title": hidden, "pattern": "a\u200bb"}
    shown = safe_schema({"properties": {"a": told, "description": {"type": "string"}}})[
        "properties"
    ]
    assert shown["a"]["title"] == visible(hidden)
    assert shown["a"]["description"] == f"{visible(hidden)} Must match ab"
    assert shown["description"] == {"type": "string"}


def nested(depth: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": nested(depth - 1)}} if depth else {}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {"a": {"$ref": "http://example.org/s.json"}}}, "refers elsewhere"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "has no #/"),
        ({"properties": {"a": {"$id": "urn:x"}}}, r"uses '\$id'"),
        ({**_HIDDEN, "properties": {"a": {"$ref": "#/default"}}}, "refers to what is none"),
        ({"%64": 1, **_HIDDEN, "properties": {"a": {"$ref": "#/%64efault"}}}, "refers elsewhere"),
        ({"properties": {"a": {"$ref": "#/patternProperties/b"}}, **_BY_PATTERN}, "what is none"),
        ({"type": "array"}, "not that of an object"),
        ({"properties": {"a": {"type": "text"}}}, "not valid"),
        ({"description": "x" * 70_000}, "longer than"),
        (nested(60), "nested deeper"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnusableSchemaError, match=problem):
        safe_schema(schema)
