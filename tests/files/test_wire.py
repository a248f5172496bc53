"""What each wire makes of files, down to what goes over the line."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.exchange import Exchange
from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator, upload
from kimi_proxy.chat import ChatRequest, File, Message, Thread
from kimi_proxy.errors import (
    FileLost,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamUnsupported,
)
from kimi_proxy.events import Finished
from kimi_proxy.files import read
from kimi_proxy.providers.kimi_connect_chat import fingerprint
from tests.files.hall import PDF, PNG
from tests.providers import connect_account, legacy_account

REPORT = read(PDF, "file", "report.pdf", None, "place")
PICTURE = read(PNG, "image", "cat.png", None, "place")


@pytest.fixture
def connect() -> Iterator[connect_account.Account]:
    with KimiConnectEmulator() as emulator:
        emulator.knobs.parse_delay = 0
        account = connect_account.Account(emulator)
        yield account
        account.leave()


@pytest.fixture
def legacy() -> Iterator[legacy_account.Account]:
    with KimiLegacyEmulator() as emulator:
        emulator.knobs.parse_delay = 0
        account = legacy_account.Account(emulator)
        yield account
        account.leave()


def asking(model: str, *files: File, text: str = "hi") -> ChatRequest:
    return ChatRequest(model, (Message("user", text, files=files),))


def ask_connect(
    account: connect_account.Account, *files: File, **fields: Any
) -> GatewayError | None:
    return account.outcome(asking("k2d6-chat", *files, **fields))[1]


def ask_legacy(account: legacy_account.Account, *files: File) -> GatewayError | None:
    return account.outcome(asking("kimi", *files))[1]


def test_connect_puts_the_files_before_the_words(
    connect: connect_account.Account,
) -> None:
    assert ask_connect(connect, REPORT, PICTURE) is None
    stored = [file.id for file in connect.emulator.files()]
    (chat,) = connect.emulator.log.of("Chat")
    blocks = chat.body["message"]["blocks"]
    assert [block.get("file", {}).get("id") for block in blocks] == [*stored, None]
    assert blocks[-1]["text"]["content"] == "hi"
    put = connect.emulator.log.of("upload")[0]
    assert put.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert put.facts["file"] == "report.pdf"


@pytest.mark.parametrize("numbers", [False, True])
def test_connect_waits_until_a_file_is_read(
    connect: connect_account.Account, numbers: bool
) -> None:
    connect.emulator.knobs.numeric_file_status = numbers
    connect.emulator.knobs.parse_delay = 0.4
    assert ask_connect(connect, REPORT) is None
    polls = connect.emulator.log.of("GetFileParseProgress")
    assert 2 <= len(polls) <= 5
    connect.emulator.knobs.parse_fails = True
    error = ask_connect(connect, PICTURE)
    assert isinstance(error, InvalidRequest)
    assert error.param == "place"


def test_a_long_prompts_chat_can_be_found_by_what_was_written(
    connect: connect_account.Account,
) -> None:
    connect.provider._long_prompt = 100
    assert ask_connect(connect, text="word " * 100) is None
    (chat,) = connect.emulator.log.of("Chat")
    *_, last = chat.body["message"]["blocks"]
    assert connect.notes.said[0] == ("sending", fingerprint(last["text"]["content"]))
    (stored,) = connect.emulator.files()
    assert stored.name in last["text"]["content"]


LONG = tuple(Message(role, "word " * 100) for role in ("user", "assistant"))


@pytest.mark.parametrize("directed", ["Be kind.", "Be kind. " * 100])
def test_of_a_long_history_what_directs_the_model_stays_in_the_prompt(
    connect: connect_account.Account, directed: str
) -> None:
    connect.provider._long_prompt = 400
    last = (Message("system", "# Tools"), Message("user", "And now?"))
    messages = (Message("system", directed), *LONG, *last)
    assert connect.outcome(ChatRequest("k2d6-chat", messages))[1] is None
    (chat,) = connect.emulator.log.of("Chat")
    prompt = chat.body["message"]["blocks"][-1]["text"]["content"]
    (stored,) = connect.emulator.files()
    short = len(directed) < 100
    assert prompt.startswith("system: Be kind.\n\nThe conv" if short else "The conv")
    assert prompt.endswith("\n\nsystem: # Tools\n\nuser: And now?")
    assert stored.name in prompt and "word" not in prompt
    assert stored.size > (1000 if short else 1900)


def test_a_long_message_after_a_history_goes_up_whole(
    connect: connect_account.Account,
) -> None:
    connect.provider._long_prompt = 400
    messages = (Message("user", "hi"), Message("assistant", "hi"), LONG[0])
    assert connect.outcome(ChatRequest("k2d6-chat", messages))[1] is None
    (chat,) = connect.emulator.log.of("Chat")
    prompt = chat.body["message"]["blocks"][-1]["text"]["content"]
    assert prompt.startswith("The whole conversation is in the attached file")


def test_a_lost_file_is_told_from_a_lost_chat(
    connect: connect_account.Account, legacy: legacy_account.Account
) -> None:
    connect.emulator.faults.add("error", code="not_found", message="file not found")
    assert isinstance(ask_connect(connect, REPORT), FileLost)
    connect.emulator.faults.add("error", code="not_found", message="chat not found")
    assert not isinstance(ask_connect(connect, REPORT), FileLost)
    legacy.emulator.faults.add("refuse", on="completion", message="file not found")
    assert isinstance(ask_legacy(legacy, REPORT), FileLost)


def test_legacy_registers_a_document_with_the_chat_and_an_image_without(
    legacy: legacy_account.Account,
) -> None:
    assert ask_legacy(legacy, REPORT, PICTURE) is None
    bodies = [entry.body for entry in legacy.emulator.log.of("register")]
    first, last = bodies[0], bodies[-1]
    assert (first["type"], first["file_id"]) == ("file", "")
    assert first["chat_id"] == legacy.chat_ids()[0]
    assert (last["type"], "chat_id" in last) == ("image", False)
    (asked,) = legacy.emulator.log.of("completion")
    assert [file["name"] for file in asked.body["refs_file"]] == [
        "report.pdf",
        "cat.png",
    ]
    assert asked.body["refs"] == [file["id"] for file in asked.body["refs_file"]]
    assert legacy.emulator.violations() == []


def test_legacy_asks_again_until_a_file_is_registered(
    legacy: legacy_account.Account,
) -> None:
    legacy.emulator.knobs.register_polls = 2
    assert ask_legacy(legacy, REPORT) is None
    assert len(legacy.emulator.log.of("register")) == 4


def test_legacy_does_not_have_parsed_what_is_parsed(
    legacy: legacy_account.Account,
) -> None:
    legacy.emulator.knobs.parsed_at_once = True
    assert ask_legacy(legacy, PICTURE) is None
    assert legacy.emulator.log.of("parse") == ()


def test_legacy_parsing_may_answer_with_json_in_place_of_a_stream(
    legacy: legacy_account.Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sheet says only that the call returns when it is done (§7)."""

    def report(exchange: Exchange, files: object) -> None:
        exchange.json({})

    monkeypatch.setattr(upload, "_report", report)
    assert ask_legacy(legacy, REPORT) is None
    legacy.emulator.faults.add(
        "status", on="parse", status=200, body={"error_type": "x", "message": "no"}
    )
    assert isinstance(ask_legacy(legacy, PICTURE), UpstreamFailed)


@pytest.mark.parametrize(
    "bucket",
    ["http://127.0.0.1:9/bucket", "ftp://127.0.0.1/bucket", "http://10.0.0.1/bucket"],
)
def test_bytes_go_to_no_unsafe_place(
    legacy: legacy_account.Account, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    sign = upload.pre_sign
    monkeypatch.setattr(
        upload, "pre_sign", lambda world, call, _: sign(world, call, bucket)
    )
    error = ask_legacy(legacy, REPORT)
    assert isinstance(error, UpstreamGarbled)
    assert "safe place" in error.message
    assert legacy.emulator.log.of("upload") == ()


@pytest.mark.parametrize("fault", ["redirect", "challenge"])
def test_a_bucket_that_redirects_is_not_followed_and_no_word_on_the_service(
    legacy: legacy_account.Account, fault: str
) -> None:
    """Were it that the service moved or wants a browser check, whole wires and
    accounts would be left alone for it."""
    legacy.emulator.faults.add(fault, on="upload")
    assert isinstance(ask_legacy(legacy, REPORT), UpstreamFailed)
    assert legacy.emulator.log.of("Trap") == ()


def test_a_service_without_a_file_call_is_said_to_take_no_files(
    connect: connect_account.Account, legacy: legacy_account.Account
) -> None:
    connect.emulator.faults.add("status", status=404, on="upload")
    legacy.emulator.faults.add("status", status=404, on="pre-sign")
    for error in (ask_connect(connect, REPORT), ask_legacy(legacy, REPORT)):
        assert isinstance(error, UpstreamUnsupported)
        assert "files" in error.message


@pytest.mark.parametrize("call", ["pre-sign", "upload", "register"])
def test_it_is_the_file_that_is_too_large_and_not_the_prompt(
    legacy: legacy_account.Account, call: str
) -> None:
    legacy.emulator.faults.add("status", status=413, on=call)
    error = ask_legacy(legacy, REPORT)
    assert isinstance(error, PayloadTooLarge)
    assert (error.param, "file" in error.message) == ("place", True)


def test_a_bucket_that_refuses_is_the_upstreams_fault(
    legacy: legacy_account.Account,
) -> None:
    legacy.emulator.faults.add("status", status=403, on="upload")
    assert isinstance(ask_legacy(legacy, REPORT), UpstreamFailed)


def test_a_chat_made_for_files_that_fail_is_in_the_log(
    legacy: legacy_account.Account,
) -> None:
    legacy.emulator.faults.add("parse_fails")
    assert isinstance(ask_legacy(legacy, REPORT), InvalidRequest)
    (chat_id,) = legacy.chat_ids()
    assert ("opened", chat_id) in legacy.notes.said


def test_in_a_chat_that_goes_on_the_file_is_registered_there(
    legacy: legacy_account.Account,
) -> None:
    end = list(legacy.ask(asking("kimi", text="first")))[-1]
    assert isinstance(end, Finished) and end.conversation is not None
    follows = Thread(end.conversation)
    messages = (Message("user", "And this?", files=(REPORT,)),)
    list(legacy.ask(ChatRequest("kimi", messages, follows=follows)))
    (register, *_) = legacy.emulator.log.of("register")
    assert register.body["chat_id"] == end.conversation


@pytest.mark.parametrize("wire", ["connect", "legacy"])
def test_a_megabyte_goes_up_whole(
    wire: str, connect: connect_account.Account, legacy: legacy_account.Account
) -> None:
    data = PDF + bytes(range(256)) * 8192
    big = read(data, "file", "big.pdf", None, None)
    account: Any = connect if wire == "connect" else legacy
    model = "k2d6-chat" if wire == "connect" else "kimi"
    started = time.monotonic()
    assert account.outcome(asking(model, big))[1] is None
    (stored,) = account.emulator.files()
    assert stored.digest == big.digest
    assert time.monotonic() - started < 60
