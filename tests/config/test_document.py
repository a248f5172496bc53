"""YAML is read whole: lines, merges, duplicates, and every way to be broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.config.document import read


def only(text: str | bytes) -> tuple[int | None, str]:
    """Return line and message of the one thing wrong with a text."""
    document = read(text if isinstance(text, bytes) else text.encode())
    (finding,) = document.findings
    line = document.line(finding.path) if finding.line is None else finding.line
    return line, finding.message


def test_every_key_path_has_its_line() -> None:
    document = read(b"a:\n  b: 1\n  c:\n    - x\n    -\n      d: 2\n")
    assert document.value == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
    }


def test_a_missing_key_has_the_line_of_what_it_is_missing_from() -> None:
    document = read(b"x: 1\na:\n  b: {c: 1}\n")
    assert document.line(("a", "b", "missing", "deeper")) == 3


def test_anchors_and_merges_keep_lines_and_precedence() -> None:
    document = read(
        b"one: &one {a: 1, b: 1}\n"
        b"two: &two {b: 2, c: 2}\n"
        b"three:\n"
        b"  <<: [*one, *two]\n"
        b"  c: 3\n"
        b"four: *one\n"
    )
    assert document.findings == ()
    assert document.value["three"] == {"a": 1, "b": 1, "c": 3}
    assert document.value["four"] == {"a": 1, "b": 1}
    assert document.line(("three", "b")) == 1
    assert document.line(("three", "c")) == 5


def test_all_duplicate_keys_are_found_each_on_its_line() -> None:
    document = read(b"a: 1\nb:\n  c: 1\n  c: 2\na: 2\na: 3\n")
    assert [(found.path, found.line) for found in document.findings] == [
        (("a",), 5),
        (("a",), 6),
        (("b", "c"), 4),
    ]
    assert document.findings[2].message == "is given twice, first on line 3"


def test_keys_are_always_texts() -> None:
    assert read(b"providers: {1: a, yes: b, 2024-01-01: c}").value == {
        "providers": {"1": "a", "yes": "b", "2024-01-01": "c"}
    }


def test_values_are_plain_data() -> None:
    document = read(b"{a: 1, b: 1.5, c: yes, d: , e: 2024-01-01, f: '1', g: .inf}")
    assert document.value == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": "2024-01-01",
        "f": "1",
        "g": float("inf"),
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "is empty: write one with `kimi-proxy init`"),
        ("# nothing\n---\n", 1, "is empty: write one with `kimi-proxy init`"),
        ("\n- a\n", 2, "must be a mapping of keys at its top level"),
        ("just words", 1, "must be a mapping of keys at its top level"),
        (
            "a: 1\nb: [1\n",
            3,
            "is not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
        ("a:\n\t- 1", 2, "found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
        ("a: *nowhere\n", 1, "found undefined alias …"),
        (b"a: 1\nb: \xff\n", 2, "is not UTF-8 text"),
        ("a: 1\nb: \x07\n", 2, "holds a character that YAML does not allow"),
        ("a: !!python/object:os.system x", 1, "YAML tag that is not allowed"),
        ("a: !vault x", 1, "has a YAML tag that is not allowed here"),
        ("a: !!set {x}", 1, "has a YAML tag that is not allowed here"),
        ("a: !!binary eA==", 1, "has a YAML tag that is not allowed here"),
        ("a: !!int x", 1, "is not what its YAML tag says"),
        ("a: !!bool x", 1, "is not what its YAML tag says"),
        ("x: 1\na: &a\n  b: *a\n", 3, "refers to itself"),
        ("a: &a\n  <<: *a\n", 1, "<< must name another mapping"),
        ("a:\n  <<: 3\n", 1, "<< must name another mapping"),
        ("a:\n  ? [x, y]\n  : 1\n", 2, "a key must be a plain word"),
        ("[" * 2000, 1, "is nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, 1, "nests them too deeply"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(
    text: str | bytes, line: int, message: str
) -> None:
    found = only(text)
    assert found[0] == line
    assert message in found[1]


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    rows = ["l0: &l0 [x, x, x, x, x, x, x, x]"]
    rows += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 8)}]" for n in range(1, 12)]
    assert "holds too many values" in only("\n".join(rows))[1]


def test_an_unquoted_variable_in_braces_gets_a_hint() -> None:
    assert '"${NAME}"' in only("a: {b: ${KIMI}, c: 1}")[1]


def test_the_parsers_words_out_of_the_file_are_not_repeated() -> None:
    assert "made-up-secret" not in only("key: *made-up-secret-1")[1]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    document = read(data)
    assert isinstance(document.value, dict)
    for finding in document.findings:
        assert finding.line or document.line(finding.path)


@given(st.lists(st.sampled_from("abc:{}[]&*<!'\"|>-?, \n0"), max_size=60).map("".join))
def test_no_text_of_yamls_own_marks_makes_the_reader_fail(text: str) -> None:
    assert isinstance(read(text.encode()).value, dict)
