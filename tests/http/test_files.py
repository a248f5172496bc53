"""/v1/files by the official client and by hand: shapes, refusals, whose is what."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kimi_proxy.app import create_app
from kimi_proxy.config import load
from kimi_proxy.services import Services
from tests.fakes import EPOCH, HandClock
from tests.http import expect
from tests.http.conftest import Build, House, Serve

HERS, HIS = "kp-hers-made-up-key", "kp-his-made-up-key"
KEYS = [{"name": "hers", "key": HERS}, {"name": "his", "key": HIS, "rate": "3/minute"}]
AUTH = {"Authorization": f"Bearer {HERS}"}
DAY = 86_400


@pytest.fixture
def made(build: Build, tmp_path: Path) -> House:
    return build(
        state=f"sqlite:///{tmp_path}/state.db",
        keys=KEYS,
        server={"max_body": "1MiB"},
        file_store={"max_file": "512KiB", "per_key": "700KiB"},
    )


@pytest.fixture
def sdk(made: House, serve: Serve) -> Iterator[openai.OpenAI]:
    """The official client, with her key."""
    url = f"http://127.0.0.1:{serve(made.app)}/v1"
    with openai.OpenAI(base_url=url, api_key=HERS, max_retries=0) as client:
        yield client


def post(client: FlaskClient, data: Any, **options: Any) -> TestResponse:
    given = {"content_type": "multipart/form-data", "headers": AUTH, **options}
    return client.post("/v1/files", data=data, **given)


def form(*parts: str, boundary: str = "b", end: str = "--b--\r\n") -> bytes:
    """A form of parts in their raw form, each with its headers."""
    whole = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return (whole + end).encode()


RAW = "multipart/form-data; boundary=b"
PURPOSE = 'Content-Disposition: form-data; name="purpose"\r\n\r\nuser_data'
FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello'


def spooled(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory / "state.files") if "-" in name]


def test_the_official_client_goes_all_the_way(sdk: openai.OpenAI) -> None:
    made = sdk.files.create(
        file=("report.pdf", b"%PDF-1.4 made up", "application/pdf"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (made.object, made.bytes, made.filename) == ("file", 16, "report.pdf")
    assert (made.purpose, made.status) == ("user_data", "processed")
    assert made.expires_at == made.created_at + 3600
    assert sdk.files.retrieve(made.id) == made
    assert sdk.files.list().data == [made]
    answer = sdk.files.content(made.id)
    assert answer.read() == b"%PDF-1.4 made up"
    assert answer.response.headers["content-type"] == "application/pdf"
    gone = sdk.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.files.retrieve(made.id)
    assert caught.value.type == "invalid_request_error"
    assert sdk.files.list().data == []


def test_a_file_of_the_disk_is_sent_as_it_is(
    sdk: openai.OpenAI, tmp_path: Path
) -> None:
    path = tmp_path / "bytes.bin"
    path.write_bytes(os.urandom(300_000) + b"\r\n--" + bytes(range(256)) * 100)
    with path.open("rb") as file:
        made = sdk.files.create(file=file, purpose="assistants")
    assert (made.filename, made.bytes) == ("bytes.bin", path.stat().st_size)
    assert sdk.files.content(made.id).read() == path.read_bytes()


def test_the_official_client_pages_through(sdk: openai.OpenAI) -> None:
    ids = [
        sdk.files.create(file=(f"{n}.txt", b"%d" % n), purpose="vision").id
        for n in range(5)
    ]
    sdk.files.create(file=("b.jsonl", b"{}"), purpose="batch")
    page = sdk.files.list(limit=2, order="asc", purpose="vision")
    assert page.has_more and [file.id for file in page.data] == ids[:2]
    listed = sdk.files.list(limit=2, order="asc", purpose="vision")
    assert [file.id for file in listed] == ids
    for file in sdk.files.list(limit=1):
        sdk.files.delete(file.id)
    assert sdk.files.list().data == []


def test_a_listing_says_where_it_begins_and_ends(made: House) -> None:
    empty = made.client.get("/v1/files", headers=AUTH).json
    assert empty == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }
    ids = [post(made.client, form(PURPOSE, FILE), content_type=RAW).json["id"]]
    ids += [post(made.client, form(PURPOSE, FILE), content_type=RAW).json["id"]]
    listed = made.client.get("/v1/files?order=asc", headers=AUTH).json
    assert (listed["first_id"], listed["last_id"]) == tuple(sorted(ids))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *((f"limit={text}", "limit") for text in ("0", "10001", "x", "", "²")),
        ("order=up", "order"),
    ],
)
def test_a_wrong_listing_is_refused(made: House, query: str, param: str) -> None:
    expect.error(made.client.get(f"/v1/files?{query}", headers=AUTH), 400, None, param)


@pytest.mark.parametrize("path", ["", "/content"])
def test_another_key_sees_nothing(made: House, path: str) -> None:
    file_id = post(made.client, form(PURPOSE, FILE), content_type=RAW).json["id"]
    his = {"x-api-key": HIS}
    answer = made.client.get(f"/v1/files/{file_id}{path}", headers=his)
    expect.error(answer, 404, "not_found", "file_id")
    if not path:
        answer = made.client.delete(f"/v1/files/{file_id}", headers=his)
        expect.error(answer, 404, "not_found", "file_id")
        assert made.client.get("/v1/files", headers=his).json["data"] == []
    assert made.client.get(f"/v1/files/{file_id}", headers=AUTH).status_code == 200


def test_keys_and_limits_apply(made: House) -> None:
    answer = post(made.client, form(PURPOSE, FILE), content_type=RAW, headers={})
    expect.error(answer, 401, "invalid_api_key")
    his = {"x-api-key": HIS}
    for _ in range(3):
        assert made.client.get("/v1/files", headers=his).status_code == 200
    answer = post(made.client, form(PURPOSE, FILE), content_type=RAW, headers=his)
    expect.error(answer, 429, "rate_limit_exceeded")


def test_pages_may_call_and_read_refusals(made: House) -> None:
    origin = {"Origin": "https://ui.example", "Access-Control-Request-Method": "DELETE"}
    asked = made.client.options("/v1/files/file-x", headers=origin)
    assert asked.status_code < 300
    assert "DELETE" in asked.headers["Access-Control-Allow-Methods"]
    refused = made.client.get("/v1/files/file-x", headers={**AUTH, **origin})
    expect.error(refused, 404, "not_found", "file_id")
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((PURPOSE,), "file"),
        ((FILE,), "purpose"),
        ((FILE, PURPOSE + "x"), "purpose"),
        ((PURPOSE, FILE.replace('; filename="a.txt"', "")), "file"),
        ((PURPOSE, FILE.replace("hello", "")), "file"),
        ((PURPOSE, FILE.replace("file", "files", 1)), "file"),
        ((), "file"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    made: House, tmp_path: Path, parts: tuple[str, ...], param: str
) -> None:
    answer = post(made.client, form(*parts), content_type=RAW)
    expect.error(answer, 400, None, param)
    assert made.client.get("/v1/files", headers=AUTH).json["data"] == []
    assert not (tmp_path / "state.files").exists() or os.listdir(
        tmp_path / "state.files"
    ) in ([], [hello()])


def hello() -> str:
    return "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.mark.parametrize(
    ("seconds", "anchor", "param"),
    [
        ("0", "created_at", "expires_after[seconds]"),
        ("-5", "created_at", "expires_after[seconds]"),
        ("1.5", "created_at", "expires_after[seconds]"),
        ("9" * 400, "created_at", "expires_after[seconds]"),
        (None, "created_at", "expires_after[seconds]"),
        ("60", "last_active_at", "expires_after[anchor]"),
        ("60", None, "expires_after[anchor]"),
    ],
)
def test_a_wrong_expiry_is_named(
    made: House, seconds: str | None, anchor: str | None, param: str
) -> None:
    sent = [("seconds", seconds), ("anchor", anchor)]
    fields = [
        f'Content-Disposition: form-data; name="expires_after[{name}]"\r\n\r\n{value}'
        for name, value in sent
        if value is not None
    ]
    answer = post(made.client, form(PURPOSE, FILE, *fields), content_type=RAW)
    expect.error(answer, 400, None, param)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", form(PURPOSE, FILE), 400),
        ("multipart/form-data; boundary=", form(PURPOSE, FILE), 400),
        ("multipart/form-data; boundary=c", form(PURPOSE, FILE), 400),
        (RAW, form(PURPOSE, FILE, end=""), 400),
        (RAW, form(PURPOSE, FILE)[:-20], 400),
        (RAW, b"nonsense", 400),
        (RAW, form("No-Disposition: 1\r\n\r\nx"), 400),
        (RAW, form("Content-Disposition: form-data\r\n\r\nx"), 400),
        (RAW, b"\xff\xfe".join([b"--b\r\n", b": x\r\n\r\nx\r\n--b--\r\n"]), 400),
        ("application/json", b'{"file": "x"}', 415),
        ("application/x-www-form-urlencoded", b"file=x&purpose=vision", 415),
        ("", form(PURPOSE, FILE), 415),
        (RAW, b"w" * 600_000, 413),
        (RAW, form(*[PURPOSE] * 60), 413),
        (RAW, form(PURPOSE + "x" * 300_000, FILE), 413),
    ],
    ids=range(15),
)
def test_a_body_that_is_no_form_is_refused(
    made: House, tmp_path: Path, kind: str, body: bytes, status: int
) -> None:
    answer = post(made.client, body, content_type=kind)
    code = {413: "request_too_large", 415: "unsupported_media_type"}.get(status)
    param = "file" if b"form-data\r\n\r\nx" in body else None
    expect.error(answer, status, code, param)
    assert not (tmp_path / "state.files").exists() or spooled(tmp_path) == []


def test_a_compressed_form_is_refused(made: House) -> None:
    headers = {**AUTH, "Content-Encoding": "gzip"}
    answer = post(made.client, form(PURPOSE, FILE), content_type=RAW, headers=headers)
    expect.error(answer, 415, "unsupported_media_type")


def test_sizes_are_limited_and_the_limit_is_named(
    sdk: openai.OpenAI, tmp_path: Path
) -> None:
    for size, limit in (
        (512 * 1024 + 1, "file_store.max_file"),
        (1024 * 1024, "server.max_body"),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            sdk.files.create(file=("a", b"x" * size), purpose="vision")
        assert caught.value.status_code == 413
        assert limit in caught.value.message
        assert caught.value.code == "request_too_large"
    sdk.files.create(file=("a", b"x" * 512 * 1024), purpose="vision")
    with pytest.raises(openai.APIStatusError, match=r"file_store\.per_key") as caught:
        sdk.files.create(file=("b", b"y" * 200 * 1024), purpose="vision")
    assert caught.value.status_code == 413
    assert spooled(tmp_path) == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("报告 2026.pdf", "报告 2026.pdf"),
        ('qu"ote;.txt', 'qu"ote;.txt'),
        ("evil\u202efdp.exe", "evilfdp.exe"),
        ("x" * 300 + ".txt", "x" * 116 + ".txt"),
        ("..", "file"),
    ],
)
def test_odd_names_are_cleaned_and_come_back(
    sdk: openai.OpenAI, sent: str, kept: str, tmp_path: Path
) -> None:
    made = sdk.files.create(file=(sent, b"hello"), purpose="user_data")
    assert made.filename == kept
    answer = sdk.files.content(made.id).response
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert os.listdir(tmp_path / "state.files") == [hello()]


def test_a_page_is_never_run(made: House) -> None:
    part = FILE.replace("\r\n\r\n", "\r\nContent-Type: Text/HTML; charset=x\r\n\r\n")
    file_id = post(made.client, form(PURPOSE, part), content_type=RAW).json["id"]
    answer = made.client.get(f"/v1/files/{file_id}/content", headers=AUTH)
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-disposition"] == "attachment; filename=a.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == "5"
    answer.close()
    head = made.client.head(f"/v1/files/{file_id}/content", headers=AUTH)
    assert head.headers["content-length"] == "5"
    assert head.data == b""
    head.close()


@pytest.mark.parametrize(
    "path", ["..%2f..%2fstate.db", "file-%2e%2e", "..", "file-" + "0" * 24, "%00"]
)
def test_no_path_leads_out(made: House, path: str) -> None:
    for tail in ("", "/content"):
        answer = made.client.get(f"/v1/files/{path}{tail}", headers=AUTH)
        assert answer.status_code == 404
        assert answer.json["error"]["code"] == "not_found"


def test_a_place_of_the_key_is_taken_and_given_back(build: Build) -> None:
    keys = [{"name": "hers", "key": HERS, "concurrency": 1}]
    house = build(keys=keys)
    for _ in range(3):
        answer = post(house.client, form(PURPOSE, FILE), content_type=RAW)
        assert answer.status_code == 200
        expect.error(post(house.client, b"no", content_type=RAW), 400, None)
    leave = house.services.concurrency.enter(house.services.keys.find(HERS))
    answer = post(house.client, form(PURPOSE, FILE), content_type=RAW)
    expect.error(answer, 429, "rate_limit_exceeded")
    leave()


def test_files_expire(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"state: sqlite:///{tmp_path}/state.db\nproviders: {{echo: {{type: echo}}}}\n"
        f"file_store: {{ttl: {DAY}}}\n"
    )
    hand = HandClock()
    services = Services(load(str(config)), clock=hand.clock)
    client = create_app(services).test_client()
    try:
        sent = post(client, form(PURPOSE, FILE), content_type=RAW).json
        assert sent["created_at"] == EPOCH
        assert sent["expires_at"] == EPOCH + DAY
        hand.advance(DAY - 1)
        assert client.get(f"/v1/files/{sent['id']}").status_code == 200
        hand.advance(1)
        for tail in ("", "/content"):
            answer = client.get(f"/v1/files/{sent['id']}{tail}")
            expect.error(answer, 404, "not_found", "file_id")
        assert client.get("/v1/files").json["data"] == []
        services.files.sweep()
        assert os.listdir(tmp_path / "state.files") == []
    finally:
        services.stop()
