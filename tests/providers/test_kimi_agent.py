"""Agents and deep research by their ids, on both wires (connect sheet §12)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from emulators import kimi_connect, kimi_legacy
from kimi_proxy.chat import Message, Thread
from kimi_proxy.errors import (
    ModelExhausted,
    ModelNotFound,
    UpstreamNotFound,
)
from kimi_proxy.events import Finished, ReasoningDelta, collect
from kimi_proxy.providers.base import OffersUnlisted
from kimi_proxy.providers.kimi_connect_model import (
    FALLBACK,
    Row,
    find,
    payload,
    with_research,
)
from kimi_proxy.providers.kimi_legacy_model import switches
from tests.providers import connect_account, legacy_account
from tests.providers.connect_account import until, words
from tests.providers.fake_wire import Pair
from tests.providers.legacy_account import asking
from tests.providers.wire import Wire, opened

AGENT = "fakeagent00000000020"
STRANGER = "nobody00000000000020"
K1 = "crm40ee9e5jvhsn7ptcg"
RESEARCH = "deep-researcher"
QUESTIONS: tuple[dict[str, Any], ...] = (
    {
        "question": "Which city?",
        "type": "single",
        "options": [
            {"option": "Oslo", "description": "the capital", "recommended": True},
            {"option": "Bergen", "description": "", "recommended": False},
        ],
    },
    {"question": "Which years?", "type": "multi", "options": [{"option": "2025"}]},
)
ASKED = (
    "Which city?\n1. Oslo: the capital (recommended)\n2. Bergen\n\n"
    "Which years? (more than one may be chosen)\n1. 2025"
)


@pytest.fixture(params=["connect", "legacy"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with opened(request.param) as running:
        running.say("Here ", "I am.")
        yield running


@pytest.fixture
def connect() -> Iterator[connect_account.Account]:
    with kimi_connect.KimiConnectEmulator() as emulator:
        account = connect_account.Account(emulator)
        yield account
        account.leave()


@pytest.fixture
def legacy() -> Iterator[legacy_account.Account]:
    with kimi_legacy.KimiLegacyEmulator() as emulator:
        account = legacy_account.Account(emulator)
        yield account
        account.leave()
        assert emulator.violations() == []


def test_an_agent_is_asked_by_its_id(wire: Wire) -> None:
    seen, error = wire.account.outcome(asking(model=AGENT))
    assert (words(seen), error) == ("Here I am.", None)
    body = wire.emulator.log.of(wire.stream)[-1].body
    assert isinstance(body, dict) and body["kimiplus_id"] == AGENT


def test_an_unknown_agent_is_an_unknown_model(wire: Wire) -> None:
    _, error = wire.account.outcome(asking(model=STRANGER))
    assert isinstance(error, ModelNotFound)
    assert error.code == "model_not_found" and not error.another_token


def test_only_ids_of_agents_are_offered_unlisted(wire: Wire) -> None:
    provider = wire.account.provider
    assert isinstance(provider, OffersUnlisted)
    assert provider.offers(AGENT) and provider.offers(wire.model)
    for model in ("", "k9", "kimi-search", AGENT[1:], AGENT.upper(), f"{AGENT}0"):
        assert not provider.offers(model)


@pytest.mark.parametrize("wire", ["auto", "connect", "legacy"])
def test_what_a_wire_in_use_offers_unlisted_is_offered(
    wire: Literal["auto", "connect", "legacy"],
) -> None:
    pair = Pair(wire)
    pair.legacy.unlisted = ("agent",)
    assert pair.kimi.offers("agent") is (wire != "connect")
    assert not pair.kimi.offers("k9")
    assert pair.kimi.offers("both")


def test_an_agent_is_asked_as_the_default_model_is(
    connect: connect_account.Account,
) -> None:
    list(connect.ask(asking(model=AGENT)))
    body = connect.emulator.log.of("Chat")[-1].body
    assert body["scenario"] == body["message"]["scenario"] == "SCENARIO_CHAT"
    assert body["options"]["enable_plugin"] is True
    assert body["options"]["model"] == "k2d6-chat"
    assert body["agent_mode"] == "TYPE_NORMAL"


def test_an_agents_chat_goes_on_with_agent_and_mode(
    connect: connect_account.Account,
) -> None:
    request = replace(asking(model=AGENT), keeps=True)
    end = list(connect.ask(request))[-1]
    assert isinstance(end, Finished) and end.conversation is not None
    thread = Thread(end.conversation, end.head)
    assert connect.outcome(replace(request, follows=thread))[1] is None
    body = connect.emulator.log.of("Chat")[-1].body
    assert body["kimiplus_id"] == AGENT and body["agent_mode"] == "TYPE_NORMAL"
    lost = Thread("1a2b3c4d-0000-4000-8000-00000000c0de", end.head)
    assert isinstance(
        connect.outcome(replace(request, follows=lost))[1], UpstreamNotFound
    )


def test_deep_research_is_the_first_plain_model_of_an_agents_scenario() -> None:
    rows = with_research(FALLBACK)
    row = find(rows, RESEARCH)
    assert row is rows[-1] and row is not None
    assert (row.scenario, row.wire) == ("SCENARIO_OK_COMPUTER", "k28-agent-preview")
    body = payload("p", row, search=True, effort=None)
    assert body["kimiplus_id"] == RESEARCH and body["options"]["enable_plugin"] is True
    kinds = [tool["type"] for tool in body["tools"]]
    assert kinds == ["TOOL_TYPE_SEARCH", "TOOL_TYPE_ASK_USER"]


def test_deep_research_is_offered_only_where_an_agents_scenario_is_known() -> None:
    plain = Row("a", "A", "SCENARIO_CHAT")
    swarm = Row("s", "S", "SCENARIO_X", kimiplus="ok", agent_mode="TYPE_ULTRA")
    listed = Row("d", "D", "SCENARIO_R", kimiplus=RESEARCH)
    for rows in ((plain,), (plain, swarm), (plain, listed)):
        assert with_research(rows) == rows
    tools = payload("p", listed, search=False, effort=None)["tools"]
    assert tools == [{"type": "TOOL_TYPE_ASK_USER"}]


def test_what_research_asks_is_the_answer_for_now(
    connect: connect_account.Account,
) -> None:
    answer = kimi_connect.Answer("First.", questions=QUESTIONS)
    connect.emulator.answer = answer
    seen, error = connect.outcome(asking(model=RESEARCH))
    assert (words(seen), error) == (f"First.\n\n{ASKED}", None)
    end = seen[-1]
    assert isinstance(end, Finished) and end.reason == "stop"
    assert end.conversation == connect.chat_ids()[0] and end.head is not None


def test_the_clients_reply_goes_on_in_a_chat_that_is_kept(
    connect: connect_account.Account,
) -> None:
    connect.emulator.answer = kimi_connect.Answer(questions=QUESTIONS)
    request = replace(asking(model=RESEARCH), keeps=True)
    end = list(connect.ask(request))[-1]
    assert isinstance(end, Finished) and end.conversation is not None
    assert connect.emulator.log.of("CancelChat") == ()
    assert connect.emulator.chats()[0].status == "STATUS_ASK_USER_QUESTION"
    connect.emulator.answer = kimi_connect.Answer("Then Oslo.")
    reply = replace(
        request,
        messages=(Message("user", "Oslo, 2025"),),
        follows=Thread(end.conversation, end.head),
    )
    assert words(list(connect.ask(reply))) == "Then Oslo."
    assert len(connect.chat_ids()) == 1


def test_a_question_that_nobody_can_answer_frees_the_account(
    connect: connect_account.Account,
) -> None:
    connect.emulator.answer = kimi_connect.Answer(questions=QUESTIONS)
    assert words(list(connect.ask(asking(model=RESEARCH)))) == ASKED
    until(lambda: not connect.emulator.running())
    assert len(connect.emulator.log.of("CancelChat")) == 1


def test_what_sub_agents_say_is_thinking(connect: connect_account.Account) -> None:
    connect.emulator.answer = kimi_connect.Answer("Done.", agents=(("Scout", "Found"),))
    seen, _ = connect.outcome()
    assert words(seen) == "Done."
    thought = "".join(e.text for e in seen if isinstance(e, ReasoningDelta))
    assert thought == "\n\nScout: Found"


@pytest.mark.parametrize(
    ("model", "effort", "agent"),
    [
        ("kimi", None, "kimi"),
        ("kimi", "none", "kimi"),
        ("kimi", "low", K1),
        ("k1", None, K1),
        ("k1", "high", K1),
        ("k1", "none", "kimi"),
        ("kimi-research", "high", "kimi"),
        ("kimi-math", "high", "kimi"),
        (AGENT, "high", AGENT),
        (AGENT, "none", AGENT),
    ],
)
def test_thinking_on_the_legacy_wire_is_another_agent(
    model: str, effort: Any, agent: str
) -> None:
    assert switches(model, effort).kimiplus_id == agent


def test_a_thinking_effort_reaches_the_legacy_wire(
    legacy: legacy_account.Account,
) -> None:
    request = replace(asking(), effort="high")
    assert legacy.outcome(request)[1] is None
    (created,) = legacy.emulator.log.of("create")
    (sent,) = legacy.emulator.log.of("completion")
    assert created.body["kimiplus_id"] == sent.body["kimiplus_id"] == K1


def test_used_up_research_is_refused_before_anything_is_sent(
    legacy: legacy_account.Account,
) -> None:
    legacy.emulator.knobs.research_total = 1
    request = asking(model="kimi-research")
    assert collect(legacy.ask(request)).text
    seen, error = legacy.outcome(request)
    assert seen == [] and isinstance(error, ModelExhausted)
    assert "1 of 1" in error.message and error.retry_after == 600
    assert len(legacy.emulator.log.of("create")) == 1
    assert len(legacy.chat_ids()) == 1
    assert legacy.outcome(asking())[1] is None


@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 500}])
def test_research_is_asked_where_its_quota_cannot_be(
    legacy: legacy_account.Account, fault: dict[str, Any]
) -> None:
    legacy.emulator.faults.add("refuse", on="research-usage", **fault)
    assert collect(legacy.ask(asking(model="kimi-research"))).text


def test_only_research_asks_for_its_quota(legacy: legacy_account.Account) -> None:
    list(legacy.ask())
    assert legacy.emulator.log.of("research-usage") == ()
