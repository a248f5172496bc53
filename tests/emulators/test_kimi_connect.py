"""The Chat request and a good answer's stream (connect sheet §4–§7)."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import (
    Answer,
    KimiConnectEmulator,
    SearchHit,
    bracket_citation,
    citation,
)
from tests.emulators.connect_client import Reply, Web, enveloped, k3, message

SEARCH = {"type": "TOOL_TYPE_SEARCH", "search": {}}
HITS = (
    SearchHit("Oslo weather", "https://example.org/oslo"),
    SearchHit("Unused", "https://example.org/unused", used=False),
)
LONG = "The quick brown 狐狸 jumps 🦊 over the lazy dog, again and again, to the end."
THINKING = {
    "options.thinking": True,
    "options.reasoning_effort": "REASONING_EFFORT_LOW",
}


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        yield emulator


@pytest.fixture
def web(kimi: KimiConnectEmulator) -> Web:
    return Web(kimi, kimi.add_account("alice").access)


def refusal(reply: Reply) -> dict[str, Any]:
    """Return the error of a Chat that was refused before anything was said."""
    assert (reply.status, reply.events, reply.tail) == (200, [], b"")
    assert reply.trailer is not None
    return dict(reply.trailer["error"])


def refused_field(reply: Reply) -> str:
    """Return the dotted name of the field that a refusal names."""
    error = refusal(reply)
    assert error["code"] == "invalid_argument"
    elements = error["details"][0]["debug"]["violations"][0]["field"]["elements"]
    return ".".join(element["fieldName"] for element in elements)


def ids(reply: Reply) -> tuple[str, str]:
    """Return the ids of the chat and of the assistant's message."""
    chat = next(event["chat"]["id"] for event in reply.events if "chat" in event)
    return chat, next(
        event["message"]["id"]
        for event in reply.events
        if event.get("message", {}).get("role") == "assistant"
    )


def test_the_default_answer_quotes_the_prompt_word_for_word(web: Web) -> None:
    reply = web.chat(message(LONG))
    assert reply.headers["content-type"] == "application/connect+json"
    assert reply.said() == f"You said: {LONG}"
    assert reply.trailer == {}
    assert reply.tail == b""


def test_the_stream_has_the_events_of_the_sheet_in_order(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = Answer("Cold.", "Hm", pieces=5, search=HITS, name="Oslo")
    reply = web.chat(message("Weather?", tools=[SEARCH], **THINKING))
    assert reply.events[0] == {"heartbeat": {}}
    assert reply.masks == [
        "chat",
        "message",
        "message",
        "message",
        "block.multiStage",
        "block.think",
        "block.stage",
        "block.tool",
        "block.tool.args",
        "block.tool.args",
        "block.tool.contents",
        "block.tool.contents",
        "message.refs.searchChunks",
        "block.text",
        "message.refs.usedSearchChunks",
        "chat.name",
        "message.status",
    ]
    assert reply.events[-1] == {"done": {}}
    offsets = [event["eventOffset"] for event in reply.events if "mask" in event]
    assert offsets == sorted(set(offsets))


def test_the_prompt_is_echoed_under_the_users_message(web: Web) -> None:
    events = web.chat(message(LONG)).events
    roles = [event["message"].get("role") for event in events if "message" in event]
    assert roles == ["system", "user", "assistant", None]
    echo = next(e for e in events if e.get("message", {}).get("role") == "user")
    assert echo["message"]["blocks"] == [{"id": "1", "text": {"content": LONG}}]
    assert echo["message"]["status"] == "MESSAGE_STATUS_COMPLETED"


def test_block_ids_start_anew_in_each_message(web: Web) -> None:
    for _ in range(2):
        blocks = [e["block"]["id"] for e in web.chat().events if "block" in e]
        assert set(blocks) == {"1"}


@pytest.mark.parametrize("texts", ["append", "set", "mixed"])
def test_every_mix_of_set_and_append_tells_the_same_text(
    web: Web, kimi: KimiConnectEmulator, texts: str
) -> None:
    kimi.answer = Answer(LONG, LONG[::-1], pieces=4)
    kimi.knobs.texts = texts
    reply = web.chat(message(**THINKING))
    assert (reply.said("text"), reply.said("think")) == (LONG, LONG[::-1])
    sets, repeats, sofar = 0, 0, ""
    for event in reply.events:
        content = event.get("block", {}).get("text", {}).get("content", "")
        if event.get("mask") == "block.text":
            sets += 1
            repeats += content == sofar
            sofar = content
        else:
            sofar += content
    assert (sets > 1, repeats > 0) == (texts != "append", texts == "mixed")


def test_pieces_are_the_content_frames(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.answer = Answer("abc", pieces=("a", "", "bc"))
    kimi.knobs.texts = "append"
    contents = [
        event["block"]["text"]["content"]
        for event in web.chat().events
        if "text" in event.get("block", {})
    ]
    assert contents == ["a", "", "bc"]
    with pytest.raises(ValueError, match="pieces"):
        Answer("abc", pieces=("a", "b"))


@pytest.mark.parametrize(
    ("thinking", "effort", "shown"),
    [
        (True, "REASONING_EFFORT_LOW", True),
        (True, None, True),
        (None, "REASONING_EFFORT_LOW", True),
        (True, "REASONING_EFFORT_NONE", False),
        (False, "REASONING_EFFORT_LOW", False),
        (None, None, False),
    ],
)
def test_thinking_is_sent_only_when_asked_for(
    web: Web, thinking: bool | None, effort: str | None, shown: bool
) -> None:
    options = {"options.thinking": thinking, "options.reasoning_effort": effort}
    reply = web.chat(message(**options))
    assert bool(reply.said("think")) == shown
    assert ("block.multiStage" in reply.masks) == shown


def test_search_runs_only_when_its_tool_is_declared(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = Answer("Cold.", search=HITS)
    assert "block.tool" not in web.chat().masks
    events = web.chat(message(tools=[SEARCH])).events
    used = next(
        event["message"]["refs"]["usedSearchChunks"]
        for event in events
        if event.get("mask") == "message.refs.usedSearchChunks"
    )
    assert [chunk["base"]["url"] for chunk in used] == ["https://example.org/oslo"]
    call = next(event for event in events if event.get("mask") == "block.tool")
    assert call["block"]["tool"] == {"toolCallId": "web_search:1", "name": "web_search"}


def test_citation_markers_of_both_kinds() -> None:
    assert citation(1) == "[^1^]"
    marker = bracket_citation("web_search:1#0", "web_search:1#1")
    assert marker == "\ue3a0cite\ue3a3web_search:1#0\ue3a3web_search:1#1\ue3a8"


def test_an_old_build_flags_text_blocks_and_lists_pages(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.knobs.old_build = True
    kimi.answer = Answer("answer text", "thinking text", search=HITS)
    reply = web.chat(message(tools=[SEARCH], **THINKING))
    flags = {
        event["block"]["text"]["flags"]: event["block"]["id"]
        for event in reply.events
        if "flags" in event.get("block", {}).get("text", {})
    }
    assert set(flags) == {"thinking", "answer"}
    assert len(set(flags.values())) == 2
    assert "block.think" not in reply.masks
    assert {"block.search.keywords", "block.search.webPages"} <= set(reply.masks)
    assert "message.ref.search" in reply.masks


def test_masks_come_as_comma_lists_or_paths_when_asked(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.knobs.masks = "comma"
    assert "block.id,block.text.content" in web.chat().masks
    kimi.knobs.masks = "paths"
    reply = web.chat(message(LONG))
    assert {"paths": ["block.text"]} in reply.masks
    assert {e["op"] for e in reply.events if "op" in e} == {
        "OPERATOR_SET",
        "OPERATOR_APPEND",
    }
    assert reply.said() == f"You said: {LONG}"


def test_sub_agents_and_files_have_blocks_of_their_own(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = Answer("x", agents=(("Scout", "found"),), files=("a.pdf",))
    events = web.chat().events
    said = [event["block"]["agentMessage"] for event in events if _has(event, "agent")]
    assert said == [{"agentId": "agent-0", "agentName": "Scout", "content": "found"}]
    made = [event["block"]["file"]["meta"] for event in events if _has(event, "file")]
    assert made == [{"name": "a.pdf"}]


def _has(event: dict[str, Any], mask: str) -> bool:
    return str(event.get("mask", "")).startswith(f"block.{mask}")


def test_a_callable_answers_by_prompt_and_request(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = lambda prompt, request: Answer(
        f"{prompt}/{request['options']['model']}"
    )
    assert web.chat(message("hey")).said() == "hey/k2d6-chat"


def test_both_spellings_of_fields_are_taken(web: Web) -> None:
    value = message("hey", **{"options.reasoning_effort": None})
    value["options"]["reasoningEffort"] = "REASONING_EFFORT_LOW"
    value["options"]["enablePlugin"] = value["options"].pop("enable_plugin")
    value["options"]["systemPrompt"] = "Be brief."
    value["projectId"] = value.pop("project_id")
    assert web.chat(value).said() == "You said: hey"


@pytest.mark.parametrize(
    "body",
    [
        b'{"scenario":"SCENARIO_CHAT"}',
        b"\0\0\0",
        enveloped(message(), flag=1),
        enveloped(message(), flag=2),
        enveloped(message()) * 2,
        enveloped(message()) + b"x",
        enveloped(message())[:-1],
        enveloped(b"no json"),
        enveloped(b"[]"),
    ],
)
def test_anything_but_one_envelope_of_json_is_refused(web: Web, body: bytes) -> None:
    assert refusal(web.chat(body))["code"] == "invalid_argument"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scenario": None}, "scenario"),
        ({"scenario": "SCENARIO_K2"}, "message.scenario"),
        ({"message.scenario": None}, "message.scenario"),
        ({"message.role": "system"}, "message.role"),
        ({"message": None}, "message"),
        ({"message.blocks": []}, "message.blocks"),
        ({"message.blocks": [{"text": {"content": " "}}]}, "message.blocks"),
        ({"message.blocks": [{"message_id": ""}]}, "message.blocks"),
        ({"message.blocks": [{"text": {"content": "a"}, "x": 1}]}, "message.blocks"),
        ({"options": None}, "options"),
        ({"options.model": "gpt-4"}, "options.model"),
        ({"options.model": "k3-agent"}, "scenario"),
        ({"options.thinking": "yes"}, "options.thinking"),
        (
            {"options.reasoning_effort": "REASONING_EFFORT_MAX"},
            "options.reasoning_effort",
        ),
        ({"options.context_length": "CONTEXT_LENGTH_XL"}, "options.context_length"),
        ({"options.temperature": 1}, "options.temperature"),
        ({"stream": True}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools.type"),
        ({"tools": [{"type": "TOOL_TYPE_DEVICE_TOOL"}]}, "tools.name"),
        ({"agent_mode": "TYPE_ULTRA"}, "agent_mode"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(
    web: Web, kimi: KimiConnectEmulator, changes: dict[str, Any], field: str
) -> None:
    assert refused_field(web.chat(message(**changes))) == field
    assert kimi.chats() == ()
    assert kimi.running() == ()


def test_both_scenarios_must_be_known_together(web: Web) -> None:
    changes = {"scenario": "SCENARIO_K2", "message.scenario": "SCENARIO_K2"}
    assert refused_field(web.chat(message(**changes))) == "scenario"


def test_k3_on_a_free_account_ends_in_the_overload_trailer(web: Web) -> None:
    error = refusal(web.chat(k3()))
    debug = error["details"][0]["debug"]
    assert (error["code"], error["message"]) == ("resource_exhausted", "")
    assert debug["reason"] == "REASON_SERVER_OVERLOADED_FOR_FREE_USER"
    assert debug["localizedMessage"]["message"]


def test_the_swarm_needs_a_plan_and_its_mode(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    assert refusal(web.chat(k3("k3-agent-swarm")))["code"] == "permission_denied"
    payer = Web(kimi, kimi.add_account("bob", level="LEVEL_BASIC").access)
    assert payer.chat(k3("k3-agent-swarm")).said() == "You said: Say hi"
    tame = payer.chat(k3("k3-agent-swarm", agent_mode="TYPE_NORMAL"))
    assert refused_field(tame) == "agent_mode"


def test_a_row_with_an_agent_needs_it_and_a_long_context_its_plan(
    kimi: KimiConnectEmulator,
) -> None:
    payer = Web(kimi, kimi.add_account("bob", level="LEVEL_BASIC").access)
    assert payer.chat(k3()).said() == "You said: Say hi"
    assert refused_field(payer.chat(k3(kimiplus_id=None))) == "kimiplus_id"
    long = k3(**{"options.context_length": "CONTEXT_LENGTH_XL"})
    assert refusal(payer.chat(long))["code"] == "permission_denied"


def test_agents_are_known_by_id(web: Web) -> None:
    assert web.chat(message(kimiplus_id="")).trailer == {}
    assert web.chat(message(kimiplus_id="fakeagent00000000020")).trailer == {}
    missing = web.chat(message(kimiplus_id="nobody00000000000020"))
    assert refusal(missing)["code"] == "not_found"
    denied = web.chat(message(kimiplus_id="ok-computer"))
    assert refusal(denied)["code"] == "permission_denied"


def test_an_empty_chat_id_is_a_new_chat_unless_refused(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    assert web.chat(message(chat_id="")).trailer == {}
    kimi.knobs.refuse_empty_chat_id = True
    assert refused_field(web.chat(message(chat_id=""))) == "chat_id"


def test_a_follow_up_continues_the_chat_from_its_last_message(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    chat_id, last = ids(web.chat(message("one")))
    body = message("two", chat_id=chat_id, **{"message.parent_id": last})
    reply = web.chat(body)
    assert reply.masks[0] == "chat.lastRequest"
    assert ids(reply)[0] == chat_id
    stored = web.rpc("ListMessages", {"chatId": chat_id, "pageSize": 100}).json()
    texts = [m["blocks"][0]["text"]["content"] for m in stored["messages"]]
    assert texts == ["You said: two", "two", "You said: one", "one"]
    parents = [m["parentId"] for m in stored["messages"]]
    assert parents[:3] == [m["id"] for m in stored["messages"]][1:]
    assert len(kimi.chats("alice")) == 1


def test_a_follow_up_with_a_wrong_id_is_refused(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    chat_id, last = ids(web.chat())
    parent = "message.parent_id"
    assert refused_field(web.chat(message(chat_id=chat_id))) == parent
    wrong = [
        message(chat_id=chat_id, **{parent: "m-unknown"}),
        message(chat_id="c-unknown", **{parent: last}),
        message(**{parent: last}),
    ]
    for body in wrong:
        assert refusal(web.chat(body))["code"] == "not_found"
    stranger = Web(kimi, kimi.add_account("bob").access)
    theirs = stranger.chat(message(chat_id=chat_id, **{parent: last}))
    assert refusal(theirs)["code"] == "not_found"


def test_the_old_bucket_serves_its_own_scenario_without_a_model(web: Web) -> None:
    web.version = None
    old = {"scenario": "SCENARIO_K2D5", "message.scenario": "SCENARIO_K2D5"}
    assert web.chat(message(**{**old, "options.model": None})).trailer == {}
    assert web.emulator.log.of("Chat")[0].facts["bucket"] == "old"


def test_the_log_shows_the_decoded_request_and_the_turn(web: Web) -> None:
    web.chat(message("hey"))
    entry = web.emulator.log.of("Chat")[0]
    assert entry.body == message("hey")
    assert (entry.account, entry.status, entry.outcome) == ("alice", 200, "complete")
    assert entry.facts["chat_id"] == web.emulator.chats()[0].id
    assert entry.headers["x-msh-version"] == "2.2.0"
    assert "authorization" not in entry.headers
