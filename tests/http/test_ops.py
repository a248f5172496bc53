"""For whoever runs the gateway: alive, ready, measured, written down."""

import logging
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.http import expect, wire
from tests.http.conftest import Build, House, Served
from tests.http.scripted import chat

PATH = "/v1/chat/completions"
ADMIN = "kp-admin-made-up-key"
KEY = "kp-key-made-up-for-tests"
STRANGER = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.mark.parametrize("prefix", ["", "/kimi", "/a/b"])
def test_everything_is_under_the_prefix(build: Build, prefix: str) -> None:
    client = build(server={"route_prefix": prefix}).client
    for path in ("/healthz", "/health"):
        assert client.get(prefix + path).get_json() == {"status": "ok"}
    assert client.get(f"{prefix}/ping").data == b"pong"
    assert client.get(f"{prefix}/readyz").get_json()["ready"] is True
    assert b"kimi_proxy_requests" in client.get(f"{prefix}/metrics").data
    assert client.get(f"{prefix}/v1/models").status_code == 200
    answer = client.post(prefix + PATH, json=chat(["finish"], stream=False))
    assert answer.status_code == 200
    if prefix:
        expect.error(client.get("/healthz"), 404, "not_found")
        expect.error(client.post(PATH, json={}), 404, "not_found")


@pytest.mark.parametrize("path", ["/kimi", "/kimi/"])
def test_the_front_door_with_and_without_its_slash(build: Build, path: str) -> None:
    answer = build(server={"route_prefix": "/kimi"}).client.get(path)
    assert answer.status_code == 200
    assert answer.get_json()["name"] == "kimi-proxy"


def test_ops_need_no_key_and_no_loopback(build: Build) -> None:
    client = build(keys=[{"name": "all", "key": KEY}]).client
    for path in ("/", "/healthz", "/health", "/readyz", "/ping"):
        answer = client.get(path, environ_base=STRANGER)
        assert answer.status_code == 200
        assert re.fullmatch(r"req_\w{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "headers",
    [
        {"SCRIPT_NAME": "/foo"},
        {"X-Forwarded-Proto": "http", "X-Forwarded-Ssl": "on"},
    ],
)
def test_what_a_neighbour_says_of_the_path_or_the_scheme_changes_nothing(
    under_gunicorn: Served, headers: dict[str, str]
) -> None:
    answer = wire.call(under_gunicorn.port, "GET", "/healthz", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


class TestBrokenStore:
    """A state file that cannot be opened."""

    @pytest.fixture
    def client(self, build: Build) -> FlaskClient:
        return build(state="sqlite:////dev/null/state.db").client

    def test_it_is_alive_but_not_ready(self, client: FlaskClient) -> None:
        for _ in range(2):
            assert client.get("/healthz").status_code == 200
            answer = client.get("/readyz")
            assert answer.status_code == 503
            report = answer.get_json()
            assert report["ready"] is False
            assert report["store"].startswith("the state store cannot be used: ")
            assert b"/dev/null" not in answer.data, "where it is, is for the log"

    def test_metrics_still_come(self, client: FlaskClient) -> None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert b"kimi_proxy_requests" in answer.data

    def test_requests_fail_as_an_error_that_says_so(self, client: FlaskClient) -> None:
        for stream in (True, False):
            body = chat(["finish"], stream=stream)
            answer = client.post(PATH, json=body)
            expect.error(answer, 503, "state_unavailable")
            assert b"/dev/null" not in answer.data
        assert client.get("/v1/models").status_code == 200

    def test_limits_that_cannot_be_counted_let_nobody_in(self, build: Build) -> None:
        client = build(
            state="sqlite:////dev/null/state.db",
            keys=[{"name": "slow", "key": KEY, "rate": "5/minute"}],
        ).client
        answer = client.post(PATH, json=chat(["finish"]), headers={"x-api-key": KEY})
        expect.error(answer, 503, "state_unavailable")


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.7", {}, 403),
        ("192.0.2.7", {"Authorization": f"Bearer {ADMIN}"}, 200),
        ("192.0.2.7", {"x-api-key": ADMIN}, 200),
        ("192.0.2.7", {"x-api-key": ADMIN + "x"}, 403),
        ("192.0.2.7", {"x-api-key": KEY}, 403),
        ("192.0.2.7", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7", "x-api-key": ADMIN}, 200),
    ],
)
def test_metrics_are_for_this_machine_or_the_admin(
    build: Build, address: str, headers: dict[str, str], status: int
) -> None:
    client = build(keys=[{"name": "all", "key": KEY}], admin={"key": ADMIN}).client
    answer = client.get(
        "/metrics", headers=headers, environ_base={"REMOTE_ADDR": address}
    )
    assert answer.status_code == status
    if status == 200:
        assert answer.content_type.startswith("text/plain")
    else:
        expect.error(answer, 403, "forbidden")


def test_metrics_without_an_admin_key(build: Build) -> None:
    client = build().client
    headers = {"x-api-key": ""}
    answer = client.get("/metrics", headers=headers, environ_base=STRANGER)
    expect.error(answer, 403, "forbidden")


def metric(house: House, name: str, **labels: str) -> float:
    """The sum of a metric over all label sets that have these labels."""
    total = 0.0
    for line in house.client.get("/metrics", buffered=True).text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and all(f'{k}="{v}"' in (found[1] or "") for k, v in labels.items()):
            total += float(found[2])
    return total


@pytest.fixture
def house(build: Build) -> House:
    return build()


def ask(house: House, *steps: Any, **fields: Any) -> Any:
    return house.client.post(PATH, json=chat(*steps, **fields), buffered=True)


def test_requests_attempts_and_first_events_are_counted(house: House) -> None:
    ask(house, ["text", "a"], ["finish"])
    ask(house, ["text", "a"], ["finish"], stream=False)
    ask(house, ["text", "a"], ["raise", "UpstreamCut"])
    ask(house, ["raise", "UpstreamRejected"])
    house.client.get("/nowhere").close()
    route = f"POST {PATH}"
    requests = "kimi_proxy_requests_total"
    assert metric(house, requests, route=route, status="200", outcome="ok") == 2
    assert metric(house, requests, route=route, outcome="upstream_cut") == 1
    assert metric(house, requests, route=route, status="400") == 1
    assert metric(house, requests, route="GET (none)", status="404") == 1
    attempts = "kimi_proxy_attempts_total"
    assert metric(house, attempts, provider="scripted", outcome="ok") == 2
    assert metric(house, attempts, outcome="upstream_cut") == 1
    assert metric(house, attempts, outcome="upstream_rejected") == 1
    assert metric(house, "kimi_proxy_first_event_seconds_count") == 3
    assert metric(house, "kimi_proxy_accounts", provider="scripted", state="ok") == 1
    assert metric(house, "kimi_proxy_open_requests") == 1  # the scrape itself


def test_what_clients_make_up_makes_no_new_metrics(house: House) -> None:
    for number in range(5):
        house.client.open(f"/made/up/{number}", method=f"M{number}").close()
    text = house.client.get("/metrics").text
    assert "made" not in text and "M1" not in text
    assert metric(house, "kimi_proxy_requests_total", route="(other) (none)") == 5


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of requests, as they are before they become JSON."""
    return [
        vars(record)["fields"]
        for record in caplog.records
        if record.getMessage() == "request"
    ]


def test_each_request_is_one_line_with_what_was_promised(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    house = build(keys=[{"name": "laptop", "key": KEY}])
    caplog.set_level(logging.INFO, "kimi_proxy")
    answer = house.client.post(
        PATH,
        json=chat(["text", "hi"], ["finish"]),
        headers={"x-api-key": KEY},
        buffered=True,
    )
    (line,) = logged(caplog)
    assert line["id"] == answer.headers["x-request-id"]
    assert line["route"] == f"POST {PATH}"
    assert (line["status"], line["outcome"]) == (200, "ok")
    assert (line["key"], line["model"]) == ("laptop", "scripted/play")
    assert line["account"] == "puppet"
    (attempt,) = line["attempts"]
    assert re.fullmatch(r"scripted/puppet ok \d+\.\d{3}", attempt)
    assert line["stream"] is True
    assert 0 <= line["first_event_ms"] <= line["ms"]
    assert line["bytes_in"] > 100
    assert line["bytes_out"] == len(answer.data)
    assert line["detail"] is None


@pytest.mark.parametrize(
    ("steps", "stream", "told"),
    [
        ([["raise", "UpstreamRejected"]], True, (400, "upstream_rejected")),
        ([["text", "a"], ["raise", "UpstreamCut"]], True, (200, "upstream_cut")),
        ([["text", "a"], ["raise", "UpstreamCut"]], False, (503, "upstream_cut")),
        ([["defect"]], True, (500, "internal_error")),
    ],
)
def test_a_failed_request_is_one_line_too(
    house: House,
    caplog: pytest.LogCaptureFixture,
    steps: Any,
    stream: bool,
    told: tuple[int, str],
) -> None:
    caplog.set_level(logging.INFO, "kimi_proxy")
    ask(house, *steps, stream=stream)
    (line,) = logged(caplog)
    assert (line["status"], line["outcome"]) == told
    assert line["detail"]
    assert line["account"] == "puppet"


def test_a_client_that_left_is_one_line_that_says_so(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kimi_proxy")
    body = chat(["text", "a"], ["wait", 60], ["finish"])
    house.client.post(PATH, json=body, buffered=False).close()
    (line,) = logged(caplog)
    assert line["outcome"] == "client_gone"
    assert line["account"] == "puppet"
    (attempt,) = line["attempts"]
    assert "client_gone" in attempt


def test_refused_requests_are_lines_too(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    house = build(keys=[{"name": "laptop", "key": KEY}])
    caplog.set_level(logging.INFO, "kimi_proxy")
    house.client.post(PATH, json={}).close()
    house.client.get(
        "/v1/models?api_key=kp-planted", headers={"x-api-key": KEY}
    ).close()
    house.client.get("/kp-planted/path").close()
    house.client.options(PATH).close()
    lines = logged(caplog)
    assert [line["status"] for line in lines] == [401, 200, 404, 200]
    assert [line["key"] for line in lines] == [None, "laptop", None, None]
    assert "?" not in str(lines)
