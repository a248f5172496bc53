"""What can be asked of one path with one method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from kimi_proxy.reference import failure
from kimi_proxy.reference.shape import Json

GUARDED = frozenset({401, 403, 429, 500, 503})
TAKES_BODY = frozenset({400, 408, 413, 415})
OPEN = frozenset({500})
KEYS: list[Json] = [{"bearer": []}, {"apiKey": []}]
HEADERS: Mapping[str, tuple[str, bool]] = {
    "x-request-id": ("Names the request, in the log too.", True),
    "request-id": ("The same, as Anthropic's clients look for it.", True),
    "retry-after": ("Seconds until it is worth while to come back.", False),
    "retry-after-ms": ("The same in milliseconds.", False),
    "x-should-retry": ("`false` where trying again cannot help.", False),
    "x-ratelimit-limit-requests": ("What the tightest limit allows.", False),
    "x-ratelimit-remaining-requests": ("What is left of it.", False),
    "x-ratelimit-reset-requests": ("When it is whole again: `12.000s`.", False),
    "x-kimi-proxy-route": ("Who answered: `provider/model`.", False),
    "x-kimi-proxy-ignored": ("Fields that nobody could honour.", False),
    "x-kimi-proxy-emulated": ("Fields that the gateway stood in for.", False),
    "x-kimi-proxy-estimated": ("Fields of the answer that are estimates.", False),
    "x-conversation-id": ("The chat that this answer belongs to.", False),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One of them.

    `content` is what a success answers, by media type, `body` what is sent, likewise.
    `failures` are the statuses of errors, `dialect` their shape, `security` the keys
    that let in. `headers` come with a success beside those of all answers, `links` say
    what else can be asked about what was made.
    """

    method: str
    path: str
    tag: str
    summary: str
    content: Json
    failures: frozenset[int]
    description: str = ""
    parameters: tuple[Json, ...] = ()
    body: Json | None = None
    dialect: str = "Error"
    security: list[Json] = field(default_factory=lambda: KEYS)
    headers: tuple[str, ...] = ()
    more: Json = field(default_factory=dict)
    deprecated: bool = False
    links: Json = field(default_factory=dict)

    @property
    def described(self) -> Json:
        """The Operation Object."""
        told: Json = {"tags": [self.tag], "summary": self.summary}
        if self.description:
            told["description"] = self.description
        if self.parameters:
            told["parameters"] = list(self.parameters)
        if self.body is not None:
            told["requestBody"] = self.body
        told["responses"] = self._answers()
        if self.deprecated:
            told["deprecated"] = True
        if self.security is not KEYS:
            told["security"] = self.security
        return told

    def _answers(self) -> Json:
        success = {"200": self._success()} if self.content else {}
        failures = failure.references(self.failures, self.dialect)
        return {**success, **failures, **self.more}

    def _success(self) -> Json:
        rates = failure.RATES if self.security is KEYS else ()
        named = (*failure.ALWAYS, *rates, *self.headers)
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in named}
        links = {"links": self.links} if self.links else {}
        return {
            "description": "Success",
            "headers": headers,
            "content": self.content,
            **links,
        }


def header_objects() -> Json:
    """`components.headers`."""
    return {
        name: {
            "description": words,
            "required": always,
            "schema": {"type": "string"},
        }
        for name, (words, always) in HEADERS.items()
    }


def json_of(schema: Json) -> Json:
    """An answer of JSON."""
    return {"application/json": {"schema": schema}}


def sent_json(schema: Json, example: Mapping[str, Any]) -> Json:
    """A body of JSON, with an example to begin with."""
    kind = {"schema": schema, "example": example}
    return {"required": True, "content": {"application/json": kind}}


def stream_of(words: str, *data: Json, end: str | None = None) -> Json:
    """An answer of server-sent events, whose `data` is JSON of one of these schemas.

    `end` is the one that is not. OpenAPI 3.1 has no word for the events of a stream, so
    the schema is that of each of them.
    """
    schema = data[0] if len(data) == 1 else {"anyOf": list(data)}
    told: Json = {"contentMediaType": "application/json", "contentSchema": schema}
    if end is not None:
        told = {"anyOf": [{"const": end}, told]}
    event = {
        "type": "object",
        "description": words,
        "required": ["data"],
        "properties": {"event": {"type": "string"}, "data": {"type": "string", **told}},
    }
    return {"text/event-stream": {"schema": event}}


def by_id(parameter: str, **operations: str) -> Json:
    """Links to operations, each `METHOD /path`, about what has the answer's id."""
    links = {}
    for name, operation in operations.items():
        method, path = operation.lower().split(" ")
        escaped = quote(path.replace("/", "~1"), safe="~")
        links[name] = {
            "operationRef": f"#/paths/{escaped}/{method}",
            "parameters": {parameter: "$response.body#/id"},
        }
    return links


def whole(most: int, *, default: int) -> Json:
    """A whole number from 1."""
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def in_path(name: str, words: str) -> Json:
    """A part of the path."""
    return _parameter(name, "path", words, {"type": "string"}, required=True)


def in_query(name: str, words: str, schema: Json) -> Json:
    """A parameter of the query."""
    return _parameter(name, "query", words, schema)


def in_header(name: str, words: str) -> Json:
    """A header that may be sent."""
    return _parameter(name, "header", words, {"type": "string"})


def _parameter(
    name: str, place: str, words: str, schema: Json, *, required: bool = False
) -> Json:
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": words,
        "schema": schema,
    }
