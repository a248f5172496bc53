"""The JavaScript of docs/clients.md runs as it stands there."""

import json
import re

import pytest

from tests.clients import nodejs
from tests.clients.stage import Stage
from tests.gateway_process import ROOT
from tests.http.conftest import KEY

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```js\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.usefixtures("node_packages")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_an_example_answers(stage: Stage, example: str) -> None:
    address = "http://127.0.0.1:8000"
    assert address in example
    code = example.replace(address, stage.url)
    assert nodejs.evaluate(code, KIMI_PROXY_KEY=KEY) == "You said: Say hello"


def test_there_is_one_for_each_client() -> None:
    packages = {"@anthropic-ai/sdk", "openai", "@ai-sdk/openai-compatible"}
    imported = {name for e in EXAMPLES for name in re.findall(r"from '(.*?)'", e)}
    assert imported == packages | {"ai"}


@pytest.mark.parametrize("name", ["openai", "@anthropic-ai/sdk", "ai"])
def test_the_versions_that_are_told_are_those_that_are_tried(name: str) -> None:
    pinned = json.loads((nodejs.PLACE / "package.json").read_text("utf-8"))
    assert f" {pinned['dependencies'][name]} " in PAGE
