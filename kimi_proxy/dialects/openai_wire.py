"""The JSON of a chat completion request, as far as the gateway reads it.

Unknown fields are passed over. Strings are no numbers here and numbers no booleans.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

_T = TypeVar("_T")
# Only the first mistake is told: to find all of a million takes minutes.
Several = Annotated[list[_T], Field(fail_fast=True)]


class Wire(BaseModel):
    """An object of a client's."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, strict=True)


class Address(Wire):
    """A URL in an object of its own: `{"url": …}`."""

    url: str


class FileReference(Wire):
    """The object of a part of type `file`."""

    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class Part(Wire):
    """A content part of any type, in the spellings of chat completions and Responses;
    `file_url` beside type `file` is kimi-free-api's."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | Address | None = None
    file_url: str | Address | None = None
    file: FileReference | None = None
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_no_type(cls, value: Any) -> Any:
        """Read a message in a part's place as its text: reverse-kimi's example does."""
        if not isinstance(value, dict) or "type" in value:
            return value
        words = value.get("content")
        return {"type": "text", "text": words} if isinstance(words, str) else value


class _CalledFunction(Wire):
    name: str
    arguments: str = ""


class Call(Wire):
    """A tool call of an earlier turn; one of another type has another object."""

    id: str | None = None
    type: str = "function"
    function: _CalledFunction | None = None


class ChatMessage(Wire):
    """One message of the history."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Several[Part] | None = None
    name: str | None = None
    tool_calls: Several[Call] | None = None
    function_call: _CalledFunction | None = None
    tool_call_id: str | None = None


class _StreamOptions(Wire):
    include_usage: StrictBool | None = None


class _Schema(Wire):
    name: str = ""
    # "schema" is a method's name in pydantic.
    document: dict[str, Any] | None = Field(default=None, alias="schema")


class Format(Wire):
    """What the answer has to look like."""

    type: str
    json_schema: _Schema | None = None


class Thinking(Wire):
    """Moonshot's switch for thinking."""

    type: str


class Body(Wire):
    """The whole request."""

    model: str = Field(min_length=1, max_length=256)
    messages: Several[ChatMessage] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | Several[str] | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    verbosity: str | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    user: str | None = Field(default=None, max_length=512)
    tools: Several[dict[str, Any]] | None = None
    functions: Several[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: Format | None = None
    modalities: Several[str] | None = None
    reasoning_effort: str | None = None
    thinking: Thinking | None = None
    enable_thinking: StrictBool | None = None
    include_reasoning: StrictBool | None = None
    use_search: StrictBool | None = None
    web_search_options: dict[str, Any] | None = None
    conversation_id: str | None = None
