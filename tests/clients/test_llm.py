"""The command `llm`, unmodified, as docs/clients.md sets it up."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clients.frameworks_house import KEY, House, frameworks, house
from tests.test_readme import ADDRESS, blocks

__all__ = ["frameworks"]

pytestmark = pytest.mark.timeout(600)  # the environment may have to be made first

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJ"
    "RU5ErkJggg=="
)
ADD = """
def add(a: int, b: int) -> int:
    "Adds two numbers."
    return a + b
"""
MODELS = ("kimi", "kimi-responses")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("llm")
    (block,) = [b for b in blocks("docs/clients.md", "yaml") if "api_base" in b]
    with house(directory) as opened:
        told = block.replace(ADDRESS, opened.gateway.base_url)
        (kimi,) = yaml.safe_load(told)
        more = (
            {**kimi, "model_id": "kimi-responses", "responses": True},
            {**kimi, "model_id": "old", "model_name": "gpt-4o", "completion": True},
        )
        file = directory / "extra-openai-models.yaml"
        file.write_text(json.dumps([kimi, *more]))  # JSON is YAML
        (directory / "keys.json").write_text(json.dumps({"kimi-proxy": KEY}))
        (directory / "picture.png").write_bytes(PNG)
        yield opened


def llm(home: House, python: Path, *arguments: str, said: str = "") -> str:
    """What it prints; raises AssertionError if it fails."""
    directory = str(home.directory)
    done = home.run(
        python.parent / "llm", *arguments, said=said, LLM_USER_PATH=directory
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("model", MODELS)
def test_it_streams_and_goes_on_with_what_was_said(
    home: House, frameworks: Path, model: str
) -> None:
    first = llm(home, frameworks, "-m", model, "-s", "Be brief.", "a first word")
    assert first == "You said: a first word"
    again = llm(home, frameworks, "-c", "--no-stream", "and more")
    assert again == "You said: and more"
    words = home.asked[-1].all_words
    told = ("Be brief.", "a first word", "You said: a first word", "and more")
    assert [text for text in told if text not in words] == [], words


@pytest.mark.parametrize("model", MODELS)
def test_it_runs_tools(home: House, frameworks: Path, model: str) -> None:
    asked = ("--functions", ADD, "What is 3 and 3?")
    assert llm(home, frameworks, "-m", model, *asked) == "These have answered: add."
    assert "6" in home.asked[-1].all_words


@pytest.mark.parametrize("model", MODELS)
def test_it_fills_schemas_and_sends_pictures(
    home: House, frameworks: Path, model: str
) -> None:
    schema, picture = ("--schema", "name, age int"), ("-a", "picture.png")
    told = llm(home, frameworks, "-m", model, *schema, *picture, "'Li Bai' at 61")
    assert json.loads(told) == {"name": "Li Bai", "age": 61}
    assert home.web.files()[-1].digest == hashlib.sha256(PNG).hexdigest()


def test_it_talks_and_completes_and_lists(home: House, frameworks: Path) -> None:
    talk = llm(home, frameworks, "chat", "-m", "kimi", said="one\ntwo\nexit\n")
    assert "You said: one" in talk and "You said: two" in talk
    assert "Once" in llm(home, frameworks, "-m", "old", "Once")
    place = f"{home.gateway.base_url}/v1"
    listed = llm(
        home, frameworks, "openai", "endpoint", place, "--models", "--key", KEY
    )
    assert {"kimi", "gpt-4o"} <= set(listed.split())
