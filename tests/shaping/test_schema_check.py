"""Violations of a JSON Schema, in words; a schema that is wrong is said to be."""

import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from kimi_proxy.shaping.schema_check import problem, require_usable

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "n": {"$ref": "#/$defs/count"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 1}},
}


@pytest.mark.parametrize("value", [{"city": "Oslo"}, {"city": "", "n": 3}])
def test_a_right_value_has_no_problem(value: object) -> None:
    assert problem(CITY, value) is None
    assert problem({}, value) is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "$: 'city' is a required property"),
        ({"city": 5}, "$.city: 5 is not of type 'string'"),
        ({"city": "", "n": 0}, "$.n: 0 is less than the minimum of 1"),
        ({"city": "", "x": 1}, "'x' was unexpected"),
        ([], "$: [] is not of type 'object'"),
    ],
)
def test_a_violation_is_told_with_its_place(value: object, told: str) -> None:
    assert told in (problem(CITY, value) or "")


def test_of_a_choice_the_nearest_branch_is_told() -> None:
    schema = {"anyOf": [{"type": "integer"}, {"type": "object", "required": ["x"]}]}
    assert problem(schema, {}) == "$: 'x' is a required property"


def test_three_violations_are_told_and_each_is_short() -> None:
    text = problem({"items": {"maxLength": 1}}, ["y" * 9_999] * 50)
    assert text is not None
    assert text.count("is too long") == 3
    assert text.endswith("; and more")
    assert len(text) < 1200


def test_the_dialect_is_the_one_that_the_schema_names() -> None:
    old = "http://json-schema.org/draft-07/schema#"
    pairs = {"$schema": old, "items": [{"type": "string"}]}
    assert problem(pairs, [1]) == "$[0]: 1 is not of type 'string'"
    with pytest.raises(ValueError, match="not a valid JSON Schema"):
        problem({"items": [{"type": "string"}]}, [1])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"properties": {"a": {"required": "a"}}},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"pattern": "("},
        {"$schema": 5},
        {"$schema": []},
        {"$schema": {"type": "string"}},
    ],
)
def test_a_wrong_schema_is_refused_and_nothing_is_fetched(
    schema: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match="JSON Schema"):
        problem(schema, "value")


USABLE: tuple[dict[str, object], ...] = (
    {},
    CITY,
    {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
    {"properties": {"a/b": {}, "c": {"$ref": "#/properties/a~1b"}}},
    {"$defs": {"x": {"$anchor": "here"}}, "items": {"$ref": "#here"}},
    {"$defs": {"a b": {}}, "items": {"$ref": "#/$defs/a%20b"}},
    {"items": {"const": {"$ref": "#/nowhere"}, "default": {"pattern": "("}}},
    {"$id": "http://x.example/a", "items": {"$ref": "http://x.example/a"}},
    {"properties": {"list": {"type": "array", "items": {"$ref": "#"}}}},
)


@pytest.mark.parametrize("schema", USABLE)
def test_a_schema_that_can_be_used_is_let_pass(schema: dict[str, object]) -> None:
    require_usable(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": 5},
        {"type": "nothing"},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"properties": {"a": {"$ref": "#missing"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}},
        {"items": {"anyOf": [{"$ref": "#/items/anyOf/7"}]}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"patternProperties": {"[": {}}}}},
    ],
)
def test_what_only_some_value_would_lead_to_is_found_at_once(
    schema: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match="JSON Schema"):
        require_usable(schema)


def test_a_number_beyond_all_bounds_is_no_defect() -> None:
    with pytest.raises(ValueError, match="beyond the JSON Schema"):
        problem({"multipleOf": 0.1}, 10**400)


def test_the_library_comes_in_with_the_first_check_only() -> None:
    code = (
        "import sys, kimi_proxy.shaping.schema_check as check\n"
        "before = 'jsonschema' in sys.modules\n"
        "check.problem({}, 1)\n"
        "sys.exit(before or 'jsonschema' not in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode
        == 0
    )


def test_a_schema_that_comes_again_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[object] = []
    monkeypatch.setattr(Draft202012Validator, "check_schema", read.append)
    for _ in range(3):
        assert problem({"title": "read once", "type": "object"}, 7) is not None
    assert read == [{"title": "read once", "type": "object"}]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", r"^(\w+\s?)*$"])
def test_no_pattern_stops_a_worker(pattern: str) -> None:
    text = "a" * 64 + "!"
    assert problem({"pattern": pattern}, text) is not None
    named: dict[str, object] = {"patternProperties": {pattern: False}}
    assert problem(named, {text: 1}) is None
    assert problem({**named, "additionalProperties": False}, {text: 1}) is not None


@pytest.mark.timeout(20)
def test_references_that_double_at_each_step_come_to_an_end() -> None:
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(60)}
    schema = {"$defs": {**steps, "s60": {}}, "$ref": "#/$defs/s0"}
    with pytest.raises(ValueError, match="refers to its parts too often"):
        require_usable(schema)


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("^[a-z]+(-[a-z]+)*$", "a-slug-of-words", "a--b"),
        ("^.{1,2000}$", "x", ""),
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", "-12.50", "."),
        (r"^(\w)\1$", "aa", "ab"),
        (r"^\u0041$", "A", "B"),
        ("x", "x", "\ud800"),
    ],
)
def test_patterns_are_kept_to(pattern: str, right: str, wrong: str) -> None:
    require_usable({"pattern": pattern})
    assert problem({"pattern": pattern}, right) is None
    assert problem({"pattern": pattern}, wrong) is not None
    named = {"patternProperties": {pattern: {}}, "additionalProperties": False}
    assert problem(named, {right: 1}) is None
    assert problem(named, {wrong: 1}) is not None


def test_what_only_a_slow_matcher_knows_is_no_rule_for_long_texts() -> None:
    for pattern in ("^(?!b)a+$", "^(?!b)(a+)+$"):
        assert problem({"pattern": pattern}, "a" * 64 + "!") is None


def test_two_keywords_that_cannot_be_told_apart_in_time_are_refused() -> None:
    schema = {"patternProperties": {"a": {}}, "unevaluatedProperties": False}
    with pytest.raises(ValueError, match="cannot be checked"):
        require_usable(schema)
