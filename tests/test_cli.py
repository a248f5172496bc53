"""The command line says what is so, exits as scripts expect, and keeps secrets."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import dedent
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result

from kimi_proxy import __version__
from kimi_proxy.cli import main
from kimi_proxy.config import load

ROOT = Path(__file__).parents[1]
# What a Kimi token looks like; it says {"sub": "made-up"} and is signed by nobody.
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWRlLXVwIn0.made-up"
GOOD = f"""
server: {{port: 8123}}
keys: [{{name: a, key: made-up-key-1}}]
providers:
  kimi: {{type: kimi, tokens: [{TOKEN}-1, {TOKEN}-2]}}
  echo: {{type: echo}}
models: {{k: kimi/x}}
"""


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIMI_PROXY_CONFIG", raising=False)


def call(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def write(text: str, name: str = "config.yaml") -> str:
    Path(name).write_text(text, "utf-8")
    return name


def test_a_good_configuration_is_counted_and_its_secrets_kept() -> None:
    write(GOOD)
    result = call("check-config")
    assert result.exit_code == 0
    assert result.stdout == (
        "ok: 2 providers, 2 tokens, 1 key, 1 model alias; http://127.0.0.1:8123\n"
    )
    assert "made-up" not in result.output


@pytest.mark.parametrize("command", ["check-config", "run"])
def test_a_token_that_is_none_is_found_before_the_start(command: str) -> None:
    write("providers: {k: {type: kimi, tokens: [{name: mine, token: made-up}]}}")
    result = call(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        "config.yaml:1: providers.k.tokens[0].token: no Kimi token found"
    )
    assert "made-up" not in result.stderr


def test_warnings_are_printed_under_the_verdict() -> None:
    path = write("providers: {e: {type: echo}}", "other.yaml")
    result = call("check-config", path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok: 1 provider, 0 tokens, 0 keys, 0 model aliases; http://127.0.0.1:8000",
        "warning: no keys configured: everyone on this machine may use 127.0.0.1",
    ]


@pytest.mark.parametrize("place", ["/dev/null/state.db", "/dev"])
def test_a_state_that_cannot_be_written_is_warned_of(place: str) -> None:
    write(f"{GOOD}state: sqlite:///{place}\n")
    result = call("check-config")
    assert result.exit_code == 0
    assert f"warning: state: {place} cannot be written by this user" in result.stdout


@pytest.mark.parametrize("state", ["sqlite:///new/state.db", "memory://"])
def test_a_state_that_will_be_made_is_not_warned_of(state: str) -> None:
    write(f"{GOOD}state: {state}\n")
    assert "warning" not in call("check-config").stdout
    assert not Path("new").exists()


@pytest.mark.parametrize("command", ["check-config", "curl", "run"])
def test_problems_go_to_stderr_and_fail_every_command(command: str) -> None:
    path = write("keys: [{name: a, key: made-up x}]\nport: 1\n")
    result = call(command, path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "config.yaml:1: keys[0].key: must be plain ASCII without spaces:"
        " it travels in a header",
        "config.yaml:1: providers: is required and must not be empty",
        "config.yaml:2: port: is not a known key: did you mean server.port?",
    ]


def test_without_any_configuration_the_way_out_is_named() -> None:
    result = call("check-config")
    assert result.exit_code == 1
    assert "kimi-proxy init" in result.stderr


def test_init_writes_a_configuration_that_is_good_and_private() -> None:
    result = call("init")
    assert result.exit_code == 0
    assert "wrote config.yaml" in result.stdout
    assert stat.S_IMODE(Path("config.yaml").stat().st_mode) == 0o600
    settings = load("config.yaml", {})
    key = settings.keys[0].key.get_secret_value()
    assert key.startswith("kp-")
    assert len(key) == 51
    assert key not in result.output
    assert settings.warnings == ()
    assert list(settings.providers) == ["echo"]
    assert settings.state == "sqlite:///data/kimi-proxy.db"


def test_inits_commented_kimi_section_is_good_once_uncommented() -> None:
    call("init")
    text = Path("config.yaml").read_text("utf-8")
    for line in ("kimi:", "  type: kimi", "  tokens:", "    - {", "kimi: kimi/k2d6"):
        text = text.replace(f"  # {line}", f"  {line}")
    Path("secrets").mkdir()
    write("made-up", "secrets/kimi")
    settings = load(write(text), {})
    assert list(settings.providers) == ["echo", "kimi"]
    assert list(settings.models) == ["echo", "kimi"]


def test_every_init_makes_a_key_of_its_own() -> None:
    call("init", "one.yaml")
    call("init", "two.yaml")
    assert load("one.yaml", {}).keys != load("two.yaml", {}).keys


def test_init_leaves_a_file_that_is_there_as_it_is() -> None:
    path = write("mine", "mine.yaml")
    result = call("init", path)
    assert result.exit_code == 1
    assert "mine.yaml is there already" in result.stderr
    assert Path(path).read_text("utf-8") == "mine"


def test_init_does_not_follow_a_dangling_link() -> None:
    Path("link.yaml").symlink_to("target.yaml")
    assert call("init", "link.yaml").exit_code == 1
    assert not Path("target.yaml").exists()


def test_init_says_why_it_cannot_write() -> None:
    result = call("init", "nowhere/config.yaml")
    assert result.exit_code == 1
    assert "nowhere/config.yaml: No such file or directory" in result.stderr


def test_curl_is_one_ready_line() -> None:
    write(GOOD)
    result = call("curl")
    assert result.exit_code == 0
    words = shlex.split(result.stdout)
    assert result.stdout.count("\n") == 1
    assert words[:3] == [
        "curl",
        "-sS",
        "http://127.0.0.1:8123/v1/chat/completions",
    ]
    assert "Authorization: Bearer made-up-key-1" in words
    assert json.loads(words[-1])["model"] == "k"


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("{host: 0.0.0.0}", "http://127.0.0.1:8000/v1"),
        ("{host: '::'}", "http://[::1]:8000/v1"),
        ("{host: '::1', port: 81}", "http://[::1]:81/v1"),
        ("{host: box.example}", "http://box.example:8000/v1"),
        ("{route_prefix: /kimi}", "http://127.0.0.1:8000/kimi/v1"),
    ],
)
def test_curl_goes_where_the_gateway_listens(server: str, address: str) -> None:
    write(f"server: {server}\n" + GOOD.replace("server: {port: 8123}", ""))
    assert f"{address}/chat/completions" in shlex.split(call("curl").stdout)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("{type: echo}", "p/echo"),
        ("{type: kimi, tokens: [t]}", "p/k2d6-chat"),
        ("{type: openai, base_url: http://h/v1, tokens: [t]}", "p/MODEL"),
    ],
)
def test_curl_without_keys_or_aliases_names_a_providers_model(
    provider: str, model: str
) -> None:
    write(f"providers: {{p: {provider}}}")
    words = shlex.split(call("curl").stdout)
    assert json.loads(words[-1])["model"] == model
    assert not [word for word in words if "Authorization" in word]


def run_with_fake_gunicorn(*words: str) -> subprocess.CompletedProcess[str]:
    """Start `kimi-proxy run` where `python -m gunicorn` says how it was started."""
    fake = Path("fake")
    (fake / "gunicorn").mkdir(parents=True)
    write("", "fake/gunicorn/__init__.py")
    code = """
        import json, os, sys
        config = os.environ.get("KIMI_PROXY_CONFIG")
        print(json.dumps([sys.argv[1:], config]))
    """
    write(dedent(code), "fake/gunicorn/__main__.py")
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(fake.absolute()), str(ROOT)]),
    }
    command = [sys.executable, "-m", "kimi_proxy", "run", *words]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("words", [[], ["config.yaml"]])
def test_run_becomes_gunicorn_with_the_file_named(words: list[str]) -> None:
    path = Path(write(GOOD)).absolute()
    process = run_with_fake_gunicorn(*words)
    assert process.stderr == ""
    arguments, config = json.loads(process.stdout)
    assert arguments[:2] == ["--pythonpath", str(ROOT)]
    assert arguments[-1] == "wsgi:app"
    assert config == (str(path) if words else None)


def test_run_does_not_start_with_a_broken_configuration() -> None:
    write("providers: {e: {type: made-up}}")
    process = run_with_fake_gunicorn()
    assert process.returncode == 1
    assert process.stdout == ""
    assert "type: is not a known type" in process.stderr


class Gateway(BaseHTTPRequestHandler):
    """Answers as many statuses as it was given, and remembers the paths."""

    statuses: ClassVar[list[int]] = []
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(self.statuses.pop())
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def gateway(*statuses: int) -> Iterator[type[Gateway]]:
    """A gateway of three words on a free port, which config.yaml leads to."""
    seen = type("Seen", (Gateway,), {"statuses": list(statuses), "paths": []})
    with HTTPServer(("127.0.0.1", 0), seen) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        write(GOOD.replace("8123", f"{server.server_port}, route_prefix: /x"))
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()


def test_health_asks_the_running_gateway() -> None:
    with gateway(200) as seen:
        result = call("health")
    assert (result.exit_code, result.stdout) == (0, "ok\n")
    assert seen.paths == ["/x/healthz"]


def test_health_fails_when_the_gateway_is_ill_or_absent() -> None:
    with gateway(503):
        ill = call("health")
    absent = call("health")
    assert ill.exit_code == absent.exit_code == 1
    assert "/x/healthz answers 503" in ill.stderr
    assert "cannot connect" in absent.stderr


def test_the_version_is_the_packages() -> None:
    assert call("--version").stdout == f"kimi-proxy, version {__version__}\n"


def test_the_module_is_the_command() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "kimi_proxy", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert process.stdout.startswith("Usage: kimi-proxy ")
    for command in ("check-config", "init", "curl", "health", "run"):
        assert command in process.stdout
