"""A gateway before two upstreams of one obedient model, and Pythons with frameworks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulators.kimi_connect import Answer as WebAnswer
from emulators.kimi_connect import KimiConnectEmulator
from emulators.openai import Answer, Choice, OpenAIEmulator, ToolCall
from tests.clients.obedient_model import (
    Asked,
    read_chat,
    read_prompt,
    say,
    written,
)
from tests.foreign_python import python_with
from tests.gateway_process import GatewayProcess, running

KEY = "kp-frameworks-made-up-key"
FOLDER = Path(__file__).parent
SCRIPTS = FOLDER / "frameworks"
# What each answer of the API tells beside its counts.
_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """The Python of the environment with LangChain, llm and pydantic-ai."""
    return python_with(FOLDER / "requirements-frameworks.txt", "frameworks")


@pytest.fixture(scope="session")
def instructor() -> Path:
    """The Python of the environment with instructor."""
    return python_with(FOLDER / "requirements-instructor.txt", "instructor")


@dataclass(frozen=True, slots=True)
class House:
    """The gateway, and who is behind its models `gpt-4o` and `kimi`.

    Programs run in `directory`, which is their home, too. `asked` is all that the
    model has read.
    """

    directory: Path
    gateway: GatewayProcess
    api: OpenAIEmulator
    web: KimiConnectEmulator
    asked: list[Asked]

    def run(
        self, *command: str | Path, said: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that is told of the gateway and nothing else; `said` goes in.

        GATEWAY is where it is, GATEWAY_KEY the key.
        """
        return subprocess.run(
            command,
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "LANG": "C.UTF-8",
                "GATEWAY": self.gateway.base_url,
                "GATEWAY_KEY": KEY,
                **environ,
            },
            input=said,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )


@contextmanager
def house(directory: Path) -> Iterator[House]:
    """A gateway for frameworks; neither it nor the API has seen anything amiss."""
    with OpenAIEmulator() as api, KimiConnectEmulator() as web:
        asked: list[Asked] = []
        api.answer, web.answer = _natively(asked), _in_words(asked)
        with running(directory, _configuration(api, web)) as gateway:
            yield House(directory, gateway, api, web, asked)
        assert not api.violations()
        assert "Traceback" not in gateway.log_text()


def _configuration(api: OpenAIEmulator, web: KimiConnectEmulator) -> dict[str, Any]:
    accounts = [web.add_account(name).refresh for name in ("alice", "bob")]
    return {
        "keys": [{"name": "frameworks", "key": KEY}],
        "providers": {
            "openai": {
                "type": "openai",
                "base_url": api.base_url,
                "tokens": [api.add_key("k")],
            },
            "kimi-web": {
                "type": "kimi",
                "hosts": dict.fromkeys(("api", "auth"), web.url),
                "tokens": accounts,
            },
        },
        "models": {"gpt-4o": "openai/gpt-4o", "kimi": "kimi-web/k2d6-chat"},
    }


def _natively(read: list[Asked]) -> Callable[[Mapping[str, Any]], Answer]:
    def answer(body: Mapping[str, Any]) -> Answer:
        asked = read_chat(body)
        read.append(asked)
        said = say(asked)
        if said.call is None:
            return Answer(said.text, usage=_DETAILS)
        return Answer(Choice(tools=(ToolCall(*said.call),)), usage=_DETAILS)

    return answer


def _in_words(read: list[Asked]) -> Callable[[str, Mapping[str, Any]], WebAnswer]:
    def answer(prompt: str, _: Mapping[str, Any]) -> WebAnswer:
        asked = read_prompt(prompt)
        read.append(asked)
        return WebAnswer(written(say(asked)), thinking="I do as I am told.")

    return answer
