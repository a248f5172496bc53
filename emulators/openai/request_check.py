"""The fields of a chat request, judged as OpenAI judges them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emulators.openai.knob import Knobs
from emulators.openai.refusal import Refusal, Refused

Invalid = Callable[[str, str | None, str | None], Refusal]
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds; `whole` wants an integer."""

    least: float
    most: float
    whole: bool = False


NUMBERS: Mapping[str, Number] = {
    "temperature": Number(0, 2),
    "top_p": Number(0, 1),
    "presence_penalty": Number(-2, 2),
    "frequency_penalty": Number(-2, 2),
    "n": Number(1, 128, whole=True),
    "max_tokens": Number(1, 10**9, whole=True),
    "max_completion_tokens": Number(1, 10**9, whole=True),
    "top_logprobs": Number(0, 20, whole=True),
    "seed": Number(-(2**63), 2**63 - 1, whole=True),
}
KINDS: Mapping[str, tuple[type, str]] = {
    "stream": (bool, "a boolean"),
    "logprobs": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "parallel_tool_calls": (bool, "a boolean"),
    "stream_options": (dict, "an object"),
    "response_format": (dict, "an object"),
    "metadata": (dict, "an object"),
    "logit_bias": (dict, "an object"),
    "tools": (list, "an array of objects"),
    "functions": (list, "an array of objects"),
    "user": (str, "a string"),
    "reasoning_effort": (str, "a string"),
    "service_tier": (str, "a string"),
}
OTHERS = frozenset(
    "model messages stop tool_choice function_call audio modalities prediction "
    "prompt_cache_key safety_identifier verbosity web_search_options "
    "prompt_cache_retention".split()
)
KNOWN = NUMBERS.keys() | KINDS.keys() | OTHERS
MOST_TOOLS = 128


def check_fields(
    body: JSON, invalid: Invalid, knobs: Knobs, most_stops: int = 4
) -> None:
    """Judge everything but the messages; raises Refused."""
    _check_names(body, invalid, knobs)
    for name, (kind, described) in KINDS.items():
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise _wrong_type(invalid, name, described)
    for name, number in NUMBERS.items():
        _check_number(body.get(name), name, number, invalid)
    _check_combinations(body, invalid)
    _check_stop(body.get("stop"), most_stops, invalid)
    _check_format(body.get("response_format"), invalid)
    _check_tools(body, invalid)


def _check_names(body: JSON, invalid: Invalid, knobs: Knobs) -> None:
    refused = set(knobs.refused_fields)
    if knobs.strict_fields:
        refused |= body.keys() - KNOWN
    for name in body:
        if name in refused:
            message = f"Unrecognized request argument supplied: {name}"
            raise Refused(invalid(message, None, None))
    if "messages" not in body:
        message = "Missing required parameter: 'messages'."
        raise Refused(invalid(message, "messages", "missing_required_parameter"))


def _check_number(value: Any, name: str, rule: Number, invalid: Invalid) -> None:
    if value is None:
        return
    kinds = (int,) if rule.whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        described = "an integer" if rule.whole else "a decimal"
        raise _wrong_type(invalid, name, described)
    word = "integer" if rule.whole else "decimal"
    if value > rule.most:
        side, sign, bound = "above_max", "<=", rule.most
    elif value < rule.least:
        side, sign, bound = "below_min", ">=", rule.least
    else:
        return
    where = {"above_max": "above maximum", "below_min": "below minimum"}[side]
    message = (
        f"Invalid '{name}': {word} {where} value. Expected a value {sign} {bound:g}, "
        f"but got {value} instead."
    )
    raise Refused(invalid(message, name, f"{word}_{side}_value"))


def _check_combinations(body: JSON, invalid: Invalid) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        message = (
            "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        )
        raise Refused(invalid(message, "stream_options", None))
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is on."
        raise Refused(invalid(message, "top_logprobs", None))
    if body.get("tool_choice") is not None and not body.get("tools"):
        message = (
            "Invalid value for 'tool_choice': only allowed when 'tools' are given."
        )
        raise Refused(invalid(message, "tool_choice", None))


def _check_stop(stop: Any, most: int, invalid: Invalid) -> None:
    stops = stop_words(stop)
    if not all(isinstance(word, str) for word in stops):
        raise _wrong_type(invalid, "stop", "a string or an array of strings")
    if len(stops) > most:
        message = (
            "Invalid 'stop': array too long. Expected an array with maximum length "
            f"{most}, but got an array with length {len(stops)} instead."
        )
        raise Refused(invalid(message, "stop", "array_above_max_length"))


def _check_format(wanted: Any, invalid: Invalid) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        message = (
            f"Invalid value: '{kind}'. Supported values are: 'json_object', "
            "'json_schema', and 'text'."
        )
        raise Refused(invalid(message, "response_format.type", "invalid_value"))
    schema = wanted.get("json_schema")
    named = isinstance(schema, dict) and isinstance(schema.get("name"), str)
    if kind == "json_schema" and not named:
        message = "Missing required parameter: 'response_format.json_schema'."
        code = "missing_required_parameter"
        raise Refused(invalid(message, "response_format.json_schema", code))


def _check_tools(body: JSON, invalid: Invalid) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    if not 0 < len(tools) <= MOST_TOOLS:
        message = f"Invalid 'tools': expected 1 to {MOST_TOOLS}, got {len(tools)}."
        raise Refused(invalid(message, "tools", None))
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            message = f"Missing required parameter: '{where}.type'."
            code = "missing_required_parameter"
            raise Refused(invalid(message, f"{where}.type", code))
        function = tool.get("function")
        named = isinstance(function, dict) and isinstance(function.get("name"), str)
        if tool["type"] == "function" and not named:
            message = f"Missing required parameter: '{where}.function'."
            code = "missing_required_parameter"
            raise Refused(invalid(message, f"{where}.function", code))


def stop_words(stop: Any) -> list[Any]:
    """Return the stop sequences as a list."""
    if stop is None:
        return []
    return stop if isinstance(stop, list) else [stop]


def _wrong_type(invalid: Invalid, name: str, described: str) -> Refused:
    message = f"Invalid type for '{name}': expected {described}."
    return Refused(invalid(message, name, "invalid_type"))
