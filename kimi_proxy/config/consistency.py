"""Checks between sections.

They read the plain tree, not the settings, so that they also speak when something
else in the file is wrong; whatever has the wrong shape is the schema's to report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import PydanticCustomError

from kimi_proxy.config import route_check
from kimi_proxy.config.interpolation import STAND_IN
from kimi_proxy.config.openai import needs_token
from kimi_proxy.config.problem import Finding, KeyPath
from kimi_proxy.config.provider import PoolSettings, token_entry
from kimi_proxy.config.text import as_pasted

_Entry = tuple[int, dict[str, Any]]
Vet = Callable[[str], object]
"""Reads a Kimi token; its ValueError says why it is none, and never quotes it."""
WITH_TOKENS = ("kilo", "kimi", "openai", "qodo")
"""The kinds of provider that have accounts."""


def findings(tree: Any, vet: Vet | None = None) -> Iterator[Finding]:
    """Yield what does not fit together in a configuration's tree."""
    tree = _mapping(tree)
    providers = _mapping(tree.get("providers"))
    if not providers:
        yield Finding(("providers",), "needs at least one provider")
    keys = _entries(tree.get("keys"))
    yield from _same_names(("keys",), keys)
    yield from _same_secrets(("keys",), keys, "key")
    yield from _admin(tree, keys)
    for name, provider in providers.items():
        yield from _tokens(tree, name, _mapping(provider))
        yield from _rests(name, _mapping(_mapping(provider).get("pool")))
        if vet is not None and _mapping(provider).get("type") == "kimi":
            yield from _no_tokens(name, provider.get("tokens"), vet)
    yield from route_check.findings(_mapping(tree.get("models")), providers)
    yield from _chosen(tree, providers, "pass_through", "kimi")
    yield from _chosen(tree, providers, "relay", "openai")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(value: Any) -> list[_Entry]:
    entries = enumerate(value if isinstance(value, list) else [])
    return [(at, entry) for at, entry in entries if isinstance(entry, dict)]


def _secret(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value.strip() if isinstance(value, str) else ""


def _same_names(path: KeyPath, entries: list[_Entry]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for at, entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            continue
        if name in seen:
            message = f"is the name of entry [{seen[name]}] too: names are unique"
            yield Finding((*path, at, "name"), message)
        seen.setdefault(name, at)


def _label(at: int, entry: dict[str, Any]) -> str:
    name = entry.get("name")
    # A name that is none may be a secret in the wrong place.
    short = isinstance(name, str) and 0 < len(name) <= 64
    return f"'{name}'" if short else f"[{at}]"


def _same_secrets(path: KeyPath, entries: list[_Entry], key: str) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for at, entry in entries:
        secret, label = _secret(entry, key), _label(at, entry)
        if secret in seen:
            message = f"{seen[secret]} and {label} are the same {key}"
            yield Finding((*path, at, key), message)
        elif secret:
            seen[secret] = label


def _admin(tree: dict[str, Any], keys: list[_Entry]) -> Iterator[Finding]:
    secret = _secret(_mapping(tree.get("admin")), "key")
    for at, entry in keys:
        if secret and secret == _secret(entry, "key"):
            message = f"is also the client key {_label(at, entry)}: use another"
            yield Finding(("admin", "key"), message)


def _tokens(
    tree: dict[str, Any], name: str, provider: dict[str, Any]
) -> Iterator[Finding]:
    path: KeyPath = ("providers", name, "tokens")
    tokens = provider.get("tokens")
    if not tokens and provider.get("type") in WITH_TOKENS:
        passed = _mapping(tree.get("pass_through")).get("provider") == name
        if needs_token(provider) and not passed:
            yield Finding(path, "needs at least one token")
    if not isinstance(tokens, list):
        return
    entries = _entries([token_entry(at, entry) for at, entry in enumerate(tokens)])
    yield from _same_names(path, entries)
    yield from _same_secrets(path, entries, "token")


def _rests(name: str, pool: dict[str, Any]) -> Iterator[Finding]:
    path: KeyPath = ("providers", name, "pool")
    shortest, longest = (_seconds(pool, key) for key in ("cooldown", "max_cooldown"))
    if shortest is None or longest is None or shortest <= longest:
        return
    if pool.get("max_cooldown"):
        yield Finding((*path, "max_cooldown"), "must not be below cooldown")
    else:
        message = f"must not be above max_cooldown, which is {longest:g} unless given"
        yield Finding((*path, "cooldown"), message)


def _seconds(pool: dict[str, Any], key: str) -> float | None:
    value = pool.get(key)
    if value is None or value == "":
        value = PoolSettings.model_fields[key].default
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None  # the schema's to report


def _no_tokens(name: str, tokens: Any, vet: Vet) -> Iterator[Finding]:
    listed = tokens if isinstance(tokens, list) else []
    for at, entry in _entries([token_entry(at, it) for at, it in enumerate(listed)]):
        try:
            text = as_pasted(entry.get("token"))
            if isinstance(text, str) and text and not text.startswith(STAND_IN):
                vet(text)
        except PydanticCustomError:
            continue  # the wrong shape
        except ValueError as error:
            yield Finding(("providers", name, "tokens", at, "token"), str(error))


def _chosen(
    tree: dict[str, Any], providers: dict[str, Any], section: str, kind: str
) -> Iterator[Finding]:
    """Yield what is wrong with the provider that a section names."""
    name = _mapping(tree.get(section)).get("provider")
    if not isinstance(name, str) or not name:
        return
    path: KeyPath = (section, "provider")
    if name not in providers:
        yield Finding(path, "names a provider that is not configured")
    elif _mapping(providers[name]).get("type") != kind:
        yield Finding(path, f"must name a provider of type {kind}")
