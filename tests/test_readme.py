"""What the READMEs tell a newcomer to type works as it stands there.

The gateway runs on a free port, so the address of the examples is replaced by its own;
the key comes from the environment and the token from a file, as the READMEs say. Kimi
is its emulator. Nothing else of a block is changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from emulators.kimi_connect import KimiConnectEmulator
from kimi_proxy.config import load
from tests.gateway_process import running

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
KEY = "kp-made-up-key-of-a-reader"
# It says {"sub": "made-up"} and is signed by nobody.
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWRlLXVwIn0.made-up"
ADDRESS = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)

# What a block's output has to hold, by what is in the block; the first match counts.
TOLD = {
    '"stream": true': ('"finish_reason":"stop"', "data: [DONE]"),
    "/v1/chat/completions": ('"content":"You said: Say hello"', '"reasoning_content"'),
    "/v1/models": ('"id":"kimi"', '"id":"kimi/k2d6-chat"'),
    "/token/check": ('"live":true', '"account":"mine"', '"renewable":true'),
    "kimi-proxy check-config": ("ok: 2 providers, 3 tokens, 2 keys",),
}
# These set up or need more than a test has; `make` is tested by test_packaging.
NOT_RUN = ("make run", "make demo", "mkdir -p -m 700 secrets && nano", "sudo chown")


def blocks(name: str, language: str) -> list[str]:
    found = FENCE.findall((ROOT / name).read_text("utf-8"))
    return [text for kind, text in found if kind == language]


BASH = [block for block in blocks("README.md", "bash") if not block.startswith(NOT_RUN)]


class Reader:
    """Someone with a token and a running gateway, who copies what a README says."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self._address = address

    def run(self, *command: str) -> str:
        """What the command prints; it must succeed and say nothing else."""
        process = subprocess.run(
            [word.replace(ADDRESS, self._address) for word in command],
            cwd=self.directory,
            env={**os.environ, "KIMI_PROXY_KEY": KEY, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, "")
        return process.stdout


def written(directory: Path, tokens: dict[str, str]) -> None:
    """The secret files that the examples name."""
    (directory / "secrets").mkdir(mode=0o700)
    for name, token in tokens.items():
        file = directory / "secrets" / name
        file.touch(mode=0o600)
        file.write_text(token, "utf-8")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    directory = tmp_path_factory.mktemp("reader")
    with KimiConnectEmulator() as kimi:
        written(directory, {"kimi": kimi.add_account("mine").refresh})
        config: dict[str, Any] = yaml.safe_load(blocks("README.md", "yaml")[0])
        config["keys"] = [{"name": "reader", "key": KEY}]
        config["providers"]["kimi"]["hosts"] = {"api": kimi.url, "auth": kimi.url}
        with running(directory, config) as gateway:
            yield Reader(directory, gateway.base_url)


def kind(block: str) -> str:
    """The first key of `TOLD` that is in the block."""
    found = [word for word in TOLD if word in block]
    assert found, f"nothing is said of the output of:\n{block}"
    return found[0]


@pytest.mark.parametrize("block", [b for b in BASH if "curl" in b], ids=kind)
def test_a_curl_example_answers(reader: Reader, block: str) -> None:
    shown = reader.run("bash", "-euc", block)
    for word in TOLD[kind(block)]:
        assert word in shown


PYTHON = [b for n in ("README.md", "docs/clients.md") for b in blocks(n, "python")]
# Examples of these need other packages than ours: tests/clients/test_frameworks.py.
FRAMEWORKS = ("langchain_", "pydantic_ai", "instructor")


def needs_a_framework(block: str) -> bool:
    return any(name in block for name in FRAMEWORKS)


@pytest.mark.parametrize("block", [b for b in PYTHON if not needs_a_framework(b)])
def test_a_python_example_answers(reader: Reader, block: str) -> None:
    assert "Say hello" in reader.run(sys.executable, "-c", block)


def test_every_block_of_the_shell_is_run_or_known_not_to_be() -> None:
    assert {kind(block) for block in BASH} == set(TOLD)
    for start in NOT_RUN:
        assert any(b.startswith(start) for b in blocks("README.md", "bash")), start


def test_the_longer_configuration_is_good(tmp_path: Path) -> None:
    keys = {name: f"made-up-{name}" for name in ("laptop", "family", "official")}
    tokens = {name: f"{TOKEN}-{name}" for name in ("alice", "bob")}
    written(tmp_path, keys | tokens)
    (tmp_path / "config.yaml").write_text(blocks("README.md", "yaml")[1], "utf-8")
    block = next(b for b in BASH if kind(b) == "kimi-proxy check-config")
    command = block.replace(".venv/bin/kimi-proxy", f"{sys.executable} -m kimi_proxy")
    shown = Reader(tmp_path, ADDRESS).run("bash", "-euc", command)
    assert shown.startswith(TOLD["kimi-proxy check-config"][0])
    assert "warning" not in shown


def test_the_first_configuration_alone_is_good(tmp_path: Path) -> None:
    written(tmp_path, {"kimi": TOKEN})
    path = tmp_path / "config.yaml"
    path.write_text(blocks("README.md", "yaml")[0], "utf-8")
    settings = load(str(path), {})
    assert list(settings.providers) == list(settings.models) == ["kimi"]


def test_the_configuration_for_docker_is_good(tmp_path: Path) -> None:
    written(tmp_path, {"kimi": TOKEN, "laptop": KEY})
    path = tmp_path / "config.yaml"
    (block,) = blocks("docs/deployment.md", "yaml")
    path.write_text(block, "utf-8")
    settings = load(str(path), {})
    assert not ip_address(settings.server.host).is_loopback
    assert settings.warnings == ()


def test_both_readmes_have_the_same_blocks() -> None:
    english, chinese = (FENCE.findall((ROOT / n).read_text("utf-8")) for n in READMES)
    assert english == chinese
    assert len(english) > 10


DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("name", [*READMES, *DOCS])
def test_links_lead_somewhere(name: str) -> None:
    text = FENCE.sub("", (ROOT / name).read_text("utf-8"))
    here = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, place = target.partition("#")
        linked = (here / file).read_text("utf-8") if file else text
        heads = {anchor(head) for head in re.findall(r"^#+ (.*)$", linked, re.M)}
        assert not place or place in heads, target


def anchor(heading: str) -> str:
    """A heading's anchor as GitHub writes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
