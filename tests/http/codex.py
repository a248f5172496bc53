"""An agent that works as Codex does: what it sends, what it reads, what it does.

Every turn it sends its whole history as items, reads the items of the answer as each is
done, carries out their calls in a directory, and goes on until an answer has no call.
"""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.http import responses_grammar
from tests.http.responses_grammar import Stream

Wire = dict[str, Any]

TOOLS: list[Wire] = [
    {
        "type": "function",
        "name": "exec_command",
        "description": "Runs a command.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"cmd": {"type": "array", "items": {"type": "string"}}},
            "required": ["cmd"],
            "additionalProperties": False,
        },
    },
    {
        "type": "function",
        "name": "update_plan",
        "description": "Updates the plan.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"plan": {"type": "array", "items": {"type": "object"}}},
            "required": ["plan"],
        },
    },
    {
        "type": "custom",
        "name": "write_file",
        "description": "Writes a file: its name in the first line, then its content.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"},
    },
    {"type": "local_shell"},
    {"type": "web_search", "external_web_access": False},
]


def body(model: str, history: list[Wire]) -> Wire:
    """A request as Codex writes it."""
    return {
        "model": model,
        "instructions": "You are a coding agent. Use the tools.",
        "input": history,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0191-made-up",
        "text": {"verbosity": "medium"},
        "client_metadata": {"x-codex-installation-id": "made up"},
    }


@dataclass(slots=True)
class Agent:
    """One session; `turns` are the streams it read."""

    client: Any
    model: str
    directory: Path
    turns: list[Stream] = field(default_factory=list)
    history: list[Wire] = field(default_factory=list)

    def work(self, task: str, most: int = 20) -> str:
        """Do a task; what was said at its end."""
        text = [{"type": "input_text", "text": task}]
        self.history.append({"type": "message", "role": "user", "content": text})
        for _ in range(most):
            items = self._turn()
            calls = [item for item in items if item["type"].endswith("_call")]
            self.history += map(_kept, items)
            if not calls:
                return self.turns[-1].text
            self.history += map(self._result, calls)
        raise AssertionError("it never ends")

    def _turn(self) -> list[Wire]:
        asked = body(self.model, self.history)
        answer = self.client.post("/v1/responses", json=asked)
        assert answer.status_code == 200, answer.data
        stream = responses_grammar.read(answer.data)
        self.turns.append(stream)
        assert stream.kinds[-1] == "completed", stream.response["error"]
        done = "response.output_item.done"
        return [e["item"] for e in stream.events if e["type"] == done]

    def _result(self, call: Wire) -> Wire:
        kind = f"{call['type']}_output"
        if call["type"] == "local_shell_call":
            kind = "function_call_output"
        return {"type": kind, "call_id": call["call_id"], "output": self._do(call)}

    def _do(self, call: Wire) -> str:
        match call:
            case {"type": "custom_tool_call", "name": "write_file", "input": text}:
                name, _, content = text.partition("\n")
                (self.directory / name).write_text(content)
                return "written"
            case {"type": "local_shell_call", "action": {"command": command}}:
                return self._run(command)
            case {"type": "function_call", "name": "exec_command"}:
                return self._run(json.loads(call["arguments"])["cmd"])
            case {"type": "function_call", "name": "update_plan"}:
                return "Plan updated"
        raise AssertionError(f"a call of nothing: {call}")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, check=False
        )
        return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def _kept(item: Wire) -> Wire:
    """An item as it is sent again: neither its id nor how it ended."""
    return {k: v for k, v in item.items() if k not in {"id", "status"}}
