"""A model that works with tools in five steps, and writes each call in another form.

It goes by what it reads: the tools, which have to be described in the chat, and the
results of the step before, each of which says "step N". It makes no mistake but those
it is told to make: `mistakes` are answers that come before its next right ones. One
that is `taught` knows its tools without reading of them.
"""

import re
from collections.abc import Mapping
from typing import Any

_RESULT = re.compile(r"<tool_result [^>]*>\nstep (\d+)")
OSLO = ("get_weather", '{"city": "Oslo"}')
TRICKY = ("get_weather", '{"city": "</tool_call> 北京 \\"<|tool_call_end|>"}')
SUM = ("add", '{"a": 2, "b": 3}')
STEPS = ([OSLO, SUM], [TRICKY], [OSLO, SUM], [SUM], [TRICKY, SUM])
WORDS = "I look it up."
DONE = "Done, after 5 steps."


def ours(calls: list[tuple[str, str]]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in calls
    )


def _kimi(calls: list[tuple[str, str]]) -> str:
    inner = "".join(
        f"<|tool_call_begin|>functions.{name}:{number}"
        f"<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"
        for number, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inner}<|tool_calls_section_end|>"


def _named(calls: list[tuple[str, str]]) -> str:
    inner = "\n".join(
        f"<name>{name}</name>\n<arguments>{arguments}</arguments>"
        for name, arguments in calls
    )
    return f"<function_calls>\n{inner}\n</function_calls>"


def _fenced(calls: list[tuple[str, str]]) -> str:
    inner = "\n".join(
        f'{{"name": "{name}", "arguments": {arguments}}}' for name, arguments in calls
    )
    return f"```json\n{inner}\n```"


def _bracketed(calls: list[tuple[str, str]]) -> str:
    inner = "\n".join(f"[call:{name}]{arguments}[/call]" for name, arguments in calls)
    return f"[function_calls]{inner}[/function_calls]"


FORMS = (ours, _kimi, _named, _fenced, _bracketed)


class ToolModel:
    """Call it with a prompt; `prompts` are those it has read."""

    def __init__(self, *mistakes: str, taught: bool = False) -> None:
        self.prompts: list[str] = []
        self._mistakes = list(mistakes)
        self._taught = taught

    def answer(self, prompt: str, body: Mapping[str, Any]) -> str:
        self.prompts.append(prompt)
        self._taught = self._taught or "## get_weather" in prompt
        if not self._taught:
            return "I know of no tools."
        if self._mistakes:
            return self._mistakes.pop(0)
        steps = [int(step) for step in _RESULT.findall(prompt)]
        done = max(steps, default=0)
        if done and steps.count(done) != len(STEPS[done - 1]):
            return f"Of step {done} there are {steps.count(done)} results."
        if done == len(STEPS):
            return DONE
        return f"{WORDS}\n\n{FORMS[done](STEPS[done])}\nI wait."
