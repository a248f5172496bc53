"""Every error row of both sheets, end to end: a status before content, a frame after.

The names are those of the emulators' own tables (connect sheet §8, legacy sheet §6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai
import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_connect.error import ERRORS
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import OpenHouse
from tests.chaos.gateway import KEY, Gateway
from tests.chaos.house import House, Plan, Room
from tests.chaos.reply import Reply

# Rests so short that the only account is back for the next row.
POOL = {"cooldown": 0.01, "max_cooldown": 0.01, "wait": 2}
PIECES = ("one ", "two ", "three ", "four")
Row = tuple[int, str, str]  # HTTP status, type, code

CONNECT: Mapping[str, Row] = {
    "unauthenticated": (503, "upstream_error", "upstream_auth"),
    "unauthenticated_plain": (503, "upstream_error", "upstream_auth"),
    "session_in_progress": (429, "rate_limit_error", "account_busy"),
    "concurrency": (429, "rate_limit_error", "upstream_rate_limited"),
    "overloaded_free": (503, "overloaded_error", "upstream_overloaded"),
    "overloaded": (503, "overloaded_error", "upstream_overloaded"),
    "model_rate_limit": (429, "rate_limit_error", "upstream_rate_limited"),
    "invalid_argument": (400, "invalid_request_error", "upstream_rejected"),
    "permission_denied": (403, "permission_error", "upstream_forbidden"),
    "not_found": (404, "invalid_request_error", "upstream_not_found"),
    "unimplemented": (501, "upstream_error", "upstream_unsupported"),
    "unavailable": (503, "upstream_error", "upstream_failed"),
    "deadline_exceeded": (504, "upstream_error", "upstream_timeout"),
    "internal": (503, "upstream_error", "upstream_failed"),
}
LEGACY: Mapping[str, Row] = {
    "auth.token.invalid": (503, "upstream_error", "upstream_auth"),
    "chat.user_stream_pushing": (429, "rate_limit_error", "account_busy"),
    "chat.forbidden": (400, "invalid_request_error", "content_filter"),
    "openai.completion.stream": (400, "invalid_request_error", "content_filter"),
    "openai.completion.token_length_too_long": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "something.new": (503, "upstream_error", "upstream_failed"),
}
LEGACY_TEXTS: Mapping[str, Row] = {
    "chat not found": (404, "invalid_request_error", "upstream_not_found"),
    "kimi+ not found": (404, "invalid_request_error", "model_not_found"),
}


def assert_refused(reply: Reply, row: Row) -> None:
    """An error status and the OpenAI error object, nothing of an answer."""
    status, kind, code = row
    assert not reply.streamed
    assert not reply.broken
    assert (reply.status, reply.error and reply.error["type"]) == (status, kind)
    assert reply.error is not None
    assert reply.error["code"] == code
    assert reply.error["message"]
    assert set(reply.document) == {"error"}


def assert_failed_midway(reply: Reply, row: Row) -> None:
    """An error frame last, after text, with no sign of success."""
    _, kind, code = row
    assert reply.status == 200
    assert reply.text.startswith("one")
    assert reply.finish_reason is None
    assert not reply.done
    assert not reply.broken
    assert reply.error is not None
    assert (reply.error["type"], reply.error["code"]) == (kind, code)


def test_every_row_of_the_connect_sheet_has_an_expectation() -> None:
    assert set(CONNECT) == set(ERRORS)


@pytest.fixture(scope="module")
def house(open_house: OpenHouse) -> House:
    """One worker for both wires; who asks next says which."""
    pool = {"pool": POOL}
    return open_house(
        {"connect": Plan(settings=pool), "legacy": Plan("legacy", settings=pool)}
    )


@pytest.fixture(scope="module")
def rooms(house: House) -> Mapping[str, Room]:
    return {wire: house.take(wire) for wire in ("connect", "legacy")}


@pytest.fixture
def connect(rooms: Mapping[str, Room]) -> KimiConnectEmulator:
    emulator: KimiConnectEmulator = rooms["connect"].emulator
    emulator.reset()
    emulator.answer = Answer("".join(PIECES), pieces=PIECES)
    return emulator


@pytest.fixture
def alice(house: House, rooms: Mapping[str, Room]) -> Gateway:
    house.gateway.provider = rooms["connect"].provider
    return house.gateway


@pytest.mark.parametrize("where", ["http", "trailer", "frame"])
def test_an_error_before_the_first_content_is_a_status(
    alice: Gateway, connect: KimiConnectEmulator, where: str
) -> None:
    for error, row in CONNECT.items():
        for stream in (True, False):
            connect.faults.add("error", times=-1, error=error, where=where)
            assert_refused(alice.ask(error, stream=stream), row)
            connect.faults.clear()


def test_an_error_before_the_chat_frame_is_a_status(
    alice: Gateway, connect: KimiConnectEmulator
) -> None:
    for error, row in CONNECT.items():
        connect.faults.add("error", times=-1, error=error, before_chat=True)
        assert_refused(alice.ask(error, stream=True), row)
        connect.faults.clear()


@pytest.mark.parametrize("where", ["trailer", "frame", "after_done"])
def test_an_error_after_content_is_an_error_frame_and_never_a_success(
    alice: Gateway, connect: KimiConnectEmulator, where: str
) -> None:
    place = {"after_done": True} if where == "after_done" else {"where": where}
    for error, row in CONNECT.items():
        params: dict[str, Any] = {"error": error, "after_content": 2, **place}
        connect.log.clear()
        connect.faults.add("error", **params)
        assert_failed_midway(alice.ask(error, stream=True), row)
        connect.faults.add("error", **params)
        assert_refused(alice.ask(error, stream=False), row)
        assert len(connect.log.of("Chat")) == 2  # once begun, never repeated


def test_an_exception_block_is_an_error_and_takes_the_text_back(
    alice: Gateway, connect: KimiConnectEmulator
) -> None:
    retract = "SEVERITY_BLOCK_RETRACT"
    overloaded = (503, "overloaded_error", "upstream_overloaded")
    withdrawn = (400, "invalid_request_error", "content_filter")
    cases: tuple[tuple[dict[str, Any], Row], ...] = (
        ({}, overloaded),
        ({"severity": retract}, overloaded),
        ({"severity": retract, "reason": "REASON_MADE_UP"}, withdrawn),
    )
    for params, row in cases:
        connect.faults.add("exception", times=-1, **params)
        assert_refused(alice.ask("before", stream=True), row)
        connect.faults.clear()
        connect.faults.add("exception", times=2, after_content=2, **params)
        assert_failed_midway(alice.ask("after", stream=True), row)
        whole = alice.ask("after", stream=False)
        assert_refused(whole, row)
        assert b"one" not in whole.body


@pytest.mark.parametrize("kind", ["text", "utf8", "cut_json", "list"])
def test_a_frame_that_is_no_json_object_is_an_error(
    alice: Gateway, connect: KimiConnectEmulator, kind: str
) -> None:
    row = (503, "upstream_error", "upstream_garbled")
    connect.faults.add("garbage", times=-1, kind=kind)
    assert_refused(alice.ask("before", stream=True), row)
    assert_refused(alice.ask("before", stream=False), row)
    connect.faults.clear()
    connect.faults.add("garbage", times=2, kind=kind, after_content=2)
    assert_failed_midway(alice.ask("after", stream=True), row)
    assert_refused(alice.ask("after", stream=False), row)


def test_what_stands_in_place_of_an_answer_is_an_error(
    alice: Gateway, connect: KimiConnectEmulator
) -> None:
    cases: tuple[tuple[str, dict[str, Any], Row], ...] = (
        ("status", {"status": 500}, (503, "upstream_error", "upstream_failed")),
        ("status", {"status": 502}, (503, "upstream_error", "upstream_failed")),
        (
            "status",
            {"status": 429, "retry_after": 1},
            (429, "rate_limit_error", "upstream_rate_limited"),
        ),
        ("status", {"status": 200}, (503, "upstream_error", "upstream_garbled")),
        ("challenge", {}, (503, "upstream_error", "upstream_blocked")),
        ("redirect", {}, (503, "upstream_error", "upstream_moved")),
        ("reset", {}, (503, "upstream_error", "upstream_cut")),
        ("oversize", {}, (503, "upstream_error", "upstream_garbled")),
    )
    for name, params, row in cases:
        for stream in (True, False):
            connect.faults.add(name, times=-1, on="Chat", **params)
            assert_refused(alice.ask(name, stream=stream), row)
            connect.faults.clear()
    assert not connect.log.of("Trap")


@pytest.fixture
def legacy(rooms: Mapping[str, Room]) -> KimiLegacyEmulator:
    emulator: KimiLegacyEmulator = rooms["legacy"].emulator
    emulator.reset()
    emulator.answer = LegacyAnswer("".join(PIECES), pieces=PIECES)
    return emulator


@pytest.fixture
def bob(house: House, rooms: Mapping[str, Room]) -> Gateway:
    house.gateway.provider = rooms["legacy"].provider
    return house.gateway


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("place", ["create", "completion"])
def test_legacy_a_refusal_in_place_of_an_answer_is_a_status(
    bob: Gateway, legacy: KimiLegacyEmulator, place: str, status: int
) -> None:
    rows = {("error_type", name): row for name, row in LEGACY.items()}
    rows |= {("message", text): row for text, row in LEGACY_TEXTS.items()}
    for (field, value), row in rows.items():
        for stream in (True, False):
            params = {field: value, "status": status, "on": place}
            legacy.faults.add("refuse", times=-1, account=None, after=0, **params)
            assert_refused(bob.ask(value, stream=stream), row)
            legacy.faults.clear()


def test_legacy_an_error_event_is_a_status_before_content_and_a_frame_after(
    bob: Gateway, legacy: KimiLegacyEmulator
) -> None:
    for error, row in LEGACY.items():
        for at in (-1, 0):
            for stream in (True, False):
                legacy.faults.add("error_event", times=-1, error_type=error, at=at)
                assert_refused(bob.ask(error, stream=stream), row)
                legacy.faults.clear()
        for then in ("close", "all_done"):
            legacy.faults.add("error_event", error_type=error, at=2, then=then)
            assert_failed_midway(bob.ask(error, stream=True), row)
            legacy.faults.add("error_event", error_type=error, at=2, then=then)
            assert_refused(bob.ask(error, stream=False), row)


def test_legacy_an_event_that_is_no_json_is_an_error(
    bob: Gateway, legacy: KimiLegacyEmulator
) -> None:
    row = (503, "upstream_error", "upstream_garbled")
    legacy.faults.add("garbled", times=-1, at=0)
    assert_refused(bob.ask("before", stream=True), row)
    assert_refused(bob.ask("before", stream=False), row)
    legacy.faults.clear()
    legacy.faults.add("garbled", times=2, at=2)
    assert_failed_midway(bob.ask("after", stream=True), row)
    assert_refused(bob.ask("after", stream=False), row)


RAISED: Mapping[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    501: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}


def test_the_openai_client_raises_for_every_row(
    alice: Gateway, connect: KimiConnectEmulator
) -> None:
    client = openai.OpenAI(base_url=f"{alice.url}/v1", api_key=KEY, max_retries=0)
    with client:
        for error, (status, _, code) in CONNECT.items():
            connect.faults.add("error", times=-1, error=error)
            for stream in (True, False):
                with pytest.raises(RAISED[status]) as refused:
                    chat(client, alice.provider, error, stream)
                assert (refused.value.status_code, refused.value.code) == (status, code)
            connect.faults.clear()
            connect.faults.add("error", error=error, after_content=2)
            with pytest.raises(openai.APIError) as failed:
                chat(client, alice.provider, error, True)
            assert failed.value.code == code


def chat(client: openai.OpenAI, model: str, prompt: str, stream: bool) -> list[str]:
    """The pieces of an answer."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], stream=stream
    )
    if isinstance(answer, openai.Stream):
        with answer:
            return [c.choices[0].delta.content or "" for c in answer if c.choices]
    return [answer.choices[0].message.content or ""]
