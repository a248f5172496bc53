"""The `$web_search` loop: the model calls, the caller hands the arguments back (§3)."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulators.moonshot.request_check import WEB_SEARCH, last_results
from emulators.openai import Answer, Choice, ToolCall
from emulators.openai.refusal import Refused
from emulators.openai.request_check import Invalid

JSON = Mapping[str, Any]
RESULT_TOKENS = 8000


def declared(body: JSON) -> bool:
    """Return whether the request offers `$web_search`."""
    tools = body.get("tools") or ()
    return any(tool["function"]["name"] == WEB_SEARCH for tool in tools)


def rounds(body: JSON) -> int:
    """Return how many searches of this turn were handed back."""
    return len(
        [r for r in last_results(body["messages"]) if r.get("name") == WEB_SEARCH]
    )


def check_results(body: JSON, invalid: Invalid) -> None:
    """Want every search's arguments back unchanged and by name; raises Refused."""
    calls = {
        call["id"]: call["function"]
        for one in body["messages"]
        for call in one.get("tool_calls") or ()
    }
    for one in body["messages"]:
        function = calls.get(one.get("tool_call_id"))
        if function is None or function["name"] != WEB_SEARCH:
            continue
        if one.get("name") != WEB_SEARCH or one["content"] != function["arguments"]:
            message = f"the result of {WEB_SEARCH} must be its arguments unchanged"
            raise Refused(invalid(message, None, None))


def searching(number: int, kind: str) -> Answer:
    """Return the answer that asks for a search."""
    arguments = {
        "search_result": {"search_id": f"s-{number:03d}"},
        "usage": {"total_tokens": RESULT_TOKENS},
    }
    text = json.dumps(arguments, separators=(",", ":"))
    call = ToolCall(WEB_SEARCH, text, f"t-web_search-{number:03d}", kind)
    return Answer(Choice(tools=(call,), content_null=False))


def billed(answer: Answer, searches: int, prompt_tokens: int) -> Answer:
    """Return an answer whose prompt has the results of the searches in it."""
    if not searches:
        return answer
    count = prompt_tokens + searches * RESULT_TOKENS
    return replace(answer, usage={"prompt_tokens": count, **answer.usage})
