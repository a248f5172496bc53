"""The names of docs/models.md: they load, stand in the example, and lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kimi_proxy.providers.kimi_connect_model import FALLBACK, with_research
from kimi_proxy.providers.kimi_legacy_model import MODELS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "models.md").read_text("utf-8")
TEXT = DOCUMENT.partition("\n# Models of a Kimi account\n")[2]
(BLOCK,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
NAMES: dict[str, Any] = yaml.safe_load(BLOCK)["models"]
ROWS = with_research(FALLBACK)
KNOWN = {row.id for row in ROWS} | {model.id for model in MODELS}
AGENTS = {row.kimiplus for row in ROWS}


def routes(told: Any) -> list[str]:
    told = told["route"] if isinstance(told, dict) else told
    return [told] if isinstance(told, str) else list(told)


def test_every_name_of_the_document_stands_in_the_example() -> None:
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text("utf-8"))
    for name, told in NAMES.items():
        if name != "kimi":  # there it has a route to fall back on
            assert example["models"][name] == told


@pytest.mark.parametrize("name", NAMES)
def test_every_name_leads_to_models_that_there_are(name: str) -> None:
    for route in routes(NAMES[name]):
        provider, _, model = route.partition("/")
        assert provider == "kimi" and model in KNOWN


def test_every_name_of_a_predecessor_has_one_of_ours() -> None:
    table = TEXT.rpartition("| Was | By | Is |")[2]
    lines = re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|$", table, re.M)
    named = {name for line in lines for name in re.findall(r"`([^`]+)`", line)}
    assert named - {"kimi/"} <= set(NAMES)
    assert {"kimi-search", "kimi-silent", "k1", "kimi-research"} <= named


def test_the_models_that_the_document_names_are_there() -> None:
    named = set(re.findall(r"`kimi/([a-z0-9-]+)`", TEXT.partition("## Search")[0]))
    assert named and named <= KNOWN | AGENTS
