"""The legacy emulator's file calls keep §7 of the sheet."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.kimi_legacy import KimiLegacyEmulator
from tests.emulators.legacy_client import Reply, Web, login


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        yield running


@pytest.fixture
def web(emulator: KimiLegacyEmulator) -> Iterator[Web]:
    alice = login(emulator, "alice")
    yield alice
    alice.leave()


def sign(web: Web, action: str = "file", name: str = "a.pdf") -> Any:
    body = {"action": action, "name": name}
    return web.call("POST", "/api/pre-sign-url", body).json()


def put(web: Web, url: str, token: str | None = None, **headers: str) -> Reply:
    parts = urlsplit(url)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"{parts.path}?{parts.query}"
    return Web(web.emulator, token).call("PUT", path, b"%PDF-made-up", headers=fields)


def register(web: Web, signed: dict[str, Any], chat: str, name: str = "a.pdf") -> Reply:
    body = {
        "type": "file",
        "name": name,
        "object_name": signed["object_name"],
        "file_id": "",
        "chat_id": chat,
    }
    return web.call("POST", "/api/file", body)


def described(detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "detail": detail,
        "done": True,
        "file": {},
        "file_info": detail,
        "id": detail["id"],
        "name": detail["name"],
        "parse_status": "success",
        "size": detail["size"],
        "upload_progress": 100,
        "upload_status": "success",
    }


def about(detail: dict[str, Any]) -> dict[str, Any]:
    return {"refs": [detail["id"]], "refs_file": [described(detail)]}


def upload(web: Web, chat: str) -> Any:
    signed = sign(web)
    assert put(web, signed["url"], Content_Type="application/pdf").status == 200
    return register(web, signed, chat).json()


def parse(web: Web, *ids: str) -> Reply:
    body = {"ids": list(ids), "timeout": 120000}
    return web.call("POST", "/api/file/parse_process", body)


def test_a_file_goes_from_bytes_to_a_question(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    chat = web.create()
    detail = upload(web, chat)
    assert (detail["status"], detail["size"]) == ("initialized", 12)
    reply = parse(web, detail["id"])
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "parsing" in reply.body.decode()
    refs = about(detail)
    asked = web.ask(chat, **refs)
    assert asked.events[0]["refs"] == [detail["id"]]
    assert asked.names[-1] == "all_done"


def test_an_image_is_registered_by_its_file_id(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.knobs.parsed_at_once = True
    signed = sign(web, "image", "a.png")
    assert put(web, signed["url"], Content_Type="image/png").status == 200
    body = {"type": "image", "file_id": signed["file_id"], "name": "a.png"}
    assert web.call("POST", "/api/file", body).json()["status"] == "parsed"


def test_registering_is_repeated_until_initialized(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.knobs.register_polls = 2
    chat, signed = web.create(), sign(web)
    put(web, signed["url"], Content_Type="application/pdf")
    details = [register(web, signed, chat).json() for _ in range(3)]
    statuses = [detail["status"] for detail in details]
    assert statuses == ["uploading", "uploading", "initialized"]
    assert len({detail["id"] for detail in details}) == 1


def test_the_bucket_refuses_the_bearer_and_a_wrong_type(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    url = sign(web)["url"]
    assert put(web, url, web.secret, Content_Type="application/pdf").status == 403
    assert emulator.violations() == ["credentials were sent to the bucket"]
    assert emulator.log.of("upload")[0].token_kind == "access"
    assert put(web, url, Content_Type="text/plain").status == 403
    assert put(web, url).status == 403
    assert put(web, url + "x", Content_Type="application/pdf").status == 403
    assert put(web, url, Content_Type="application/pdf").status == 200


def test_registering_needs_the_bytes_and_the_right_body(web: Web) -> None:
    chat, signed = web.create(), sign(web)
    assert register(web, signed, chat).status == 400
    put(web, signed["url"], Content_Type="application/pdf")
    assert register(web, signed, chat, name="b.pdf").status == 400
    assert register(web, signed, "c0000000000000000000").json() == {
        "message": "chat not found"
    }
    body = {"type": "file", "name": "a.pdf", "file_id": signed["file_id"]}
    assert web.call("POST", "/api/file", body).status == 400
    assert register(web, signed, chat).json()["status"] == "initialized"


def test_an_unparsed_unknown_or_foreign_file_cannot_be_asked_about(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    chat = web.create()
    detail = upload(web, chat)
    refs = about(detail)
    assert web.ask(chat, **refs).json() == {"message": "the file is not parsed"}
    parse(web, detail["id"])
    assert web.ask(chat, refs=[detail["id"]]).json()["error_type"] == "bad_request"
    bob = login(emulator, "bob")
    assert bob.ask(bob.create(), **refs).json() == {"message": "file not found"}
    assert parse(bob, detail["id"]).json() == {"message": "file not found"}
    assert web.ask(chat, **refs).names[-1] == "all_done"


def test_parsing_takes_its_time_and_may_fail(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    chat = web.create()
    detail = upload(web, chat)
    emulator.faults.add("parse_fails")
    assert "failed" in parse(web, detail["id"]).body.decode()
    refs = about(detail)
    assert "message" in web.ask(chat, **refs).json()
    emulator.knobs.parse_delay = 3600
    link = web.send(
        "POST", "/api/file/parse_process", {"ids": [upload(web, chat)["id"]]}
    )
    assert b"parsing" in link.getresponse().read1(4096)
