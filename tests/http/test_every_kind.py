"""Every surface of the gateway on every kind of upstream, with the official clients."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import ROOT, GatewayProcess
from tests.http import kind_checks, messages_kind_checks, wire
from tests.http import messages_grammar as grammar
from tests.http.every_kind import every_kind
from tests.http.kind_checks import KEY, KINDS, Kind
from tests.http.test_openai_client import old_python

__all__ = ["old_python"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with every_kind(tmp_path_factory.mktemp("every-kind")) as started:
        yield started


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_current_openai_client(gateway: GatewayProcess, kind: Kind) -> None:
    kind_checks.run(f"{gateway.base_url}/v1", kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_anthropic_client(gateway: GatewayProcess, kind: Kind) -> None:
    messages_kind_checks.run(gateway.base_url, kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_messages_are_grammatical_and_stop_where_they_are_told(
    gateway: GatewayProcess, kind: Kind
) -> None:
    fields = {"stream": True, "stop_sequences": ["there"]}
    body = messages_kind_checks.asked(kind, "hello there", **fields)
    bearer = {"Authorization": f"Bearer {KEY}"}
    answer = wire.call(gateway.port, "POST", "/v1/messages", body, headers=bearer)
    assert answer.status_code == 200, answer.data
    stream = grammar.read(answer.data)
    assert stream.done and stream.message is not None
    if "stop" in answer.headers.get("x-kimi-proxy-emulated", ""):
        assert stream.reason == "stop_sequence"
        assert stream.text.endswith("hello ")


@pytest.mark.timeout(300)
def test_the_openai_client_of_old(gateway: GatewayProcess, old_python: Path) -> None:
    place = f"{gateway.base_url}/v1"
    done = subprocess.run(
        [old_python, "-m", kind_checks.__name__, place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    assert "all well with openai 1." in done.stdout
