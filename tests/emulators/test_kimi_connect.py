"""A good answer's stream and what is stored of it (connect sheet §4–§7)."""

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
from tests.emulators.connect_client import Web, message

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


def test_a_follow_up_continues_the_chat_from_its_last_message(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    chat_id, last = web.chat(message("one")).ids
    body = message("two", chat_id=chat_id, **{"message.parent_id": last})
    reply = web.chat(body)
    assert reply.masks[0] == "chat.lastRequest"
    assert reply.ids[0] == chat_id
    stored = web.rpc("ListMessages", {"chatId": chat_id, "pageSize": 100}).json()
    texts = [m["blocks"][0]["text"]["content"] for m in stored["messages"]]
    assert texts == ["You said: two", "two", "You said: one", "one"]
    parents = [m["parentId"] for m in stored["messages"]]
    assert parents[:3] == [m["id"] for m in stored["messages"]][1:]
    assert len(kimi.chats("alice")) == 1


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
    assert entry.headers["authorization"] == "(hidden)"


def test_results_are_called_by_text_or_number_and_cited_in_both_forms(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    searching = message("hi", tools=[{"type": "TOOL_TYPE_SEARCH", "search": {}}])
    cited = web.chat(searching)
    assert cited.said() == "You said: hi\ue3a0cite\ue3a3web_search:1#0\ue3a8[^7^]"
    hits = (SearchHit("A", "https://example.org/a", ref=4), SearchHit("B", "https://b"))
    kimi.answer = Answer("x", search=hits)
    (chunks,) = [
        event["message"]["refs"]["searchChunks"]
        for event in web.chat(searching).events
        if "searchChunks" in event.get("message", {}).get("refs", {})
    ]
    assert [chunk["refIndex"] for chunk in chunks] == [4, "web_search:1#1"]
