"""The estimate beside Kimi's own tokenizer, and what holds for any text.

`corpus/counts.json` holds the reference's counts; docs/usage.md says how they were
made.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.shaping.tokens import Counter, count

CORPUS = Path(__file__).parent / "corpus"
COUNTS: dict[str, int] = json.loads((CORPUS / "counts.json").read_text("utf-8"))
PARTS = {
    "zh": ["zh_chat.txt", "zh_formal.txt", "zh_prose.txt", "zh_science.txt"],
    "en": ["en_chat.txt", "en_prose.txt"],
    "code": ["code.go.txt", "code.py.txt", "code.ts.txt"],
}
PARTS["together"] = [name for part in PARTS.values() for name in part]
# Not promised as exactly as the rest: docs/usage.md.
ROUGH = {"other_scripts.txt": 0.35}

# Letters of every kind that is counted apart, signs, gaps, and what UTF-8 refuses.
KINDS = st.text(
    "aZé 12_'\n\r\t.-中的龘。，Яあ한ع🎉\u200d\ufe0f\ud800\x00", max_size=120
)
TEXTS = st.one_of(KINDS, st.text(st.characters(exclude_categories=()), max_size=60))


def text(name: str) -> str:
    return (CORPUS / name).read_bytes().decode()


def added(pieces: list[str]) -> Counter:
    counter = Counter()
    for piece in pieces:
        counter.add(piece)
    return counter


def off(names: list[str]) -> float:
    reference = sum(COUNTS[name] for name in names)
    return sum(count(text(name)) for name in names) / reference - 1


@pytest.mark.parametrize("part", PARTS)
def test_each_language_is_within_a_tenth_of_the_reference(part: str) -> None:
    assert abs(off(PARTS[part])) < 0.10


@pytest.mark.parametrize("name", COUNTS)
def test_each_single_document_is_near_the_reference(name: str) -> None:
    assert abs(off([name])) < ROUGH.get(name, 0.15)


def test_the_corpus_is_what_was_counted() -> None:
    names = {path.name for path in CORPUS.iterdir()}
    assert names == {"counts.json", *COUNTS}


def test_only_the_empty_text_is_free() -> None:
    assert count("") == Counter().total == 0
    assert count("a") == count("\ud800") == count("\n") == 1


@given(TEXTS)
def test_nothing_is_negative_and_only_nothing_is_free(any_text: str) -> None:
    assert (count(any_text) > 0) == (any_text != "")


@given(st.lists(TEXTS, max_size=6))
def test_however_a_text_is_cut_its_total_is_the_same(pieces: list[str]) -> None:
    assert added(pieces).total == count("".join(pieces))


@pytest.mark.parametrize("name", COUNTS)
def test_single_characters_add_up_to_the_whole(name: str) -> None:
    assert added(list(text(name))).total == count(text(name))


@given(TEXTS, st.integers(0, 40))
def test_a_text_is_cut_only_above_the_budget(any_text: str, limit: int) -> None:
    head = Counter().take(any_text, limit)
    assert any_text.startswith(head)
    assert count(head) <= limit
    assert head == any_text or count(any_text) > limit


@given(st.lists(TEXTS, max_size=6), st.integers(1, 40))
def test_a_stream_is_cut_within_the_budget(pieces: list[str], limit: int) -> None:
    counter = Counter()
    for piece in pieces:
        taken = counter.take(piece, limit)
        assert piece.startswith(taken)
        if taken != piece:
            break
    assert counter.total <= limit


@pytest.mark.parametrize("name", ["en_prose.txt", "zh_prose.txt", "code.py.txt"])
def test_a_cut_uses_the_budget_up(name: str) -> None:
    head = Counter().take(text(name), 100)
    assert 98 <= count(head) <= 100


@pytest.mark.parametrize("letter", ["a", "A", " ", "\n", "中", "-", "7", "あ", "🎉"])
def test_one_endless_run_keeps_no_more_than_a_piece(letter: str) -> None:
    counter = added([letter] * 1000)
    assert len(counter._tail) <= 128
    assert counter.total == count(letter * 1000)
    assert count(letter * 20_000) == pytest.approx(20 * counter.total, rel=0.1)
