"""A model that works as a coding agent's does: ten steps, then it is done.

It goes by what it reads: tools that were described in the chat, and the results of the
step before, each of which says "step N". Where a tool failed it has to read that it
did, or it says so and stops.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.chaos.tool_model import FORMS

Call = tuple[str, str]
_RESULT = re.compile(r"<tool_result [^>]*>\n(The tool reported an error:\n)?step (\d+)")


def _call(name: str, **given: Any) -> Call:
    return name, json.dumps(given, ensure_ascii=False)


STEPS: tuple[tuple[Call, ...], ...] = (
    (_call("Glob", pattern="**/*.py"), _call("Read", file_path="/src/a.py")),
    (_call("Edit", file_path="/src/a.py", old_string="nope", new_string="x"),),
    (_call("Read", file_path="/src/a.py"), _call("Read", file_path="/src/缺.py")),
    (_call("Edit", file_path="/src/a.py", old_string="1 + 1", new_string="'</a>'\n"),),
    (_call("Bash", command='pytest -q "tests/" && echo \\o/'),),
    (_call("Screenshot"),),
    (_call("Edit", file_path="/src/b.py", old_string="{}", new_string='{"k": [1]}'),),
    (_call("Bash", command="pytest"), _call("Read", file_path="/src/b.py")),
    (_call("Bash", command="git diff"), _call("Glob", pattern="*")),
    (_call("Bash", command="git commit -m '完成 😀'"),),
)
FAILING = {(2, "Edit"), (5, "Bash")}  # the steps whose tool reports an error
THOUGHT = "First I look around."
DONE = "All ten steps are done."


class AgentModel:
    """Call `answer` with a prompt; `prompts` are those it has read."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self._taught = False

    def answer(self, prompt: str, body: Mapping[str, Any]) -> str:
        self.prompts.append(prompt)
        self._taught = self._taught or all(
            f"## {name}" in prompt for name in ("Read", "Edit", "Bash", "Glob")
        )
        if not self._taught:
            return "I know of no tools."
        results = [(int(step), bool(why)) for why, step in _RESULT.findall(prompt)]
        done = max((step for step, _ in results), default=0)
        if done and (wrong := self._amiss(done, results)):
            return wrong
        if done == len(STEPS):
            return DONE
        return f"Step {done + 1}.\n\n{FORMS[done % len(FORMS)](list(STEPS[done]))}"

    def _amiss(self, done: int, results: list[tuple[int, bool]]) -> str | None:
        last = [failed for step, failed in results if step == done]
        if len(last) != len(STEPS[done - 1]):
            return f"Of step {done} there are {len(last)} results."
        expected = any(step == done for step, _ in FAILING)
        return None if any(last) == expected else f"Step {done}: did it fail?"
