"""What is wrong with a file is told clearly, and nothing goes up."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.files.hall import (
    PDF,
    FileServer,
    Hall,
    data_url,
    document,
    image,
    linked,
    opened,
    said,
)

GOOD = document(b"%PDF-1.7 a good one", "good.pdf")
BAD = "messages[0].content[1]"


def refused(hall: Hall, part: dict[str, Any]) -> Any:
    """The refusal of a question with a good file and this one; nothing was uploaded."""
    error = hall.refusal(said("What are these?", GOOD, part))
    assert hall.emulator.log.of("upload") == ()
    assert hall.emulator.log.of("pre-sign") == ()
    return error


def test_what_is_no_image_is_no_image(hall: Hall) -> None:
    error = refused(hall, image(data_url(b"just words")))
    assert (error.status_code, error.param) == (400, f"{BAD}.image_url.url")
    assert "text/plain" in error.message


def test_a_file_of_no_kind_is_asked_about(hall: Hall) -> None:
    error = refused(hall, linked(data_url(b"\x00\x01\x02", "")))
    assert (error.status_code, error.param) == (400, f"{BAD}.file_url.url")
    assert "filename" in error.message


def test_a_file_id_that_nobody_stored_is_not_found(hall: Hall) -> None:
    error = refused(hall, {"type": "file", "file": {"file_id": "file-unknown"}})
    assert (error.status_code, error.param) == (404, f"{BAD}.file.file_id")


@pytest.mark.parametrize(
    ("files", "part", "words"),
    [
        ({"max_size": 2048}, document(PDF + bytes(2048)), "max_size"),
        ({"max_size": 2048, "max_total": 2048}, document(PDF + bytes(2010)), "total"),
    ],
    ids=["one", "all"],
)
def test_too_large_names_the_limit(
    wire: str, tmp_path: Path, files: dict[str, Any], part: dict[str, Any], words: str
) -> None:
    with opened(wire, tmp_path, files=files) as hall:
        error = refused(hall, part)
    assert (error.status_code, error.param) == (413, f"{BAD}.file.file_data")
    assert words in error.message and "2048" in error.message


def test_too_many_files_name_the_limit(wire: str, tmp_path: Path) -> None:
    with opened(wire, tmp_path, files={"max_count": 1}) as hall:
        error = refused(hall, document(PDF))
    assert (error.status_code, error.param) == (400, f"{BAD}.file.file_data")
    assert "max_count" in error.message


def test_a_large_file_behind_a_url_is_not_read_to_its_end(
    wire: str, tmp_path: Path, server: FileServer
) -> None:
    url = server.put("/large.pdf", PDF + bytes(100_000))
    files = {"max_size": 4096, "remote": {"networks": ["127.0.0.1"]}}
    with opened(wire, tmp_path, files=files) as hall:
        error = refused(hall, linked(url))
    assert (error.status_code, error.param) == (413, f"{BAD}.file_url.url")
    assert "4096" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.png",
        "http://192.168.0.1:8080/a.png",
    ],
)
def test_a_private_address_is_refused(hall: Hall, url: str) -> None:
    error = refused(hall, image(url))
    assert (error.status_code, error.param) == (400, f"{BAD}.image_url.url")
    assert "private" in error.message


def test_this_machine_is_refused_unless_it_is_allowed(
    wire: str, tmp_path: Path, server: FileServer
) -> None:
    url = server.put("/a.pdf", PDF)
    with opened(wire, tmp_path, files={"remote": {}}) as hall:
        assert refused(hall, linked(url)).status_code == 400
    assert server.asked == []


def test_a_redirect_to_a_private_address_is_refused(
    hall: Hall, server: FileServer
) -> None:
    error = refused(hall, linked(server.move("/a.pdf", "http://10.0.0.1/a.pdf")))
    assert (error.status_code, error.param) == (400, f"{BAD}.file_url.url")
    assert "private" in error.message


def test_a_name_that_changes_where_it_leads_is_refused(
    hall: Hall, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allowed at the first look, private at the second, which the redirect makes."""
    look_up, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        found = answers.pop(0) if host == "files.test" else host
        return look_up(found, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server.move("/a.pdf", "/b.pdf")
    server.put("/b.pdf", PDF)
    error = refused(hall, linked(f"http://files.test:{server.server_port}/a.pdf"))
    assert (error.status_code, error.param) == (400, f"{BAD}.file_url.url")
    assert "private" in error.message
    assert (server.asked, answers) == (["/a.pdf"], [])


def test_a_url_with_nothing_behind_it_is_the_clients_mistake(
    hall: Hall, server: FileServer
) -> None:
    url = server.put("/gone", b"")
    server.pages["/gone"] = (404, {}, b"")
    error = refused(hall, linked(url))
    assert (error.status_code, error.param) == (400, f"{BAD}.file_url.url")


def test_a_file_that_cannot_be_parsed_is_the_clients_to_mend(hall: Hall) -> None:
    if hall.wire == "connect":
        hall.emulator.knobs.parse_fails = True
    else:
        hall.emulator.faults.add("parse_fails")
    error = hall.refusal(said("What is this?", document(PDF)))
    assert (error.status_code, error.param) == (
        400,
        "messages[0].content[0].file.file_data",
    )
    assert "report.pdf" in error.message
    assert hall.prompts() == []


def test_a_type_that_the_upstream_does_not_take_is_a_400(hall: Hall) -> None:
    hall.emulator.knobs.refused_types = ("application/pdf",)
    error = hall.refusal(said("What is this?", document(PDF)))
    assert error.status_code == 400
    assert error.param == "messages[0].content[0].file.file_data"
    assert "application/pdf" in error.message
    assert hall.prompts() == []


def test_more_than_the_upstream_takes_is_a_413(hall: Hall) -> None:
    hall.emulator.knobs.file_limit = 10
    error = hall.refusal(said("What is this?", document(PDF)))
    assert error.status_code == 413
    assert error.param == "messages[0].content[0].file.file_data"
    assert f"{len(PDF)} bytes" in error.message
    assert hall.prompts() == []


def test_a_full_account_is_told_and_left_in_peace(hall: Hall) -> None:
    hall.emulator.knobs.storage_limit = 0
    error = hall.refusal(said("What is this?", document(PDF)))
    assert (error.status_code, error.code) == (413, "storage_full")
    assert error.param == "messages[0].content[0].file.file_data"
    assert hall.ask(said("And without?")) == "[]"


def test_another_account_may_have_room(wire: str, tmp_path: Path) -> None:
    accounts, pool = ("alice", "bob"), {"strategy": "in-order"}
    with opened(wire, tmp_path, accounts=accounts, pool=pool) as hall:
        hall.emulator.knobs.storage_limit = len(PDF) + 1
        for number in (1, 2):
            hall.ask(said("What is this?", document(PDF + bytes([number]))))
        assert len(hall.uploads("alice")) == len(hall.uploads("bob")) == 1


def test_an_upstream_that_fails_at_files_fails_as_an_upstream(hall: Hall) -> None:
    hall.emulator.faults.add("status", status=503, on="upload", times=-1)
    error = hall.refusal(said("What is this?", document(PDF)))
    assert (error.status_code, error.type) == (503, "upstream_error")
    assert hall.prompts() == []


def test_a_token_that_dies_at_the_upload_is_renewed(hall: Hall) -> None:
    hall.emulator.revoke("alice", "access")
    assert hall.ask(said("What is this?", document(PDF))) == '["report.pdf"]'


def test_the_wait_for_parsing_obeys_the_deadline(wire: str, tmp_path: Path) -> None:
    with opened(wire, tmp_path, timeouts={"total": 1}) as hall:
        hall.emulator.knobs.parse_delay = 3600
        error = hall.refusal(said("What is this?", document(PDF)))
    assert (error.status_code, error.code) == (504, "upstream_timeout")
    assert hall.prompts() == []


def test_a_prompt_that_cannot_go_up_as_a_file_is_refused_as_the_messages(
    tmp_path: Path,
) -> None:
    with opened("connect", tmp_path, long_prompt=1024) as hall:
        hall.emulator.knobs.file_limit = 2000
        error = hall.refusal(said("words " * 500))
        assert (error.status_code, error.param) == (413, "messages")
        hall.emulator.knobs.parse_fails = True
        error = hall.refusal(said("words " * 200))
        assert (error.status_code, error.param) == (400, "messages")
        assert hall.prompts() == []


def test_a_client_that_asks_again_waits_for_the_file_that_is_up(
    tmp_path: Path,
) -> None:
    with opened("connect", tmp_path, timeouts={"total": 2}) as hall:
        hall.emulator.knobs.parse_delay = 3
        question = said("What is this?", document(PDF))
        assert hall.refusal(question).code == "upstream_timeout"
        assert hall.ask(question) == '["report.pdf"]'
        assert len(hall.emulator.log.of("upload")) == 1


def test_a_service_that_takes_no_files_is_told_with_the_field(tmp_path: Path) -> None:
    with opened("connect", tmp_path, long_prompt=1024) as hall:
        hall.emulator.faults.add("status", status=404, on="upload", times=-1)
        error = hall.refusal(said("words " * 500))
        assert (error.status_code, error.param) == (501, "messages")
        error = hall.refusal(said("What is this?", document(PDF)))
        assert error.param == "messages[0].content[0].file.file_data"
        assert hall.ask(said("And without?")) == "[]"
