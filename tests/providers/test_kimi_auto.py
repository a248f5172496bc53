"""Kimi by either wire: the one that answers, before the first event only."""

from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from typing import Literal

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator
from kimi_proxy.chat import ChatRequest, File
from kimi_proxy.errors import (
    ContextTooLong,
    GatewayError,
    ModelNotFound,
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
    UpstreamUnsupported,
)
from kimi_proxy.events import Citation, Event, TextDelta, collect
from kimi_proxy.providers.base import (
    ChecksTokens,
    Credential,
    KeepsChats,
    Lease,
    ListsModels,
    Provider,
    RefreshesTokens,
)
from kimi_proxy.providers.kimi import Kimi
from kimi_proxy.providers.kimi_connect import KimiConnect
from kimi_proxy.providers.kimi_connect_call import hosts
from kimi_proxy.providers.kimi_legacy import KimiLegacy
from kimi_proxy.upstream import Upstream
from tests.providers.fake_wire import CN, UUID, Clock, FakeWire, Pair
from tests.providers.legacy_account import NOW, Notes, asking, hang_up, scope

OVERSEAS = changed(CN, region="overseas")
LEGACY_ID = "cn000000000000000001"
ABSENT: list[GatewayError] = [
    UpstreamUnsupported("no such call"),
    UpstreamMoved("moved"),
    UpstreamNotFound("no such path", upstream_code="http_404"),
]


class CitingWire(FakeWire):
    """A wire whose answer names a source."""

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        yield Citation("https://example.org/", "Example")
        yield from super().stream(request, lease)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_it_is_a_provider_with_every_ability(pair: Pair) -> None:
    provider: Provider = pair.kimi
    for ability in (RefreshesTokens, ListsModels, ChecksTokens, KeepsChats):
        assert isinstance(provider, ability)


def test_nothing_happens_before_the_first_event_is_asked_for(pair: Pair) -> None:
    pair.events("both")
    assert pair.asked() == []


@pytest.mark.parametrize(
    ("model", "wire"),
    [
        ("k2", "connect"),
        ("k3", "connect"),
        ("both", "connect"),
        ("kimi", "legacy"),
        ("k1", "legacy"),
        ("unheard-of", "connect"),
    ],
)
def test_a_model_goes_to_the_wire_that_knows_it_the_main_one_first(
    pair: Pair, model: str, wire: str
) -> None:
    assert pair.text(model) == wire
    assert pair.asked() == [(wire, model)]


@pytest.mark.parametrize("error", ABSENT, ids=repr)
def test_where_the_main_wire_is_not_there_the_other_answers(
    pair: Pair, error: GatewayError
) -> None:
    pair.connect.fails = error
    assert pair.text("both") == "legacy"
    assert pair.asked() == [("connect", "both"), ("legacy", "both")]


@pytest.mark.parametrize("error", ABSENT, ids=repr)
def test_and_the_other_way_round(pair: Pair, error: GatewayError) -> None:
    pair.legacy.fails = error
    assert pair.text("kimi") == "connect"
    assert pair.asked() == [("connect", "k2"), ("legacy", "kimi")]


def test_one_wires_default_model_stands_in_for_the_others(pair: Pair) -> None:
    pair.connect.fails = ABSENT[0]
    assert pair.text("k2") == "legacy"
    assert pair.asked() == [("connect", "k2"), ("legacy", "kimi")]


@pytest.mark.parametrize("model", ["k3", "k1"])
def test_no_other_model_is_replaced(pair: Pair, model: str) -> None:
    pair.connect.fails = pair.legacy.fails = ABSENT[0]
    with pytest.raises(UpstreamUnsupported):
        pair.text(model)
    assert len(pair.asked()) == 1


def test_a_missing_wire_is_remembered_for_ten_minutes(pair: Pair) -> None:
    pair.connect.fails = ABSENT[0]
    pair.text("both")
    pair.asked()
    pair.clock.now += 599
    assert pair.text("both") == "legacy"
    assert pair.asked() == [("legacy", "both")]
    pair.clock.now += 2
    pair.connect.fails = None
    assert pair.text("both") == "connect"


def test_a_wire_that_lacks_a_files_call_is_tried_again_for_the_next_question(
    pair: Pair,
) -> None:
    pair.connect.fails = ABSENT[0]
    file = File("file", "a.txt", "text/plain", b"made up", "made-up-digest")
    assert pair.text("both", CN, file) == "legacy"
    pair.connect.fails = UpstreamUnsupported("no such call", param="messages")
    assert pair.text("both") == "legacy", "a prompt that was to go up as a file"
    pair.connect.fails = None
    assert pair.text("both") == "connect"


def test_a_missing_wire_is_still_tried_when_the_other_is_missing_too(
    pair: Pair,
) -> None:
    pair.connect.fails = pair.legacy.fails = ABSENT[0]
    with pytest.raises(UpstreamUnsupported):
        pair.text("both")
    pair.connect.fails = None
    assert pair.text("both") == "connect"
    pair.asked()
    assert pair.text("both") == "connect"
    assert pair.asked() == [("connect", "both")]


def test_what_one_region_lacks_is_not_held_against_the_other(pair: Pair) -> None:
    pair.connect.fails = ABSENT[0]
    with pytest.raises(UpstreamUnsupported):
        pair.text("both", OVERSEAS)
    pair.connect.fails = None
    assert pair.text("both", CN) == "connect"


def test_with_both_wires_missing_the_first_ones_error_is_told(pair: Pair) -> None:
    pair.connect.fails, pair.legacy.fails = ABSENT[1], ABSENT[0]
    with pytest.raises(UpstreamMoved):
        pair.text("both")


@pytest.mark.parametrize(
    "error",
    [
        TokenRejected("refused"),
        UpstreamUnreachable("down"),
        UpstreamNotFound("no such agent", upstream_code="not_found"),
        ModelNotFound("unknown"),
    ],
    ids=repr,
)
def test_no_other_failure_changes_the_wire(pair: Pair, error: GatewayError) -> None:
    pair.connect.fails = error
    with pytest.raises(type(error)):
        pair.text("both")
    assert pair.asked() == [("connect", "both")]


def test_after_the_first_event_nothing_else_is_tried(pair: Pair) -> None:
    pair.connect.breaks = UpstreamUnsupported("late")
    events = pair.events("both")
    assert next(events) == TextDelta("connect")
    with pytest.raises(UpstreamUnsupported):
        next(events)
    assert pair.asked() == [("connect", "both")]


def test_closing_closes_the_wires_stream(pair: Pair) -> None:
    kept: list[Iterator[Event]] = []
    stream = pair.connect.stream

    def keeping(request: ChatRequest, lease: Lease) -> Iterator[Event]:
        # Held here, so that it is not merely forgotten and then collected.
        kept.append(stream(request, lease))
        return kept[-1]

    pair.connect.stream = keeping  # type: ignore[method-assign]  # to look inside
    events = pair.events("both")
    next(events)
    hang_up(events)
    assert pair.connect.closed == 1


def test_a_wire_without_any_event_is_cut(pair: Pair) -> None:
    pair.connect.stream = lambda request, lease: iter(())  # type: ignore[method-assign]  # a broken wire
    with pytest.raises(UpstreamCut):
        pair.text("both")


def test_overseas_accounts_use_the_main_wire_only(pair: Pair) -> None:
    assert pair.text("both", OVERSEAS) == "connect"
    assert pair.text("kimi", OVERSEAS) == "connect"
    pair.asked()
    with pytest.raises(UpstreamForbidden):
        pair.text("k1", OVERSEAS)
    assert pair.asked() == []


@pytest.mark.parametrize("wire", ["connect", "legacy"])
def test_a_configured_wire_is_the_only_one(wire: Literal["connect", "legacy"]) -> None:
    pair = Pair(wire)
    assert pair.text("both") == wire
    assert pair.text("both", OVERSEAS) == wire
    used = pair.connect if wire == "connect" else pair.legacy
    assert [model.id for model in pair.kimi.known_models()] == list(used.ids)
    used.fails = ABSENT[0]
    with pytest.raises(UpstreamUnsupported):
        pair.text("both")
    used.calls.clear()
    with pytest.raises(UpstreamFailed):
        pair.kimi.refresh(CN, scope())
    assert len(used.calls) == 1
    assert pair.connect.calls == [] or pair.legacy.calls == []


def test_the_models_of_both_are_one_list_with_the_default_first(pair: Pair) -> None:
    models = pair.kimi.known_models()
    assert [model.id for model in models] == ["k2", "k3", "both", "kimi", "k1"]
    assert models[2].owner == "connect"
    assert pair.connect.calls == pair.legacy.calls == []
    assert pair.kimi.models(CN, scope()) == models
    assert pair.connect.calls == [("models", "")]


def test_only_parameters_that_both_wires_honour_are_honoured() -> None:
    connect = FakeWire("connect", ("k2",), honours=frozenset({"seed", "top_p"}))
    legacy = FakeWire("legacy", ("kimi",), honours=frozenset({"top_p"}))
    kimi = Kimi("kimi", connect=connect, legacy=legacy, monotonic=Clock())
    assert kimi.honours == {"top_p"}


Act = Callable[[Kimi], object]
ACTS: list[Act] = [
    lambda kimi: kimi.refresh(CN, scope()),
    lambda kimi: kimi.check_token(CN, scope()),
    lambda kimi: kimi.models(CN, scope()),
]


@pytest.mark.parametrize("act", ACTS)
def test_other_calls_take_the_first_wire_that_has_them(pair: Pair, act: Act) -> None:
    act(pair.kimi)
    assert len(pair.connect.calls) == 1 and pair.legacy.calls == []
    pair.connect.fails = ABSENT[0]
    act(pair.kimi)
    assert len(pair.connect.calls) == 2 and len(pair.legacy.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejected("invalid", retry_after=7),
        UpstreamNotFound("no such thing"),
        UpstreamForbidden("no"),
        ContextTooLong("too long"),
        ModelNotFound("no such agent"),
        *ABSENT[::2],
    ],
    ids=repr,
)
def test_a_refresh_that_fails_is_never_the_waiting_requests_fault(
    pair: Pair, error: GatewayError
) -> None:
    pair.connect.fails = pair.legacy.fails = error
    with pytest.raises(UpstreamFailed, match=error.message) as caught:
        pair.kimi.refresh(CN, scope())
    assert caught.value.another_token and caught.value.retry_after == error.retry_after


@pytest.mark.parametrize(
    "error", [TokenDead("x"), UpstreamRateLimited("x"), UpstreamMoved("x")], ids=repr
)
def test_a_refresh_that_says_what_to_do_is_told_as_it_is(
    pair: Pair, error: GatewayError
) -> None:
    pair.connect.fails = pair.legacy.fails = error
    with pytest.raises(type(error)) as caught:
        pair.kimi.refresh(CN, scope())
    assert caught.value is error


@pytest.mark.parametrize("act", ACTS)
def test_other_failures_of_a_call_are_final(pair: Pair, act: Act) -> None:
    pair.connect.fails = TokenDead("log in")
    with pytest.raises(TokenDead):
        act(pair.kimi)
    assert pair.legacy.calls == []


@pytest.mark.parametrize("wire", ["auto", "connect", "legacy"])
@pytest.mark.parametrize(
    ("chat_id", "owner"), [(UUID, "connect"), (LEGACY_ID, "legacy"), ("x", "connect")]
)
def test_a_chat_is_deleted_on_the_wire_that_made_it(
    wire: Literal["auto", "connect", "legacy"], chat_id: str, owner: str
) -> None:
    pair = Pair(wire)
    pair.kimi.delete_chat(CN, chat_id, scope())
    calls = {"connect": pair.connect.calls, "legacy": pair.legacy.calls}
    assert calls.pop(owner) == [("delete", chat_id)]
    assert list(calls.values()) == [[]]


@pytest.mark.parametrize("model", ["k2", "k1"])
def test_a_lost_chat_is_looked_for_on_the_wire_that_made_it(
    pair: Pair, model: str
) -> None:
    made_by = pair.text(model)
    (_, fingerprint), opened = pair.notes.said
    assert opened == ("opened", UUID)
    found = pair.kimi.find_chats(CN, fingerprint, 0, scope())
    assert found == [f"found by {made_by}"]
    own = pair.connect if made_by == "connect" else pair.legacy
    assert own.calls[-1] == ("find", f"chat of {made_by}")


def test_a_fingerprint_of_no_wire_finds_nothing(pair: Pair) -> None:
    assert pair.kimi.find_chats(CN, "something", 0, scope()) == []


def test_tokens_are_read(pair: Pair) -> None:
    assert pair.kimi.read_token("made-up").access == "made-up"


def test_a_host_with_the_legacy_wire_alone_answers_through_it() -> None:
    with KimiLegacyEmulator() as emulator:
        emulator.answer = Answer(pieces=("It ", "works."))
        upstream = Upstream([emulator.url])
        tokens = emulator.add_account("alice")
        kimi = Kimi(
            "kimi",
            connect=KimiConnect(
                "kimi",
                upstream,
                hosts=hosts(emulator.url, emulator.url),
                now=lambda: NOW,
                monotonic=Clock(),
            ),
            legacy=KimiLegacy("kimi", upstream, now=lambda: NOW, host=emulator.url),
            monotonic=Clock(),
        )
        notes = Notes()
        old = Credential(access=tokens.access, refresh=tokens.refresh, region="cn")
        new = kimi.refresh(old, scope())
        default = kimi.known_models()[0].id
        lease = Lease("alice", new, scope(), notes)
        result = collect(kimi.stream(asking(model=default), lease))
        assert result.text == "It works."
        assert result.conversation is not None
        kimi.delete_chat(new, result.conversation, scope())
        assert emulator.chats() == ()
        upstream.close()
