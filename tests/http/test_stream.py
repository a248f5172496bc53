"""The streaming driver: headers held, silences filled, time-outs told."""

import json
import select
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http import expect, grammar, wire
from tests.http.conftest import BEARER, KEY, Build, House, Serve, Served
from tests.http.scripted import Step, chat

PATH = "/v1/chat/completions"
KEEP_ALIVE = b": keep-alive\n"


def quick(**timeouts: float) -> dict[str, Any]:
    return {"timeouts": {"hold": 30, "keep_alive": 0.1, **timeouts}}


def ask(port: int, *steps: Step, **fields: Any) -> wire.Answer:
    return wire.call(port, "POST", PATH, chat(*steps, **fields), headers=BEARER)


def test_headers_wait_for_the_first_event(build: Build, serve: Serve) -> None:
    house = build(**quick())
    with wire.line(serve(house.app)) as line:
        steps = (["gate"], ["text", "hi"], ["finish"])
        line.send(wire.request(chat(*steps, tag="a")))
        house.diary.await_word("opened", "a")
        readable, _, _ = select.select([line.socket], [], [], 0.4)
        assert not readable
        house.diary.write("go", "a")
        answer = line.answer()
    assert answer.status_code == 200
    stream = grammar.read(answer.data)
    assert stream.text == "hi"
    assert stream.keep_alives == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_while_they_wait_has_its_status(
    build: Build, serve: Serve, stream: bool
) -> None:
    house = build(**quick())
    steps = (["wait", 0.3], ["raise", "UpstreamOverloaded"])
    answer = ask(serve(house.app), *steps, stream=stream)
    expect.error(answer, 503, "upstream_overloaded")


def test_after_a_while_they_go_out_and_every_silence_is_filled(
    build: Build, serve: Serve
) -> None:
    house = build(**quick(hold=0.2))
    with wire.line(serve(house.app)) as line:
        steps = [["gate"], ["think", "hm"], ["wait", 0.5], ["text", "hi"], ["finish"]]
        line.send(wire.request(chat(*steps, tag="a")))
        seen = line.until(b"\r\n\r\n")
        assert seen.startswith(b"HTTP/1.1 200")
        body = line.until(KEEP_ALIVE) + line.until(KEEP_ALIVE)
        assert house.diary.words("a") == ["opened"]
        house.diary.write("go", "a")
        body += line.until(b"[DONE]\n\n")
    stream = grammar.read(wire.dechunked(body))
    assert stream.message()["reasoning_content"] == "hm"
    assert stream.text == "hi"
    assert stream.keep_alives >= 4


def test_a_failure_after_that_is_an_error_frame(build: Build, serve: Serve) -> None:
    house = build(**quick(hold=0.1))
    answer = ask(serve(house.app), ["wait", 0.4], ["raise", "TokenDead"])
    assert answer.status_code == 200
    stream = grammar.read(answer.data)
    assert stream.error is not None and stream.error["code"] == "upstream_auth"
    assert stream.keep_alives >= 1


def test_a_hold_that_ends_while_the_request_is_queued(
    build: Build, serve: Serve
) -> None:
    house = build(**quick(hold=0.1))
    port = serve(house.app)
    model = {"model": "scripted-single/play"}
    with wire.line(port) as first, wire.line(port) as second:
        first.send(wire.request(chat(["gate"], ["finish"], tag="a", **model)))
        house.diary.await_word("opened", "a")
        second.send(wire.request(chat(["text", "hi"], ["finish"], tag="b", **model)))
        head = second.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        body = second.until(KEEP_ALIVE)
        assert house.diary.words("b") == []
        house.diary.write("go", "a")
        body += second.until(b"[DONE]\n\n")
    assert grammar.read(wire.dechunked(body)).text == "hi"


@pytest.mark.parametrize(
    "timeouts", [{"total": 0.4}, {"first_content": 0.4}], ids=["total", "first content"]
)
class TestTimeOut:
    """What happens when the upstream takes too long, at each stage."""

    def test_before_the_headers(
        self, build: Build, serve: Serve, timeouts: dict[str, float]
    ) -> None:
        house = build(**quick(**timeouts))
        for stream in (True, False):
            answer = ask(serve(house.app), ["wait", 60], tag=f"{stream}", stream=stream)
            found = expect.error(answer, 504, "upstream_timeout")
            assert "0.4 s" in found["message"]
            house.diary.await_word("closed", f"{stream}")

    def test_after_the_headers(
        self, build: Build, serve: Serve, timeouts: dict[str, float]
    ) -> None:
        house = build(**quick(hold=0.1, **timeouts))
        answer = ask(serve(house.app), ["wait", 60], tag="a")
        assert answer.status_code == 200
        stream = grammar.read(answer.data)
        assert stream.error is not None
        assert stream.error["code"] == "upstream_timeout"
        house.diary.await_word("closed", "a")


def test_the_total_ends_a_running_answer(build: Build, serve: Serve) -> None:
    house = build(**quick(total=0.5))
    steps = (["text", "so far"], ["wait", 60])
    stream = grammar.read(ask(serve(house.app), *steps, tag="a").data)
    assert stream.text == "so far"
    assert stream.error is not None and stream.error["code"] == "upstream_timeout"
    house.diary.await_word("closed", "a")


def test_the_first_content_comes_in_time_if_anything_does(
    build: Build, serve: Serve
) -> None:
    house = build(**quick(first_content=0.3))
    steps = (["text", "a"], ["wait", 0.6], ["text", "b"], ["finish"])
    assert grammar.read(ask(serve(house.app), *steps).data).text == "ab"


def test_nothing_on_the_way_may_buffer_or_change_a_stream(served: Served) -> None:
    answer = ask(served.port, ["text", "hi"], ["finish"])
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    cached = answer.headers["cache-control"].split(", ")
    assert {"no-cache", "no-transform"} <= set(cached)
    assert "content-length" not in answer.headers
    assert "content-encoding" not in answer.headers
    assert answer.headers["x-kimi-proxy-route"] == "scripted/play"


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("deep/er/model", "scripted/deep/er/model"),
        ("双 words", "scripted/%E5%8F%8C%20words"),
    ],
    ids=["slashes", "beyond latin-1"],
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_route_is_told_whatever_the_models_name(
    served: Served, model: str, told: str, stream: bool
) -> None:
    body = chat(["text", "hi"], ["finish"], model=f"scripted/{model}", stream=stream)
    answer = wire.call(served.port, "POST", PATH, body, headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["x-kimi-proxy-route"] == told


def test_each_piece_goes_out_at_once(served: Served) -> None:
    tag = f"{time.monotonic()}"
    with wire.line(served.port) as line:
        steps = [["text", "first"], ["gate"], ["text", "second"], ["finish"]]
        lines = [f"{name}: {value}" for name, value in BEARER.items()]
        line.send(wire.request(chat(*steps, tag=tag), *lines))
        line.until(b'"first"')
        assert served.diary.words(tag) == ["opened"]
        served.diary.write("go", tag)
        line.until(b"[DONE]")


def test_an_old_client_gets_its_stream_without_chunks(under_gunicorn: Served) -> None:
    body = json.dumps(chat(["text", "hi"], ["finish"])).encode()
    head = (
        f"POST {PATH} HTTP/1.0\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nx-api-key: {KEY}\r\n\r\n"
    )
    with wire.line(under_gunicorn.port) as line:
        line.send(head.encode() + body)
        assert b"chunked" not in line.until(b"\r\n\r\n")
        assert grammar.read(line.rest()).text == "hi"


@pytest.fixture
def house(build: Build) -> House:
    return build()


PLAIN: list[Step] = [
    ["think", "好的。"],
    ["text", "Hello, "],
    ["text", "世界 😀"],
    ["cite", "https://a.example", "A"],
    ["usage", 7, 11, 3, 2],
    ["finish", "length"],
]


def test_usage_only_for_those_who_ask(house: House) -> None:
    for asked in (True, False, None):
        options = {} if asked is None else {"stream_options": {"include_usage": asked}}
        answer = house.client.post(PATH, json=chat(*PLAIN, **options))
        stream = grammar.read(answer.data, usage=bool(asked))
        if asked:
            assert stream.usage is not None
            assert stream.usage["total_tokens"] == 18


def test_a_stream_and_a_whole_answer_say_the_same(house: House) -> None:
    options = {"include_usage": True}
    streamed = house.client.post(PATH, json=chat(*PLAIN, stream_options=options))
    whole = house.client.post(PATH, json=chat(*PLAIN, stream=False))
    assert whole.content_type == "application/json"
    stream, answer = grammar.read(streamed.data, usage=True), whole.get_json()
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "scripted/play"
    (choice,) = answer["choices"]
    assert choice["message"] == stream.message()
    assert choice["finish_reason"] == stream.reason == "length"
    assert answer["usage"] == stream.usage


def test_every_answer_has_an_id_of_its_own(house: House) -> None:
    ids = {
        house.client.post(PATH, json=chat(["finish"], stream=False)).get_json()["id"]
        for _ in range(3)
    }
    assert len(ids) == 3
    assert all(id.startswith("chatcmpl-") for id in ids)


def test_parameters_that_nobody_heeds_are_named(house: House) -> None:
    body = chat(["finish"], temperature=1, top_p=0.5, seed=7)
    answer = house.client.post(PATH, json=body)
    assert answer.headers["x-kimi-proxy-ignored"] == "seed, top_p"


@pytest.fixture
def listed(house: House) -> Iterator[Any]:
    yield house.client


def test_head_and_options_answer_without_a_body(listed: Any) -> None:
    for path in ("/v1/models", "/v1/models/echo", "/healthz", "/"):
        answer = listed.head(path)
        assert (answer.status_code, answer.data) == (200, b"")
    answer = listed.head(PATH)
    assert (answer.status_code, answer.data) == (404, b"")
    read = {"GET", "HEAD"}
    for path, methods in ((PATH, {"POST"} | read), ("/v1/models", read)):
        answer = listed.options(path)
        assert (answer.status_code, answer.data) == (200, b"")
        assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}


MODEL_FIELDS = {"id", "object", "created", "owned_by"}


def test_models_are_listed_and_found_by_any_spelling(listed: Any) -> None:
    answer = listed.get("/v1/models").get_json()
    assert set(answer) == {"object", "data"}
    assert answer["object"] == "list"
    ids = [model["id"] for model in answer["data"]]
    assert len(ids) == len(set(ids))
    assert {"echo", "echo/echo", "scripted", "scripted/deep/er/model"} <= set(ids)
    for model in answer["data"]:
        assert set(model) >= MODEL_FIELDS
        assert model["object"] == "model" and isinstance(model["created"], int)
        for path in (model["id"], model["id"].replace("/", "%2F")):
            found = listed.get(f"/v1/models/{path}")
            assert found.get_json() == model


def test_models_tell_their_window(listed: Any) -> None:
    model = listed.get("/v1/models/scripted/play").get_json()
    for field in ("context_length", "context_window", "max_model_len"):
        assert model[field] == 8192


@pytest.mark.parametrize(
    "name", ["nobody", "a/b", "a%2Fb", "scripted/", "scripted%2F", "..", "%00"]
)
def test_a_model_that_is_not_there(listed: Any, name: str) -> None:
    expect.error(listed.get(f"/v1/models/{name}"), 404, "model_not_found", "model")
