"""The lasting switches of the emulator; one-time mishaps are faults."""

from dataclasses import dataclass, field

USAGE_PLACES = frozenset({"extra", "choice", "both", "never", "every", "last"})


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the events of a stream are written; the meaning is always the same.

    `end` is the end of a line, `tight` drops the space after `data:`, `comments` puts a
    comment before every event, `bom` a byte order mark at the start, `multi_line`
    spreads each document over several `data:` lines. `event`, `ids` and `retry` add
    those fields. `done` False leaves `[DONE]` out; `ascii` escapes what is not ASCII.
    """

    end: str = "\n"
    tight: bool = False
    comments: bool = False
    bom: bool = False
    multi_line: bool = False
    event: str = ""
    ids: bool = False
    retry: int | None = None
    done: bool = True
    ascii: bool = False


@dataclass(slots=True)
class Knobs:
    """Standing behaviour, changed at will while the emulator runs; times in seconds.

    Door: `open_door` lets calls without a key in (local servers), `any_model` knows
    every model. Requests: `body_limit` in bytes; `refused_fields` are top-level fields
    refused by name (such as `stream_options`); `strict_fields` refuses every field that
    is not OpenAI's.

    Answers: `usage_place` is where a stream tells usage: "extra" (a last chunk without
    choices, only when asked), "choice" (in the last `choices[0]`), "both", "last" (on
    the finish chunk, unasked), "every" (each chunk), "never" (whole answers neither).
    `reasoning_key` is "reasoning_content" or "reasoning". `id_prefix` begins ids.
    `gzip` compresses whole JSON answers where the client accepts it. A whole answer
    that takes longer than `answer_limit` is a 504 by then.

    Streams: `spelling`; `split` is the sizes of the pieces the bytes travel in (the
    last one repeats), `chunked` False ends the body by the close of the connection.
    `speech_bytes` is how long an audio answer is.
    """

    open_door: bool = False
    any_model: bool = False
    body_limit: int = 536_870_912
    refused_fields: tuple[str, ...] = ()
    strict_fields: bool = False
    usage_place: str = "extra"
    reasoning_key: str = "reasoning_content"
    id_prefix: str = "chatcmpl-"
    gzip: bool = False
    answer_limit: float = 900.0
    spelling: Spelling = field(default_factory=Spelling)
    split: tuple[int, ...] = ()
    chunked: bool = True
    speech_bytes: int = 65_536
