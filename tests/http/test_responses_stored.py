"""Stored responses over HTTP: read, deleted, paged, gone on with, by their owner."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy.storage import StorageUnavailable
from tests.http import expect
from tests.http.conftest import KEY, PICKY, SHARED, Build, house
from tests.http.responses_house import Asking, steps

ECHO = {"model": "echo"}
MISSING = "resp_" + "0" * 32


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    config = {"keys": SHARED["keys"]}
    with house(tmp_path_factory.mktemp("responses"), config) as made:
        yield Asking(made, KEY)


@pytest.fixture
def other(ask: Asking) -> Asking:
    return Asking(ask.house, PICKY)


def chain(ask: Asking, *texts: str) -> list[str]:
    """Responses that go on with each other; their ids."""
    made: list[str] = []
    for text in texts:
        before = {"previous_response_id": made[-1]} if made else {}
        made.append(ask.whole(**ECHO, input=text, **before)["id"])
    return made


def test_what_was_answered_is_read_again(ask: Asking) -> None:
    whole = ask.whole(**ECHO, input="hi")
    assert ask.call("GET", f"/{whole['id']}").get_json() == whole
    streamed = ask.stream(**ECHO, input="hi").response
    assert ask.call("GET", f"/{streamed['id']}").get_json() == streamed


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_is_stored_as_it_is(ask: Asking, reason: str) -> None:
    made = ask.whole(input=steps(["text", "a"], ["finish", reason]))
    assert ask.call("GET", f"/{made['id']}").get_json()["status"] == "incomplete"


def test_an_answer_that_failed_is_stored_as_it_is(ask: Asking) -> None:
    failed = ask.stream(input=steps(["text", "a"], ["raise", "ContentRefused"]))
    found = ask.call("GET", f"/{failed.response['id']}").get_json()
    assert (found["status"], found["error"]["code"]) == ("failed", "invalid_prompt")


def test_nothing_is_stored_unasked(ask: Asking) -> None:
    for made in (
        ask.whole(**ECHO, input="hi", store=False),
        ask.stream(**ECHO, input="hi", store=False).response,
        ask.whole(**ECHO, messages=[{"role": "user", "content": "hi"}]),
    ):
        assert made["store"] is False
        answer = ask.call("GET", f"/{made['id']}")
        expect.error(answer, 404, "not_found", "response_id")


def test_half_a_character_can_be_stored(ask: Asking) -> None:
    made = ask.whole(input=steps(["text", "a\ud83d"], ["finish"]))
    found = ask.call("GET", f"/{made['id']}").get_json()
    assert found["output"][0]["content"][0]["text"] == "a\ufffd"


def test_another_key_finds_nothing(ask: Asking, other: Asking) -> None:
    (made,) = chain(ask, "mine")
    for method, path in (
        ("GET", f"/{made}"),
        ("DELETE", f"/{made}"),
        ("POST", f"/{made}/cancel"),
        ("GET", f"/{made}/input_items"),
    ):
        answer = other.call(method, path)
        expect.error(answer, 404, "not_found", "response_id")
    answer = other.post(**ECHO, input="x", previous_response_id=made)
    expect.error(answer, 404, "previous_response_not_found", "previous_response_id")
    items = ask.call("GET", f"/{made}").get_json()["output"]
    named = [{"type": "item_reference", "id": items[0]["id"]}]
    expect.error(other.post(**ECHO, input=named), 404, "not_found", "input[0].id")
    assert ask.call("GET", f"/{made}").status_code == 200


def test_what_is_deleted_is_gone(ask: Asking) -> None:
    (made,) = chain(ask, "hi")
    deleted = ask.call("DELETE", f"/{made}").get_json()
    assert deleted == {"id": made, "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        answer = ask.call(method, f"/{made}")
        expect.error(answer, 404, "not_found", "response_id")


def test_nothing_can_be_cancelled(ask: Asking) -> None:
    (made,) = chain(ask, "hi")
    answer = ask.call("POST", f"/{made}/cancel")
    expect.error(answer, 400, None, "response_id")
    answer = ask.call("POST", f"/{MISSING}/cancel")
    expect.error(answer, 404, "not_found", "response_id")


def test_a_stored_stream_is_not_told_again(ask: Asking) -> None:
    (made,) = chain(ask, "hi")
    answer = ask.call("GET", f"/{made}", stream="true")
    expect.error(answer, 400, "unsupported_parameter", "stream")


def texts(page: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in page["data"]]


def test_input_items_are_all_that_the_model_was_given(ask: Asking) -> None:
    made = chain(ask, "one", "two", "three")
    page = ask.call("GET", f"/{made[-1]}/input_items", order="asc").get_json()
    assert texts(page) == ["one", "one", "two", "two", "three"]
    latest = ask.call("GET", f"/{made[-1]}/input_items").get_json()
    assert latest["data"] == page["data"][::-1]
    assert (page["object"], page["has_more"]) == ("list", False)
    assert page["first_id"] == page["data"][0]["id"] == latest["last_id"]


def test_input_items_come_in_pages(ask: Asking) -> None:
    made = chain(ask, "one", "two", "three")[-1]
    found: list[str] = []
    query: dict[str, Any] = {"order": "asc", "limit": 2}
    while True:
        page = ask.call("GET", f"/{made}/input_items", **query).get_json()
        found += texts(page)
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert found == ["one", "one", "two", "two", "three"]


@pytest.mark.parametrize(
    ("query", "param", "status"),
    [
        ({"limit": "0"}, "limit", 400),
        ({"limit": "101"}, "limit", 400),
        ({"limit": "x"}, "limit", 400),
        ({"order": "up"}, "order", 400),
        ({"after": "nothing"}, "after", 404),
    ],
)
def test_a_page_that_is_none_is_refused(
    ask: Asking, query: dict[str, str], param: str, status: int
) -> None:
    (made,) = chain(ask, "hi")
    answer = ask.call("GET", f"/{made}/input_items", **query)
    expect.error(answer, status, "not_found" if status == 404 else None, param)


def test_a_history_goes_before_the_input(ask: Asking) -> None:
    """What the provider was asked, told by how much there is to read."""
    made = chain(ask, "a long first question " * 20, "two")
    short = ask.whole(**ECHO, input="two")["usage"]["input_tokens"]
    long = ask.call("GET", f"/{made[1]}").get_json()["usage"]["input_tokens"]
    assert long > short + 100


def test_items_are_named_by_their_ids(ask: Asking) -> None:
    (made,) = chain(ask, "say me")
    item = ask.call("GET", f"/{made}").get_json()["output"][0]
    for named in ({"type": "item_reference", "id": item["id"]}, {"id": item["id"]}):
        again = ask.whole(**ECHO, input=[named, {"role": "user", "content": "x"}])
        page = ask.call("GET", f"/{again['id']}/input_items", order="asc").get_json()
        assert page["data"][0] == item, "in full, so that it can be gone on with"
        chain(ask, "x")
        on = ask.whole(**ECHO, input="on", previous_response_id=again["id"])
        assert on["previous_response_id"] == again["id"]


def test_without_a_new_question_a_history_is_enough(ask: Asking) -> None:
    (made,) = chain(ask, "hi")
    asked = {"type": "function_call_output", "call_id": "c", "output": "done"}
    assert ask.whole(**ECHO, input=[asked], previous_response_id=made)


def test_a_store_that_fails_costs_nobody_an_answer(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Asking(build())

    def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("made up")

    monkeypatch.setattr(ask.house.services.store.bulk, "put", fail)
    assert ask.whole(**ECHO, input="hi")["store"] is False
    assert ask.stream(**ECHO, input="hi").response["store"] is False
    monkeypatch.setattr(ask.house.services.store.bulk, "get", fail)
    answer = ask.call("GET", f"/{MISSING}")
    expect.error(answer, 503, "state_unavailable")


def test_what_is_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    config = {"state": f"sqlite:///{tmp_path / 'state.db'}"}
    with house(tmp_path, config) as made:
        first = Asking(made).whole(**ECHO, input="one")
    with house(tmp_path, config) as made:
        ask = Asking(made)
        assert ask.call("GET", f"/{first['id']}").get_json() == first
        second = ask.whole(**ECHO, input="two", previous_response_id=first["id"])
        page = ask.call("GET", f"/{second['id']}/input_items", order="asc").get_json()
        assert texts(page) == ["one", "one", "two"]


def test_time_and_number_are_configured(build: Build) -> None:
    ask = Asking(build(responses={"most": 2, "ttl": 60}))
    made = [ask.whole(**ECHO, input="x")["id"] for _ in range(3)]
    ask.house.services.responses.sweep()
    found = [ask.call("GET", f"/{name}").status_code for name in made]
    assert found == [404, 200, 200]
