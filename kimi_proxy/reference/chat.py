"""The operations that answer chats, in three dialects."""

from collections.abc import Iterator

from kimi_proxy.dialects import anthropic_wire, openai_wire, responses_wire
from kimi_proxy.reference import chat_shape, messages_shape, responses_shape
from kimi_proxy.reference.failure import statuses
from kimi_proxy.reference.operation import (
    GUARDED,
    TAKES_BODY,
    Operation,
    by_id,
    in_header,
    in_path,
    in_query,
    json_of,
    sent_json,
    stream_of,
    whole,
)
from kimi_proxy.reference.shape import Json, Schemas

_HELLO = [{"role": "user", "content": "Say hello."}]
_ROUTED = (
    "x-kimi-proxy-route",
    "x-kimi-proxy-ignored",
    "x-kimi-proxy-emulated",
    "x-conversation-id",
)
_CONVERSATION = in_header(
    "x-conversation-id", "The chat to go on with, as the body's `conversation_id`."
)
_ID = in_path("response_id", "The id of a stored response.")


def operations(schemas: Schemas) -> Iterator[Operation]:
    """All of them."""
    yield from _chats(schemas)
    yield from _messages(schemas)
    yield from _responses(schemas)


def _chats(schemas: Schemas) -> Iterator[Operation]:
    asked = schemas.add(openai_wire.Body, "ChatCompletionRequest", "Chat")
    body = sent_json(asked, {"model": "kimi", "messages": _HELLO, "stream": True})
    whole = json_of(schemas.add(chat_shape.ChatCompletion))
    streamed = stream_of(
        "With `stream`: an event for each chunk, then `[DONE]`; an error instead of it "
        "where the answer failed. Lines that begin with `:` keep the connection alive.",
        schemas.add(chat_shape.ChatCompletionChunk),
        schemas.add(chat_shape.Error),
        end="[DONE]",
    )
    for path, words, old in (
        ("/v1/chat/completions", "Answer a chat", False),
        ("/v1/chat/completitions", "The same, as reverse-kimi spells it", True),
    ):
        yield Operation(
            "post",
            path,
            "Chat completions",
            words,
            {**whole, **streamed},
            statuses(),
            description="A body in the shape of Responses is understood, too.",
            body=body,
            headers=_ROUTED,
            deprecated=old,
        )


def _messages(schemas: Schemas) -> Iterator[Operation]:
    asked = schemas.add(anthropic_wire.Body, "MessagesRequest", "Messages")
    example = {"model": "kimi", "max_tokens": 1024, "messages": _HELLO}
    whole = json_of(schemas.add(messages_shape.Message))
    streamed = stream_of(
        "With `stream`: `message_start` first, `message_stop` or `error` last.",
        schemas.add(messages_shape.MessageEvent),
    )
    yield Operation(
        "post",
        "/v1/messages",
        "Messages",
        "Answer a chat in Anthropic's dialect",
        {**whole, **streamed},
        statuses(),
        description="`anthropic-version` and `anthropic-beta` may be sent; neither "
        "changes anything.",
        parameters=(_CONVERSATION,),
        body=sent_json({**asked, "required": ["max_tokens"]}, example),
        dialect="AnthropicError",
        headers=_ROUTED,
    )
    yield Operation(
        "post",
        "/v1/messages/count_tokens",
        "Messages",
        "Estimate what a prompt costs",
        json_of(schemas.add(messages_shape.TokenCount)),
        GUARDED | TAKES_BODY | {404},
        description="Nobody upstream is asked.",
        body=sent_json(asked, {"model": "kimi", "messages": _HELLO}),
        dialect="AnthropicError",
        headers=("x-kimi-proxy-estimated",),
    )


def _responses(schemas: Schemas) -> Iterator[Operation]:
    asked = schemas.add(responses_wire.ResponsesBody, "ResponsesRequest", "Responses")
    example = {"model": "kimi", "input": "Say hello.", "stream": True}
    response = json_of(schemas.add(responses_shape.Response))
    streamed = stream_of(
        "With `stream`: `response.created` first; the last has the whole response.",
        schemas.add(responses_shape.ResponseEvent),
    )
    yield Operation(
        "post",
        "/v1/responses",
        "Responses",
        "Make a response",
        {**response, **streamed},
        statuses(),
        description="A body in the shape of a chat completion is understood, too. What "
        "only OpenAI's own service has is relayed there.",
        body=sent_json(asked, example),
        headers=_ROUTED,
        links=by_id(
            "response_id",
            read="GET /v1/responses/{response_id}",
            forget="DELETE /v1/responses/{response_id}",
            cancel="POST /v1/responses/{response_id}/cancel",
            input="GET /v1/responses/{response_id}/input_items",
        ),
    )
    yield Operation(
        "post",
        "/v1/responses/input_tokens",
        "Responses",
        "Estimate what a prompt costs",
        json_of(schemas.add(responses_shape.InputTokens)),
        GUARDED | TAKES_BODY | {404},
        description="Nobody upstream is asked.",
        body=sent_json(asked, {"model": "kimi", "input": "Say hello."}),
        headers=("x-kimi-proxy-estimated",),
    )
    yield from _stored(response, schemas)


def _stored(response: Json, schemas: Schemas) -> Iterator[Operation]:
    deleted = json_of(schemas.add(responses_shape.DeletedResponse))
    items = json_of(schemas.add(responses_shape.InputItems))
    one = "/v1/responses/{response_id}"
    page = (
        in_query("limit", "At most so many.", whole(100, default=20)),
        in_query("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
        in_query("after", "The id of the item before.", {"type": "string"}),
    )
    rows: tuple[tuple[str, str, str, Json, tuple[Json, ...]], ...] = (
        ("get", one, "Read a stored response", response, ()),
        ("delete", one, "Forget a stored response", deleted, ()),
        ("post", f"{one}/cancel", "Cancel a response", response, ()),
        ("get", f"{one}/input_items", "Read what a model was given", items, page),
    )
    for method, path, words, content, parameters in rows:
        yield Operation(
            method,
            path,
            "Responses",
            words,
            content,
            statuses(),
            description="A response that is not stored here is asked for upstream.",
            parameters=(_ID, *parameters),
            headers=("x-kimi-proxy-route",),
        )
