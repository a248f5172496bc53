"""The example and the reference say what the schema says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kimi_proxy.config import (
    EchoSettings,
    KiloSettings,
    KimiAiChatSettings,
    KimiSettings,
    ModelSettings,
    OpenAISettings,
    QodoSettings,
    Settings,
    load,
)
from kimi_proxy.config.environment import VARIABLES, Idle
from kimi_proxy.config.interpolation import SECRET_FILES
from kimi_proxy.config.quantity import parse_size
from tests.config.conftest import Desk

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
REFERENCE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
ENVIRON = {
    name: f"sk-made-up-{name}" if name == "QODO_API_KEY" else f"made-up-{name}"
    for name in (
        *("KIMI_PROXY_KEY", "KIMI_PROXY_ADMIN_KEY", "KIMI_ALICE", "KIMI_TOKEN"),
        *("MOONSHOT_API_KEY", "QODO_API_KEY", "KILO_TOKEN"),
    )
}


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield (heading, key, default) of every row of the reference's key tables."""
    heading = ""
    for line in REFERENCE.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif match := re.match(r"\| `([^`]+)` \| ([^|]+) \|", line):
            yield heading, match[1], match[2].strip().strip("`")


def inner(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section in a field: itself, its items, or it where not None."""
    found = [field.annotation, *get_args(field.annotation)]
    sections = [one for one in found if isinstance(one, type)]
    return next((one for one in sections if issubclass(one, BaseModel)), None)


def keys(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, default) of every key of a section and the sections in it."""
    for name, field in section.model_fields.items():
        if (prefix, name) in (("", "providers"), ("", "models")):
            continue
        nested, key = inner(field), prefix + name
        if nested is not None:
            listed = "tuple" in str(field.annotation)
            yield from keys(nested, f"{key}[]." if listed else f"{key}.")
            continue
        yield key, field.get_default(call_default_factory=True)
        for file_key, secret in SECRET_FILES.items():
            if name == secret:
                yield prefix + file_key, None


SECTIONS = {
    "General keys": [*keys(Settings, ""), *keys(ModelSettings, "models.NAME.")],
    "Provider type kimi": list(keys(KimiSettings, "providers.NAME.")),
    "Provider type openai": list(keys(OpenAISettings, "providers.NAME.")),
    "Provider type qodo": list(keys(QodoSettings, "providers.NAME.")),
    "Provider type kilo": list(keys(KiloSettings, "providers.NAME.")),
    "Provider type kimi-ai-chat": list(keys(KimiAiChatSettings, "providers.NAME.")),
    "Provider type echo": list(keys(EchoSettings, "providers.NAME.")),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_has_a_row_for_every_key_and_no_other(heading: str) -> None:
    documented = [key for found, key, _ in rows() if found == heading]
    assert sorted(documented) == sorted(key for key, _ in SECTIONS[heading])


def spelled(key: str, default: Any) -> str:
    """Write a default as the reference does."""
    if key.endswith("tokens[].name"):
        return "its place"
    if default is PydanticUndefined:
        return "required"
    if default in (None, ""):
        return "none"
    if isinstance(default, tuple):
        return str(list(default)).replace("'", '"')
    return str(default).lower() if isinstance(default, bool) else f"{default}"


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_has_every_default_right(heading: str) -> None:
    defaults = dict(SECTIONS[heading])
    for found, key, written in rows():
        if found != heading:
            continue
        if isinstance(defaults[key], float):
            assert float(written) == defaults[key], key
        elif written.endswith("iB"):
            assert parse_size(written) == defaults[key]
        else:
            assert written == spelled(key, defaults[key]), key


def blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)


@pytest.mark.parametrize("block", blocks())
def test_every_yaml_block_of_the_reference_loads(desk: Desk, block: str) -> None:
    desk.write("made-up-laptop", "secrets/laptop")
    desk.write("made-up-bob", "secrets/bob")
    assert desk.load(block, ENVIRON).providers


def test_the_reference_names_every_variable() -> None:
    for row in VARIABLES:
        assert f"`{row.name}`" in REFERENCE, row.name
    assert any(isinstance(row, Idle) for row in VARIABLES)


def test_the_example_loads_without_a_warning() -> None:
    settings = load(str(EXAMPLE), ENVIRON)
    assert settings.warnings == ()
    assert settings.keys[0].key.get_secret_value() == "made-up-KIMI_PROXY_KEY"
    assert list(settings.providers) == ["kimi", "moonshot", "kilo", "qodo", "echo"]
    chain = [step.to for step in settings.models["kimi"].route]
    assert chain == ["kimi/k2d6-chat", "moonshot/kimi-k2.6"]


def test_the_example_names_every_variable_that_is_missing() -> None:
    with pytest.raises(Exception, match="KIMI_PROXY_ADMIN_KEY is not set") as caught:
        load(str(EXAMPLE), {})
    assert len(str(caught.value).splitlines()) == 6


def test_the_example_shows_every_key() -> None:
    text = EXAMPLE.read_text("utf-8")
    for section in SECTIONS.values():
        for key, _ in section:
            name = key.rpartition(".")[2]
            assert re.search(rf"\b{name}:", text), key


def test_the_example_has_every_default_right() -> None:
    defaults = dict(SECTIONS["General keys"])
    shown = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    for section in ("server", "timeouts", "file_store", "log"):
        for name, value in shown[section].items():
            default = defaults[f"{section}.{name}"]
            found = tuple(value) if isinstance(value, list) else value
            is_size = isinstance(found, str) and found.endswith("iB")
            assert (parse_size(found) if is_size else found) == default
    kimi = dict(SECTIONS["Provider type kimi"])
    for section in ("pool", "conversations", "search"):
        for name, value in shown["providers"]["kimi"][section].items():
            assert value == kimi[f"providers.NAME.{section}.{name}"], name
