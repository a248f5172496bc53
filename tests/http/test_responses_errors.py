"""Every error of the tree, as a client of Responses is told of it."""

import json
from collections.abc import Iterator

import pytest

from kimi_proxy import errors
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.openai_chat import OpenAIChat
from kimi_proxy.dialects.responses_answer import OpenAIResponses
from kimi_proxy.dialects.responses_request import parse_chat
from kimi_proxy.errors import ContextTooLong, GatewayError
from kimi_proxy.events import TextDelta
from tests.http import responses_grammar

STAMP = Stamp("0123456789abcdef" * 2, 1_700_000_000, "m")
REQUEST = ChatRequest("m", (Message("user", "x"),))
ASKED = parse_chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})
OURS = {"context_length_exceeded", "insufficient_quota"}
THEIRS = {"server_error", "rate_limit_exceeded", "invalid_prompt"}


def kinds(of: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    yield of
    for kind in of.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


ALL = sorted(set(kinds()), key=lambda kind: kind.__name__)


def dialect() -> OpenAIResponses:
    return OpenAIResponses(ASKED, lambda _: True)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("begun", [True, False])
def test_a_stream_that_fails_says_so_in_the_grammar(
    kind: type[GatewayError], begun: bool
) -> None:
    encoder = dialect().encoder(REQUEST, STAMP)
    body = encoder.feed(TextDelta("a")) if begun else b""
    stream = responses_grammar.read(body + encoder.fail(kind("made up")))
    told = stream.response["error"]
    too_long = kind is ContextTooLong
    assert told["message"] == ("prompt is too long: " if too_long else "") + "made up"
    assert told["code"] in OURS | THEIRS
    if kind.status == 429 and kind.code not in OURS:
        assert told["code"] == "rate_limit_exceeded"
    if kind.status >= 500:
        assert told["code"] == "server_error"


@pytest.mark.parametrize("kind", ALL)
def test_before_that_it_is_the_error_object_of_chats(kind: type[GatewayError]) -> None:
    error = kind("made up", param="input")
    told = dialect().error(error, "req_1")
    assert told == OpenAIChat().error(error, "req_1")
    assert json.loads(told)["error"]["param"] == "input"
