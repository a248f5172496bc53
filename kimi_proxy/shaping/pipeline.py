"""Which steps stand between a provider and a client, in which order."""

from collections.abc import Callable

from kimi_proxy.chat import ChatRequest
from kimi_proxy.shaping.ask import Ask
from kimi_proxy.shaping.citation import showing_sources
from kimi_proxy.shaping.json_answer import answering_json, require_schema
from kimi_proxy.shaping.length import cutting_off
from kimi_proxy.shaping.reasoning import hiding_reasoning
from kimi_proxy.shaping.stop import stopping
from kimi_proxy.shaping.tool_call import calling_tools
from kimi_proxy.shaping.usage import counting_tokens

# OpenAI's name of a feature; whether a request uses it; the step that stands in for an
# upstream without it. The first is nearest to the provider: no stop sequence is looked
# for in a call's arguments, and what one cuts off is checked as JSON after that.
_STAND_INS: tuple[
    tuple[str, Callable[[ChatRequest], object], Callable[[Ask], Ask]], ...
] = (
    ("tools", lambda request: request.tools, calling_tools),
    ("stop", lambda request: request.stop, stopping),
    ("response_format", lambda request: request.json_format, answering_json),
    ("max_tokens", lambda request: request.max_tokens, cutting_off),
)

# Sampling parameters that reach no upstream and are obeyed all the same.
STOOD_IN = frozenset({"stop", "max_tokens", "max_completion_tokens"})


def emulated(request: ChatRequest, honours: frozenset[str]) -> tuple[str, ...]:
    """What the request uses and the gateway does in the upstream's place.

    Raises `InvalidRequest` for what no step can do: asked before an account is used.
    """
    needed = _needed(request, honours)
    if request.json_format is not None and "response_format" in needed:
        require_schema(request.json_format)
    return needed


def may_relay(request: ChatRequest, honours: frozenset[str]) -> bool:
    """Whether the upstream's own words can be handed on: nothing has to be changed."""
    changed = request.show_reasoning is False or _needed(request, honours)
    return request.relays and not changed


def _needed(request: ChatRequest, honours: frozenset[str]) -> tuple[str, ...]:
    names = [name for name, is_used, _ in _STAND_INS if is_used(request)]
    names += ["n"] if request.choices > 1 else []
    return tuple(name for name in names if name not in honours)


def shaped(ask: Ask, request: ChatRequest, honours: frozenset[str]) -> Ask:
    """A way to ask an upstream that has only `honours` for what the request wants."""
    for name, is_used, stand_in in _STAND_INS:
        if name not in honours and is_used(request):
            ask = stand_in(ask)
    ask = showing_sources(ask)
    if not request.stream or request.include_usage:
        ask = counting_tokens(ask)
    if request.show_reasoning is False:  # hidden, it has been paid for all the same
        ask = hiding_reasoning(ask)
    return ask
