"""What the Chat RPC refuses, and by which name (connect sheet §4, §5, §8, §9)."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from tests.emulators.connect_client import Reply, Web, enveloped, k3, message


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


def agent(ident: str, /, **changes: Any) -> dict[str, Any]:
    return message(kimiplus_id=ident, **{"options.enable_plugin": True, **changes})


def test_agents_are_known_by_id_and_need_plugins(web: Web) -> None:
    assert web.chat(message(kimiplus_id="")).trailer == {}
    assert web.chat(agent("fakeagent00000000020")).trailer == {}
    missing = web.chat(agent("nobody00000000000020"))
    assert refusal(missing)["code"] == "not_found"
    denied = web.chat(agent("ok-computer"))
    assert refusal(denied)["code"] == "permission_denied"
    bare = web.chat(message(kimiplus_id="fakeagent00000000020"))
    assert refused_field(bare) == "options.enable_plugin"


def test_deep_research_needs_an_agents_scenario_and_has_to_be_able_to_ask(
    kimi: KimiConnectEmulator,
) -> None:
    web = Web(kimi, kimi.add_account("bob", level="LEVEL_BASIC").access)
    asks = [{"type": "TOOL_TYPE_ASK_USER"}]
    research = "deep-researcher"
    assert web.chat(k3(kimiplus_id=research, tools=asks)).trailer == {}
    assert refused_field(web.chat(k3(kimiplus_id=research))) == "tools"
    wrong = web.chat(agent(research, tools=asks))
    assert refused_field(wrong) == "scenario"


def test_an_empty_chat_id_is_a_new_chat_unless_refused(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    assert web.chat(message(chat_id="")).trailer == {}
    kimi.knobs.refuse_empty_chat_id = True
    assert refused_field(web.chat(message(chat_id=""))) == "chat_id"


def test_a_follow_up_with_a_wrong_id_is_refused(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    chat_id, last = web.chat().ids
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


def test_a_follow_up_follows_an_answer_the_last_one_or_an_earlier(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    chat_id, first = web.chat(message("one")).ids
    parent = "message.parent_id"
    question = kimi.chats("alice")[0].messages[0].id
    wrong = web.chat(message("two", chat_id=chat_id, **{parent: question}))
    assert refusal(wrong)["code"] == "not_found"
    second = web.chat(message("two", chat_id=chat_id, **{parent: first})).ids[1]
    for answer in (second, first):
        reply = web.chat(message("three", chat_id=chat_id, **{parent: answer}))
        assert reply.said() == "You said: three"


def test_a_deleted_chat_cannot_be_followed(web: Web) -> None:
    chat_id, last = web.chat(message("one")).ids
    web.rpc("DeleteChat", {"chatId": chat_id})
    reply = web.chat(message("two", chat_id=chat_id, **{"message.parent_id": last}))
    assert refusal(reply)["code"] == "not_found"
