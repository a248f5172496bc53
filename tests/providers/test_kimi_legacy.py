"""The legacy wire answers truly: text, sources, conversations and their end."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator, SearchHit
from kimi_proxy import __version__
from kimi_proxy.chat import Message
from kimi_proxy.errors import ClientGone, ModelNotFound, UpstreamUnreachable
from kimi_proxy.events import Citation, Finished, TextDelta, collect
from kimi_proxy.providers.base import (
    ChecksTokens,
    Credential,
    KeepsChats,
    ListsModels,
    Provider,
    RefreshesTokens,
)
from kimi_proxy.providers.kimi_legacy import KimiLegacy
from kimi_proxy.providers.kimi_legacy_call import HOSTS
from kimi_proxy.providers.prompt import merge
from kimi_proxy.upstream import Exchange, Upstream
from tests.providers.legacy_account import NOW, Account, asking, hang_up, scope

PIECES = ("It is ", "冷", "的 ", "🌍", "👩‍👩‍👧", " é\n", "done.")
TEXT = "".join(PIECES)


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        running.answer = Answer(pieces=PIECES)
        yield running


@pytest.fixture
def account(emulator: KimiLegacyEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()
    assert emulator.violations() == []


def test_it_is_a_provider_with_every_ability(account: Account) -> None:
    provider: Provider = account.provider
    for ability in (RefreshesTokens, ListsModels, ChecksTokens, KeepsChats):
        assert isinstance(provider, ability)


def test_the_answer_comes_piece_by_piece_and_ends_once(account: Account) -> None:
    events = list(account.ask())
    (chat_id,) = account.chat_ids()
    assert events == [*map(TextDelta, PIECES), Finished("stop", chat_id)]


def test_nothing_is_sent_before_the_first_event_is_asked_for(account: Account) -> None:
    events = account.ask()
    assert account.emulator.log.all() == ()
    next(events)
    assert [e.name for e in account.emulator.log.all()] == ["create", "completion"]
    list(events)


def test_the_chat_is_named_before_it_is_made_and_known_after(account: Account) -> None:
    list(account.ask())
    (chat_id,) = account.chat_ids()
    (create,) = account.emulator.log.of("create")
    assert account.notes.said == [
        ("sending", create.body["name"]),
        ("opened", chat_id),
    ]


def test_every_chat_has_a_name_of_its_own(account: Account) -> None:
    list(account.ask())
    list(account.ask())
    first, second = account.emulator.log.of("create")
    assert first.body["name"] != second.body["name"]


@pytest.mark.parametrize(
    "knobs",
    [
        {"event_lines": True},
        {"crlf": True},
        {"crlf": True, "event_lines": True, "split": (1,)},
        {"comments": True},
        {"tight": True},
        {"old_cmpl": True},
        {"split": (1,)},
        {"split": (5, 3)},
        {"chunked": False},
        {"chunked": False, "split": (7,)},
    ],
    ids=str,
)
def test_the_form_of_the_stream_does_not_matter(
    account: Account, knobs: dict[str, object]
) -> None:
    for name, value in knobs.items():
        setattr(account.emulator.knobs, name, value)
    result = collect(account.ask())
    assert (result.text, result.reason) == (TEXT, "stop")


def test_unknown_events_and_pings_are_not_part_of_the_answer(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "kimi_proxy")
    account.emulator.knobs.unknown_events = ("k1", "made_up")
    account.emulator.faults.add("stall", seconds=0.1, ping_interval=0.03, at=1)
    assert collect(account.ask()).text == TEXT
    assert f"'k1': {len(PIECES)}" in caplog.text
    assert "ping" not in caplog.text and "done" not in caplog.text


def test_each_piece_arrives_while_the_upstream_is_silent_after_it(
    account: Account,
) -> None:
    account.emulator.knobs.chunked = False
    account.emulator.faults.add("stall", at=1)
    events = account.ask()
    assert next(events) == TextDelta(PIECES[0])
    hang_up(events)


def test_the_whole_history_goes_up_in_the_one_message_that_is_read(
    account: Account,
) -> None:
    history = (
        Message("system", "Be brief."),
        Message("user", "one"),
        Message("assistant", "two"),
    )
    list(account.ask(asking("three", history=history)))
    (sent,) = account.emulator.log.of("completion")
    prompt = merge([*history, Message("user", "three")])
    assert sent.body["messages"] == [{"role": "user", "content": prompt}]


def test_one_message_goes_up_unchanged(account: Account) -> None:
    list(account.ask(asking("你好 🌍\n")))
    (sent,) = account.emulator.log.of("completion")
    assert sent.facts["prompt"] == "你好 🌍\n"


@pytest.mark.parametrize(
    ("model", "agent", "research", "math"),
    [
        ("kimi", "kimi", False, False),
        ("k1", "crm40ee9e5jvhsn7ptcg", False, False),
        ("kimi-research", "kimi", True, False),
        ("kimi-math", "kimi", False, True),
        ("fakeagent00000000020", "fakeagent00000000020", False, False),
    ],
)
def test_a_model_is_the_switches_of_its_row(
    account: Account, model: str, agent: str, research: bool, math: bool
) -> None:
    assert collect(account.ask(asking(model=model))).text == TEXT
    (create,) = account.emulator.log.of("create")
    (sent,) = account.emulator.log.of("completion")
    assert create.body["kimiplus_id"] == sent.body["kimiplus_id"] == agent
    assert sent.body["use_research"] is research
    assert sent.body["use_math"] is math


@pytest.mark.parametrize("model", ["k2", "kimi-search", "KIMI", "my-k1-math", ""])
def test_an_unknown_model_is_refused_before_anything_is_sent(
    account: Account, model: str
) -> None:
    with pytest.raises(ModelNotFound):
        next(account.ask(asking(model=model)))
    assert account.emulator.log.all() == ()
    assert account.notes.said == []


def test_every_listed_model_can_be_asked(account: Account) -> None:
    listed = account.provider.models(None, account.lease().scope)
    assert listed == account.provider.known_models()
    assert listed[0].id == "kimi"
    for model in listed:
        assert collect(account.ask(asking(model=model.id))).text == TEXT


@pytest.mark.parametrize("asked", [None, True, False])
def test_search_is_the_clients_choice(account: Account, asked: bool | None) -> None:
    list(account.ask(asking(search=asked)))
    (sent,) = account.emulator.log.of("completion")
    assert sent.body["use_search"] is bool(asked)


def test_sources_are_cited_once_and_only_those_of_the_web(account: Account) -> None:
    account.emulator.answer = Answer(
        pieces=("Cold.",),
        search=(
            SearchHit("Oslo", "https://example.org/oslo"),
            SearchHit("Again", "https://example.org/oslo"),
            SearchHit("", "http://example.org/untitled"),
            SearchHit("Bad", "javascript:alert(1)"),
            SearchHit("Worse", "file:///etc/passwd"),
        ),
    )
    result = collect(account.ask(asking(search=True)))
    assert result.text == "Cold."
    assert result.citations == (
        Citation("https://example.org/oslo", "Oslo"),
        Citation("http://example.org/untitled", "http://example.org/untitled"),
    )


@pytest.mark.parametrize("read", [1, 3])
def test_closing_in_the_middle_hangs_up(account: Account, read: int) -> None:
    account.emulator.faults.add("stall", at=read)
    events = account.ask()
    for _ in range(read):
        next(events)
    hang_up(events)
    log = account.emulator.log
    log.wait_for(lambda seen: any(e.aborted_at for e in seen if e.name == "completion"))
    assert log.open() == ()


@pytest.mark.parametrize("at", [-1, 2])
def test_a_cancelled_scope_ends_a_silent_answer(account: Account, at: int) -> None:
    account.emulator.faults.add("stall", at=at)
    lease = account.lease()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            list(account.provider.stream(asking(), lease))
        except ClientGone as exc:
            ended.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    account.emulator.log.wait_for(
        lambda seen: any(e.opened_at for e in seen if e.name == "completion")
    )
    lease.scope.cancel(ClientGone("gone"))
    reader.join(5)
    assert not reader.is_alive()
    assert len(ended) == 1


def test_an_answer_left_early_is_ended_so_the_account_can_ask_at_once(
    account: Account,
) -> None:
    account.emulator.faults.add("stall", at=1)
    events = account.ask()
    next(events)
    hang_up(events)
    assert not account.emulator.running("alice")
    assert not account.chat_ids()
    assert collect(account.ask()).text == TEXT


def test_an_answer_that_cannot_be_ended_is_left_to_who_keeps_the_chats(
    account: Account,
) -> None:
    account.emulator.faults.add("stall", at=1)
    account.emulator.faults.add("status", on="delete", status=403)
    events = account.ask()
    next(events)
    hang_up(events)
    (chat_id,) = account.chat_ids()
    lease = account.lease()
    account.provider.delete_chat(lease.credential, chat_id, lease.scope)
    assert not account.emulator.running("alice")


def test_the_bodies_are_the_sheets(account: Account) -> None:
    list(account.ask(asking("hello", search=True)))
    (create,) = account.emulator.log.of("create")
    (sent,) = account.emulator.log.of("completion")
    assert create.body == {
        "name": account.notes.said[0][1],
        "is_example": False,
        "enter_method": "new_chat",
        "kimiplus_id": "kimi",
    }
    assert sent.body == {
        "kimiplus_id": "kimi",
        "messages": [{"role": "user", "content": "hello"}],
        "refs": [],
        "refs_file": [],
        "use_math": False,
        "use_research": False,
        "use_search": True,
        "extend": {"sidebar": True},
    }


def test_the_headers_are_those_of_the_sheet(account: Account) -> None:
    tokens = f"{account.credential.access} {account.credential.refresh}"
    account.credential = account.provider.read_token(tokens)
    list(account.ask())
    base, (chat_id,) = account.emulator.url, account.chat_ids()
    pages = {"create": "/", "completion": f"/chat/{chat_id}"}
    for name, page in pages.items():
        (sent,) = account.emulator.log.of(name)
        expected = {
            "content-type": "application/json",
            "origin": base,
            "referer": base + page,
            "x-traffic-id": account.credential.subject,
            "r-timezone": "Etc/UTC",
            "x-msh-platform": "web",
            "x-msh-device-id": account.credential.device,
            "x-msh-session-id": account.credential.session,
            "user-agent": f"kimi-proxy/{__version__}",
        }
        assert sent.headers.items() >= expected.items()


def test_only_what_the_token_tells_is_sent_along(account: Account) -> None:
    list(account.ask())
    (sent,) = account.emulator.log.of("completion")
    assert "x-traffic-id" not in sent.headers and "cookie" not in sent.headers
    assert sent.token_kind == "access"


def test_the_hosts_are_those_of_the_regions() -> None:
    assert HOSTS == {"cn": "https://www.kimi.com", "overseas": "https://www.kimi.ai"}


@pytest.mark.parametrize("region", ["cn", "overseas", None])
def test_without_a_configured_host_the_region_chooses(region: str | None) -> None:
    asked: list[str] = []

    class Nowhere(Upstream):
        def open(self, method: str, url: str, **options: Any) -> Exchange:
            asked.append(url)
            raise UpstreamUnreachable("made up")

    provider = KimiLegacy("kimi", Nowhere(HOSTS.values()), now=lambda: NOW)
    with pytest.raises(UpstreamUnreachable):
        provider.check_token(Credential(access="made-up", region=region), scope())
    assert asked == [f"{HOSTS[region or 'cn']}/api/user"]


def test_no_call_beside_the_needed_ones_is_made(account: Account) -> None:
    list(account.ask())
    assert [e.name for e in account.emulator.log.all()] == ["create", "completion"]


def test_a_kept_connection_serves_the_next_call(account: Account) -> None:
    lease = account.lease()
    for _ in range(3):
        account.provider.check_token(lease.credential, lease.scope)
    peers = {e.peer for e in account.emulator.log.of("user")}
    assert len(peers) == 1
