"""What all request bodies of a worker may take together."""

import json
from typing import Any

from kimi_proxy.errors import OutOfMemory
from kimi_proxy.routes.memory import BodyMemory
from tests.http import expect, wire
from tests.http.conftest import Build, Serve
from tests.http.scripted import chat
from tests.http.test_disconnect import until

PATH = "/v1/chat/completions"
LARGE = "w" * 700_000


def large(*steps: Any, **more: Any) -> dict[str, Any]:
    return {**chat(*steps, **more), "metadata": {"filling": LARGE}}


def test_who_comes_when_it_is_full_is_told_to_come_back(
    build: Build, serve: Serve
) -> None:
    house = build(server={"body_memory": "1MiB"})
    port = serve(house.app)
    with wire.line(port) as line:
        line.send(wire.request(large(["text", "a"], ["gate"], ["finish"], tag="a")))
        line.until(b'"a"')
        answer = wire.call(port, "POST", PATH, large(["finish"]))
        expect.error(answer, 503, "server_overloaded")
        assert answer.headers["retry-after"] == "2"
        small = wire.call(port, "POST", PATH, chat(["text", "b"], ["finish"]))
        assert small.status_code == 200
        house.diary.write("go", "a")
        line.until(b"[DONE]\n\n")
    until(lambda: wire.call(port, "POST", PATH, large(["finish"])).status_code == 200)


def test_what_was_refused_gives_back_what_it_took(build: Build, serve: Serve) -> None:
    house = build(server={"body_memory": "1MiB"})
    port = serve(house.app)
    broken = json.dumps(large(["finish"])).encode()[:-1]
    for _ in range(3):
        # It is given back once the answer is sent, which the client may see before.
        until(lambda: wire.call(port, "POST", PATH, broken).status_code == 400)
    until(lambda: wire.call(port, "POST", PATH, large(["finish"])).status_code == 200)


def test_one_alone_may_be_larger_than_all_together() -> None:
    memory = BodyMemory(10)
    memory.take(8, 0)
    memory.take(8, 8)
    try:
        memory.take(1, 0)
    except OutOfMemory as exc:
        assert exc.retry_after is not None
    else:
        raise AssertionError("it took what there was not")
    memory.give(16)
    memory.take(1, 0)
