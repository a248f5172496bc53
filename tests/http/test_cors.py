"""Browsers: preflights before everything else, and answers that pages may read."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.http.conftest import Build
from tests.http.scripted import chat

PAGE = "https://chat.example"
KEY = "kp-cors-made-up-key"
# What openai-node sends from a browser (facts §3.2).
STAINLESS = (
    "arch",
    "async",
    "custom-poll-interval",
    "helper-method",
    "lang",
    "os",
    "package-version",
    "poll-helper",
    "read-timeout",
    "retry-count",
    "runtime",
    "runtime-version",
    "timeout",
)
ASKED = ", ".join(
    [
        *("authorization", "content-type", "x-api-key", "idempotency-key"),
        *("openai-organization", "openai-project", "anthropic-version"),
        *(f"x-stainless-{name}" for name in STAINLESS),
    ]
)
EXPOSED = {
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "content-disposition",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
}
ENDPOINTS = [
    ("/v1/chat/completions", "POST"),
    ("/v1/models", "GET"),
    ("/v1/models/deep/er", "GET"),
    ("/v1/files", "POST"),
    ("/v1/files/file-x", "DELETE"),
    ("/token/check", "POST"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/", "GET"),
    ("/v1/nowhere", "POST"),
]
STRICT: dict[str, Any] = {
    "keys": [{"name": "page", "key": KEY, "rate": "1/minute"}],
    "limits": {"per_ip": "1/minute"},
}


def preflight(client: FlaskClient, path: str, method: str, page: str = PAGE) -> Any:
    return client.options(
        path,
        headers={
            "Origin": page,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ASKED,
        },
    )


@pytest.mark.parametrize("prefix", ["", "/deep/prefix"])
@pytest.mark.parametrize(("path", "method"), ENDPOINTS)
def test_a_preflight_needs_no_key_and_meets_no_limit(
    build: Build, path: str, method: str, prefix: str
) -> None:
    client = build(server={"route_prefix": prefix}, **STRICT).client
    for _ in range(3):
        answer = preflight(client, prefix + path, method)
        assert answer.status_code == 200
        assert answer.data == b""
        assert answer.headers["access-control-allow-origin"] in {"*", PAGE}
        assert method in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert set(ASKED.split(", ")) <= set(allowed)
        assert int(answer.headers["access-control-max-age"]) > 0


def readable(answer: Any) -> None:
    """A page may read this answer and the headers that matter."""
    assert answer.headers["access-control-allow-origin"] in {"*", PAGE}
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert set(exposed) >= EXPOSED


def test_every_error_can_be_read_by_the_page(build: Build) -> None:
    house = build(server={"max_body": "1KiB"}, **STRICT)
    client = house.client
    origin = {"Origin": PAGE}
    known = {**origin, "Authorization": f"Bearer {KEY}"}
    house.app.add_url_rule("/broken", view_func=lambda: str(1 // 0))
    path = "/v1/chat/completions"

    def post(headers: dict[str, str], body: Any, address: str) -> Any:
        return client.post(
            path, json=body, headers=headers, environ_base={"REMOTE_ADDR": address}
        )

    answers = {
        401: post(origin, {}, "192.0.2.1"),
        413: post(known, "w" * 2000, "192.0.2.2"),
        429: post(known, {}, "192.0.2.3"),
        404: client.get("/nowhere", headers=origin),
        405: client.put(path, headers=origin),
        500: client.get("/broken", headers=origin),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.data
        readable(answer)


def test_answers_can_be_read_by_the_page(build: Build) -> None:
    client = build(keys=[{"name": "page", "key": KEY}]).client
    origin = {"Origin": PAGE, "Authorization": f"Bearer {KEY}"}
    body = chat(["text", "hi"], ["finish"])
    readable(client.get("/v1/models", headers=origin))
    readable(client.post("/v1/chat/completions", json=body, headers=origin))


def test_only_listed_origins_are_let_in(build: Build) -> None:
    client = build(server={"cors_origins": [PAGE, "http://localhost:3000"]}).client
    for answer in (
        client.get("/v1/models", headers={"Origin": PAGE}),
        preflight(client, "/v1/models", "GET"),
        client.get("/nowhere", headers={"Origin": PAGE}),
    ):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"]
    for stranger in ("https://evil.example", f"{PAGE}.evil.example", "null"):
        for answer in (
            client.get("/v1/models", headers={"Origin": stranger}),
            preflight(client, "/v1/models", "GET", stranger),
            client.get("/nowhere", headers={"Origin": stranger}),
        ):
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-headers" not in answer.headers


def test_a_cache_keeps_apart_what_differs_by_page(build: Build) -> None:
    client = build(server={"cors_origins": [PAGE]}).client
    for headers in ({}, {"Origin": PAGE}, {"Origin": "https://evil.example"}):
        assert client.get("/v1/models", headers=headers).headers["vary"] == "Origin"
    client = build(keys=[{"name": "page", "key": KEY}]).client
    answer = client.get("/healthz", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


def test_who_is_no_page_is_told_nothing_of_pages(build: Build) -> None:
    answer = build(keys=[{"name": "page", "key": KEY}]).client.get("/healthz")
    assert not any(name.startswith("Access-Control") for name, _ in answer.headers)


def test_an_origin_is_no_pattern(build: Build) -> None:
    client = build(server={"cors_origins": ["https://a.example"]}).client
    answer = client.get("/v1/models", headers={"Origin": "https://a-example"})
    assert "access-control-allow-origin" not in answer.headers
    answer = client.get("/v1/models", headers={"Origin": "https://a.example.evil"})
    assert "access-control-allow-origin" not in answer.headers


def test_without_any_origin_listed_nothing_is_let_in(build: Build) -> None:
    client = build(server={"cors_origins": []}).client
    answer = client.get("/v1/models", headers={"Origin": PAGE})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:8080", True),
        (PAGE, False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
    ],
)
def test_without_keys_only_pages_of_this_machine_may_call(
    build: Build, origin: str, allowed: bool
) -> None:
    answer = build().client.get("/v1/models", headers={"Origin": origin})
    assert answer.headers.get("Access-Control-Allow-Origin") == (
        origin if allowed else None
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("rebound.example:8000", 403),
        ("127.0.0.1.example", 403),
    ],
)
def test_without_keys_a_foreign_name_for_this_machine_is_refused(
    build: Build, host: str, status: int
) -> None:
    answer = build().client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == status
