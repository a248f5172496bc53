"""Recorded streams that are odd but legal, each with what it means, and broken ones.

A stream's meaning is the list of its documents; every spelling of it means the same.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from emulators.openai.event_stream import respell
from emulators.openai.knob import Spelling
from emulators.openai.recording import Recording

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OddStream:
    """The bytes of a stream and the documents it means."""

    body: bytes = field(repr=False)
    documents: tuple[JSON, ...]

    def recording(self, **shape: Any) -> Recording:
        """Return it to be played back (`shape`: fields of `Recording`)."""
        return Recording(self.body, **shape)


def _chunk(*choices: JSON, **more: Any) -> JSON:
    return {
        "id": "chatcmpl-odd",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "gpt-4o",
        "choices": list(choices),
        **more,
    }


def _choice(
    delta: JSON, finish: str | None = None, index: int = 0, **more: Any
) -> JSON:
    return {"index": index, "delta": delta, "finish_reason": finish, **more}


def _said(*deltas: JSON, finish: str = "stop") -> tuple[JSON, ...]:
    """Return the chunks of one choice: role, these deltas, and the end."""
    role = {"role": "assistant", "content": ""}
    rows = [_chunk(_choice(delta)) for delta in (role, *deltas)]
    return (*rows, _chunk(_choice({}, finish)))


def _call(index: int, arguments: str, **named: Any) -> JSON:
    """Return a delta of a tool call; `name` and `id` begin it."""
    function = {"arguments": arguments}
    if not named:
        return {"tool_calls": [{"index": index, "function": function}]}
    function["name"] = named["name"]
    begun = {"index": index, "id": named["id"], "type": "function"}
    return {"tool_calls": [{**begun, "function": function}]}


def _logprobs() -> tuple[JSON, ...]:
    def told(token: str) -> JSON:
        row = {"token": token, "logprob": -0.1, "bytes": list(token.encode())}
        return {"content": [{**row, "top_logprobs": [row]}], "refusal": None}

    texts = ("你", "好 🙂")
    middle = [_chunk(_choice({"content": t}, logprobs=told(t))) for t in texts]
    first, last = _said()
    return (first, *middle, last)


def _two_choices() -> tuple[JSON, ...]:
    rows = [_choice({"role": "assistant", "content": ""}, index=n) for n in (0, 1)]
    words = [_choice({"content": f"{n}{w}"}, index=n) for w in "ab" for n in (1, 0)]
    ends = [_choice({}, "stop", 1), _choice({}, "length", 0)]
    return tuple(_chunk(row) for row in (*rows, *words, *ends))


def _parallel_calls() -> tuple[JSON, ...]:
    return _said(
        _call(0, "", name="first", id="call_a"),
        _call(1, "", name="second", id="call_b"),
        _call(1, '{"b":'),
        _call(0, '{"a":"'),
        _call(1, " 2}"),
        _call(0, '\\u00e9\\n"}'),
        finish="tool_calls",
    )


def _unknown_fields() -> tuple[JSON, ...]:
    call = {**_call(0, "{}", name="f", id="c")["tool_calls"][0], "x_call": [1, {}]}
    choice = _choice({"content": "a", "x_delta": {"deep": None}}, x_choice=0.5)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "x": {}}
    first, last = _said(finish="tool_calls")
    return (
        {**first, "x_top": "é", "system_fingerprint": None, "obfuscation": "Zz"},
        _chunk(choice),
        _chunk(_choice({"tool_calls": [call]})),
        last,
        _chunk(usage=usage, x_end=True),
    )


def _late_fields() -> tuple[JSON, ...]:
    """Annotations and usage on a chunk with content and finish together."""
    note = {"type": "url_citation", "url_citation": {"url": "https://example.org"}}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    only = _choice(
        {"role": "assistant", "content": "all", "annotations": [note]}, "stop"
    )
    return (_chunk(usage=None), _chunk({**only, "usage": usage}))


def _reasoned(key: str) -> tuple[JSON, ...]:
    return _said({key: "1+1 "}, {key: "is"}, {"content": "Two."})


_MEANINGS: Mapping[str, Callable[[], tuple[JSON, ...]]] = {
    "plain": lambda: _said({"content": "Hel"}, {"content": ""}, {"content": "lo"}),
    "logprobs": _logprobs,
    "two_choices": _two_choices,
    "parallel_calls": _parallel_calls,
    "refusal": lambda: _said({"refusal": "I will"}, {"refusal": " not."}),
    "reasoning_content": lambda: _reasoned("reasoning_content"),
    "reasoning": lambda: _reasoned("reasoning"),
    "unknown_fields": _unknown_fields,
    "late_fields": _late_fields,
    "filtered": lambda: _said({"content": "Hm"}, finish="content_filter"),
}
SPELLINGS: Mapping[str, Spelling] = {
    "as_usual": Spelling(),
    "crlf": Spelling(end="\r\n"),
    "cr": Spelling(end="\r"),
    "tight": Spelling(tight=True),
    "comments": Spelling(comments=True),
    "bom": Spelling(bom=True),
    "multi_line": Spelling(multi_line=True),
    "fields": Spelling(event="message", ids=True, retry=3000),
    "no_done": Spelling(done=False),
    "ascii": Spelling(ascii=True),
    "everything": Spelling(
        end="\r\n",
        tight=True,
        comments=True,
        bom=True,
        multi_line=True,
        ids=True,
        retry=1,
    ),
}


def _pairs() -> Iterator[tuple[str, str]]:
    yield from ((meaning, "as_usual") for meaning in _MEANINGS)
    yield from (("plain", spelling) for spelling in SPELLINGS if spelling != "as_usual")
    yield "parallel_calls", "everything"
    yield "unknown_fields", "everything"


def odd_streams() -> dict[str, OddStream]:
    """Return the streams by name, `<meaning>-<spelling>`."""
    found = {}
    for meaning, spelling in _pairs():
        documents = _MEANINGS[meaning]()
        body = respell(documents, SPELLINGS[spelling])
        found[f"{meaning}-{spelling}"] = OddStream(body, documents)
    return found


def broken_streams() -> dict[str, bytes]:
    """Return streams that end too early or are none, by name; each is an error."""
    documents = _MEANINGS["plain"]()
    whole = respell(documents, Spelling(done=False))
    unfinished = respell(documents[:-1], Spelling(done=False))
    error = {"error": {"message": "made-up trouble", "type": "server_error"}}
    return {
        "nothing": b"",
        "comments_only": b": hello\n\n: there\n\n",
        "done_only": b"data: [DONE]\n\n",
        "role_only": respell(documents[:1], Spelling(done=False)),
        "no_finish": unfinished,
        "in_a_line": whole[: len(whole) * 2 // 3],
        "no_json": unfinished + b"data: {oops\n\n",
        "html": b"<html><body>Bad gateway</body></html>",
        "error": unfinished + b"data: " + json.dumps(error).encode() + b"\n\n",
        "error_text": unfinished + b'data: {"error": "plain text"}\n\n',
        "error_event": b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n",
        "error_bare": json.dumps(error).encode(),
    }
