"""The Connect wire as a whole: what goes up, what comes back (connect sheet §3–§7)."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator, SearchHit
from kimi_proxy import __version__
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import ClientGone, ModelNotFound, UpstreamFailed
from kimi_proxy.events import Citation, Finished, ReasoningDelta, collect
from kimi_proxy.providers.base import (
    ChecksTokens,
    KeepsChats,
    ListsModels,
    RefreshesTokens,
)
from kimi_proxy.providers.prompt import merge
from tests.providers.connect_account import Account, until, words
from tests.providers.legacy_account import asking, hang_up, scope

TEXT = "It is 冷的 🌍 — “quoted”\n\tdone."
HITS = (
    SearchHit("Oslo", "https://example.org/oslo"),
    SearchHit("Bergen", "https://example.org/bergen", used=False),
)


@pytest.fixture
def emulator() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as running:
        running.answer = Answer(TEXT, "First I think.", pieces=3, search=HITS)
        yield running


@pytest.fixture
def account(emulator: KimiConnectEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()


def question(**fields: Any) -> ChatRequest:
    return ChatRequest("k2d6-chat", (Message("user", "hi"),), **fields)


def sent(account: Account) -> dict[str, Any]:
    """The body of the last Chat request, as the emulator saw it."""
    body = account.emulator.log.of("Chat")[-1].body
    assert isinstance(body, dict)
    return body


def test_it_has_every_ability(account: Account) -> None:
    for ability in (RefreshesTokens, ListsModels, ChecksTokens, KeepsChats):
        assert isinstance(account.provider, ability)
    assert account.provider.honours == {"attachments", "files"}


@pytest.mark.parametrize("masks", ["plain", "comma", "paths"])
@pytest.mark.parametrize("texts", ["append", "set", "mixed"])
@pytest.mark.parametrize("old_build", [False, True])
def test_an_answer_arrives_exactly_in_every_dialect_of_the_wire(
    account: Account, masks: str, texts: str, old_build: bool
) -> None:
    knobs = account.emulator.knobs
    knobs.masks, knobs.texts, knobs.old_build = masks, texts, old_build
    seen, error = account.outcome(question(search=True, effort="high"))
    assert error is None
    result = collect(seen)
    assert (result.text, result.reasoning) == (TEXT, "First I think.")
    assert result.citations == (Citation("https://example.org/oslo", "Oslo"),)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].conversation == account.chat_ids()[0]


@pytest.mark.parametrize("fault", ["no_offsets", "big_frame", "compressed"])
@pytest.mark.parametrize("sizes", [(1,) * 3000 + (5000,), (70_000,)], ids=len)
def test_no_framing_changes_the_answer(
    account: Account, fault: str, sizes: tuple[int, ...]
) -> None:
    account.emulator.faults.add(fault, size=70_000)
    account.emulator.faults.add("split", pieces=sizes)
    seen, error = account.outcome()
    assert (words(seen), error) == (TEXT, None)


def test_a_delta_longer_than_64_kib_is_one_delta(account: Account) -> None:
    text = "{“很长”} " * 20_000
    account.emulator.answer = Answer(text, pieces=len(text))
    seen, error = account.outcome()
    assert (words(seen), error) == (text, None)


def test_an_answer_outlives_long_silences_with_heartbeats(account: Account) -> None:
    account.emulator.knobs.heartbeat_interval = 0.01
    account.emulator.faults.add("silence", seconds=0.1, after_content=1)
    assert words(account.outcome()[0]) == TEXT


def test_the_chat_is_announced_before_the_request_and_named_at_once(
    account: Account,
) -> None:
    account.emulator.faults.add("silence", after_content=1)
    events = account.ask()
    assert account.notes.said == []
    next(events)
    digest = hashlib.sha256(b"hi").hexdigest()
    assert account.notes.said == [
        ("sending", digest),
        ("opened", account.chat_ids()[0]),
    ]
    hang_up(events)


def test_a_refused_request_is_announced_but_names_no_chat(account: Account) -> None:
    account.emulator.faults.add("error", error="concurrency", before_chat=True)
    account.outcome()
    assert [word for word, _ in account.notes.said] == ["sending"]


def test_the_history_goes_up_as_one_prompt(account: Account) -> None:
    history = (
        Message("system", "Be brief."),
        Message("user", "1"),
        Message("user", "2"),
    )
    account.outcome(ChatRequest("k2d6-chat", history))
    blocks = sent(account)["message"]["blocks"]
    assert blocks == [{"message_id": "", "text": {"content": merge(history)}}]


@pytest.mark.parametrize("asked", [None, True, False])
def test_search_is_declared_when_asked_for(
    account: Account, asked: bool | None
) -> None:
    account.outcome(question(search=asked))
    assert bool(sent(account)["tools"]) is bool(asked)


def test_effort_none_means_no_thinking(account: Account) -> None:
    seen, _ = account.outcome(question(effort="none"))
    assert not any(isinstance(event, ReasoningDelta) for event in seen)
    assert sent(account)["options"]["thinking"] is False


def test_the_headers_are_the_accounts_and_honest(account: Account) -> None:
    account.outcome()
    headers = account.emulator.log.of("Chat")[-1].headers
    assert headers["content-type"] == "application/connect+json"
    assert headers["connect-protocol-version"] == "1"
    assert headers["user-agent"] == f"kimi-proxy/{__version__}"
    assert headers["x-msh-version"].split(".") >= ["2", "0", "0"]
    assert headers["x-msh-device-id"] == account.credential.device
    assert headers["x-msh-session-id"] == account.credential.session
    assert headers["x-traffic-id"] == account.credential.subject
    assert "cookie" not in headers


def test_one_connection_serves_answer_after_answer(account: Account) -> None:
    for _ in range(3):
        assert account.outcome()[1] is None
    assert len({entry.peer for entry in account.emulator.log.of("Chat")}) == 1


def test_hanging_up_closes_the_stream_and_cancels_the_generation(
    account: Account,
) -> None:
    account.emulator.faults.add("silence", after_content=2)
    events = account.ask()
    next(events)
    hang_up(events)
    log = account.emulator.log
    log.wait_for(lambda entries: entries[0].outcome == "aborted")
    until(lambda: not account.emulator.running())
    (cancelled,) = log.of("CancelChat")
    facts = log.of("Chat")[0].facts
    assert cancelled.body == {
        "chatId": facts["chat_id"],
        "messageId": facts["message_id"],
    }


@pytest.mark.parametrize("fault", ["garbage", "exception"])
def test_an_answer_given_up_is_cancelled_too(account: Account, fault: str) -> None:
    account.emulator.faults.add(fault, after_content=1)
    assert account.outcome()[1] is not None
    assert len(account.emulator.log.of("CancelChat")) == 1


@pytest.mark.parametrize("end", ["whole", "error", "refused", "at Finished"])
def test_an_answer_that_is_over_is_not_cancelled(account: Account, end: str) -> None:
    if end in ("error", "refused"):
        account.emulator.faults.add("error", before_chat=end == "refused")
    events = account.ask()
    try:
        for event in events:
            if isinstance(event, Finished) and end == "at Finished":
                hang_up(events)
    except UpstreamFailed:
        assert end in ("error", "refused")
    assert account.emulator.log.of("CancelChat") == ()


def test_a_failing_cancel_call_hides_nothing(account: Account) -> None:
    account.emulator.faults.add("garbage", after_content=1)
    account.emulator.faults.add("rpc_error", on="CancelChat")
    _, error = account.outcome()
    assert error is not None and "JSON" in error.message


def test_a_cancelled_request_still_cancels_the_generation(account: Account) -> None:
    account.emulator.faults.add("silence", after_content=1)
    within = scope()
    events = account.ask(within=within)
    next(events)
    within.cancel(ClientGone("the client left"))
    with pytest.raises(ClientGone):
        list(events)
    until(lambda: not account.emulator.running())
    assert len(account.emulator.log.of("CancelChat")) == 1


def test_an_unknown_model_is_looked_up_once_then_refused(account: Account) -> None:
    for _ in range(2):
        seen, error = account.outcome(asking(model="k9"))
        assert (seen, type(error)) == ([], ModelNotFound)
    assert len(account.emulator.log.of("GetAvailableModels")) == 1
    assert account.notes.said == []


@pytest.mark.parametrize("model", ["k28-agent-preview", "k2d6"])
def test_models_are_used_as_discovery_tells_them(account: Account, model: str) -> None:
    account.provider.models(account.credential, scope())
    seen, error = account.outcome(asking(model=model))
    assert (words(seen), error) == (TEXT, None)


def test_a_plan_that_lacks_the_model_is_told(account: Account) -> None:
    account.provider.models(account.credential, scope())
    error = account.outcome(asking(model="k3-agent-swarm"))[1]
    assert error is not None and error.code == "upstream_forbidden"
    error = account.outcome(asking(model="k3-agent"))[1]
    assert error is not None and error.code == "upstream_overloaded"


def test_the_list_of_models_is_kept_with_its_age(account: Account) -> None:
    provider = account.provider
    assert provider.models_age is None
    assert provider.known_models()[0].id == "k2d6-chat"
    listed = provider.models(None, scope())  # no login is needed (sheet §9)
    assert [model.id for model in listed][2:] == [
        *("k3-agent", "k3-agent-swarm", "deep-researcher")
    ]
    assert listed == provider.known_models()
    assert provider.models_age is not None and provider.models_age < 60


def test_a_failed_listing_changes_nothing(account: Account) -> None:
    before = account.provider.known_models()
    account.emulator.faults.add("rpc_error", on="GetAvailableModels")
    with pytest.raises(UpstreamFailed):
        account.provider.models(None, scope())
    assert account.provider.known_models() == before
    assert account.provider.models_age is None


def test_nothing_of_the_account_is_in_what_it_shows(account: Account) -> None:
    account.outcome()
    shown = json.dumps([repr(account.provider), repr(account.lease())])
    assert account.credential.access is not None
    assert account.credential.access[:40] not in shown
