"""OpenAI's Responses: the answer side (clients facts §3.5, pains 10 to 12)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.dialects.openai_errors import error_body, message_of
from kimi_proxy.dialects.responses_output import Output
from kimi_proxy.dialects.responses_request import Asked
from kimi_proxy.errors import ClientError, GatewayError
from kimi_proxy.events import (
    ChatResult,
    Event,
    Finished,
    Meaning,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)

Wire = dict[str, Any]
Keep = Callable[[Wire], bool]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Codes that clients act on; all others are told by the service's word for them.
_KNOWN_CODES = frozenset({"context_length_exceeded", "insufficient_quota"})


class OpenAIResponses:
    """The dialect of `/v1/responses`, for one request.

    `keep` stores an answer that has ended and says whether it could.
    """

    keep_alive = b": keep-alive\n"

    def __init__(self, asked: Asked, keep: Keep) -> None:
        self._asked = asked
        self._keep = keep

    def encoder(self, request: ChatRequest, stamp: Stamp) -> "ResponsesEncoder":
        """The encoder of a streamed answer."""
        return ResponsesEncoder(_Answer(self._asked, stamp, self._keep))

    def written(
        self, results: Sequence[ChatResult], request: ChatRequest, stamp: Stamp
    ) -> bytes:
        """The whole answer: what its stream would have said in the end."""
        answer = _Answer(self._asked, stamp, self._keep)
        for event in _events_of(results[0]):
            for _ in answer.output.feed(event):
                pass
        return dump(answer.ended())

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The error object."""
        return dump(error_body(error))


class _Answer:
    """The response object as it grows."""

    def __init__(self, asked: Asked, stamp: Stamp, keep: Keep) -> None:
        self.output = Output(stamp.token, asked)
        self._keep = keep
        self._stored = asked.stored
        self._told: Wire = {
            "id": f"resp_{stamp.token}",
            "object": "response",
            "created_at": stamp.created,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": stamp.model,
            "output": [],
            "usage": None,
            **asked.told,
            "store": asked.stored,
        }

    def begun(self) -> Wire:
        """As it is told first."""
        return self._told

    def ended(self) -> Wire:
        """As it is told last, and stored if the client wants that."""
        end, usage = self.output.end, self.output.usage
        reason = None if end is None else _INCOMPLETE.get(end.reason)
        told = {
            **self._told,
            "status": "completed" if reason is None else "incomplete",
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": self.output.items,
            "usage": None if usage is None else usage_of(usage),
        }
        if end is not None and end.conversation is not None:
            told["conversation_id"] = end.conversation
        return self._settled(told)

    def failed(self, error: GatewayError) -> Wire:
        """As it is told last of an answer that was broken off."""
        self.output.break_off()
        told = {
            **self._told,
            "status": "failed",
            "error": {"code": failure_code(error), "message": message_of(error)},
            "output": self.output.items,
        }
        return self._settled(told)

    def _settled(self, told: Wire) -> Wire:
        if self._stored and not self._keep(told):
            told["store"] = False
        return told


class ResponsesEncoder:
    """Events to the stream of a response; every method returns bytes to be sent."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._numbers = count()
        self._begun = False

    @property
    def finished(self) -> bool:
        return self._answer.output.end is not None

    def feed(self, event: Event) -> bytes:
        """What to send for an event; before the first one the response is named."""
        meant = event.events if isinstance(event, Relayed) else (event,)
        told = [wire for each in meant for wire in self._answer.output.feed(each)]
        return self._begin() + b"".join(map(self._event, told))

    def finish(self) -> bytes:
        """The end: completed, or incomplete if the upstream was cut short."""
        response = self._answer.ended()
        kind = f"response.{response['status']}"
        return self._begin() + self._event({"type": kind, "response": response})

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that cannot be finished, and no sign of success."""
        begun = self._begin()
        response = self._answer.failed(error)
        return begun + self._event({"type": "response.failed", "response": response})

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        response = self._answer.begun()
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._event({"type": k, "response": response}) for k in kinds)

    def _event(self, told: Wire) -> bytes:
        told["sequence_number"] = next(self._numbers)
        kind = told["type"].encode()
        return b"".join((b"event: ", kind, b"\ndata: ", dump(told), b"\n\n"))


def _events_of(result: ChatResult) -> Iterator[Meaning]:
    """The events that a whole answer was folded from, as few as may be."""
    if result.reasoning:
        yield ReasoningDelta(result.reasoning)
    if result.text:
        yield TextDelta(result.text, result.refuses)
    yield from result.citations
    for index, call in enumerate(result.tool_calls):
        yield ToolCallDelta(index, call.id, call.name, call.arguments)
    if result.usage is not None:
        yield result.usage
    yield Finished(result.reason, result.conversation)


def usage_of(usage: Usage) -> Wire:
    """The usage object; an estimate says so in a field of its own."""
    counts: Wire = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.estimated:
        counts["estimated"] = True
    return counts


def failure_code(error: GatewayError) -> str:
    """The word for an error in a response that failed."""
    code = error.shown_code or error.code
    if code in _KNOWN_CODES:
        return code
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, ClientError) else "server_error"
