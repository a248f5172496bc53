"""The log: one JSON object a line, the facts of a request, never a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy import logs
from kimi_proxy.logs import JsonFormatter, Redactor, RequestLog
from kimi_proxy.telemetry import (
    Attempt,
    Observers,
    RefreshEnded,
    RequestEnded,
)
from tests.fakes import Notes

# Made up: the alphabet in base64 where a real one has claims.
HEAD = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9"
BODY = "eyJBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWiI6MX0"
SIGNATURE = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEf"
JWT = f"{HEAD}.{BODY}.{SIGNATURE}"
SHAPES = {
    "a bare token": JWT,
    "a bearer": f"Authorization: Bearer {JWT}",
    "a bearer in lower case": "authorization: bearer fake-opaque-value-1234",
    "a cookie": f"kimi-auth={JWT}; path=/",
    "a dump of localStorage": json.dumps({"access_token": JWT, "refresh_token": JWT}),
    "a dump within a dump": json.dumps({"body": json.dumps({"access_token": JWT})}),
    "an array of three parts": json.dumps([HEAD, BODY, SIGNATURE]),
    "a token in an address": f"https://example.org/?token={JWT}&x=1",
    "two tokens": f"{JWT},{JWT}",
    "a token without a signature": f"{HEAD}.{BODY}",
    "an API key": "sk-FakeFakeFakeFake1234567890",
    "a key of the gateway": "kp-FakeFakeFakeFake1234567890",
    "bytes": repr(f"Bearer {JWT}".encode()),
}
SECRET = 'correct "horse" \\ battery ☃ staple'


def line(
    message: str = "hello",
    *,
    args: tuple[object, ...] = (),
    fields: dict[Any, Any] | None = None,
    error: BaseException | None = None,
    redact: Redactor | None = None,
) -> tuple[str, dict[str, Any]]:
    """A record as it is written, and read back."""
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("kimi_proxy", 30, __file__, 1, message, args, info)
    if fields is not None:
        record.fields = fields
    text = JsonFormatter(redact or Redactor()).format(record)
    assert "\n" not in text
    return text, json.loads(text)


def assert_masked(text: str) -> None:
    assert BODY not in text
    assert HEAD not in text
    assert "FakeFake" not in text
    assert "opaque" not in text
    assert "[redacted]" in text


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_of_any_shape_is_masked_in_a_message(shape: str) -> None:
    text, _ = line("the upstream said %s, and went", args=(SHAPES[shape],))
    assert_masked(text)
    assert "and went" in text


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_of_any_shape_is_masked_in_a_field(shape: str) -> None:
    text, _ = line(fields={"detail": SHAPES[shape], "list": [{"deep": SHAPES[shape]}]})
    assert_masked(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_of_any_shape_is_masked_in_a_traceback(shape: str) -> None:
    try:
        try:
            raise KeyError(SHAPES[shape])
        except KeyError as exc:
            raise ValueError(f"because of {SHAPES[shape]}") from exc
    except ValueError as error:
        text, read = line("failed", error=error)
    assert_masked(text)
    assert "ValueError" in read["traceback"]


@pytest.mark.parametrize(
    "secret", [SECRET, "line\nbreak-secret", "fake-long-opaque-token-0123456789"]
)
def test_a_configured_secret_is_masked_whatever_is_in_it(secret: str) -> None:
    redact = Redactor()
    redact.learn([secret, "short", ""])
    text, read = line(f"say {secret} again", fields={"f": [secret]}, redact=redact)
    assert read["message"] == "say [redacted] again"
    assert read["f"] == ["[redacted]"]
    assert secret not in text


def test_of_two_secrets_one_within_the_other_the_longer_is_masked_whole() -> None:
    redact = Redactor()
    redact.learn(["fake-secret", "fake-secret-and-more"])
    assert redact("x fake-secret-and-more y fake-secret z") == (
        "x [redacted] y [redacted] z"
    )


def test_what_is_no_secret_is_left_as_it_is() -> None:
    plain = "GET /v1/models from 127.0.0.1: 200 in 3 ms, model kimi/k2d6-chat, eyJ sk-1"
    assert line(plain)[1]["message"] == plain


@given(st.text(), st.text())
def test_a_line_is_json_whatever_is_said(message: str, field: str) -> None:
    _, read = line("%s", args=(message,), fields={"field": field})
    assert set(read) == {"time", "level", "logger", "pid", "message", "field"}


@pytest.mark.parametrize(
    "odd", ["\ud800 half a pair", b"bytes", {1: {2: object()}}, {"s", "e"}, 1e999]
)
def test_odd_values_are_written_and_no_error_of_logging_is_shown(odd: Any) -> None:
    _, read = line(fields={"odd": odd})
    assert "odd" in read


@pytest.mark.parametrize("number", [10**30, -(10**30)])
def test_a_number_beyond_json_does_not_cost_the_line(number: int) -> None:
    """A client may announce a body of so many bytes."""
    assert line(fields={"bytes_in": number})[1]["bytes_in"] == str(number)


def test_a_line_says_when_how_grave_and_where_from() -> None:
    _, read = line("hello")
    assert read["time"].endswith("+00:00")
    assert (read["level"], read["logger"]) == ("warning", "kimi_proxy")


ENDED = RequestEnded(
    id="req_1",
    route="/v1/chat/completions",
    status=200,
    outcome="ok",
    key="laptop",
    model="kimi/k2",
    attempts=(
        Attempt("kimi", "alice", "k2", "upstream_cut", 0.1234),
        Attempt("kimi", "bob", "k2", "ok", 2.0),
    ),
    streamed=True,
    first_event=0.5,
    seconds=2.25,
    bytes_in=100,
    bytes_out=2000,
)


def test_a_request_is_one_line_with_all_its_facts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "kimi_proxy")
    RequestLog().request_started()
    RequestLog().request_ended(ENDED)
    (record,) = caplog.records
    read = json.loads(JsonFormatter(Redactor()).format(record))
    del read["time"]
    assert read.pop("pid") == os.getpid()
    assert read == {
        "level": "info",
        "logger": "kimi_proxy",
        "message": "request",
        "id": "req_1",
        "route": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "key": "laptop",
        "model": "kimi/k2",
        "account": "bob",
        "attempts": ["kimi/alice upstream_cut 0.123", "kimi/bob ok 2.000"],
        "stream": True,
        "first_event_ms": 500,
        "ms": 2250,
        "bytes_in": 100,
        "bytes_out": 2000,
        "detail": None,
    }


def test_a_renewal_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kimi_proxy")
    RequestLog().refresh_ended(RefreshEnded("kimi", "alice", "dead", 0.25))
    (record,) = caplog.records
    read = json.loads(JsonFormatter(Redactor()).format(record))
    assert (read["account"], read["outcome"], read["ms"]) == ("alice", "dead", 250)


def test_configured_once_or_twice_a_line_is_written_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("kimi_proxy")
    for log in (logger, logging.getLogger()):
        # Of its own for this test: what is left would write to a stream that is closed.
        monkeypatch.setattr(log, "handlers", [])
        for name in ("level", "propagate"):
            monkeypatch.setattr(log, name, getattr(log, name))
    for _ in range(2):
        logs.configure("warning", Redactor())
    logger.info("not this")
    logger.warning("but this")
    for handler in logger.handlers:
        assert isinstance(handler, logging.StreamHandler)
        assert handler.stream is sys.stderr
    (written,) = capsys.readouterr().err.splitlines()
    assert json.loads(written)["message"] == "but this"


def test_every_observer_is_told() -> None:
    first, second = Notes(), Notes()
    both = Observers((first, second))
    renewed = RefreshEnded("kimi", "alice", "ok", 0.1)
    both.request_started()
    both.request_ended(ENDED)
    both.refresh_ended(renewed)
    for notes in (first, second):
        assert (notes.started, notes.requests) == (1, [ENDED])
        assert notes.renewals == [renewed]
