"""Schemathesis asks for whatever the document allows, and for much that it does not.

Answers have the status, the headers, the type and the shape that the document says;
keys are asked for where it says so, methods it does not name are refused. Not checked
is that all it allows is accepted: what depends on several fields no schema says.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Response, request

from emulators.openai import OpenAIEmulator
from tests.foreign_python import python_with
from tests.http.conftest import KEY, PROVIDERS, house, serving

FOLDER = Path(__file__).parent
# The endpoints that are handed on are all alike, and so are two spellings of one.
OTHERS = r"^/v1/(?!chat/completions$|responses|messages|models|files|embeddings$)"


@dataclass(frozen=True, slots=True)
class Schemathesis:
    """The tool before a gateway, with a directory for what it writes."""

    python: Path
    directory: Path
    port: int

    def run(self, *options: str, **environ: str) -> None:
        """Raises AssertionError with all that it found wrong."""
        done = subprocess.run(
            [
                *(self.python.with_name("st"), "run"),
                f"http://127.0.0.1:{self.port}/openapi.json",
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--exclude-path-regex", OTHERS, "--exclude-tag", "Gone"),
                *("--exclude-checks", "positive_data_acceptance"),
                *("--seed", "5", "--continue-on-failure", "--no-color"),
                *options,
            ],
            cwd=self.directory,
            env={**os.environ, "HOME": str(self.directory), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with(FOLDER / "requirements-schemathesis.txt", "schemathesis")


@pytest.fixture(scope="module")
def schemathesis(
    python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Schemathesis]:
    directory = tmp_path_factory.mktemp("schemathesis")
    with OpenAIEmulator() as api:
        token = {"name": "main", "token": api.add_account("main")}
        up = {"type": "openai", "base_url": api.base_url, "tokens": [token]}
        config = {
            "keys": [{"name": "all", "key": KEY, "rate": "1000000/minute"}],
            "providers": {**PROVIDERS, "up": up},
            "models": {"kimi": {"route": ["echo/echo"]}},
            "relay": {"provider": "up"},
        }
        with house(directory, config) as built, serving(built.app) as port:
            yield Schemathesis(python, directory, port)


VALID = """
import sys, urllib.request, json
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
with urllib.request.urlopen(sys.argv[1]) as answer:
    OPENAPI_31_VALIDATOR.validate(json.load(answer))
"""


def test_the_document_is_openapi_by_the_standards_own_schema(
    schemathesis: Schemathesis,
) -> None:
    place = f"http://127.0.0.1:{schemathesis.port}/openapi.json"
    done = subprocess.run(
        [schemathesis.python, "-c", VALID, place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_every_limit_and_every_mistake(schemathesis: Schemathesis) -> None:
    """Counting reads the same bodies as /v1/messages: for it the next test will do."""
    counting = "/v1/messages/count_tokens"
    schemathesis.run("--phases", "coverage", "--exclude-path", counting)


HOOKS = {"PYTHONPATH": str(FOLDER), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"}


@pytest.mark.timeout(300)
def test_answers_of_the_echo_and_of_a_script(schemathesis: Schemathesis) -> None:
    phases = ("--phases", "examples,fuzzing", "--max-examples", "20")
    schemathesis.run(*phases, "--mode", "positive", **HOOKS)


@pytest.mark.timeout(300)
def test_what_was_made_is_there_until_it_is_deleted(schemathesis: Schemathesis) -> None:
    phases = ("--phases", "stateful", "--max-examples", "15", "--mode", "positive")
    made = ("--include-path-regex", "^/v1/(responses|files)")
    schemathesis.run(*phases, *made, **HOOKS)


def test_an_answer_that_is_not_as_it_says_is_found(
    python: Path, tmp_path: Path
) -> None:
    with house(tmp_path, {}) as built:

        @built.app.after_request
        def spoil(answer: Response) -> Response:
            if request.path == "/healthz":
                answer.data = b'{"status":"quite well"}'
            return answer

        with serving(built.app) as port:
            tool = Schemathesis(python, tmp_path, port)
            with pytest.raises(AssertionError, match="violates schema"):
                tool.run("--phases", "fuzzing", "--include-path", "/healthz")
