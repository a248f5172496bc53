"""Who may come in, with which models, how often, how many at a time."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.http import expect
from tests.http.conftest import Build, House
from tests.http.scripted import chat

PATH = "/v1/chat/completions"
KEY = "kp-key-made-up-for-tests"
OTHER = "kp-other-made-up-for-tests"
SAY = chat(["text", "hi"], ["finish"], stream=False)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def house(build: Build) -> House:
    return build(
        keys=[
            {"name": "all", "key": KEY},
            {"name": "some", "key": OTHER, "models": ["echo*", "scripted/deep/*"]},
        ]
    )


@pytest.mark.parametrize(
    "headers",
    [
        bearer(KEY),
        {"Authorization": f"bearer {KEY}"},
        {"Authorization": f"BEARER   {KEY} "},
        {"x-api-key": KEY},
        {"X-API-Key": KEY},
        {"Authorization": "Basic Zm9vOmJhcg==", "x-api-key": KEY},
    ],
)
def test_a_key_in_either_header(house: House, headers: dict[str, str]) -> None:
    assert house.client.post(PATH, json=SAY, headers=headers).status_code == 200
    assert house.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("kp-wrong"),
        bearer(KEY + "x"),
        bearer(KEY[:-1]),
        bearer(KEY.upper()),
        bearer(""),
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"x-api-key": ""},
        {"x-api-key": "kp-wr\u00f6ng"},
        {"x-api-key": f"Bearer {KEY}"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/echo"),
        ("POST", "/token/check"),
    ],
)
def test_without_a_right_key_nothing_is_told(
    house: House, headers: dict[str, str], method: str, path: str
) -> None:
    answer = house.client.open(path, method=method, json=SAY, headers=headers)
    found = expect.error(answer, 401, "invalid_api_key")
    assert found["type"] == "invalid_request_error"
    assert KEY not in answer.text and "kp-wrong" not in answer.text
    assert house.diary.words() == []


def test_the_key_is_asked_for_before_the_body_is_looked_at(house: House) -> None:
    expect.error(house.client.post(PATH, data=b"{nonsense"), 401, "invalid_api_key")


@pytest.mark.parametrize("model", ["scripted/play", "scripted", "nobody"])
def test_a_key_opens_its_own_models_only(house: House, model: str) -> None:
    answer = house.client.post(
        PATH, json={**SAY, "model": model}, headers=bearer(OTHER)
    )
    expect.error(answer, 403, "forbidden", "model")
    assert house.diary.words() == []


def test_models_a_key_may_not_use_are_not_listed(house: House) -> None:
    listed = house.client.get("/v1/models", headers=bearer(OTHER)).get_json()
    names = {model["id"] for model in listed["data"]}
    assert names == {"echo", "echo/echo", "scripted/deep/er/model"}
    answer = house.client.get("/v1/models/scripted/play", headers=bearer(OTHER))
    expect.error(answer, 404, "model_not_found", "model")
    answer = house.client.get("/v1/models/echo", headers=bearer(OTHER))
    assert answer.get_json()["id"] == "echo"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("127.0.0.1", {}),
        ("127.8.9.1", {}),
        ("::1", {}),
        ("::ffff:127.0.0.1", {}),
        ("127.0.0.1", {"Origin": "https://chat.example"}),
    ],
)
def test_without_keys_this_machine_is_let_in(
    build: Build, address: str, headers: dict[str, str]
) -> None:
    answer = build().client.get(
        "/v1/models", headers=headers, environ_base={"REMOTE_ADDR": address}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.7", {}),
        ("2001:db8::1", {}),
        ("::ffff:192.0.2.7", {}),
        ("192.0.2.7", {"X-Forwarded-For": "127.0.0.1"}),
        ("192.0.2.7", {"X-Real-IP": "127.0.0.1"}),
        ("192.0.2.7", {"Forwarded": "for=127.0.0.1"}),
        ("192.0.2.7", {"Host": "127.0.0.1"}),
        # What an unconfigured nginx on this machine passes on:
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.7"}),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}),
    ],
)
def test_without_keys_nobody_else_is_let_in(
    build: Build, address: str, headers: dict[str, str]
) -> None:
    house = build()
    answer = house.client.post(
        PATH, json=SAY, headers=headers, environ_base={"REMOTE_ADDR": address}
    )
    expect.error(answer, 403, "forbidden")
    assert house.diary.words() == []


@pytest.mark.parametrize(
    ("hops", "forwarded", "status"),
    [
        (1, "127.0.0.1", 200),
        (1, "192.0.2.7", 403),
        (1, "127.0.0.1, 192.0.2.7", 403),
        (2, "127.0.0.1, 192.0.2.7", 200),
        (2, "192.0.2.7, 127.0.0.1", 403),
        (2, "127.0.0.1, 192.0.2.7, 192.0.2.8", 403),
        (1, None, 200),
    ],
)
def test_a_trusted_proxy_says_who_comes(
    build: Build, hops: int, forwarded: str | None, status: int
) -> None:
    client = build(server={"trusted_proxies": hops}).client
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    answer = client.get("/v1/models", headers=headers)
    assert answer.status_code == status


# Limits


def exhaust(client: FlaskClient, times: int, **options: Any) -> list[int]:
    return [
        client.post(PATH, json=SAY, buffered=True, **options).status_code
        for _ in range(times)
    ]


def test_a_key_has_its_rate(build: Build) -> None:
    house = build(
        keys=[
            {"name": "slow", "key": KEY, "rate": "3/minute"},
            {"name": "free", "key": OTHER},
        ]
    )
    client = house.client
    assert exhaust(client, 5, headers=bearer(KEY)) == [200] * 3 + [429] * 2
    answer = client.post(PATH, json=SAY, headers=bearer(KEY))
    found = expect.error(answer, 429, "rate_limit_exceeded")
    assert found["type"] == "rate_limit_error"
    assert "3 per 1 minute" in found["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert 1000 <= int(answer.headers["retry-after-ms"]) <= 60_000
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < float(answer.headers["x-ratelimit-reset-requests"][:-1]) <= 60
    assert len(house.diary.words()) == 2 * 3
    assert exhaust(client, 5, headers=bearer(OTHER)) == [200] * 5


def test_answers_tell_how_much_is_left(build: Build) -> None:
    client = build(keys=[{"name": "slow", "key": KEY, "rate": "3/minute"}]).client
    left = [
        client.post(PATH, json=SAY, headers=bearer(KEY)).headers[
            "x-ratelimit-remaining-requests"
        ]
        for _ in range(3)
    ]
    assert left == ["2", "1", "0"]


def test_a_long_limit_tells_clients_not_to_wait_for_it(build: Build) -> None:
    client = build(keys=[{"name": "slow", "key": KEY, "rate": "1/day"}]).client
    exhaust(client, 1, headers=bearer(KEY))
    answer = client.post(PATH, json=SAY, headers=bearer(KEY))
    assert int(answer.headers["retry-after"]) > 3600
    assert answer.headers["x-should-retry"] == "false"


def test_each_address_has_its_rate(build: Build) -> None:
    client = build(limits={"per_ip": "2/minute"}, keys=_KEYS).client
    here = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}, "headers": bearer(KEY)}
    there = {"environ_base": {"REMOTE_ADDR": "192.0.2.2"}, "headers": bearer(KEY)}
    assert exhaust(client, 3, **here) == [200, 200, 429]
    assert exhaust(client, 3, **there) == [200, 200, 429]


_KEYS = [{"name": "all", "key": KEY}]


def test_an_address_cannot_be_forged(build: Build) -> None:
    client = build(limits={"per_ip": "2/minute"}, keys=_KEYS).client
    statuses = [
        exhaust(client, 1, headers={**bearer(KEY), "X-Forwarded-For": f"192.0.2.{n}"})
        for n in range(4)
    ]
    assert statuses == [[200], [200], [429], [429]]


def test_behind_a_trusted_proxy_the_client_is_counted(build: Build) -> None:
    client = build(
        limits={"per_ip": "1/minute"}, keys=_KEYS, server={"trusted_proxies": 1}
    ).client
    statuses = [
        exhaust(
            client, 1, headers={**bearer(KEY), "X-Forwarded-For": f"10.0.0.9, {seen}"}
        )
        for seen in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
    ]
    assert statuses == [[200], [200], [429]]


def test_wrong_keys_count_against_the_address(build: Build) -> None:
    client = build(limits={"per_ip": "3/minute"}, keys=_KEYS).client
    statuses = [
        *exhaust(client, 2, headers=bearer("kp-guess")),
        *exhaust(client, 1),
        *exhaust(client, 2, headers=bearer("kp-guess")),
        *exhaust(client, 1, headers=bearer(KEY)),
    ]
    assert statuses == [401, 401, 401, 429, 429, 429]


def test_wrong_keys_do_not_count_against_any_key(build: Build) -> None:
    client = build(keys=[{"name": "slow", "key": KEY, "rate": "1/minute"}]).client
    assert exhaust(client, 3, headers=bearer("kp-guess")) == [401] * 3
    assert exhaust(client, 1, headers=bearer(KEY)) == [200]


def test_a_key_named_like_an_address_is_not_one(build: Build) -> None:
    client = build(
        limits={"per_ip": "2/minute"},
        keys=[{"name": "127.0.0.1", "key": KEY, "rate": "2/minute"}],
    ).client
    assert exhaust(client, 3, headers=bearer(KEY)) == [200, 200, 429]


def test_ops_endpoints_and_preflights_meet_no_limit(build: Build) -> None:
    client = build(limits={"per_ip": "1/minute"}, keys=_KEYS).client
    exhaust(client, 1, headers=bearer(KEY))
    assert exhaust(client, 1, headers=bearer(KEY)) == [429]
    for path in ("/", "/healthz", "/health", "/readyz", "/ping", "/metrics"):
        for _ in range(3):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "x-ratelimit-limit-requests" not in answer.headers
    assert client.options(PATH).status_code == 200


# Concurrency


@pytest.fixture
def narrow(build: Build) -> Iterator[House]:
    yield build(
        keys=[
            {"name": "narrow", "key": KEY, "concurrency": 2},
            {"name": "wide", "key": OTHER},
        ]
    )


def start(house: House, tag: str, *, stream: bool) -> threading.Thread:
    """A request that takes its time; returns when the provider has it."""
    body = chat(["wait", 1], ["text", "hi"], ["finish"], tag=tag, stream=stream)
    thread = threading.Thread(
        target=lambda: house.client.post(
            PATH, json=body, headers=bearer(KEY), buffered=True
        )
    )
    thread.start()
    house.diary.await_word("opened", tag)
    return thread


@pytest.mark.parametrize("stream", [True, False])
def test_a_key_has_so_many_places(narrow: House, stream: bool) -> None:
    running = [start(narrow, tag, stream=stream) for tag in ("a", "b")]
    answer = narrow.client.post(PATH, json=SAY, headers=bearer(KEY))
    found = expect.error(answer, 429, "rate_limit_exceeded")
    assert "narrow" in found["message"] and "2" in found["message"]
    assert answer.headers["retry-after"] == "1"
    assert exhaust(narrow.client, 1, headers=bearer(OTHER)) == [200]
    for thread in running:
        thread.join()
    assert exhaust(narrow.client, 3, headers=bearer(KEY)) == [200] * 3


@pytest.mark.parametrize(
    "steps",
    [
        [["raise", "UpstreamFailed"]],
        [["text", "a"], ["raise", "UpstreamCut"]],
        [["defect"]],
        [["text", "a"], ["end"]],
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_place_comes_back_after_a_failure(
    narrow: House, steps: Any, stream: bool
) -> None:
    for _ in range(3):
        body = chat(*steps, stream=stream)
        answer = narrow.client.post(PATH, json=body, headers=bearer(KEY))
        assert answer.data and answer.status_code != 429
        answer.close()


def test_a_place_comes_back_when_the_body_is_never_read(narrow: House) -> None:
    for turn in range(4):
        body = chat(["text", "hi"], ["wait", 30], ["finish"], tag=str(turn))
        answer = narrow.client.post(
            PATH, json=body, headers=bearer(KEY), buffered=False
        )
        assert answer.status_code == 200
        answer.close()
        assert narrow.diary.words(str(turn)) == ["opened", "closed"]


def test_places_are_not_taken_by_what_is_refused_early(narrow: House) -> None:
    for body in ({}, {**SAY, "model": "nobody"}, {**SAY, "n": 9}):
        for _ in range(3):
            answer = narrow.client.post(PATH, json=body, headers=bearer(KEY))
            assert answer.status_code in {400, 404}
