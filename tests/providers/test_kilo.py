"""Kilo: its errors, its accounts, its models, and where a token may go."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from emulators.kilo import Answer
from emulators.kilo.knob import Call, model
from kimi_proxy.blame import Penalty
from kimi_proxy.errors import (
    AccountExhausted,
    ContextTooLong,
    TokenDead,
    TokenRejected,
    UpstreamError,
    UpstreamForbidden,
    UpstreamGarbled,
)
from kimi_proxy.events import (
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)
from kimi_proxy.providers.base import Call as BareCall
from kimi_proxy.providers.base import Credential
from tests.providers import kilo_wire
from tests.providers.connect_account import words
from tests.providers.kilo_wire import MODEL, KiloWire, asking, failure
from tests.providers.legacy_account import scope


@pytest.fixture
def wire() -> Iterator[KiloWire]:
    with kilo_wire.opened() as running:
        yield running


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_with_all_its_parts(wire: KiloWire, stream: bool) -> None:
    calls = (Call("c1", "look", '{"at": 1}'), Call("c2", "go", "{}"))
    wire.emulator.answer = Answer(("Hi ", "冷"), ("Hm", "m."), calls)
    seen, error = wire.account.outcome(asking(stream=stream))
    assert error is None
    result = collect(seen)
    assert (result.text, result.reasoning) == ("Hi 冷", "Hmm.")
    assert [(c.id, c.name, c.arguments) for c in result.tool_calls] == [
        *(("c1", "look", '{"at": 1}'), ("c2", "go", "{}"))
    ]
    assert result.reason == "tool_calls"
    assert result.usage == Usage(1, 2)


@pytest.mark.parametrize("framing", ["comments", "tight", "crlf"])
def test_every_legal_framing_is_read(wire: KiloWire, framing: str) -> None:
    setattr(wire.emulator.knobs, framing, True)
    wire.say("Hi ", "there")
    assert words(wire.account.outcome(asking())[0]) == "Hi there"


def test_without_done_the_finish_reason_is_the_end(wire: KiloWire) -> None:
    wire.emulator.knobs.done = False
    assert wire.account.outcome(asking())[1] is None


def test_the_request_is_the_clients_own(wire: KiloWire) -> None:
    body = {
        "model": "kilo/x",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "provider": {"order": ["a"]},
        "transforms": ["middle-out"],
        "use_search": True,
    }
    wire.account.outcome(replace(asking(), body=body))
    (entry,) = wire.emulator.log.of("chat")
    assert entry.body["messages"] == body["messages"]
    assert entry.body["provider"] == {"order": ["a"]}
    assert entry.body["model"] == MODEL and "use_search" not in entry.body
    assert entry.headers["user-agent"].startswith("kimi-proxy/")
    assert "x-kilocode-organizationid" not in entry.headers


def test_a_search_that_nobody_does_is_named(wire: KiloWire) -> None:
    request = replace(asking(), search=True, body={"use_search": True})
    assert wire.account.provider.ignores(request, MODEL) == ("use_search",)
    assert wire.account.provider.ignores(asking(), MODEL) == ()


def test_the_organization_travels_in_its_header(wire: KiloWire) -> None:
    account = wire.account
    account.credential = replace(account.credential, subject="org-1")
    assert isinstance(failure(wire), UpstreamForbidden)
    wire.emulator.accounts.get("alice").organizations = ("org-1",)
    assert account.outcome(asking())[1] is None
    headers = wire.emulator.log.of("chat")[-1].headers
    assert headers["x-kilocode-organizationid"] == "org-1"


def test_other_calls_are_made_as_they_are(wire: KiloWire) -> None:
    account = wire.account
    account.credential = replace(account.credential, subject="org-1")
    wire.emulator.accounts.get("alice").organizations = ("org-1",)
    call = BareCall("POST", "/fim/completions")
    answer = account.provider.relay(call, account.lease())
    assert b"made up" in b"".join(answer.blocks)
    (entry,) = wire.emulator.log.of("fim")
    assert entry.account == "alice"
    assert entry.headers["x-kilocode-organizationid"] == "org-1"
    wire.revoke("access")
    with pytest.raises(TokenDead):
        account.provider.relay(call, account.lease())


def test_a_prompt_too_long_is_told_apart(wire: KiloWire) -> None:
    wire.emulator.knobs.window = 10
    error = failure(wire, asking("x" * 11))
    assert type(error) is ContextTooLong and "11" in error.message


def test_an_unknown_model_is_the_clients_mistake(wire: KiloWire) -> None:
    error = failure(wire, asking(to="made/up"))
    assert error.status == 400 and error.penalty is Penalty.NONE


def test_an_account_without_balance_is_asked_for_it_before_the_next_prompt(
    wire: KiloWire,
) -> None:
    alice = wire.emulator.accounts.get("alice")
    alice.balance = 0
    assert isinstance(failure(wire), AccountExhausted)
    wire.emulator.log.clear()
    assert isinstance(failure(wire), AccountExhausted)
    assert [entry.name for entry in wire.emulator.log.all()] == ["balance"]
    alice.balance = 3
    assert wire.account.outcome(asking())[1] is None
    wire.emulator.log.clear()
    assert wire.account.outcome(asking())[1] is None
    assert [entry.name for entry in wire.emulator.log.all()] == ["chat"]


def test_what_is_free_needs_no_balance(wire: KiloWire) -> None:
    wire.account.provider.models(None, scope())
    wire.emulator.accounts.get("alice").balance = 0
    assert isinstance(failure(wire), AccountExhausted)
    wire.emulator.log.clear()
    assert wire.account.outcome(asking(to="kilo-auto/free"))[1] is None
    assert [entry.name for entry in wire.emulator.log.all()] == ["chat"]


def test_where_the_balance_cannot_be_told_the_prompt_tells(wire: KiloWire) -> None:
    alice = wire.emulator.accounts.get("alice")
    alice.balance = 0
    failure(wire)
    alice.balance = 3
    wire.emulator.faults.add("status", on="balance", status=500)
    assert wire.account.outcome(asking())[1] is None


def test_the_balance_is_dollars(wire: KiloWire) -> None:
    account = wire.account
    assert account.provider.balance(account.credential, scope()) == 5.0
    for odd in ({}, {"balance": "5"}, {"balance": True}):
        wire.emulator.faults.add("status", on="balance", status=200, body=odd)
        with pytest.raises(UpstreamGarbled):
            account.provider.balance(account.credential, scope())


def test_an_account_tells_whether_it_may_spend(wire: KiloWire) -> None:
    may_spend, alice = wire.account.provider.may_spend, wire.account.credential
    assert may_spend(alice, scope()) is True
    wire.emulator.accounts.get("alice").balance = 0
    assert may_spend(alice, scope()) is False


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_profile_is_a_dead_token(wire: KiloWire, status: int) -> None:
    check = wire.account.provider.check_token
    check(wire.account.credential, scope())
    wire.emulator.faults.add("refuse", on="profile", status=status)
    with pytest.raises(TokenRejected):
        check(wire.account.credential, scope())


@pytest.mark.parametrize("status", [429, 500])
def test_a_profile_that_cannot_be_had_is_no_verdict(
    wire: KiloWire, status: int
) -> None:
    wire.emulator.faults.add("refuse", on="profile", status=status)
    with pytest.raises(UpstreamError) as caught:
        wire.account.provider.check_token(wire.account.credential, scope())
    assert not isinstance(caught.value, TokenRejected)


def test_models_are_listed_without_a_token(wire: KiloWire) -> None:
    provider = wire.account.provider
    assert provider.known_models() == []
    first, second = provider.models(wire.account.credential, scope())
    assert (first.id, first.name, first.owner) == (
        *("anthropic/claude-sonnet-4.5", "claude-sonnet-4.5", "kilo"),
    )
    assert (first.context_length, first.max_output) == (200_000, 64_000)
    assert first.modalities == {"text", "image"} and first.reasoning
    assert second.id == "kilo-auto/free"
    assert provider.known_models() == [first, second]
    assert "authorization" not in wire.emulator.log.of("models")[0].headers


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a/b"},
        {"id": "a/b", "architecture": None, "top_provider": [], "context_length": "9"},
        {**model("a/b", 9, ("text",)), "supported_parameters": None},
    ],
)
def test_odd_rows_of_the_list_are_survived(wire: KiloWire, row: Any) -> None:
    wire.emulator.knobs.models = (row, {"name": "no id"}, 7)  # type: ignore[assignment]  # odd on purpose
    (found,) = wire.account.provider.models(None, scope())
    assert found.id == "a/b"


def test_a_list_that_cannot_be_had_leaves_the_last(wire: KiloWire) -> None:
    provider = wire.account.provider
    known = provider.models(None, scope())
    wire.emulator.faults.add("status", on="models", status=500)
    with pytest.raises(UpstreamError):
        provider.models(None, scope())
    assert provider.known_models() == known
    assert provider.offers("my-org/own-model") and not provider.offers("made-up")


def test_a_base_address_of_its_own_is_where_a_token_goes(wire: KiloWire) -> None:
    token = wire.account.credential.access
    address = f"{wire.emulator.url}/api/v1:{token}"
    read = wire.account.provider.read_token
    wire.account.credential = read(address)
    assert wire.account.credential.access == token
    assert wire.account.outcome(asking())[1] is None
    assert wire.emulator.log.of("chat")[0].path == "/api/v1/chat/completions"
    wire.account.provider.check_token(wire.account.credential, scope())
    assert read(f"{wire.emulator.url}:{token}").region.endswith("/api/gateway")


@pytest.mark.parametrize(
    "text",
    ["made up", "", "sk-made-up", "https://evil.example:eyJa.b.c", "https://x:", "eyJ"],
)
def test_what_is_no_token_for_here_is_not_read(wire: KiloWire, text: str) -> None:
    with pytest.raises(ValueError, match="no Kilo token") as caught:
        wire.account.provider.read_token(text)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("claims", [{"app_id": "kimi"}, {"aud": ["kimi.ai"]}])
def test_a_token_of_kimis_is_not_read(wire: KiloWire, claims: Any) -> None:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(ValueError, match="no Kilo token"):
        wire.account.provider.read_token(f"eyJhbGci.{body}.made-up")


def test_an_anonymous_guest_has_the_free_models(wire: KiloWire) -> None:
    wire.account.credential = Credential(access="anonymous")
    assert wire.account.outcome(asking(to="kilo-auto/free"))[1] is None
    assert isinstance(failure(wire), TokenDead)


def test_pieces_and_thinking_keep_their_order(wire: KiloWire) -> None:
    call = Call("c1", "look", "{}")
    wire.emulator.answer = Answer(("a", "b"), ("t",), (call,))
    kinds = [type(event) for event in wire.account.outcome(asking())[0]]
    assert kinds == [
        *(ReasoningDelta, TextDelta, TextDelta, ToolCallDelta, ToolCallDelta),
        *(Usage, Finished),
    ]
