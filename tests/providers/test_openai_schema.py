"""JSON Schemas for Moonshot: no references, a type for everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.moonshot.schema import trouble_with
from kimi_proxy.providers.openai_schema import plain, remembering

TREE = {
    "type": "object",
    "properties": {"value": {}, "next": {"$ref": "#/$defs/Node"}},
    "$defs": {
        "Node": {
            "description": "a node",
            "properties": {
                "next": {"$ref": "#/$defs/Node"},
                "kids": {"type": "array", "items": {"$ref": "#"}},
            },
        }
    },
}


def test_a_schema_that_is_plain_already_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert plain(schema) == schema


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"enum": ["a", "b"]}, "string"),
        ({"const": 1}, "integer"),
        ({"enum": [1, None]}, ["integer", "null"]),
        ({"items": {"type": "string"}}, "array"),
        ({"properties": {}}, "object"),
        ({"pattern": "x"}, "string"),
        ({"minimum": 1}, "number"),
    ],
)
def test_a_type_is_what_the_rest_implies(schema: dict[str, Any], kind: Any) -> None:
    made = plain({"type": "object", "properties": {"a": schema}})
    assert made["properties"]["a"]["type"] == kind


def test_nothing_told_may_be_anything() -> None:
    made = plain({"type": "object", "properties": {"a": {"description": "x"}}})
    assert "string" in made["properties"]["a"]["type"]
    assert made["properties"]["a"]["description"] == "x"


def test_references_are_put_in_with_what_stands_beside_them() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/definitions/x~1y", "description": "mine"}},
        "definitions": {"x/y": {"type": "string", "description": "its"}},
    }
    assert plain(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "mine"}},
    }


def test_a_schema_that_contains_itself_ends() -> None:
    made = plain(TREE)
    inner = made["properties"]["next"]["properties"]["next"]
    assert inner == {"type": "object"}
    assert trouble_with(made) == ""


@pytest.mark.parametrize("ref", ["#/nowhere", "http://elsewhere/x", "#odd", ""])
def test_a_reference_to_nothing_known_is_anything(ref: str) -> None:
    made = plain({"type": "object", "properties": {"a": {"$ref": ref}}})
    assert trouble_with(made) == ""


def test_references_that_fan_out_without_end_are_bounded() -> None:
    levels = {
        f"L{n}": {
            "type": "object",
            "properties": {
                side: {"$ref": f"#/$defs/L{n + 1}"} for side in ("left", "right")
            },
        }
        for n in range(40)
    }
    made = plain({"$ref": "#/$defs/L0", "$defs": {**levels, "L40": {"type": "null"}}})
    assert trouble_with(made) == ""


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    assert plain(schema)["type"] == "array"


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "object"]),
            "enum": st.lists(st.none() | st.integers() | st.text(), max_size=2),
            "$ref": st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#/x", "y"]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "$defs": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "$ref": st.sampled_from(["#", "#/$defs/a"]),
        },
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(SCHEMAS)
def test_whatever_comes_is_taken_in_the_end(schema: dict[str, Any]) -> None:
    made = plain({"type": "object", "properties": {"a": schema}})
    assert trouble_with(made) == ""
    assert plain(made) == made


@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_remembered_is_the_same(size: int) -> None:
    schema = {**TREE, "description": "x" * size}
    remembered = remembering()
    for _ in range(2):
        assert remembered(schema) == plain(schema)
