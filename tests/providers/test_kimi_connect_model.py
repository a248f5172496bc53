"""Discovery rows of the Connect wire and the requests they make (sheet §5, §9)."""

import json
from typing import Any

import pytest

from kimi_proxy.chat import Model
from kimi_proxy.errors import UpstreamGarbled
from kimi_proxy.providers.kimi_connect_model import (
    FALLBACK,
    Effort,
    Row,
    clamped,
    discovered,
    find,
    payload,
)

# The answer of connect sheet §9.
SHEET = {
    "availableModels": [
        {
            "scenario": "SCENARIO_CHAT",
            "key": "k2d6",
            "id": "k2d6-chat",
            "displayName": "Instant",
            "kimiPlusId": "",
            "agentMode": "TYPE_NORMAL",
            "reasoningEffortOptions": [
                {"effort": "REASONING_EFFORT_LOW", "displayName": "High"},
                {"effort": "REASONING_EFFORT_NONE", "displayName": "Standard"},
            ],
            "defaultReasoningEffort": "REASONING_EFFORT_LOW",
            "contextLengthOptions": [{"contextLength": "CONTEXT_LENGTH_L"}],
        }
    ],
    "defaultScenario": {"scenario": "SCENARIO_CHAT", "model": "k2d6-chat"},
}
OLD = {
    "availableModels": [
        {"scenario": "SCENARIO_K2D5", "displayName": "Instant", "thinking": False},
        {"scenario": "SCENARIO_K2D5", "displayName": "Thinking", "thinking": True},
        {"scenario": "SCENARIO_X", "kimiPlusId": "ok-computer", "thinking": False},
    ]
}
INSTANT = discovered(SHEET)[0]


def test_a_discovery_row_is_read() -> None:
    assert (
        Row(
            id="k2d6-chat",
            wire="k2d6-chat",
            key="k2d6",
            name="Instant",
            scenario="SCENARIO_CHAT",
            agent_mode="TYPE_NORMAL",
            efforts=("none", "low"),
            default_effort="low",
        )
        == INSTANT
    )
    assert INSTANT.model() == Model("k2d6-chat", "Instant", "moonshot", None, True)


def test_rows_of_an_older_build_get_names_of_their_own() -> None:
    rows = discovered(OLD)
    assert [row.id for row in rows] == ["k2d5", "k2d5-thinking", "x-ok-computer"]
    assert [row.model().reasoning for row in rows] == [False, True, False]
    options = payload("p", rows[1], search=False, effort=None)["options"]
    assert options == {"enable_plugin": False, "thinking": True}


@pytest.mark.parametrize(
    "document", [None, [], {}, {"availableModels": [5, {}, {"scenario": 5}]}]
)
def test_a_list_without_models_is_refused(document: object) -> None:
    with pytest.raises(UpstreamGarbled):
        discovered(document)


def test_an_unreadable_row_does_not_spoil_the_others() -> None:
    listed = [None, {"id": "x"}, *SHEET["availableModels"], *SHEET["availableModels"]]
    assert discovered({"availableModels": listed}) == (INSTANT,)


def in_rows(*rows: tuple[str, str], default: object) -> list[str]:
    listed = [{"scenario": scenario, "id": ident} for scenario, ident in rows]
    document = {"availableModels": listed, "defaultScenario": default}
    return [row.id for row in discovered(document)]


@pytest.mark.parametrize(
    ("default", "order"),
    [
        ({"scenario": "S", "model": "b"}, ["b", "a", "c"]),
        ({"scenario": "S"}, ["a", "b", "c"]),
        ({"scenario": "T"}, ["c", "a", "b"]),
        ({"scenario": "T", "model": "b"}, ["a", "b", "c"]),
        ({"scenario": "S", "model": "unknown"}, ["a", "b", "c"]),
        *((odd, ["a", "b", "c"]) for odd in (None, {}, "S", {"scenario": 5})),
    ],
)
def test_the_services_default_model_goes_first(
    default: object, order: list[str]
) -> None:
    assert in_rows(("S", "a"), ("S", "b"), ("T", "c"), default=default) == order


def test_a_model_is_found_by_id_and_by_key() -> None:
    assert find(FALLBACK, "k3-agent") is find(FALLBACK, "k3") is not None
    assert find(FALLBACK, "k9") is None
    assert find(discovered(OLD), "") is None


def test_an_agent_that_a_row_names_is_asked_as_that_row_says() -> None:
    assert find(FALLBACK, "ok-computer") is find(FALLBACK, "k3-agent")
    agent = "madeupagent000000020"
    row = Row("mine", "Mine", "SCENARIO_OF_ITS_OWN", "mine-1", kimiplus=agent)
    assert find((*FALLBACK, row), agent) is row


def test_the_smallest_request_is_the_sheets() -> None:
    body = payload("Say hi", INSTANT, search=False, effort="none")
    assert body == {
        "scenario": "SCENARIO_CHAT",
        "tools": [],
        "message": {
            "role": "user",
            "blocks": [{"message_id": "", "text": {"content": "Say hi"}}],
            "scenario": "SCENARIO_CHAT",
            "is_goal": False,
        },
        "options": {
            "thinking": False,
            "enable_plugin": False,
            "reasoning_effort": "REASONING_EFFORT_NONE",
            "model": "k2d6-chat",
        },
        "project_id": "",
        "agent_mode": "TYPE_NORMAL",
    }
    assert "chat_id" not in json.dumps(body)


def test_search_is_a_tool_and_only_on_request() -> None:
    tools = payload("p", INSTANT, search=True, effort=None)["tools"]
    assert tools == [{"type": "TOOL_TYPE_SEARCH", "search": {}}]


def test_an_agents_row_names_agent_and_mode() -> None:
    row = Row(
        "a", "A", "SCENARIO_S", "a", kimiplus="ok-computer", agent_mode="TYPE_ULTRA"
    )
    body = payload("p", row, search=False, effort=None)
    assert (body["kimiplus_id"], body["agent_mode"]) == ("ok-computer", "TYPE_ULTRA")
    assert body["scenario"] == body["message"]["scenario"] == "SCENARIO_S"
    assert body["options"] == {"enable_plugin": True, "model": "a"}


K3 = find(FALLBACK, "k3-agent")
assert K3 is not None


@pytest.mark.parametrize(
    ("row", "effort", "thinking", "sent"),
    [
        (INSTANT, None, True, "LOW"),
        (INSTANT, "none", False, "NONE"),
        (INSTANT, "low", True, "LOW"),
        (INSTANT, "max", True, "LOW"),
        (K3, None, True, "HIGH"),
        (K3, "none", False, "LOW"),
        (K3, "low", True, "LOW"),
        (K3, "medium", True, "LOW"),
        (K3, "high", True, "HIGH"),
        (K3, "max", True, "MAX"),
        (Row("a", "A", "S", "a"), "high", True, None),
        (Row("a", "A", "S", "a"), "none", False, None),
        (Row("a", "A", "S", "a", efforts=("none",)), "high", False, "NONE"),
        (Row("a", "A", "S", "a", efforts=("none", "high")), "low", True, "HIGH"),
        (Row("a", "A", "S", thinking=True), "none", False, None),
        (Row("a", "A", "S", thinking=True), None, True, None),
        (Row("a", "A", "S", thinking=True), "low", True, None),
        (Row("a", "A", "S", thinking=False), None, False, None),
        (Row("a", "A", "S", thinking=False), "high", True, None),
        (Row("a", "A", "S", thinking=False), "none", False, None),
    ],
)
def test_the_effort_asked_for_is_cut_to_what_the_row_offers(
    row: Row, effort: Effort | None, thinking: bool, sent: str | None
) -> None:
    options: dict[str, Any] = payload("p", row, search=False, effort=effort)["options"]
    assert options["thinking"] is thinking
    expected = f"REASONING_EFFORT_{sent}" if sent else None
    assert options.get("reasoning_effort") == expected


def test_without_a_wish_or_an_offer_there_is_no_effort() -> None:
    assert clamped(None, ("low",)) is None
    assert clamped("low", ()) is None


def test_the_built_in_rows_are_those_of_september_2026() -> None:
    assert {row.id: (row.key, row.scenario) for row in FALLBACK} == {
        "k2d6-chat": ("k2d6", "SCENARIO_CHAT"),
        "k28-agent-preview": ("k28-preview", "SCENARIO_OK_COMPUTER"),
        "k3-agent": ("k3", "SCENARIO_OK_COMPUTER"),
        "k3-agent-swarm": ("k3-agent-ultra", "SCENARIO_OK_COMPUTER_SWARM"),
    }
    assert all(row.model().context_length is None for row in FALLBACK)
