"""Checks of the section `models` against the providers, and of its names together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

from kimi_proxy.config.problem import Finding, KeyPath, shown


def findings(models: dict[str, Any], providers: dict[str, Any]) -> Iterator[Finding]:
    """Yield what does not fit; a wrong shape is the schema's to report."""
    for name, model in models.items():
        path: KeyPath = ("models", name)
        if "/" in name and name.partition("/")[0] in providers:
            yield Finding(path, "hides that provider's own model of this name")
        if name.count("*") > 1:
            yield Finding(path, "holds more than one *")
        nested = isinstance(model, dict)
        route = model.get("route") if nested else model
        for at, target in _targets(route):
            place = (*path, "route", *at) if nested else (*path, *at)
            message = _misled(name, target, models, providers)
            if message is not None:
                yield Finding(place, message)
    yield from _clashes([name for name in models if name.count("*") == 1])


def _targets(route: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield what looks like provider/model in a route, a list or a bare text."""
    if isinstance(route, str):
        yield from [((), route)] if "/" in route else []
    for at, entry in enumerate(route if isinstance(route, list) else []):
        nested = isinstance(entry, dict)
        target = entry.get("to") if nested else entry
        if isinstance(target, str) and "/" in target:
            yield (at, "to") if nested else (at,), target


def _misled(
    name: str, target: str, models: dict[str, Any], providers: dict[str, Any]
) -> str | None:
    provider, _, model = target.partition("/")
    if target in models:
        return "is itself a name of models: write the provider/model that it leads to"
    if provider not in providers:
        return "names a provider that is not configured"
    if "*" in model and "*" not in name:
        return f"holds a *, but the name {shown(name)} has none that it could stand for"
    if model.count("*") > 1:
        return "holds more than one *"
    return None


def _clashes(wildcards: list[str]) -> Iterator[Finding]:
    """Yield the pairs that meet the same names with neither the narrower one.

    A third one that meets just those names settles it.
    """
    for one, other in permutations(wildcards, 2):
        before, after = one.split("*")
        start, end = other.split("*")
        crossed = len(start) > len(before) and len(end) < len(after)
        both = f"{start}*{after}"
        if not (crossed and start.startswith(before) and after.endswith(end)):
            continue
        if both not in wildcards:
            yield Finding(
                ("models", other),
                f"and {shown(one)} meet the same names, such as"
                f" {shown(both.replace('*', 'x'))}: say with {shown(both)} what"
                " becomes of those",
            )
