"""Every error of the tree, before the first byte and after it."""

import json
import logging
from collections.abc import Iterator

import pytest
from flask import Flask

from kimi_proxy import errors
from kimi_proxy.dialects.openai_errors import retry_headers
from kimi_proxy.errors import GatewayError
from kimi_proxy.routes.failure import raw_answer
from tests.http import expect, grammar
from tests.http.conftest import Build, House
from tests.http.scripted import chat

PATH = "/v1/chat/completions"
_OURS = "kimi_proxy.errors"


def _tree(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == _OURS:
            yield from _tree(child)


def said(error: type[GatewayError], field: str = "") -> str:
    """The message of a scripted one; of one of them many clients want certain words."""
    words = f"{field}a scripted {error.__name__}"
    too_long = error is errors.ContextTooLong
    return f"prompt is too long: {words}" if too_long else words


TREE = sorted(_tree(GatewayError), key=lambda error: error.__name__)
# A busy account is waited for and asked again: that is the flow's own test.
AT_ONCE = [error for error in TREE if error is not errors.AccountBusy]
# One that says who is to blame: what a client does depends on it (facts §3.1).
TYPES = {
    "invalid_request_error": {400, 401, 404, 405, 408, 409, 413, 415, 499},
    "permission_error": {403},
    "rate_limit_error": {429},
    "insufficient_quota": {429},
    "overloaded_error": {503},
    "upstream_error": {501, 503, 504},
    "api_error": {500, 503},
}
CODED = {
    401: {"invalid_api_key"},
    403: {"forbidden", "upstream_forbidden"},
    413: {"request_too_large", "storage_full"},
}


@pytest.fixture
def house(build: Build) -> House:
    return build()


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_status_type_and_code_agree(error: type[GatewayError]) -> None:
    assert error.status in TYPES[error.type]
    assert error.status in {s for statuses in TYPES.values() for s in statuses}
    if error.status in CODED:
        assert error.code in CODED[error.status]
    if issubclass(error, errors.UpstreamError | errors.PoolError):
        assert error.status != 401, "the client would blame its own key"
        assert error.status != 502, "Cloudflare would replace the body"
        assert error.code or error is errors.PoolError


@pytest.mark.parametrize("error", AT_ONCE, ids=lambda error: error.__name__)
@pytest.mark.parametrize("stream", [True, False])
def test_before_the_first_byte_it_is_an_error_with_its_status(
    house: House, error: type[GatewayError], stream: bool
) -> None:
    facts = {"param": "messages[0]", "retry_after": 7.5}
    body = chat(["raise", error.__name__, facts], stream=stream)
    answer = house.client.post(PATH, json=body)
    found = expect.error(answer, error.status, error.code, "messages[0]")
    assert found["type"] == error.type
    assert found["message"] == said(error, "messages[0]: ")
    assert answer.headers["retry-after"] == "8"
    assert answer.headers["retry-after-ms"] == "7500"


@pytest.mark.parametrize(
    ("message", "param", "told"),
    [
        ("must not be null", "messages[0].content", "messages[0].content: {}"),
        ("at most 8 choices can be made", "n", "n: {}"),
        ("only text is understood", "system.0", "system.0: {}"),
        ("the model 'x' does not exist", "model", "{}"),
        ("`functions` is not supported", "functions", "{}"),
        ("the body is empty", None, "{}"),
    ],
)
def test_the_words_name_the_field_to_the_client_and_in_the_log(
    message: str, param: str | None, told: str
) -> None:
    error = errors.InvalidRequest(message, param=param)
    assert error.told == error.detail == told.format(message)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_after_the_first_byte_it_is_an_error_frame(
    house: House, error: type[GatewayError]
) -> None:
    answer = house.client.post(
        PATH, json=chat(["text", "so far"], ["wait", 0.02], ["raise", error.__name__])
    )
    assert answer.status_code == 200
    if error is errors.ClientGone:  # nobody is left to tell
        assert grammar.read(answer.data, cut=True).text == "so far"
        return
    stream = grammar.read(answer.data)
    assert stream.text == "so far"
    assert stream.error == {
        "message": said(error),
        "type": error.type,
        "param": None,
        "code": error.code,
    }


@pytest.mark.parametrize("error", AT_ONCE, ids=lambda error: error.__name__)
def test_a_failure_in_the_middle_of_a_whole_answer_is_no_answer(
    house: House, error: type[GatewayError]
) -> None:
    steps = (["text", "so far"], ["raise", error.__name__])
    answer = house.client.post(PATH, json=chat(*steps, stream=False))
    expect.error(answer, error.status, error.code)


def test_an_answer_without_an_end_is_a_cut(house: House) -> None:
    answer = house.client.post(PATH, json=chat(["text", "half"], ["end"]))
    error = grammar.read(answer.data).error
    assert error is not None and error["code"] == "upstream_cut"
    answer = house.client.post(PATH, json=chat(["text", "half"], ["end"], stream=False))
    assert answer.status_code == 503
    answer = house.client.post(PATH, json=chat(["end"]))
    assert answer.status_code == 503


@pytest.mark.parametrize("stream", [True, False])
def test_a_defect_is_a_500_that_tells_no_details(
    house: House, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "kimi_proxy"):
        answer = house.client.post(PATH, json=chat(["defect"], stream=stream))
    found = expect.error(answer, 500, "internal_error")
    assert found["message"] == "internal error (RuntimeError)"
    assert "a scripted defect" in caplog.text


def test_a_defect_in_mid_stream_is_an_error_frame(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    answer = house.client.post(PATH, json=chat(["text", "a"], ["defect"]))
    error = grammar.read(answer.data).error
    assert error is not None and error["code"] == "internal_error"
    assert "a scripted defect" in caplog.text


@pytest.mark.parametrize("pause", [0, 0.02])
def test_an_event_that_cannot_be_encoded_is_an_error_frame(
    house: House, pause: float, caplog: pytest.LogCaptureFixture
) -> None:
    steps = (["text", "a"], ["wait", pause], ["alien"], ["finish"])
    stream = grammar.read(house.client.post(PATH, json=chat(*steps)).data)
    assert stream.error is not None and stream.error["code"] == "internal_error"
    assert "a stream failed by a defect" in caplog.text
    answer = house.client.post(PATH, json=chat(*steps, stream=False))
    assert answer.status_code == 500


def test_a_defect_of_a_view_is_a_500(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    app: Flask = build().app

    def broken() -> str:
        raise ZeroDivisionError("the secret of the tests")

    app.add_url_rule("/broken", view_func=broken)
    answer = app.test_client().get("/broken")
    found = expect.error(answer, 500, "internal_error")
    assert "secret" not in json.dumps(found)
    assert "the secret of the tests" in caplog.text


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (None, {}),
        (0.0, {"retry-after": "1", "retry-after-ms": "1"}),
        (-3.0, {"retry-after": "1", "retry-after-ms": "1"}),
        (0.2, {"retry-after": "1", "retry-after-ms": "200"}),
        (1.001, {"retry-after": "2", "retry-after-ms": "1001"}),
        (60.0, {"retry-after": "60", "retry-after-ms": "60000"}),
        (
            60.5,
            {
                "retry-after": "61",
                "retry-after-ms": "60500",
                "x-should-retry": "false",
            },
        ),
        (
            1800.0,
            {
                "retry-after": "1800",
                "retry-after-ms": "1800000",
                "x-should-retry": "false",
            },
        ),
        (float("inf"), {"x-should-retry": "false"}),
        (float("nan"), {}),
    ],
)
def test_when_to_come_back(retry_after: float | None, expected: dict[str, str]) -> None:
    error = errors.PoolCooling("cooling", retry_after=retry_after)
    assert retry_headers(error) == expected


HOPELESS = {
    "AccountExhausted",
    "AccountSuspended",
    "ModelExhausted",
    "PoolEmpty",
    "TokenDead",
    "TokenRejected",
    "UpstreamMoved",
    "UpstreamUnsupported",
}


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_clients_are_told_not_to_retry_what_is_hopeless(
    error: type[GatewayError],
) -> None:
    told = retry_headers(error("x")).get("x-should-retry") == "false"
    assert told == (error.__name__ in HOPELESS)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "words"),
    [
        (400, "Bad Request", "invalid_request_error", "not valid HTTP"),
        (501, "Not Implemented", "invalid_request_error", "not valid HTTP"),
        (414, "URI Too Long", "invalid_request_error", "longer than 8190 bytes"),
        (431, "Fields Too Large", "invalid_request_error", "more than 100"),
        (500, "Internal Server Error", "api_error", "internal error"),
    ],
)
def test_what_the_server_itself_refuses_says_whose_fault_it_is(
    status: int, reason: str, kind: str, words: str
) -> None:
    head, _, data = raw_answer(status, reason).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} {reason}\r\n".encode())
    error = json.loads(data)["error"]
    assert error["type"] == kind
    assert error["message"].endswith(words)
