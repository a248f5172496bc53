"""The tokens inside whatever a user pasted, each with the key it stood under.

Knows the forms of connect sheet §2.4 and legacy sheet §2, and nothing of what a token
says. One pass over the text: a megabyte of junk costs milliseconds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import orjson

_DEPTH: Final = 8
_RUN: Final = re.compile(r"[A-Za-z0-9_.\-]+")
_PART: Final = re.compile(r"[A-Za-z0-9_\-]+")
_INDICES: Final = frozenset({"0", "1", "2"})
# What the keys of connect sheet §2 hold; None: either.
_KEYS: Final[Mapping[str, Literal["access", "refresh"] | None]] = {
    "accesstoken": "access",
    "kimiauth": "access",
    "refreshtoken": "refresh",
    "authorization": None,
}


def find(text: str) -> list[tuple[str, str]]:
    """Every (key, JWT) in the text; the key is empty for a token that stands bare."""
    return list(_pick(text, "", 0))


def holds(key: str) -> Literal["access", "refresh"] | None:
    """Which token a key says it holds."""
    return _KEYS.get(_plain(key))


def is_known(key: str) -> bool:
    """Whether Kimi, or a header, names a token so."""
    return _plain(key) in _KEYS


def looks_like_api_key(text: str) -> bool:
    """Whether the text has a key of the official platform (`sk-…`) in it."""
    return any(run.startswith("sk-") for run in _RUN.findall(text))


def _pick(value: object, key: str, depth: int) -> Iterator[tuple[str, str]]:
    """Every (key, JWT) inside a text or a JSON value."""
    if depth > _DEPTH:
        return
    if isinstance(value, str):
        yield from _pick_text(value, key, depth)
        return
    if not isinstance(value, list | dict):
        return
    items = list(value.values()) if isinstance(value, dict) else value
    joined = _joined(items)
    if joined is not None:
        yield key, joined
        return
    names = _names(value) if isinstance(value, dict) else [""] * len(items)
    for name, item in zip(names, items, strict=True):
        yield from _pick(item, _nearest(name, key), depth + 1)


def _names(value: Mapping[str, object]) -> list[str]:
    """The keys of an object; cookie exports write them as `name` beside `value`."""
    label = value.get("name", value.get("key"))
    if not isinstance(label, str):
        return list(value)
    return [label if name == "value" else name for name in value]


def _pick_text(text: str, key: str, depth: int) -> Iterator[tuple[str, str]]:
    text = text.strip()
    if text[:1] in ("{", "[", '"'):
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            document = None
        if document is not None:
            yield from _pick(document, key, depth + 1)
            return
    runs = _labelled(text, key)
    tokens = [(label, run) for label, run in runs if _is_jwt(run)]
    yield from tokens
    if tokens:
        return
    parts = [(label, run) for label, run in runs if run not in _INDICES]
    for at, (label, run) in enumerate(parts):
        if run.startswith("eyJ"):
            joined = _joined([run for _, run in parts[at:]])
            if joined is not None:
                yield label, joined
            return


def _labelled(text: str, key: str) -> list[tuple[str, str]]:
    """The runs of token characters, each with the key it stands under, in one pass."""
    runs: list[tuple[str, str]] = []
    last, label, end = "", key, 0
    for match in _RUN.finditer(text):
        gap = text[end : match.start()].replace('"', "").replace("'", "").strip()
        end = match.end()
        if gap in ("=", ":") or (not gap and _plain(last) in _KEYS):
            label = _nearest(last, key)
        elif gap or last.lower() != "bearer":
            label = key
        last = match[0].strip(".")
        runs.append((label, last))
    return runs


def _nearest(inner: str, outer: str) -> str:
    """The key to go by: the inner one, unless only the outer one tells us something."""
    return outer if not inner or (outer and not is_known(inner)) else inner


def _plain(key: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", key.lower())
    # KIMI_REFRESH_TOKEN, my_access_token …
    for known in ("accesstoken", "refreshtoken"):
        if plain.endswith(known):
            return known
    return plain


def _is_jwt(run: str) -> bool:
    parts = run.split(".")
    return len(parts) == 3 and parts[0].startswith("eyJ") and all(parts[:2])


def _joined(parts: list[Any]) -> str | None:
    """The token that some browsers show as an array of its three parts."""
    if len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        return None
    clean = [part.strip(" \t\r\n\"'.,") for part in parts]
    whole = all(_PART.fullmatch(part) for part in clean)
    return ".".join(clean) if whole and clean[0].startswith("eyJ") else None
