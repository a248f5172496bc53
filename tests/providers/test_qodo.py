"""Qodo: what is asked in which generation, how lines are read, whose token is whose."""

import platform
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.qodo import QodoEmulator
from kimi_proxy.chat import ChatRequest, Message, ToolCall
from kimi_proxy.errors import (
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRateLimited,
    UpstreamRejected,
)
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta
from kimi_proxy.providers import json_line, qodo_token
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.qodo_cli import models_of
from kimi_proxy.providers.qodo_ide import payload
from tests.providers import qodo_wire
from tests.providers.connect_account import words
from tests.providers.legacy_account import scope
from tests.providers.qodo_wire import QodoWire

HISTORY = (
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", "1"),
    Message("user", "Two?"),
)


@pytest.fixture
def cli() -> Iterator[QodoWire]:
    with qodo_wire.opened("cli") as wire:
        yield wire


@pytest.fixture
def ide() -> Iterator[QodoWire]:
    with qodo_wire.opened("ide") as wire:
        yield wire


def asked(wire: QodoWire, *messages: Message) -> Any:
    """Ask, and return the body that the emulator saw."""
    seen, error = wire.account.outcome(ChatRequest(wire.model, messages))
    assert error is None and isinstance(seen[-1], Finished)
    return wire.emulator.log.of(wire.stream)[-1].body


def told(wire: QodoWire, *pieces: str) -> list[Event]:
    wire.say(*pieces)
    request = ChatRequest(wire.model, (Message("user", "hi"),))
    seen, error = wire.account.outcome(request)
    assert error is None
    return seen


def test_a_key_asks_a_task_with_the_history_as_one_text_and_no_tools(
    cli: QodoWire,
) -> None:
    body = asked(cli, *HISTORY)
    assert body["tools"] == {}
    assert body["custom_model"] == "gpt-5.1"
    assert [line.split(":")[0] for line in body["user_request"].split("\n\n")] == [
        *("system", "user", "assistant", "system", "user")
    ]
    things, start = cli.emulator.log.all()
    assert (things.name, start.name) == ("things", "start")
    assert start.headers["session-id"] == body["session_id"]


def test_a_pair_asks_a_chat_with_the_history_as_a_list(ide: QodoWire) -> None:
    body = asked(ide, *HISTORY)
    assert body["chat_input"] == "Two?"
    turns = [(m["role"], m["content"]) for m in body["previous_messages"]]
    assert turns == [
        ("user", "system: Be brief."),
        ("user", "One?"),
        ("assistant", "1"),
    ]


def test_tools_that_were_called_are_told_as_text(ide: QodoWire) -> None:
    call = ToolCall("call-1", "look", "{}")
    body = asked(
        ide,
        Message("user", "Look"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "nothing there", tool_call_id="call-1"),
    )
    *_, assistant = body["previous_messages"]
    assert assistant["content"] == "[calls look, call call-1, with {}]"
    assert body["chat_input"] == "tool (result, call call-1): nothing there"


def test_an_answer_that_was_begun_is_gone_on_with(ide: QodoWire) -> None:
    body = asked(ide, Message("user", "Count"), Message("assistant", "1, 2"))
    assert body["previous_messages"][-1] == {"role": "assistant", "content": "1, 2"}
    assert body["chat_input"].startswith("Go on")


def test_nothing_of_the_machine_is_told(cli: QodoWire, ide: QodoWire) -> None:
    own = {platform.release(), platform.version(), socket.gethostname()}
    for wire in (cli, ide):
        data = asked(wire, *HISTORY)["user_data"]
        assert not own & set(data.values())
        agent = wire.emulator.log.of(wire.stream)[0].headers["user-agent"]
        assert agent.startswith("kimi-proxy/")


def test_an_installation_is_the_accounts_own_and_always_the_same() -> None:
    request = ChatRequest("o1", (Message("user", "hi"),))
    one, other = (payload(request, who)["user_data"] for who in ("u1", "u2"))
    assert one == payload(request, "u1")["user_data"]
    assert len({one["installation_id"], other["installation_id"]}) == 2


def test_each_request_has_a_session_of_its_own(cli: QodoWire) -> None:
    assert asked(cli, *HISTORY)["session_id"] != asked(cli, *HISTORY)["session_id"]


def test_a_session_that_exists_already_is_continued_with_the_same_body(
    cli: QodoWire,
) -> None:
    cli.emulator.knobs.same_session = True
    first = asked(cli, *HISTORY)
    cli.emulator.log.clear()
    seen, error = cli.account.outcome(ChatRequest(cli.model, HISTORY))
    assert error is None and "Two?" in words(seen)
    names = [entry.name for entry in cli.emulator.log.all()]
    assert names == ["things", "start", "continue"]
    assert cli.emulator.log.of("continue")[0].body == first


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 200, "body": {"nothing": "known"}}),
        ("status", {"status": 200, "body": []}),
        ("status", {"status": 404}),
        ("reset", {}),
    ],
)
def test_without_a_session_from_the_service_one_is_invented(
    cli: QodoWire, fault: str, params: dict[str, Any]
) -> None:
    cli.emulator.faults.add(fault, on="things", **params)
    day = time.strftime("%Y%m%d", time.gmtime())
    assert asked(cli, *HISTORY)["session_id"][:9] in {f"{day}-", _tomorrow()}


def _tomorrow() -> str:
    return time.strftime("%Y%m%d-", time.gmtime(time.time() + 60))


@pytest.mark.parametrize("kind", ["cli", "ide"])
@pytest.mark.parametrize(
    "framing",
    [
        {"data_prefix": True, "done": True},
        {"data_prefix": True},
        {"done": True},
        {"last_end": False, "odd_lines": False},
        {"crlf": True, "odd_lines": True},
        {"chunked": False},
        {"split": (1,)},
    ],
)
def test_every_reading_of_the_sheet_is_understood(
    kind: str, framing: dict[str, Any]
) -> None:
    with qodo_wire.opened(kind) as wire:
        for name, value in framing.items():
            setattr(wire.emulator.knobs, name, value)
        assert words(told(wire, "It is ", "冷的 🌍", " done.")) == "It is 冷的 🌍 done."


@pytest.mark.parametrize("kind", ["cli", "ide"])
def test_thinking_is_told_apart_though_its_tags_are_cut(kind: str) -> None:
    with qodo_wire.opened(kind) as wire:
        seen = told(wire, "<thi", "nk>Short", " plan.</th", "ink>\n\nHel", "lo")
    thought = [e.text for e in seen if isinstance(e, ReasoningDelta)]
    assert "".join(thought) == "Short plan."
    assert [e.text for e in seen if isinstance(e, TextDelta)] == ["Hel", "lo"]


@pytest.mark.parametrize("kind", ["cli", "ide"])
def test_an_answer_without_a_word_is_no_answer(kind: str) -> None:
    with qodo_wire.opened(kind) as wire:
        wire.say()
        request = ChatRequest(wire.model, (Message("user", "hi"),))
        seen, error = wire.account.outcome(request)
    assert (seen, type(error)) == ([], UpstreamCut)


def test_two_pairs_of_one_web_key_are_two_accounts() -> None:
    with QodoEmulator() as emulator:
        pairs = [emulator.add_pair(name) for name in ("alice", "bob")]
        assert len({pair.partition("=")[0] for pair in pairs}) == 1
        accounts = [qodo_wire.account_of(emulator, pair) for pair in pairs]
        for account in accounts:
            request = ChatRequest("gpt-4o", (Message("user", "hi"),))
            assert account.outcome(request)[1] is None
            account.leave()
        subjects = [account.credential.subject for account in accounts]
        assert subjects == ["user-alice", "user-bob"]
        assert [e.account for e in emulator.log.of("chat")] == ["alice", "bob"]


def test_a_token_of_another_user_is_not_taken(ide: QodoWire) -> None:
    other = {"id_token": "eyJmade-up-other", "user_id": "user-bob", "expires_in": "9"}
    ide.emulator.faults.add("status", on="renew", status=200, body=other)
    with pytest.raises(UpstreamGarbled, match="another user"):
        ide.account.provider.refresh(ide.account.credential, scope())


@pytest.mark.parametrize(
    ("told_life", "seconds"),
    [("3600", 3600), ("1800.5", 1800.5), (900, 900), ("soon", 3600), (None, 3600)],
)
def test_the_life_of_a_token_is_a_text_of_seconds(
    ide: QodoWire, told_life: object, seconds: float
) -> None:
    body = {"access_token": "eyJmade-up", "expires_in": told_life}
    ide.emulator.faults.add("status", on="renew", status=200, body=body)
    fresh = ide.account.provider.refresh(ide.account.credential, scope())
    assert fresh.access == "eyJmade-up"
    assert abs(fresh.access_expires - time.time() - seconds) < 30
    assert fresh.refresh == ide.account.credential.refresh


def test_a_refresh_token_that_changes_is_kept_with_its_web_key(ide: QodoWire) -> None:
    ide.emulator.knobs.rotates_refresh = True
    old = ide.account.credential
    fresh = ide.account.provider.refresh(old, scope())
    assert fresh.refresh != old.refresh
    assert fresh.refresh.partition("=")[0] == old.refresh.partition("=")[0]
    assert ide.account.provider.refresh(fresh, scope()).subject == "user-alice"


def _renewal_error(ide: QodoWire, status: int, message: str) -> UpstreamError:
    body = {"error": {"code": status, "message": message, "status": "MADE_UP"}}
    ide.emulator.faults.add("status", on="renew", status=status, body=body)
    with pytest.raises(UpstreamError) as caught:
        ide.account.provider.refresh(ide.account.credential, scope())
    return caught.value


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "TOKEN_EXPIRED", TokenDead),
        (400, "INVALID_REFRESH_TOKEN", TokenDead),
        (400, "USER_DISABLED", TokenDead),
        (400, "USER_NOT_FOUND", TokenDead),
        (400, "USER_DISABLED : made up", TokenDead),
        (400, "API key not valid. Please pass a valid API key.", TokenDead),
        (400, "TOO_MANY_ATTEMPTS_TRY_LATER", UpstreamRateLimited),
        (400, "SOMETHING_NEW", UpstreamRejected),
        (429, "made up", UpstreamRateLimited),
    ],
)
def test_what_firebase_says_is_understood(
    ide: QodoWire, status: int, message: str, kind: type[UpstreamError]
) -> None:
    assert type(_renewal_error(ide, status, message)) is kind


def test_users_who_are_gone_are_dead(ide: QodoWire) -> None:
    user = ide.emulator.credentials.user("alice")
    for name in ("disabled", "deleted"):
        setattr(user, name, True)
        with pytest.raises(TokenDead):
            ide.account.provider.refresh(ide.account.credential, scope())


def test_a_key_cannot_be_renewed_and_a_pair_needs_a_renewal_first(
    cli: QodoWire, ide: QodoWire
) -> None:
    with pytest.raises(TokenDead):
        cli.account.provider.refresh(cli.account.credential, scope())
    ide.account.credential = qodo_token.read("made-up-key=made-up-refresh")
    request = ChatRequest(ide.model, (Message("user", "hi"),))
    assert isinstance(ide.account.outcome(request)[1], TokenRejected)


@pytest.mark.parametrize(
    ("text", "access", "refresh"),
    [
        ("sk-made-up-1", "sk-made-up-1", None),
        (" Bearer sk-made-up-1 \n", "sk-made-up-1", None),
        ("made-up-web-key=AMf-made_up=", None, "made-up-web-key=AMf-made_up="),
    ],
)
def test_the_form_says_what_a_token_is(
    text: str, access: str | None, refresh: str | None
) -> None:
    credential = qodo_token.read(text)
    assert (credential.access, credential.refresh) == (access, refresh)
    assert "made" not in repr(credential)


@pytest.mark.parametrize("text", ["", "made up", "eyJmade.up", "=x", "a=b c", "k="])
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(ValueError, match="no Qodo token") as caught:
        qodo_token.read(text)
    assert "made" not in str(caught.value)


@pytest.mark.parametrize(
    ("models", "ids"),
    [
        (["a", "b", "gpt-5.1", "a"], ["gpt-5.1", "a", "b"]),
        ([{"id": "a"}, {"name": "b"}, {"model": "gpt-5.1"}, 7], ["gpt-5.1", "a", "b"]),
        ({"a": {}, "gpt-5.1": {}}, ["gpt-5.1", "a"]),
        (None, []),
        ("text", []),
    ],
)
def test_models_are_read_from_whatever_names_them(
    cli: QodoWire, models: object, ids: list[str]
) -> None:
    cli.emulator.knobs.models = models
    found = cli.account.provider.models(cli.account.credential, scope())
    own = [model.id for model in found][: len(ids)]
    assert own == ids
    assert models_of(models, "qodo") == []  # the answer as a whole names them
    if not ids:
        assert "claude-4.5-sonnet" in [model.id for model in found]


def test_a_pair_cannot_ask_for_models_and_any_name_may_be_tried(ide: QodoWire) -> None:
    provider = ide.account.provider
    found = provider.models(ide.account.credential, scope())
    assert "deepseek-r1-full" in [model.id for model in found]
    assert ide.emulator.log.all() == () and provider.offers("made-up-new")


def lines(*blocks: bytes) -> list[dict[str, Any]]:
    return list(json_line.objects(blocks))


@pytest.mark.parametrize("prefix", ["", "data: ", "data:"])
def test_lines_may_be_cut_anywhere(prefix: str) -> None:
    whole = f'{prefix}{{"a":"冷"}}\r\n\n: idle\nevent: x\n{prefix}{{"b":1}}'.encode()
    for at in range(len(whole) + 1):
        assert lines(whole[:at], whole[at:]) == [{"a": "冷"}, {"b": 1}]


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 60))
def test_whatever_comes_is_objects_or_an_error_of_the_upstream(
    blocks: list[bytes], at: int
) -> None:
    whole = b'{"a":1}\ndata: {"b":2}\n' + b"".join(blocks)
    for pieces in ([whole], [whole[:at], whole[at:]], [bytes([b]) for b in whole]):
        try:
            found = lines(*pieces)
        except UpstreamError:
            continue
        assert found[:2] == [{"a": 1}, {"b": 2}]


def test_lines_have_bounds_and_are_objects() -> None:
    assert lines(b"[DONE]\n{not read\n") == []
    for bad in (b"{a\n", b"[1]\n", b"\xff\n"):
        with pytest.raises(UpstreamGarbled):
            lines(bad)
    with pytest.raises(UpstreamCut):
        lines(b'{"a":1}\n{"b"')
    with pytest.raises(UpstreamGarbled):
        list(json_line.objects([b"x" * 60, b"y" * 60], limit=100))


def test_the_credential_is_never_shown() -> None:
    shown = repr(Credential(access="sk-made-up", refresh="made-up=made-up"))
    assert "made-up" not in shown
