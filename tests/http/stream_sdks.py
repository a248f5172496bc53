"""What the official clients make of a stream's bytes: heard to its end, or an error."""

from collections.abc import Callable

import anthropic
import httpx2
import openai

_URL = "http://gateway.invalid"


def chat(body: bytes) -> bool:
    """Whether openai hears the end of a chat; raises what it raises."""
    with _openai(body) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        chunks = list(stream)
    return any(c.finish_reason for chunk in chunks for c in chunk.choices)


def responses(body: bytes) -> bool:
    """Whether openai hears the end of a response, by its helper."""
    with _openai(body) as client:
        with client.responses.stream(model="m", input="x") as stream:
            kinds = [event.type for event in stream]
    return kinds[-1] == "response.completed"


def messages(body: bytes) -> bool:
    """Whether anthropic hears the end of a message, by its helper."""
    with _anthropic(body) as client:
        question: anthropic.types.MessageParam = {"role": "user", "content": "x"}
        with client.messages.stream(
            model="m", max_tokens=9, messages=[question]
        ) as stream:
            return stream.get_final_message().stop_reason is not None


SDKS: dict[str, Callable[[bytes], bool]] = {
    "chat": chat,
    "messages": messages,
    "responses": responses,
}
# anthropic reads a tool's arguments as they come: broken ones are a ValueError.
RAISED = (openai.APIError, anthropic.APIError, ValueError)


def _answering(body: bytes) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"Content-Type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=body)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _openai(body: bytes) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=_URL, api_key="made-up", max_retries=0, http_client=_answering(body)
    )


def _anthropic(body: bytes) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=_URL, api_key="made-up", max_retries=0, http_client=_answering(body)
    )
