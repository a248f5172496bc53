"""Upstream bytes of every kind, through all three dialects: always grammatical.

    python -m tests.http.stream_fuzz 100000

A made-up answer is written as chunks of OpenAI's dialect, with the oddities that
upstreams have: kinds of line ends, comments, names of events, calls in pieces that are
mixed. Then it is spoiled, cut off, or left as it is, and comes in blocks cut anywhere.
Whatever comes of it has to obey the dialect's grammar, and to end in success only if
the answer was whole. It ends with an AssertionError that names the seed.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.dialects.anthropic_messages import AnthropicMessages
from kimi_proxy.dialects.contract import Dialect, Stamp
from kimi_proxy.dialects.openai_chat import OpenAIChat
from kimi_proxy.dialects.responses_answer import OpenAIResponses
from kimi_proxy.dialects.responses_request import parse_chat
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event
from kimi_proxy.providers.openai_answer import streamed
from tests.http import grammar, messages_grammar, responses_grammar

STAMP = Stamp("0123456789abcdef" * 2, 1_700_000_000, "双 model", "req_1")
REQUEST = ChatRequest("m", (Message("user", "x"),), stream=True, include_usage=True)
WORDS = ("a", "b ", "\n", "界", "😀", '"', "\\", "data: ", ": x", "\u2028", "</x>", "é")
GARBAGE = (
    b"data: {\n\n",
    b"data: null\n\n",
    b"data: []\n\n",
    b'data: {"choices": 5}\n\n',
    b'data: {"choices": [{"delta": 7}]}\n\n',
    b'data: {"error": {"message": "made up", "code": 500}}\n\n',
    b'data: {"choices": [{"delta": {"tool_calls": [5]}}]}\n\n',
    b"data: \xff\xfe\n\n",
    b"<html>\n\n",
)
HARMLESS = (
    b": ping\n",
    b": ping\n\n",
    b"\n",
    b"retry: 3\n\n",
    b"id: 7\n\n",
    b"x: y\n\n",
)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a stream: how it ended, and what it said."""

    done: bool
    text: str
    calls: tuple[tuple[str, str], ...]


def _chat(body: bytes) -> Told:
    stream = grammar.read(body, usage=True)
    message = stream.message() if stream.done else {}
    calls = [call["function"] for call in message.get("tool_calls", [])]
    made = tuple((c["name"], c["arguments"]) for c in calls)
    return Told(stream.done, stream.text, made)


def _messages(body: bytes) -> Told:
    stream = messages_grammar.read(body)
    return Told(stream.done, stream.text, tuple(stream.calls))


def _responses(body: bytes) -> Told:
    stream = responses_grammar.read(body)
    done = stream.kinds[-1] != "failed"
    calls = tuple((c["name"], c["arguments"]) for c in stream.calls) if done else ()
    return Told(done, stream.text if done else "", calls)


def _responses_dialect() -> Dialect:
    asked = parse_chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    return OpenAIResponses(asked, lambda _: True)


DIALECTS: dict[str, tuple[Callable[[], Dialect], Callable[[bytes], Told]]] = {
    "chat": (OpenAIChat, _chat),
    "messages": (AnthropicMessages, _messages),
    "responses": (_responses_dialect, _responses),
}


class _Answer:
    """A made-up answer: what it means, and the deltas that say it."""

    def __init__(self, random: Random) -> None:
        self.text = "".join(random.choices(WORDS, k=random.randrange(12)))
        self.calls = [
            (f"f{n}", json.dumps({"k": "".join(random.choices(WORDS, k=3)), "n": n}))
            for n in range(random.choice((0, 0, 1, 2, 3)))
        ]
        thought = "".join(random.choices(WORDS, k=random.randrange(6)))
        rows = [[{"reasoning_content": p} for p in _pieces(random, thought)]]
        rows[0] += [{"content": p} for p in _pieces(random, self.text)]
        rows += [
            list(_call(random, n, name, given))
            for n, (name, given) in enumerate(self.calls)
        ]
        self.deltas = list(_mixed(random, rows))

    def told(self) -> Told:
        return Told(True, self.text, tuple(self.calls))


def _pieces(random: Random, text: str) -> Iterator[str]:
    while text:
        size = random.randrange(1, 6)
        yield text[:size]
        text = text[size:]


def _call(random: Random, number: int, name: str, given: str) -> Iterator[Any]:
    first, *rest = [*_pieces(random, given)]
    begun: dict[str, Any] = {"index": number, "id": f"c{number}", "type": "function"}
    begun["function"] = {"name": name, "arguments": first}
    yield {"tool_calls": [begun]}
    for piece in rest:
        told = {"index": number, "function": {"arguments": piece}}
        yield {"tool_calls": [told]}


def _mixed(random: Random, rows: list[list[Any]]) -> Iterator[Any]:
    """Of the rows each in its order; a call begins once the one before it has."""
    mixes, opened = random.random() < 0.3, 0
    while any(rows):
        ready = [n for n, row in enumerate(rows) if row and n <= opened + 1]
        chosen = random.choice(ready) if mixes else ready[0]
        opened = max(opened, chosen)
        yield rows[chosen].pop(0)


def _written(random: Random, answer: _Answer) -> bytes:
    """The stream as it should be, in one of the ways that upstreams write it."""
    end = random.choice((b"\n", b"\r\n"))
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    reason = "tool_calls" if answer.calls else "stop"
    choices = [{"index": 0, "delta": delta} for delta in answer.deltas]
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}}
    last = {"index": 0, "delta": {}, "finish_reason": reason}
    chunks: list[Any] = [{**head, "choices": [c]} for c in (first, *choices, last)]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    chunks.append({**head, "choices": [], "usage": usage})
    ascii_only = random.random() < 0.5
    lines = [json.dumps(chunk, ensure_ascii=ascii_only).encode() for chunk in chunks]
    out = []
    for line in [*lines, b"[DONE]"]:
        while random.random() < 0.1:
            out.append(random.choice(HARMLESS).replace(b"\n", end))
        space = random.choice((b" ", b""))
        name = b"event: message" + end if random.random() < 0.1 else b""
        out.append(name + b"data:" + space + line + end + end)
    return b"".join(out)


def _spoiled(random: Random, data: bytes) -> bytes:
    """Cut off, with garbage between events, or with a byte that is not its own."""
    match random.randrange(3):
        case 0:
            return data[: random.randrange(len(data))]
        case 1:
            spots = [i for i in range(len(data)) if data.startswith(b"data:", i)]
            spot = random.choice(spots)
            return data[:spot] + random.choice(GARBAGE) + data[spot:]
        case _:
            spot = random.randrange(len(data))
            return data[:spot] + random.randbytes(1) + data[spot + 1 :]


def _blocks(random: Random, data: bytes) -> Iterator[bytes]:
    most = random.choice((1, 7, 64, 100_000))
    while data:
        size = random.randrange(1, most + 1)
        yield data[:size]
        data = data[size:]


def _played(dialect: Dialect, events: list[Event | GatewayError]) -> bytes:
    """What the driver sends for these events."""
    encoder = dialect.encoder(REQUEST, STAMP)
    sent: list[bytes] = []
    for event in events:
        if isinstance(event, GatewayError):
            return b"".join((*sent, encoder.fail(event)))
        sent.append(encoder.feed(event))
    assert encoder.finished
    return b"".join((*sent, encoder.finish()))


def _events(blocks: Iterator[bytes]) -> Iterator[Event | GatewayError]:
    try:
        yield from streamed(blocks)
    except GatewayError as exc:
        yield exc


@dataclass(frozen=True, slots=True)
class Played:
    """One fuzzed upstream stream, and what each dialect's clients are sent of it.

    `told` is what the upstream meant; None when it was spoiled. `done`: it was heard to
    its end.
    """

    done: bool
    told: Told | None
    sent: dict[str, bytes]


def play(seed: int) -> Played:
    """One stream through every dialect."""
    random = Random(seed)
    answer = _Answer(random)
    data = _written(random, answer)
    spoiled = random.random() < 0.6
    if spoiled:
        data = _spoiled(random, data)
    events = list(_events(_blocks(random, data)))
    done = not isinstance(events[-1], GatewayError)
    assert done or spoiled, f"seed {seed}: {events[-1]!r} of a whole answer"
    sent = {name: _played(dialect(), events) for name, (dialect, _) in DIALECTS.items()}
    return Played(done, None if spoiled else answer.told(), sent)


def check(seed: int) -> bool:
    """Whether the stream ended in success; it is grammatical in every dialect."""
    played = play(seed)
    for name, (_, read) in DIALECTS.items():
        sent = played.sent[name]
        try:
            told = read(sent)
            assert told.done == played.done
            assert played.told in (None, told), (told, played.told)
        except (AssertionError, KeyError, ValueError) as exc:
            raise AssertionError(f"seed {seed}, {name}: {exc!r} in {sent!r}") from exc
    return played.done


def run(seeds: range) -> tuple[int, int]:
    """How many ended in success, and how many in an error."""
    good = sum(map(check, seeds))
    return good, len(seeds) - good


if __name__ == "__main__":
    counts = run(range(int(sys.argv[1])))
    sys.stdout.write(f"{counts[0]} whole, {counts[1]} broken, all grammatical\n")
