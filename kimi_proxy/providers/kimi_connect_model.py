"""Models of the Connect wire: discovery rows, and the request a row asks for.

Nothing about a model is guessed from its name: scenario, agent, mode and efforts come
from discovery (connect sheet §9), or from the rows seen in September 2026 as long as
nothing was discovered.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kimi_proxy.chat import Effort, Model, Thread
from kimi_proxy.errors import UpstreamGarbled
from kimi_proxy.providers.json_part import text_of

_OWNER: Final = "moonshot"
_EFFORTS: Final[tuple[Effort, ...]] = ("none", "low", "medium", "high", "max")
_EFFORT_PREFIX: Final = "REASONING_EFFORT_"
_AGENT: Final = re.compile(r"[0-9a-z]{20}")
_RESEARCH: Final = "deep-researcher"
_SEARCHES: Final[Mapping[str, Any]] = {"type": "TOOL_TYPE_SEARCH", "search": {}}
_ASKS: Final[Mapping[str, Any]] = {"type": "TOOL_TYPE_ASK_USER"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of discovery.

    `id` is what clients ask for; `wire` is what `options.model` gets, None in older
    builds, which know no model ids. `efforts` are those on offer, weakest first;
    `thinking` is the switch of a row, None when the row does not tell.
    """

    id: str
    name: str
    scenario: str
    wire: str | None = None
    key: str = ""
    kimiplus: str = ""
    agent_mode: str = ""
    efforts: tuple[Effort, ...] = ()
    default_effort: Effort | None = None
    thinking: bool | None = None

    def model(self) -> Model:
        """The row as the waist knows it; no source tells its tokens of context."""
        thinks = bool(self.thinking) or any(e != "none" for e in self.efforts)
        return Model(self.id, self.name, _OWNER, None, thinks)


# The rows of September 2026, as far as connect sheet §9 tells them.
FALLBACK: Final = (
    Row(
        id="k2d6-chat",
        wire="k2d6-chat",
        key="k2d6",
        name="Instant",
        scenario="SCENARIO_CHAT",
        agent_mode="TYPE_NORMAL",
        efforts=("none", "low"),
        default_effort="low",
    ),
    Row(
        id="k28-agent-preview",
        wire="k28-agent-preview",
        key="k28-preview",
        name="k28-agent-preview",
        scenario="SCENARIO_OK_COMPUTER",
    ),
    Row(
        id="k3-agent",
        wire="k3-agent",
        key="k3",
        name="k3-agent",
        scenario="SCENARIO_OK_COMPUTER",
        kimiplus="ok-computer",
        efforts=("low", "high", "max"),
        default_effort="high",
    ),
    Row(
        id="k3-agent-swarm",
        wire="k3-agent-swarm",
        key="k3-agent-ultra",
        name="k3-agent-swarm",
        scenario="SCENARIO_OK_COMPUTER_SWARM",
        agent_mode="TYPE_ULTRA",
    ),
)


def discovered(document: object) -> tuple[Row, ...]:
    """The rows of a GetAvailableModels answer, the service's default one first.

    A row without a scenario is left out. Raises `UpstreamGarbled` when no usable row
    is in it.
    """
    listed = document.get("availableModels") if isinstance(document, dict) else None
    rows: dict[str, Row] = {}
    for item in listed if isinstance(listed, list) else ():
        row = _row(item) if isinstance(item, dict) else None
        if row is not None:
            rows.setdefault(row.id, row)
    if not rows:
        raise UpstreamGarbled("Kimi's list of models has no model in it")
    default = _default(document, rows.values())
    return tuple(sorted(rows.values(), key=lambda row: row is not default))


def with_research(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows, and deep research where they name an agent whose scenario it shares.

    The service lists it nowhere (sheet §12).
    """
    plain = [row for row in rows if row.agent_mode in ("", "TYPE_NORMAL")]
    scenario = next((row.scenario for row in plain if row.kimiplus), None)
    base = next((row for row in plain if row.scenario == scenario), None)
    if base is None or any(row.kimiplus == _RESEARCH for row in rows):
        return rows
    name = "Deep Research"
    row = replace(base, id=_RESEARCH, name=name, key="", kimiplus=_RESEARCH)
    return (*rows, row)


def find(rows: tuple[Row, ...], model: str) -> Row | None:
    """The row of that id, else of that key, else of the agent with that id.

    An agent that no row names, known by 20 characters, is asked in the default row's
    scenario (sheet §12); whether it exists only the service can tell.
    """
    by_id = (row for row in rows if row.id == model)
    by_key = (row for row in rows if row.key and row.key == model)
    by_agent = (row for row in rows if row.kimiplus and row.kimiplus == model)
    found = next(by_id, None) or next(by_key, None) or next(by_agent, None)
    if found is None and _AGENT.fullmatch(model):
        return replace(rows[0], id=model, name=model, key="", kimiplus=model)
    return found


def payload(
    prompt: str,
    row: Row,
    *,
    search: bool,
    effort: Effort | None,
    follows: Thread | None = None,
) -> dict[str, Any]:
    """The Chat request for a new conversation or a next turn (connect sheet §5)."""
    body: dict[str, Any] = {
        "scenario": row.scenario,
        "tools": _tools(row, search),
        "message": {
            "role": "user",
            "blocks": [{"message_id": "", "text": {"content": prompt}}],
            "scenario": row.scenario,
            "is_goal": False,
        },
        "options": _options(row, effort),
        "project_id": "",
    }
    if follows is not None:
        body["chat_id"] = follows.chat
        if follows.head is not None:
            body["message"]["parent_id"] = follows.head
    # Absent where empty: that is how the web writes a normal chat.
    agent = {"kimiplus_id": row.kimiplus, "agent_mode": row.agent_mode}
    return body | {name: value for name, value in agent.items() if value}


def _tools(row: Row, search: bool) -> list[Mapping[str, Any]]:
    """What the model may use; deep research has to be able to ask back (sheet §12)."""
    asks = [_ASKS] if row.kimiplus == _RESEARCH else []
    return [_SEARCHES, *asks] if search else asks


def _options(row: Row, wanted: Effort | None) -> dict[str, Any]:
    effort = clamped(wanted or row.default_effort, row.efforts)
    thinking = row.thinking if wanted is None else wanted != "none"
    if wanted != "none" and effort is not None:
        thinking = effort != "none"
    options: dict[str, Any] = {"enable_plugin": bool(row.kimiplus)}
    if thinking is not None:
        options["thinking"] = thinking
    if effort is not None:
        options["reasoning_effort"] = _EFFORT_PREFIX + effort.upper()
    if row.wire is not None:
        options["model"] = row.wire
    return options


def clamped(wanted: Effort | None, offered: tuple[Effort, ...]) -> Effort | None:
    """The effort on offer that comes nearest: the next weaker one, else the weakest.

    Thinking that was asked for is only switched off when nothing else is on offer.
    None when nothing is asked for or offered.
    """
    if wanted is None or not offered:
        return None
    if wanted != "none":
        offered = tuple(effort for effort in offered if effort != "none") or offered
    rank = _EFFORTS.index(wanted)
    weaker = [effort for effort in offered if _EFFORTS.index(effort) <= rank]
    return weaker[-1] if weaker else offered[0]


def _default(document: object, rows: Iterable[Row]) -> Row | None:
    """The row that `defaultScenario` names; older builds name a scenario only."""
    told = document.get("defaultScenario") if isinstance(document, dict) else None
    if not isinstance(told, dict):
        return None
    scenario, wire = text_of(told, "scenario"), text_of(told, "model")
    fitting = (row for row in rows if row.scenario == scenario)
    return next((row for row in fitting if wire in ("", row.wire)), None)


def _row(item: Mapping[str, Any]) -> Row | None:
    scenario = text_of(item, "scenario")
    if not scenario:
        return None
    wire = text_of(item, "id")
    thinking = item.get("thinking")
    thinking = thinking if isinstance(thinking, bool) else None
    kimiplus = text_of(item, "kimiPlusId")
    ident = wire or _made_up_id(scenario, kimiplus, thinking)
    return Row(
        id=ident,
        name=text_of(item, "displayName") or ident,
        scenario=scenario,
        wire=wire or None,
        key=text_of(item, "key"),
        kimiplus=kimiplus,
        agent_mode=text_of(item, "agentMode"),
        efforts=_offered(item.get("reasoningEffortOptions")),
        default_effort=_effort(item.get("defaultReasoningEffort")),
        thinking=thinking,
    )


def _made_up_id(scenario: str, kimiplus: str, thinking: bool | None) -> str:
    """A name for a row of an older build: what makes it unlike the others."""
    parts = [scenario.removeprefix("SCENARIO_"), kimiplus, "thinking" * bool(thinking)]
    name = "-".join(filter(None, parts)).lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def _offered(options: object) -> tuple[Effort, ...]:
    listed = options if isinstance(options, list) else []
    found = {
        _effort(option.get("effort")) for option in listed if isinstance(option, dict)
    }
    return tuple(effort for effort in _EFFORTS if effort in found)


def _effort(name: object) -> Effort | None:
    told = str(name).removeprefix(_EFFORT_PREFIX).lower()
    return next((effort for effort in _EFFORTS if effort == told), None)
