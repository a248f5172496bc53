"""The command line: write a first configuration, check one, start the gateway."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

import click
import orjson

from kimi_proxy import __version__
from kimi_proxy.clock import Clock
from kimi_proxy.config import ConfigError, Settings, child_environment, load
from kimi_proxy.errors import GatewayError
from kimi_proxy.providers import kilo_login, kimi_token
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream

_ROOT = Path(__file__).resolve().parent.parent
_PATH = click.argument("path", required=False, type=click.Path())
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, never bound
_ALIVE = 200
_SQLITE = "sqlite:///"
_PATIENCE = 5.0  # seconds for an answer
_FIRST_MODELS = {
    "echo": "echo",
    "kilo": "kilo-auto/free",
    "kimi": "k2d6-chat",
    "kimi-ai-chat": "kimi-k2-instruct-0905",
    "openai": "MODEL",
    "qodo": "gpt-5.1",
}

_FIRST_CONFIG = """\
# kimi-proxy. Every key: docs/configuration.md and config.example.yaml.
# This file holds a secret: keep it readable by you alone.
server: {{host: 127.0.0.1, port: 8000}}
state: sqlite:///data/kimi-proxy.db

# What clients send as "Authorization: Bearer ...". Made up for you just now.
keys:
  - {{name: first, key: {key}}}

providers:
  # Answers with your own words, offline: to see that everything stands.
  echo: {{type: echo}}

  # Your Kimi account: how to get the token out of the browser is in the README.
  # kimi:
  #   type: kimi
  #   tokens:
  #     - {{name: mine, token_file: secrets/kimi}}

models:
  echo: echo/echo
  # kimi: kimi/k2d6-chat
"""


_LOGIN_PATIENCE = 30.0  # seconds for a call
_APPROVED = """\
Logged in as {whose}. This is shown once and kept nowhere:

{token}

Put it into a file that only you can read, for example secrets/kilo, and name it:

providers:
  kilo:
    type: kilo
    tokens:
      - {{name: mine, token_file: secrets/kilo}}"""


@click.group()
@click.version_option(__version__, prog_name="kimi-proxy")
def main() -> None:
    """Your own chat accounts behind one OpenAI endpoint."""


@main.command("check-config")
@_PATH
def check_config(path: str | None) -> None:
    """Say whether the configuration is good, or all that is wrong with it."""
    settings = _load(path, vet=kimi_token.read)
    click.echo(f"ok: {_summary(settings)}")
    for warning in (*settings.warnings, *_state_warnings(settings.state)):
        click.echo(f"warning: {warning}")


@main.command()
@click.argument("path", default="config.yaml", type=click.Path())
def init(path: str) -> None:
    """Write a first configuration with a fresh key and the offline provider."""
    text = _FIRST_CONFIG.format(key=f"kp-{secrets.token_hex(24)}")
    try:
        # Never readable by others, not even for the moment before a chmod.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already: left as it is") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    click.echo(f"wrote {path}")
    click.echo(f"next: kimi-proxy run {path}, then what kimi-proxy curl {path} prints")


@main.command()
@_PATH
def curl(path: str | None) -> None:
    """Print a command that asks the running gateway; it holds the first key."""
    click.echo(_curl(_load(path)))


@main.command()
@_PATH
def run(path: str | None) -> NoReturn:
    """Start the gateway under gunicorn, in place of this process."""
    _load(path, vet=kimi_token.read)
    os.execvpe(sys.executable, _gunicorn(), child_environment(path))  # noqa: S606  # no shell is wanted


@main.command()
@_PATH
def health(path: str | None) -> None:
    """Ask the running gateway whether it is alive; fails when it is not."""
    settings = _load(path)
    scope = Scope(Timeouts(total=_PATIENCE), Clock().monotonic)
    url = f"{_address(settings)}/healthz"
    try:
        reply = Upstream([_origin(settings)]).request(
            "GET", url, headers={}, scope=scope
        )
    except GatewayError as error:
        raise click.ClickException(f"{url}: {error.message}") from None
    if reply.status != _ALIVE:
        raise click.ClickException(f"{url} answers {reply.status}")
    click.echo("ok")


@main.group()
def login() -> None:
    """Get a token by logging in with a browser."""


@login.command("kilo")
@click.option("--host", default="https://api.kilo.ai", help="Kilo's own, or a test's.")
@click.option("--interval", default=3.0, help="Seconds between two looks.")
def login_kilo(host: str, interval: float) -> None:
    """Log in to Kilo with a code, and print the token once; it is kept nowhere."""
    host = host.rstrip("/")
    upstream, clock = Upstream([host]), Clock()
    try:
        request = kilo_login.begin(upstream, host, _scope(clock))
        click.echo(f"Open {request.url} and enter the code {request.code}")
        ends = clock.monotonic() + request.seconds
        approved = None
        while approved is None and clock.monotonic() < ends:
            _scope(clock).pause(interval)
            approved = kilo_login.poll(upstream, host, request.code, _scope(clock))
    except (GatewayError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if approved is None:
        raise click.ClickException("Kilo: nobody approved the log-in in time")
    click.echo(_APPROVED.format(token=approved.token, whose=approved.email or "you"))


def _scope(clock: Clock) -> Scope:
    return Scope(Timeouts(total=_LOGIN_PATIENCE), clock.monotonic)


def _load(path: str | None, vet: Callable[[str], object] | None = None) -> Settings:
    try:
        return load(path, vet=vet)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _state_warnings(state: str) -> Iterator[str]:
    """Say so where this user cannot write: the gateway would refuse every request."""
    if not state.startswith(_SQLITE):
        return
    file = Path(state.removeprefix(_SQLITE))
    there = next(place for place in (file, *file.absolute().parents) if place.exists())
    # A new file needs a directory that may be written to; an old one itself.
    fits = there.is_file() if there == file else there.is_dir()
    if not (fits and os.access(there, os.W_OK)):
        yield f"state: {file} cannot be written by this user"


def _summary(settings: Settings) -> str:
    tokens = sum(
        len(getattr(provider, "tokens", ())) for provider in settings.providers.values()
    )
    counts = (
        _count(len(settings.providers), "provider"),
        _count(tokens, "token"),
        _count(len(settings.keys), "key"),
        _count(len(settings.models), "model alias", "model aliases"),
    )
    return f"{', '.join(counts)}; {_address(settings)}"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _address(settings: Settings) -> str:
    return f"{_origin(settings)}{settings.server.route_prefix}"


def _origin(settings: Settings) -> str:
    server = settings.server
    host = _EVERYWHERE.get(server.host, server.host)
    try:
        bracketed = isinstance(ip_address(host), IPv6Address)
    except ValueError:
        bracketed = False
    shown = f"[{host}]" if bracketed else host
    return f"http://{shown}:{server.port}"


def _curl(settings: Settings) -> str:
    words = ["curl", "-sS", f"{_address(settings)}/v1/chat/completions"]
    if settings.keys:
        key = settings.keys[0].key.get_secret_value()
        words += ["-H", f"Authorization: Bearer {key}"]
    message = {"role": "user", "content": "Say hello"}
    body = orjson.dumps({"model": _first_model(settings), "messages": [message]})
    words += ["-H", "Content-Type: application/json", "-d", body.decode()]
    return shlex.join(words)


def _first_model(settings: Settings) -> str:
    for alias in settings.models:
        if "*" not in alias:
            return alias
    name, provider = next(iter(settings.providers.items()))
    return f"{name}/{_FIRST_MODELS[provider.type]}"


def _gunicorn() -> list[str]:
    # Also from another directory than the checkout's; state paths stay relative to
    # the one the user stands in.
    command = [sys.executable, "-m", "gunicorn", "--pythonpath", str(_ROOT)]
    settings = _ROOT / "gunicorn.conf.py"
    if settings.is_file():
        command += ["--config", str(settings)]
    return [*command, "wsgi:app"]
