"""The Chat request, checked against connect sheet §5 and the discovery rows of §9."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from emulators.kimi_connect import catalog
from emulators.kimi_connect.caller import Caller, snake
from emulators.kimi_connect.error import ERRORS, Refusal, denied, invalid, missing
from emulators.kimi_connect.world import Chat, World

_FIELDS: Mapping[str, frozenset[str]] = {
    "": frozenset(
        "scenario tools message options project_id chat_id kimiplus_id"
        " kimi_plus_id agent_mode".split()
    ),
    "message": frozenset(
        "id role blocks scenario is_goal parent_id children_message_ids labels"
        " references".split()
    ),
    "options": frozenset(
        "thinking enable_plugin reasoning_effort model context_length"
        " system_prompt".split()
    ),
}
_TOOLS = frozenset(
    f"TOOL_TYPE_{name}"
    for name in ("SEARCH", "CRON_JOB", "ASK_USER", "DEVICE_TOOL", "PARALLEL_AGENT_V2")
)
_EFFORTS = frozenset(
    f"REASONING_EFFORT_{name}" for name in ("NONE", "LOW", "MEDIUM", "HIGH", "MAX")
)
_CONTEXTS = frozenset(("CONTEXT_LENGTH_L", "CONTEXT_LENGTH_XL"))
_BUILT_IN_AGENTS = ("deep-researcher", "ok-computer")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A valid Chat request; `chat` None asks for a new one. `body` has snake keys."""

    body: Mapping[str, Any]
    text: str
    blocks: tuple[Mapping[str, Any], ...]
    chat: Chat | None
    parent_id: str
    model: str
    thinking: bool
    search: bool
    asks: bool
    swarm: bool

    @property
    def last_request(self) -> dict[str, Any]:
        """What GetChat shows as `lastRequest`."""
        return {
            "scenario": self.body["scenario"],
            "options": dict(self.body["options"]),
            "tools": list(self.body.get("tools", [])),
        }


def parse(world: World, caller: Caller, value: Any) -> Prompt:
    """Return the request as the service understands it; raises Refusal."""
    body = snake(value)
    message = _object(body, "message")
    options = _object(body, "options")
    _known_fields(body, message, options)
    _scenario(body, message)
    tools = _tools(body)
    row = _model(caller, body, options)
    _agent(world, body, row, tools)
    _effort(caller, options, row)
    blocks, text = _blocks(world, caller, message)
    chat = _chat(world, caller, body)
    return Prompt(
        body=body,
        text=text,
        blocks=tuple(blocks),
        chat=chat,
        parent_id=_parent(chat, message),
        model=row.get("id", ""),
        thinking=_wants_thinking(options),
        search="TOOL_TYPE_SEARCH" in tools,
        asks="TOOL_TYPE_ASK_USER" in tools,
        swarm=row["agentMode"] == "TYPE_ULTRA",
    )


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, Mapping):
        raise invalid(name, "value is required")
    return value


def _known_fields(
    body: Mapping[str, Any], message: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    for prefix, value in (("", body), ("message", message), ("options", options)):
        for name in value:
            if name not in _FIELDS[prefix]:
                raise invalid(f"{prefix}.{name}".strip("."), "unknown field")


def _scenario(body: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    if not isinstance(body.get("scenario"), str):
        raise invalid("scenario", "value is required")
    if message.get("scenario") != body["scenario"]:
        raise invalid("message.scenario", "must equal scenario")
    if message.get("role") != "user":
        raise invalid("message.role", "must be user")


def _tools(body: Mapping[str, Any]) -> set[str]:
    tools = body.get("tools", [])
    if not isinstance(tools, list):
        raise invalid("tools", "must be a list")
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind not in _TOOLS:
            raise invalid("tools.type", "unknown tool type")
        if kind == "TOOL_TYPE_DEVICE_TOOL" and not tool.get("name"):
            raise invalid("tools.name", "value is required")
    return {tool["type"] for tool in tools}


def _model(
    caller: Caller, body: Mapping[str, Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the discovery row of the request, in the bucket its build number got."""
    rows = catalog.old_models() if caller.old_build else catalog.models()
    wanted, scenario = options.get("model"), body["scenario"]
    if not any(row["scenario"] == scenario for row in rows):
        raise invalid("scenario", "unknown scenario")
    row = next(
        (
            r
            for r in rows
            if wanted in (None, r.get("id")) and r["scenario"] == scenario
        ),
        None,
    )
    if row is None:
        known = any(wanted == r.get("id") for r in rows)
        text = "does not belong to the scenario" if known else "unknown model"
        raise invalid("scenario" if known else "options.model", text)
    if not caller.account.reaches(row.get("minMembershipLevel", "")):
        raise denied("the model is not in your plan")
    if row.get("key") == "k3" and not caller.account.reaches("LEVEL_BASIC"):
        raise Refusal(ERRORS["overloaded_free"])
    return row


def _agent(
    world: World, body: Mapping[str, Any], row: Mapping[str, Any], tools: set[str]
) -> None:
    """Check agent and mode, which every request of a chat has to name (§12).

    What an agent needs is known, not what it does without: here it is refused.
    """
    mode = body.get("agent_mode", "TYPE_NORMAL")
    if mode != row["agentMode"]:
        raise invalid("agent_mode", f"the model needs {row['agentMode']}")
    agent = body.get("kimiplus_id", body.get("kimi_plus_id")) or ""
    if not agent and row["kimiPlusId"]:
        raise invalid("kimiplus_id", f"the model needs {row['kimiPlusId']}")
    if agent and agent not in (*_BUILT_IN_AGENTS, *world.knobs.agents):
        raise missing("agent")
    if agent == "ok-computer" and row["kimiPlusId"] != agent:
        raise denied("the agent is not available with this model")
    if agent and body["options"].get("enable_plugin") is not True:
        raise invalid("options.enable_plugin", "agents need it")
    if agent == "deep-researcher":
        if not row["kimiPlusId"]:
            raise invalid("scenario", "research needs an agent's scenario")
        if "TOOL_TYPE_ASK_USER" not in tools:
            raise invalid("tools", "research needs TOOL_TYPE_ASK_USER")


def _effort(caller: Caller, options: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    for name in ("thinking", "enable_plugin"):
        if not isinstance(options.get(name, False), bool):
            raise invalid(f"options.{name}", "must be a bool")
    effort = options.get("reasoning_effort")
    offered = {o["effort"] for o in row.get("reasoningEffortOptions", [])} or _EFFORTS
    if effort is not None and effort not in offered:
        raise invalid("options.reasoning_effort", "not offered by the model")
    length = options.get("context_length")
    if length is None:
        return
    levels = {
        option["contextLength"]: option["minMembershipLevel"]
        for option in row.get("contextLengthOptions", [])
    }
    if length not in _CONTEXTS or length not in levels:
        raise invalid("options.context_length", "not offered by the model")
    if not caller.account.reaches(levels[length]):
        raise denied("the context length is not in your plan")


def _wants_thinking(options: Mapping[str, Any]) -> bool:
    """NONE is off and `thinking: false` is off; either of the two may ask for it."""
    effort, thinking = options.get("reasoning_effort"), options.get("thinking")
    if effort == "REASONING_EFFORT_NONE" or thinking is False:
        return False
    return bool(effort or thinking)


def _blocks(
    world: World, caller: Caller, message: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    blocks = message.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        raise invalid("message.blocks", "value is required")
    stored: list[dict[str, Any]] = []
    texts: list[str] = []
    for index, block in enumerate(blocks, 1):
        text, file = _one_of(block)
        if file is not None:
            if texts:
                raise invalid("message.blocks", "files go before the text")
            _usable_file(world, caller, file)
            stored.append({"id": str(index), "file": {"id": file}})
        else:
            texts.append(text)
            stored.append({"id": str(index), "text": {"content": text}})
    if not any(text.strip() for text in texts):
        raise invalid("message.blocks", "text is required")
    return stored, "\n".join(texts)


def _one_of(block: Any) -> tuple[str, str | None]:
    content: dict[str, str | None] = {"text": None, "file": None}
    if isinstance(block, Mapping):
        if not set(block) <= {"id", "message_id", "text", "file"}:
            raise invalid("message.blocks", "unknown field")
        content = {
            "text": _inner(block, "text", "content"),
            "file": _inner(block, "file", "id"),
        }
    if (content["text"] is None) == (content["file"] is None):
        raise invalid("message.blocks", "needs text.content or file.id")
    return content["text"] or "", content["file"]


def _inner(block: Mapping[str, Any], name: str, key: str) -> str | None:
    value = block.get(name)
    value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _usable_file(world: World, caller: Caller, file_id: str) -> None:
    file = world.files.get(file_id)
    if file is None or file.owner != caller.account.name:
        raise missing("file")
    if file.status() != "PROCESS_STATUS_SUCCESS":
        raise invalid("message.blocks.file", "the file is not parsed yet")


def _chat(world: World, caller: Caller, body: Mapping[str, Any]) -> Chat | None:
    if "chat_id" not in body:
        return None
    if body["chat_id"] == "":
        if world.knobs.refuse_empty_chat_id:
            raise invalid("chat_id", "must be a uuid")
        return None
    return world.chats.get(caller.account, body["chat_id"])


def _parent(chat: Chat | None, message: Mapping[str, Any]) -> str:
    parent = message.get("parent_id") or ""
    answers = [m for m in chat.messages if m.role == "assistant"] if chat else []
    known: Collection[str] = [message.id for message in answers]
    if parent and parent not in known:
        raise missing("parent message")
    if known and not parent:
        raise invalid("message.parent_id", "value is required in a follow-up")
    return parent
