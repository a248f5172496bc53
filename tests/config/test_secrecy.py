"""No secret is in what is said of a configuration, whatever is wrong with it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.config import ConfigError, Settings, load
from tests.config.conftest import Desk

PLANTED = "planted-7f3a-secret"
"""Begins every secret below; no message may hold it."""

ENVIRON = {"SECRET_KEY": f"{PLANTED}-environ", "SECRET_TOKEN": f"{PLANTED} token"}
TREE: dict[str, Any] = {
    "server": {"port": 8000},
    "state": "memory://",
    "keys": [
        {"name": "a", "key": f"{PLANTED}-a", "rate": "5/second"},
        {"name": "b", "key": "${SECRET_KEY}"},
        {"name": "c", "key_file": "secret"},
    ],
    "providers": {
        "kimi": {
            "type": "kimi",
            "tokens": [
                f"{PLANTED}-plain",
                {"name": "x", "token": f"{PLANTED}-x"},
                {"name": "y", "token": "${SECRET_TOKEN}"},
                {"name": "parts", "token": [f"{PLANTED}-1", "2", "3"]},
                {"name": "dump", "token": {"refresh_token": f"{PLANTED}-d"}},
            ],
            "proxy": f"http://user:{PLANTED}-proxy@127.0.0.1:3128",
            "pool": {"concurrency": 1},
        },
        "m": {
            "type": "openai",
            "preset": "moonshot-cn",
            "tokens": [{"name": "z", "token": f"{PLANTED}-z"}],
        },
    },
    "models": {"k": ["kimi/x", "m/y"]},
    "admin": {"key": f"{PLANTED}-admin"},
}


def said(desk: Desk, text: str | bytes) -> str:
    """Return everything that could be printed of a load, good or bad."""
    return _said(desk.directory, text, ENVIRON)


def _said(directory: Path, text: str | bytes, environ: Mapping[str, str]) -> str:
    file = directory / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (directory / "secret").write_text(f"{PLANTED}-file")
    try:
        loaded = load(str(file), environ)
    except ConfigError as error:
        return "\n".join(
            [str(error), repr(error), *traceback.format_exception(error)]
            + [repr(problem) for problem in error.problems]
        )
    return "\n".join([str(loaded), repr(loaded), *loaded.warnings])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a tree."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, (*path, at))


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of the tree with another value at one place."""
    copy = deepcopy(tree)
    parent = copy
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return copy


def test_the_planted_configuration_is_good(desk: Desk) -> None:
    desk.write(f"{PLANTED}-file", "secret")
    loaded = desk.load(yaml.safe_dump(TREE), ENVIRON)
    assert isinstance(loaded, Settings)
    assert loaded.keys[2].key.get_secret_value() == f"{PLANTED}-file"
    assert PLANTED not in said(desk, yaml.safe_dump(TREE))


@pytest.mark.parametrize(
    "path", list(places(TREE)), ids=lambda path: ".".join(map(str, path))
)
def test_a_secret_in_any_wrong_place_is_not_repeated(
    desk: Desk, path: tuple[Any, ...]
) -> None:
    for wrong in (
        PLANTED,
        f"{PLANTED} with spaces",
        f"redis://:{PLANTED}@h",
        f"https://u:{PLANTED}@h/x",
        "${" + PLANTED,
        [PLANTED],
        {"key": PLANTED},
        {PLANTED: 1},
        [{"name": "n", "key": PLANTED, "token": PLANTED}] * 2,
    ):
        # As the name of anything it would be no secret.
        if path[-1] == "name" or (isinstance(wrong, dict) and len(path) == 1):
            continue
        tree = put(TREE, path, wrong)
        assert PLANTED not in said(desk, yaml.safe_dump(tree))


def test_every_value_wrong_at_once_repeats_nothing(desk: Desk) -> None:
    tree = TREE
    for path in places(TREE):
        if path[-1] in ("rate", "port", "concurrency", "preset", "type", "name"):
            tree = put(tree, path, f"{PLANTED} wrong")
    assert PLANTED not in said(desk, yaml.safe_dump(tree))


VALUES = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"x": 1}, "${NOT_SET}", "${"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(places(TREE))), VALUES), max_size=4))
def test_no_broken_value_brings_a_secret_out(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    tree = TREE
    for path, value in changes:
        if path in set(places(tree)):
            tree = put(tree, path, value)
    with TemporaryDirectory() as directory:
        text = yaml.safe_dump(tree)
        assert PLANTED not in _said(Path(directory), text, ENVIRON)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_no_broken_yaml_brings_a_secret_out(data: st.DataObject, flow: bool) -> None:
    text = yaml.safe_dump(TREE, default_flow_style=flow, width=10_000)
    at = data.draw(st.integers(0, len(text)))
    mark = data.draw(st.sampled_from([*"{}[]&*!|>'\"%@`,:\t\x07", "- ", ": ", " #"]))
    # A secret must stay whole to be told from the rest, so marks go in before one.
    if PLANTED in text[max(0, at - len(PLANTED)) : at + len(PLANTED)]:
        at = text.index(PLANTED, max(0, at - len(PLANTED)))
    cut = data.draw(st.booleans())
    broken = text[:at] + mark + ("" if cut else text[at:])
    with TemporaryDirectory() as directory:
        assert PLANTED not in _said(Path(directory), broken, ENVIRON)


@given(st.sampled_from(["KIMI_TOKEN", "API_SECRET", "PROXY_URL", "PORT", "MODEL"]))
def test_no_variable_brings_a_secret_out(name: str) -> None:
    environ = {"KIMI_TOKEN": "t,t", "KL_COOKIE": PLANTED, "SESSION_SECRET": PLANTED}
    with pytest.raises(ConfigError) as caught:
        load(None, environ | {name: f"{PLANTED} {PLANTED},{PLANTED} {PLANTED}"})
    assert PLANTED not in str(caught.value) + repr(caught.value)
