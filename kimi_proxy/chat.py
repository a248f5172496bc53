"""What is asked: the request as every provider sees it, whatever dialect it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "low", "medium", "high", "max"]
Citations = Literal["none", "annotations", "footnotes", "inline"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant made in an earlier turn; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file or image as the client handed it over, not yet looked at.

    Exactly one of `data` (bytes), `url` and `file_id` (a file stored with the gateway)
    is set, until the gateway puts the `data` of a stored one beside its id. `param` is
    the path of the field it came in, for errors.
    """

    kind: Literal["image", "file"]
    param: str
    data: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    file_id: str | None = None
    name: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file or image in hand: `digest` is the SHA-256 of `data`, in hex.

    `name` has the extension that belongs to `media_type`.
    """

    kind: Literal["image", "file"]
    name: str
    media_type: str
    data: bytes = field(repr=False)
    digest: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the history.

    `text` joins the text parts in order. `tool_call_id` names the call that a message
    of role `tool` answers, `reasoning` is what the assistant thought before it spoke.
    `attachments` are what the client named; the gateway puts the `files` they stand for
    beside them before a provider sees the message.
    """

    role: Role
    text: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    attachments: tuple[Attachment, ...] = ()
    files: tuple[File, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may or must be called; `name`: this very one must be."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer has to be JSON: an object, or what `schema` (JSON Schema) says."""

    schema: Mapping[str, Any] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that only an upstream of the client's own dialect may be able to do.

    It is told in the client's own words. `message` says to the client why no other
    upstream can, `param` names the field.
    """

    message: str
    param: str


@dataclass(frozen=True, slots=True)
class Thread:
    """An upstream chat to go on with.

    `head` is the message that the next one follows, None where the upstream needs no
    telling. `knows_tools`: the request's tools were described there.
    """

    chat: str
    head: str | None = None
    knows_tools: bool = True


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion, parsed once and trusted from then on.

    `model` is what the client asked for; the gateway replaces it by the route's own id
    before a provider sees it. With `counts_first` an estimate of the prompt's tokens
    precedes whatever is said. `search`, `effort`, `citations` and `show_reasoning` are
    None when the client said nothing: the route's defaults fill them in. `conversation`
    is None for the configured way, "" for a native chat that begins here and is kept,
    else the id of the one to go on with; `user` is the client's name for its user. The
    gateway sets `follows` when `messages` are only the new turn of a chat that exists
    (`past` are those which that chat has), and `keeps` when the chat will be gone on
    with.
    `sampling` holds the parameters that only some upstreams honour, under their OpenAI
    names; `stop` and `max_tokens` are there as well. `body` is the client's JSON object
    as it came, for upstreams that speak the same dialect; while it `relays`, what such
    an upstream says may be handed on as it is, all `choices` at once. What `needs` this
    cannot be had from any other upstream.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    counts_first: bool = False
    search: bool | None = None
    effort: Effort | None = None
    citations: Citations | None = None
    show_reasoning: bool | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    json_format: JsonFormat | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    choices: int = 1
    conversation: str | None = None
    user: str | None = None
    follows: Thread | None = None
    past: tuple[Message, ...] = ()
    keeps: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    relays: bool = False
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model an upstream offers; None where the upstream does not tell.

    `context_length` and `max_output` are in tokens. `modalities` are what it takes:
    `text`, `image`, `file`, `audio`, `video`.
    """

    id: str
    name: str
    owner: str
    context_length: int | None = None
    reasoning: bool = False
    max_output: int | None = None
    modalities: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the configuration says where a request says nothing; None: nothing.

    `params` are sampling parameters under their OpenAI names.
    """

    search: bool | None = None
    effort: Effort | None = None
    citations: Citations | None = None
    show_reasoning: bool | None = None
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def fill(self, request: ChatRequest) -> ChatRequest:
        """The request with these in the places that are still empty."""
        empty = {
            name: value
            for name in ("search", "effort", "citations", "show_reasoning")
            if getattr(request, name) is None
            and (value := getattr(self, name)) is not None
        }
        missing = {n: v for n, v in self.params.items() if not _says(request, n)}
        if missing:
            empty["sampling"] = {**request.sampling, **missing}
            empty["max_tokens"] = missing.get("max_tokens", request.max_tokens)
        return replace(request, **empty) if empty else request


def _says(request: ChatRequest, param: str) -> bool:
    """Whether the client set a parameter, if only to what it would be anyhow."""
    if param == "max_tokens" and request.max_tokens is not None:
        return True
    return param in request.sampling or request.body.get(param) is not None


NO_DEFAULTS = Defaults()
