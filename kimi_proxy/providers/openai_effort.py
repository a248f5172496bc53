"""How hard to think, in the word or the switch that an upstream has for it."""

from collections.abc import Callable
from typing import Any

from kimi_proxy.chat import Effort
from kimi_proxy.providers.openai_model import Listed
from kimi_proxy.providers.openai_quirk import Quirks, Thinking

_RANKS = {
    "none": 0,
    "minimal": 1,
    "low": 2,
    "medium": 3,
    "high": 4,
    "xhigh": 5,
    "max": 6,
}
_FORMS = ("reasoning_effort", "thinking", "enable_thinking", "reasoning")
_OFF: dict[Thinking, dict[str, Any]] = {
    "thinking": {"thinking": {"type": "disabled"}},
    "enable_thinking": {"enable_thinking": False},
}


def think(
    body: dict[str, Any], effort: Effort | None, quirks: Quirks, model: Listed | None
) -> None:
    """Say in `body` how hard to think, unless the client did in the upstream's form.

    What it said in other forms is left out then. Without a form of its own the
    upstream gets `reasoning_effort` beside whatever the client sent.
    """
    if effort is None:
        return
    if quirks.thinking is None:
        body.setdefault("reasoning_effort", effort)
        return
    words = _words(quirks, model)
    if _speaks(body, quirks.thinking, words, model):
        return
    told = body.get("reasoning_effort")
    word = told if isinstance(told, str) and told in _RANKS else effort
    for form in _FORMS:
        body.pop(form, None)
    switch = None if model is None else model.thinking
    if switch == "no":
        return
    if model is not None and model.efforts:
        _in_its_words(body, word, words, quirks.thinking, switch)
    elif switch != "only" or quirks.thinking in ("reasoning_effort", "reasoning"):
        _WRITERS[quirks.thinking](body, word, words)


def _words(quirks: Quirks, model: Listed | None) -> tuple[str, ...]:
    """The words that are taken: the model's own, and how the upstream says "off"."""
    if model is None or not model.efforts:
        return quirks.efforts
    off = ("none",) if "none" in quirks.efforts and model.thinking != "only" else ()
    return (*off, *model.efforts)


def _speaks(
    body: dict[str, Any], form: Thinking, words: tuple[str, ...], model: Listed | None
) -> bool:
    """Whether the client said it in the upstream's own form, in a word it takes."""
    if form not in body:
        return False
    if form == "reasoning_effort":
        return not words or body[form] in words
    has_words = model is not None and bool(model.efforts) and model.thinking == "only"
    return not (form == "thinking" and has_words)


def _in_its_words(
    body: dict[str, Any],
    word: str,
    words: tuple[str, ...],
    form: Thinking,
    switch: str | None,
) -> None:
    """A model with words of its own: they count, and a switch for "none" alone."""
    if word == "none" and "none" not in words and switch != "only" and form in _OFF:
        body.update(_OFF[form])
    elif form == "reasoning":
        body["reasoning"] = {"effort": nearest(word, words)}
    else:
        body["reasoning_effort"] = nearest(word, words)


def nearest(word: str, words: tuple[str, ...]) -> str:
    """Of `words` the one that means most nearly the same; of two the harder."""
    rank = _RANKS[word]
    known = [w for w in words if w in _RANKS]
    if not known:
        return word
    return min(known, key=lambda w: (abs(_RANKS[w] - rank), -_RANKS[w]))


def _word(body: dict[str, Any], word: str, efforts: tuple[str, ...]) -> None:
    body["reasoning_effort"] = nearest(word, efforts)


def _object(body: dict[str, Any], word: str, efforts: tuple[str, ...]) -> None:
    off = word == "none"
    body["thinking"] = {"type": "disabled" if off else "enabled"}
    if efforts and not off:
        body["reasoning_effort"] = nearest(word, efforts)


def _flag(body: dict[str, Any], word: str, efforts: tuple[str, ...]) -> None:
    body["enable_thinking"] = word != "none"


def _nested(body: dict[str, Any], word: str, efforts: tuple[str, ...]) -> None:
    body["reasoning"] = {"effort": nearest(word, efforts)}


_WRITERS: dict[Thinking, Callable[[dict[str, Any], str, tuple[str, ...]], None]] = {
    "reasoning_effort": _word,
    "thinking": _object,
    "enable_thinking": _flag,
    "reasoning": _nested,
}
