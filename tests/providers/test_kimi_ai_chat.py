"""kimi-ai.chat: the nonce, the one honest piece, the limit that is never hidden."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_ai_chat import KimiAiChatEmulator
from kimi_proxy.blame import Penalty
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import (
    ClientGone,
    ContextTooLong,
    GatewayError,
    ModelNotFound,
    UpstreamBlocked,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.providers.base import Lease
from kimi_proxy.providers.kimi_ai_chat_prompt import prompt
from tests.providers import kimi_ai_chat_wire
from tests.providers.connect_account import words
from tests.providers.kimi_ai_chat_wire import KimiAiChatWire
from tests.providers.legacy_account import scope


@pytest.fixture
def wire() -> Iterator[KimiAiChatWire]:
    with kimi_ai_chat_wire.opened() as running:
        yield running


@pytest.fixture
def emulator(wire: KimiAiChatWire) -> KimiAiChatEmulator:
    return wire.emulator


def asking(text: str = "hi", model: str = "kimi-k2-instruct") -> ChatRequest:
    return ChatRequest(model, (Message("user", text),))


def failure(wire: KimiAiChatWire, request: ChatRequest | None = None) -> GatewayError:
    seen, error = wire.account.outcome(request or asking())
    assert seen == [] and error is not None
    return error


def calls(emulator: KimiAiChatEmulator) -> list[str]:
    return [entry.name for entry in emulator.log.all()]


def test_the_answer_is_one_piece_and_the_end(wire: KimiAiChatWire) -> None:
    wire.say("Hello! ", "冷的 🌍")
    seen, error = wire.account.outcome(asking())
    assert error is None
    assert seen == [TextDelta("Hello! 冷的 🌍"), Finished("stop")]


def test_the_page_is_fetched_once(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    for _ in range(3):
        assert wire.account.outcome(asking())[1] is None
    assert calls(emulator) == ["page", *["message"] * 3]


def test_the_form_is_that_of_the_sheet(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    for model in ("kimi-k2-instruct-0905", "moonshotai/Kimi-K2-Instruct"):
        wire.account.outcome(asking("冷 & =", model))
    first, second = emulator.log.of("message")
    assert first.body["message"] == "冷 & ="
    assert first.body["model"] == "moonshotai/Kimi-K2-Instruct-0905"
    assert second.body["model"] == "moonshotai/Kimi-K2-Instruct"
    assert first.body["session_id"] != second.body["session_id"]
    assert re.fullmatch(r"kimi-proxy/\S+", first.headers["user-agent"])


@pytest.mark.parametrize("style", ["false", "403"])
@pytest.mark.parametrize("html", [False, True])
def test_an_old_nonce_is_replaced_unseen(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator, style: str, html: bool
) -> None:
    emulator.knobs.bad_nonce, emulator.knobs.html = style, html
    wire.account.outcome(asking())
    emulator.expire()
    emulator.log.clear()
    seen, error = wire.account.outcome(asking())
    assert error is None and words(seen) == "You said: hi"
    assert calls(emulator) == ["message", "page", "message"]


@pytest.mark.parametrize("data", ["made up", {"message": "made up"}])
def test_a_second_refusal_is_an_error_and_no_third_try(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator, data: Any
) -> None:
    emulator.faults.add("refused", times=-1, data=data)
    error = failure(wire)
    assert type(error) is UpstreamFailed and "made up" in error.message
    assert calls(emulator) == ["page", "message", "page", "message"]


@pytest.mark.parametrize("data", [None, 7, [], {"code": 7}])
def test_a_refusal_without_words_is_one_too(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator, data: Any
) -> None:
    emulator.faults.add("refused", times=2, data=data)
    assert type(failure(wire)) is UpstreamFailed


def test_many_who_need_a_nonce_share_one_fetch(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    emulator.faults.add("slow", on="page", delay=0.2)
    results: list[Any] = []

    def ask() -> None:
        results.append(wire.account.outcome(asking()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for _, error in results] == [None] * 4
    assert calls(emulator).count("page") == 1


def test_who_leaves_while_another_fetches_is_gone_at_once(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    emulator.faults.add("hang", on="page")
    first, second = scope(), scope()
    held = threading.Thread(target=lambda: _ended(wire, first))
    held.start()
    emulator.log.wait_for(lambda entries: entries)
    waiting = threading.Thread(target=lambda: _ended(wire, second))
    waiting.start()
    second.cancel(ClientGone("left"))
    waiting.join(5)
    assert not waiting.is_alive()
    first.cancel(ClientGone("left"))
    held.join(5)
    assert not held.is_alive()


def _ended(wire: KimiAiChatWire, within: Any) -> None:
    lease = Lease("visitor", wire.account.credential, within, wire.account.notes)
    with pytest.raises(ClientGone):
        list(wire.account.provider.stream(asking(), lease))


def test_a_challenge_is_reported_and_not_fought(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    for call in ("page", "message"):
        for status in (403, 503, 200):
            if (call, status) == ("page", 200):
                continue  # the page is one; see below
            emulator.log.clear()
            emulator.faults.add("challenge", on=call, status=status)
            error = failure(wire)
            assert type(error) is UpstreamBlocked
            assert error.penalty is Penalty.COOL
            assert calls(emulator)[-1] == call
            assert calls(emulator).count(call) == 1


def test_a_page_without_a_nonce_says_so(
    wire: KimiAiChatWire, emulator: KimiAiChatEmulator
) -> None:
    emulator.faults.add("bare_page")
    assert "no nonce" in failure(wire).message
    emulator.faults.add("challenge", on="page", status=200)
    assert type(failure(wire)) is UpstreamGarbled
    assert wire.account.outcome(asking())[1] is None


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [
        (400, UpstreamRejected, 400),
        (403, UpstreamForbidden, 403),
        (404, UpstreamNotFound, 404),
        (413, ContextTooLong, 400),
        (429, UpstreamRateLimited, 429),
        (500, UpstreamFailed, 503),
        (503, UpstreamOverloaded, 503),
    ],
)
def test_a_status_is_its_error(
    wire: KimiAiChatWire, status: int, kind: type[GatewayError], shown: int
) -> None:
    wire.emulator.faults.add("status", on="message", status=status, retry_after=7)
    error = failure(wire)
    assert (type(error), error.status) == (kind, shown)
    assert error.retry_after == 7
    assert len(wire.emulator.log.of("message")) == 1


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({}, UpstreamGarbled),
        ({"body": b"[]"}, UpstreamGarbled),
        ({"body": b'{"made": "up"}'}, UpstreamGarbled),
        ({"body": b"0", "status": 400}, UpstreamUnsupported),
        ({"body": b"<html>", "content_type": "text/html"}, UpstreamBlocked),
        (
            {"body": b"<html>", "content_type": "text/html", "status": 500},
            UpstreamFailed,
        ),
        (
            {"body": b"<html>", "content_type": "text/html", "status": 522},
            UpstreamFailed,
        ),
        (
            {"body": b"<html>", "content_type": "text/html", "status": 429},
            UpstreamRateLimited,
        ),
    ],
)
def test_what_is_no_answer_is_told_apart(
    wire: KimiAiChatWire, params: dict[str, Any], kind: type[GatewayError]
) -> None:
    wire.emulator.faults.add("garbled", **params)
    assert type(failure(wire)) is kind


def test_an_empty_answer_is_none(wire: KimiAiChatWire) -> None:
    wire.emulator.faults.add("empty")
    assert type(failure(wire)) is UpstreamFailed


@pytest.mark.parametrize("call", ["page", "message"])
def test_a_redirect_is_not_followed_and_silence_is_a_timeout(
    wire: KimiAiChatWire, call: str
) -> None:
    wire.emulator.faults.add("redirect", on=call)
    assert type(failure(wire)) is UpstreamMoved
    assert wire.emulator.log.of("Trap") == ()
    wire.emulator.faults.add("hang", on=call)
    account = wire.account
    lease = Lease("visitor", account.credential, scope(headers=0.2), account.notes)
    with pytest.raises(UpstreamTimeout):
        list(account.provider.stream(asking(), lease))


def test_a_model_that_is_not_there_is_not_asked_for(wire: KimiAiChatWire) -> None:
    assert type(failure(wire, asking(model="made-up"))) is ModelNotFound
    provider = wire.account.provider
    assert provider.offers("moonshotai/Kimi-K2-Instruct")
    assert not provider.offers("made-up")
    listed = provider.models(None, scope())
    assert [model.id for model in listed] == [
        *("kimi-k2-instruct-0905", "kimi-k2-instruct")
    ]
    assert wire.emulator.log.all() == ()


def test_a_prompt_too_long_is_refused_before_anything_is_sent(
    wire: KimiAiChatWire,
) -> None:
    error = failure(wire, asking("x" * 1001))
    assert type(error) is ContextTooLong and "1001" in error.message
    assert wire.account.outcome(asking("x" * 1000))[1] is None
    assert len(wire.emulator.log.of("message")) == 1


def test_what_the_site_finds_too_long_is_an_error_of_its_words(
    wire: KimiAiChatWire,
) -> None:
    wire.emulator.knobs.limit = 10
    error = failure(wire, asking("x" * 11))
    assert type(error) is UpstreamFailed and "10 characters" in error.message


SYSTEM = Message("system", "Be brief.")
TURNS = tuple(
    message
    for number in range(1, 4)
    for message in (
        Message("user", f"question {number} " + "q" * 80),
        Message("assistant", f"answer {number} " + "a" * 80),
    )
)
NEWEST = Message("user", "the newest")


def test_a_long_history_is_refused_unless_the_configuration_says_otherwise() -> None:
    with pytest.raises(ContextTooLong):
        prompt((SYSTEM, *TURNS, NEWEST), 500, "refuse")


def test_the_oldest_turns_go_first_and_the_prompt_says_how_many() -> None:
    text = prompt((SYSTEM, *TURNS, NEWEST), 600, "drop-oldest")
    assert len(text) <= 600
    assert "(2 earlier messages were left out.)" in text
    assert "question 1" not in text and "answer 1" not in text
    assert "question 2" in text and "answer 3" in text
    assert "Be brief." in text and text.endswith("the newest")


def test_the_newest_message_and_the_system_stay_to_the_last() -> None:
    text = prompt((SYSTEM, *TURNS, NEWEST), 100, "drop-oldest")
    assert "Be brief." in text and text.endswith("the newest")
    assert "(6 earlier messages were left out.)" in text
    with pytest.raises(ContextTooLong, match="even without its older messages"):
        prompt((SYSTEM, *TURNS, NEWEST), 40, "drop-oldest")
    with pytest.raises(ContextTooLong):
        prompt((NEWEST,), 5, "drop-oldest")


def test_a_history_that_fits_is_left_alone() -> None:
    messages = (SYSTEM, *TURNS, NEWEST)
    whole = prompt(messages, 10_000, "refuse")
    assert prompt(messages, len(whole), "drop-oldest") == whole
