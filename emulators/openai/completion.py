"""A scripted answer as a chat completion: one document, or the chunks of a stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from emulators.openai.answer import Answer, Choice, ToolCall, cut, text_of

JSON = dict[str, Any]
FINGERPRINT = "fp_made_up"
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk; `content` says that it tells more than the role."""

    document: JSON
    content: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer with everything decided; `created` is epoch seconds."""

    id: str
    created: int
    model: str
    answer: Answer
    choices: tuple[Choice, ...]
    prompt_tokens: int
    logprobs: int | None = None
    usage_place: str = "extra"
    include_usage: bool = False
    reasoning_key: str = "reasoning_content"

    def usage(self) -> JSON:
        """Return the count of tokens, four characters to each."""
        reasoning = sum(tokens(choice.reasoning) for choice in self.choices)
        spoken = sum(tokens(_spoken(choice)) for choice in self.choices)
        counts: JSON = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": reasoning + spoken,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            **self.answer.usage,
        }
        total = counts["prompt_tokens"] + counts["completion_tokens"]
        return {"total_tokens": total, **counts}

    def whole(self) -> JSON:
        """Return the completion as one document."""
        document: JSON = {
            **self._head("chat.completion"),
            "choices": [self._whole(n, c) for n, c in enumerate(self.choices)],
        }
        if self.usage_place != "never":
            document["usage"] = self.usage()
        return {**document, **self.answer.fields}

    def chunks(self) -> list[Chunk]:
        """Return the stream, the choices in turn."""
        streams = [self._deltas(n, c) for n, c in enumerate(self.choices)]
        rows = zip_longest(*streams)
        chunks = [chunk for row in rows for chunk in row if chunk is not None]
        for chunk in chunks:
            self._tell_usage(chunk.document)
        chunks += self._usage_chunk()
        return chunks

    def message(self, choice: Choice) -> JSON:
        """Return the message of a choice."""
        bare = not choice.text and (choice.refusal or choice.tools)
        message: JSON = {
            "role": "assistant",
            "content": None if bare and choice.content_null else choice.text,
            "refusal": choice.refusal or None,
            "annotations": list(choice.annotations),
        }
        if choice.reasoning:
            message[self.reasoning_key] = choice.reasoning
        if choice.tools:
            message["tool_calls"] = [
                _call(call, call.arguments) for call in choice.tools
            ]
        return {**message, **choice.message_fields}

    def _head(self, kind: str) -> JSON:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }

    def _whole(self, index: int, choice: Choice) -> JSON:
        pieces = choice.deltas() if choice.text else ()
        return {
            "index": index,
            "message": self.message(choice),
            "logprobs": self._logprobs(pieces),
            "finish_reason": finish_reason(choice),
            **choice.fields,
        }

    def _deltas(self, index: int, choice: Choice) -> Iterator[Chunk]:
        yield self._chunk(index, choice, {"role": "assistant", "content": ""})
        for text in cut(choice.reasoning, 8):
            yield self._chunk(index, choice, {self.reasoning_key: text}, content=True)
        for text in choice.deltas() if choice.text else ():
            yield self._chunk(index, choice, {"content": text}, content=True, said=text)
        for text in cut(choice.refusal, 8):
            yield self._chunk(index, choice, {"refusal": text}, content=True)
        for call in _tool_deltas(choice):
            yield self._chunk(index, choice, {"tool_calls": [call]}, content=True)
        extra = dict(choice.message_fields)
        if choice.annotations:
            extra["annotations"] = list(choice.annotations)
        if extra:
            yield self._chunk(index, choice, extra, content=True)
        yield self._chunk(index, choice, {}, finish=finish_reason(choice))

    def _chunk(
        self,
        index: int,
        choice: Choice,
        delta: JSON,
        *,
        finish: str | None = None,
        content: bool = False,
        said: str = "",
    ) -> Chunk:
        row = {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs((said,) if said else ()),
            "finish_reason": finish,
            **choice.fields,
        }
        head = self._head("chat.completion.chunk")
        return Chunk({**head, "choices": [row], **self.answer.fields}, content)

    def _logprobs(self, pieces: Sequence[str]) -> JSON | None:
        if self.logprobs is None or not pieces:
            return None
        rows = [_logprob(text, self.logprobs) for text in pieces]
        return {"content": rows, "refusal": None}

    def _tell_usage(self, document: JSON) -> None:
        place, choice = self.usage_place, document["choices"][0]
        finished = choice["finish_reason"] is not None
        if place == "every" or (place == "last" and finished):
            document["usage"] = self.usage()
        elif self.include_usage and place in ("extra", "both"):
            document["usage"] = None
        if place in ("choice", "both") and finished:
            choice["usage"] = self.usage()

    def _usage_chunk(self) -> Iterator[Chunk]:
        if self.include_usage and self.usage_place in ("extra", "both"):
            head = self._head("chat.completion.chunk")
            end = {"choices": [], "usage": self.usage(), **self.answer.fields}
            yield Chunk({**head, **end})


def tokens(text: str) -> int:
    """Return how many tokens a text is here: one for four characters, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return how many tokens a request's messages are."""
    return sum(4 + tokens(text_of(message)) for message in body["messages"])


def finish_reason(choice: Choice) -> str:
    """Return why a choice ends."""
    return choice.finish_reason or ("tool_calls" if choice.tools else "stop")


def limited(choice: Choice, most_tokens: int | None, stop: Sequence[str]) -> Choice:
    """Return a choice as far as the token limit and the stop sequences let it."""
    text, reasoning, finish = choice.text, choice.reasoning, choice.finish_reason
    found = [text.index(word) for word in stop if word and word in text]
    if found:
        text = text[: min(found)]
    if most_tokens is not None and tokens(reasoning + text) > most_tokens:
        room = most_tokens * CHARACTERS_PER_TOKEN
        reasoning, text = reasoning[:room], text[: max(0, room - len(reasoning))]
        finish = "length"
    if (text, reasoning) == (choice.text, choice.reasoning):
        return choice
    pieces = choice.pieces if isinstance(choice.pieces, int) else 8
    return replace(
        choice, text=text, reasoning=reasoning, pieces=pieces, finish_reason=finish
    )


def _spoken(choice: Choice) -> str:
    calls = "".join(call.name + call.arguments for call in choice.tools)
    return choice.text + choice.refusal + calls


def _call(call: ToolCall, arguments: str) -> JSON:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": call.type, "function": function, **call.fields}


def _tool_deltas(choice: Choice) -> Iterator[JSON]:
    streams = [
        [
            {"index": index, **_call(call, "")},
            *(
                {"index": index, "function": {"arguments": text}}
                for text in cut(call.arguments, call.pieces)
            ),
        ]
        for index, call in enumerate(choice.tools)
    ]
    if not choice.parallel:
        yield from (delta for stream in streams for delta in stream)
        return
    for row in zip_longest(*streams):
        yield from (delta for delta in row if delta is not None)


def _logprob(text: str, top: int) -> JSON:
    row: JSON = {"token": text, "logprob": -0.25, "bytes": list(text.encode())}
    other = {"token": "other", "logprob": -2.5, "bytes": list(b"other")}
    return {**row, "top_logprobs": [row, *[other] * (top - 1)][:top]}
