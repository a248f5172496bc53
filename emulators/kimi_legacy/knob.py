"""The lasting switches of the legacy emulator; one-time mishaps are faults."""

from dataclasses import dataclass


@dataclass(slots=True)
class Knobs:
    """Standing behaviour, changed at will while the emulator runs; times in seconds.

    Tokens: `strict_rotation` kills a refresh token once used; `auth_refusal` is how a
    bad token is refused: "bare-401" (no JSON), "json-401" or "json-200".
    `error_status` is the HTTP status of every other JSON error.

    Stream: `event_lines` adds `event:` lines, `crlf` ends lines with CR LF, `comments`
    puts a comment line before every event, `tight` drops the space after `data:`,
    `old_cmpl` leaves `view` and `idx_*` out, `unknown_events` are sent before and
    between the deltas, `ping_interval` (0: none) is for silences, `split` is the sizes
    of the pieces the bytes are sent in (the last one repeats), `chunked` False ends
    the body by closing the connection.

    Turns: `generates_after_disconnect` is how long at most a turn lives on when its
    client left; deleting the chat ends it at once.

    Files: `register_polls` answers say "uploading" before "initialized"; parsing takes
    `parse_delay`; `parsed_at_once` needs no parsing. The bucket refuses more than
    `file_limit` bytes; an account keeps `storage_limit` bytes; files of `refused_types`
    fail to be parsed. `research_total` is the quota of
    research mode; `agents` are the ids a `kimiplus_id` may name besides `kimi`, the
    first one is the K1 model (sheet §4).
    """

    strict_rotation: bool = False
    auth_refusal: str = "bare-401"
    error_status: int = 200
    event_lines: bool = False
    crlf: bool = False
    comments: bool = False
    tight: bool = False
    old_cmpl: bool = False
    unknown_events: tuple[str, ...] = ()
    ping_interval: float = 5.0
    split: tuple[int, ...] = ()
    chunked: bool = True
    generates_after_disconnect: float = 10.0
    register_polls: int = 0
    parse_delay: float = 0.05
    parsed_at_once: bool = False
    file_limit: int = 104_857_600
    storage_limit: int = 524_288_000
    refused_types: tuple[str, ...] = ()
    research_total: int = 5
    agents: tuple[str, ...] = ("crm40ee9e5jvhsn7ptcg", "fakeagent00000000020")
