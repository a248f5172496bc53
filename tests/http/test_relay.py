"""Every other endpoint of OpenAI's API goes to the upstream that has it, as it is."""

import os
from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask
from werkzeug.exceptions import NotFound

from emulators.openai.media import sound
from kimi_proxy.routes import relay
from tests.http.relay_house import (
    EMBEDS,
    KEY,
    NARROW,
    WHOLE,
    Relayed,
    form,
    refresh,
    relaying,
)

Factory = pytest.TempPathFactory


@pytest.fixture(scope="module")
def shared(tmp_path_factory: Factory) -> Iterator[Relayed]:
    with relaying(tmp_path_factory.mktemp("relay")) as relayed:
        yield relayed


@pytest.fixture
def up(shared: Relayed) -> Relayed:
    refresh(shared)
    return shared


@pytest.mark.parametrize(
    "name",
    ["up/text-embedding-3-small", "my-embedding", "text-embedding-3-small"],
    ids=["direct", "alias", "by-default"],
)
def test_the_model_says_who_is_asked_and_is_all_that_changes(
    up: Relayed, name: str
) -> None:
    text = '{ "odd":[1.50, 1E3, {"model":"x"}], "input":"h\\u00e9", "model":"%s" }'
    headers = {"content_type": "application/json; charset=utf-8"}
    answer = up.call("POST", "/embeddings", (text % name).encode(), **headers)
    assert answer.status_code == 200
    assert answer.headers["x-kimi-proxy-route"] == "up/text-embedding-3-small"
    assert up.last.raw == (text % "text-embedding-3-small").encode()
    assert up.last.headers["content-type"] == "application/json; charset=utf-8"


def test_a_form_goes_up_byte_for_byte_but_for_its_model(up: Relayed) -> None:
    recording = os.urandom(3 << 20)  # more than is held in memory
    parts = (
        ({"name": "file", "filename": "a.mp3"}, recording),
        ({"name": "model"}, b"up/whisper-1"),
        ({"name": "language"}, b"de"),
    )
    kind = 'multipart/form-data; boundary="made-up"'
    body = form("made-up", *parts)
    answer = up.call("POST", "/audio/transcriptions", body, content_type=kind)
    assert answer.status_code == 200, answer.data
    assert "text" in answer.json()
    expected = form("made-up", parts[0], ({"name": "model"}, b"whisper-1"), parts[2])
    assert up.last.raw == expected
    assert up.last.headers["content-type"] == kind


def test_an_answer_in_bytes_comes_as_it_is(up: Relayed) -> None:
    up.emulator.knobs.speech_bytes = 300_000
    asked = {"model": "up/tts-1", "input": "hi", "voice": "alloy"}
    answer = up.call("POST", "/audio/speech", asked)
    assert answer.data == sound(300_000)
    assert answer.headers["content-type"] == "audio/mpeg"


def test_a_stream_comes_as_it_is(up: Relayed) -> None:
    up.emulator.knobs.split = (3,)
    asked = {"model": "up/gpt-3.5-turbo", "prompt": "say it", "stream": True}
    answer = up.call("POST", "/completions", asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.data.startswith(b"data: {") and answer.data.endswith(b"[DONE]\n\n")


def test_nothing_of_the_client_goes_up_and_nothing_of_the_upstream_comes_down(
    up: Relayed,
) -> None:
    answer = up.embed(
        cookie="session=made-up",
        x_forwarded_for="203.0.113.7",
        x_api_key=KEY,
        user_agent="made-up-client",
        openai_organization="org-of-the-client",
        openai_beta="assistants=v2",
        x_stainless_os="Linux",
        accept="application/json",
    )
    assert answer.status_code == 200
    sent = {name.lower() for name in up.last.headers}
    allowed = "authorization user-agent content-type content-length accept openai-beta"
    assert sent - set(allowed.split()) <= {"host", "accept-encoding"}
    assert "made-up" not in (up.last.headers["user-agent"] or "")
    assert up.last.headers["openai-beta"] == "assistants=v2"
    for name in ("set-cookie", "x-internal-address", "openai-organization"):
        assert name not in answer.headers
    assert "x-ratelimit-remaining-tokens" not in answer.headers
    assert answer.headers.get("server") != "made-up-upstream"
    assert answer.headers["x-request-id"].startswith("req_")
    assert "madeup" not in answer.headers["x-request-id"]


def test_two_clients_with_one_idempotency_key_are_told_apart(up: Relayed) -> None:
    for key in (KEY, KEY, EMBEDS):
        assert up.embed(key=key, idempotency_key="one").status_code == 200
    first, again, other = (entry.headers["idempotency-key"] for entry in up.seen)
    assert first == again != other
    assert "one" not in (first or "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/organization/api_keys"),
        ("POST", "/realtime/client_secrets"),
        ("GET", "/me"),
        ("GET", "/batches/../organization/api_keys"),
        ("GET", "/batches/%2e%2e/organization/api_keys"),
        ("GET", "/batches/%252e%252e/organization"),
        ("GET", "/batches/a%2F..%2F..%2Fmodels"),
        ("GET", "/batches//x"),
        ("GET", "/batches/"),
        ("GET", "/batches/a%5Cb"),
        ("GET", "/batches/a%3Fb=c"),
        ("GET", "/batches/a%23b"),
        ("PUT", "/files"),
        ("DELETE", "/models/x"),
        ("DELETE", "/chat/completions"),
    ],
)
def test_only_what_is_listed_is_relayed_and_no_path_leads_elsewhere(
    up: Relayed, method: str, path: str
) -> None:
    answer = up.call(method, path)
    assert answer.status_code in {404, 405}
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not up.seen


def test_the_query_goes_along(up: Relayed) -> None:
    assert up.call("GET", "/batches?limit=3&after=b%20c&x=%C3%A9").status_code == 200
    assert up.last.query == {"limit": "3", "after": "b c", "x": "é"}


def test_a_model_elsewhere_cannot_be_relayed(up: Relayed) -> None:
    answer = up.embed("talk")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"
    assert not up.seen


@pytest.mark.parametrize(
    ("key", "model", "allowed"),
    [
        (EMBEDS, "up/text-embedding-3-small", True),
        (EMBEDS, "text-embedding-3-small", True),
        (EMBEDS, "my-embedding", False),
        (NARROW, "up/text-embedding-3-small", False),
        (NARROW, "text-embedding-3-small", False),
    ],
)
def test_a_key_opens_its_models_here_too(
    up: Relayed, key: str, model: str, allowed: bool
) -> None:
    answer = up.embed(model, key=key)
    assert answer.status_code == (200 if allowed else 403)
    assert bool(up.seen) == allowed


@pytest.mark.parametrize("key", [NARROW, EMBEDS])
def test_a_call_without_a_model_is_for_keys_that_may_use_all_of_them(
    up: Relayed, key: str
) -> None:
    answer = up.call("GET", "/batches", key=key)
    assert answer.status_code == 403
    assert "up/*" in answer.json()["error"]["message"]
    assert not up.seen


def test_a_key_for_all_models_of_the_default_may_name_none(up: Relayed) -> None:
    assert up.call("GET", "/batches", key=WHOLE).status_code == 200


def test_a_body_too_large_is_refused_before_anybody_is_asked(up: Relayed) -> None:
    body = b"x" * (5 << 20)
    answer = up.call("POST", "/audio/speech", body, content_type="audio/mpeg")
    assert answer.status_code == 413
    assert not up.seen


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"model": "up/x", '),
        ("application/json", b'{"model": "up/x", "model": "up/y"}'),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nno end"),
    ],
)
def test_a_broken_body_is_refused_before_anybody_is_asked(
    up: Relayed, kind: str, body: bytes
) -> None:
    answer = up.call("POST", "/images/edits", body, content_type=kind)
    assert answer.status_code == 400
    assert not up.seen


def test_a_wrong_request_is_told_in_the_upstream_s_words(up: Relayed) -> None:
    answer = up.call("POST", "/embeddings", {"model": "up/gpt-4o", "input": []})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "empty array" in error["message"]
    assert (error["param"], error["code"]) == ("input", "empty_array")
    assert len(up.seen) == 1, "it is nobody else's to answer"


@pytest.mark.parametrize("prefix", [None, "/gate"])
def test_what_the_gateway_answers_by_itself_is_not_relayed(prefix: str | None) -> None:
    api, app = Blueprint("api", __name__), Flask("made-up", static_folder=None)
    api.add_url_rule("/v1/responses/<name>", "own", view_func=str, methods=["GET"])
    relay.register(api)
    app.register_blueprint(api, url_prefix=prefix)
    urls, start = app.url_map.bind("localhost"), f"{prefix or ''}/v1"
    for path in ("responses", "responses/one/two", "nothing"):
        with pytest.raises(NotFound):
            urls.match(f"{start}/{path}", "POST")
    assert urls.match(f"{start}/responses/one", "GET")[0] == "api.own"
    embeddings = {"endpoint": "embeddings"}
    assert urls.match(f"{start}/embeddings", "POST") == ("api.relay", embeddings)
    assert set(urls.allowed_methods(f"{start}/chat/completions")) == {
        "GET",
        "HEAD",
        "OPTIONS",
    }
