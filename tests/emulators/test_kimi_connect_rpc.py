"""Unary RPCs about chats, account and files (connect sheet §9–§11), and the process."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.emulators.connect_client import FEEDS, Reply, Web, message, until

OLD_SERVICE = "/apiv2/kimi.chat.v1.ChatService/"
PROGRESS = "/apiv2-files/kimi.gateway.file.v1.FileService/GetFileParseProgress"
UPLOAD = "/apiv2-files/file/upload"
GATEWAY = "/apiv2/kimi.gateway."


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        emulator.knobs.feed_delay = 0
        emulator.knobs.parse_delay = 0
        yield emulator


@pytest.fixture
def web(kimi: KimiConnectEmulator) -> Web:
    return Web(kimi, kimi.add_account("alice").access)


def upload(web: Web, name: str = "a.pdf", kind: str = "application/pdf") -> Reply:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    body = f"--b\r\n{head}\r\nContent-Type: {kind}\r\n\r\n%PDF made up\r\n--b--\r\n"
    return web.rpc(
        UPLOAD, body.encode(), content_type="multipart/form-data; boundary=b"
    )


def progress(web: Web, *file_ids: str) -> list[Any]:
    reply = web.rpc(PROGRESS, {"file_ids": list(file_ids)})
    return [item["status"] for item in reply.json()["progresses"]]


def asking_about(file_id: str) -> dict[str, Any]:
    blocks = [{"file": {"id": file_id}}, {"text": {"content": "What is it?"}}]
    return message(**{"message.blocks": blocks})


def test_a_chat_tells_its_state_and_last_request(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = Answer("x", name="Named")
    web.chat()
    chat = web.rpc("GetChat", {"chatId": kimi.chats()[0].id}).json()["chat"]
    assert (chat["name"], chat["status"]) == ("Named", "STATUS_COMPLETED")
    assert chat["lastRequest"]["scenario"] == "SCENARIO_CHAT"
    assert chat["lastRequest"]["options"]["model"] == "k2d6-chat"
    assert chat["lastRequest"]["tools"] == []


def test_messages_come_newest_first_in_pages(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    web.chat(message("hey"))
    chat_id = kimi.chats()[0].id
    first = web.rpc("ListMessages", {"chatId": chat_id, "pageSize": 1}).json()
    assert [m["role"] for m in first["messages"]] == ["assistant"]
    more = {"chatId": chat_id, "pageToken": first["nextPageToken"]}
    second = web.rpc("ListMessages", more).json()
    assert [m["role"] for m in second["messages"]] == ["user"]
    assert second["nextPageToken"] == ""
    for wrong in ({"pageSize": 101}, {"pageSize": 0}, {"pageToken": "x"}):
        reply = web.rpc("ListMessages", {"chatId": chat_id, **wrong})
        assert reply.status == 400


def test_chats_are_found_by_name_renamed_and_cleared(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    web.chat(message("Weather in Oslo"))
    chat_id = kimi.chats()[0].id
    found = web.rpc("ListChats", {"query": "Oslo", "pageSize": 10}).json()["chats"]
    assert [chat["name"] for chat in found] == ["Weather in <em>Oslo</em>"]
    assert web.rpc("ListChats", {"query": "Rome"}).json()["chats"] == []
    web.rpc("UpdateChat", {"chat": {"id": chat_id, "name": "Renamed"}})
    assert kimi.chats()[0].name == "Renamed"
    web.rpc("UpdateChat", {"chat": {"id": chat_id}})
    assert kimi.chats()[0].name == ""
    assert web.rpc("UpdateChat", {}).status == 400


@pytest.mark.parametrize("path", ["DeleteChat", OLD_SERVICE + "DeleteChat"])
def test_a_deleted_chat_is_gone_everywhere(
    web: Web, kimi: KimiConnectEmulator, path: str
) -> None:
    web.chat()
    chat_id = kimi.chats()[0].id
    assert web.rpc(path, {"chat_id": chat_id}).json() == {}
    assert web.rpc(path, {"chatId": chat_id}).status == 404
    assert web.rpc("GetChat", {"chatId": chat_id}).status == 404
    assert web.rpc(FEEDS).json()["items"] == []
    assert kimi.describe_chats() == []


def test_chats_are_deleted_in_a_batch_or_not_at_all(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    for _ in range(2):
        web.chat()
    chat_ids = [chat.id for chat in kimi.chats()]
    path = OLD_SERVICE + "BatchDeleteChats"
    assert web.rpc(path, {"chat_ids": [*chat_ids, "c-unknown"]}).status == 404
    assert web.rpc(path, {"chat_ids": []}).status == 400
    assert len(kimi.chats()) == 2
    assert web.rpc(path, {"chat_ids": chat_ids}).status == 200
    assert kimi.chats() == ()


def test_another_accounts_chat_does_not_exist(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    web.chat()
    stranger = Web(kimi, kimi.add_account("bob").access)
    for name in ("GetChat", "DeleteChat", "CancelChat", "ListMessages"):
        reply = stranger.rpc(name, {"chatId": kimi.chats()[0].id})
        assert (reply.status, reply.json()["code"]) == (404, "not_found")
    assert stranger.rpc(FEEDS).json()["items"] == []


def test_a_chat_cannot_be_created_but_the_old_way(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    refused = web.rpc("CreateChat", {})
    assert (refused.status, refused.json()["code"]) == (501, "unimplemented")
    minted = web.rpc("/api/chat", {"name": "Mine"}).json()
    assert minted["name"] == "Mine"
    assert web.chat(message("hey", chat_id=minted["id"])).said() == "You said: hey"
    assert [chat.id for chat in kimi.chats()] == [minted["id"]]
    assert web.rpc("/api/chat", {}).status == 400


def test_a_share_is_asked_for_without_a_login(kimi: KimiConnectEmulator) -> None:
    assert Web(kimi, None).rpc("GetChatShare", {"shareId": "x"}).status == 404


def test_the_account_describes_itself(web: Web, kimi: KimiConnectEmulator) -> None:
    user = web.rpc(GATEWAY + "account.v1.UserService/GetCurrentUser").json()["user"]
    assert (user["nickname"], user["region"]) == ("alice", "REGION_CN")
    service = GATEWAY + "order.v1.SubscriptionService/GetSubscription"
    plan = web.rpc(service).json()["subscription"]
    assert plan["userId"] == user["id"]
    abroad = Web(kimi, kimi.add_account("bob", region="overseas").access)
    seen = abroad.rpc(GATEWAY + "account.v1.UserService/GetCurrentUser").json()
    assert seen["user"]["region"] == "REGION_OVERSEA"


def test_quota_and_usage_have_the_shapes_of_the_sheet(web: Web) -> None:
    stats = web.rpc(GATEWAY + "membership.v2.MembershipService/GetSubscriptionStats")
    value = stats.json()
    assert value["ratelimitCode5h"]["enabled"] is True
    assert 0 <= value["ratelimitCode7d"]["ratio"] <= 1
    assert value["subscriptionBalance"]["feature"] == "FEATURE_OMNI"
    usages = GATEWAY + "billing.v1.BillingService/GetUsages"
    assert web.rpc(usages, {"scope": []}).status == 400
    answer = web.rpc(usages, {"scope": ["FEATURE_CODING"]}).json()
    assert answer["usages"][0]["scope"] == "FEATURE_CODING"
    assert answer["usages"][0]["limits"][0]["window"]["duration"] == 300
    quota = web.rpc("/apiv2/any.v1.StorageService/GetUserStorageQuota").json()
    assert quota == {"quota": {"limitBytes": "524288000"}}


@pytest.mark.parametrize("body", [b"no json", b"[]"])
def test_a_body_that_is_no_object_is_refused(web: Web, body: bytes) -> None:
    assert web.rpc(FEEDS, body).status == 400


def test_an_unknown_path_is_404(web: Web) -> None:
    assert web.rpc("NoSuchMethod").status == 404


def test_a_file_goes_from_bytes_to_a_question(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    file = upload(web).json()["file"]
    assert file["meta"]["name"] == "a.pdf"
    assert file["meta"]["sizeBytes"] == str(len(b"%PDF made up"))
    assert len(file["meta"]["checksum"]) == 64
    assert progress(web, file["id"]) == ["PROCESS_STATUS_SUCCESS"]
    assert web.chat(asking_about(file["id"])).said() == "You said: What is it?"
    blocks = kimi.chats()[0].messages[0].blocks
    assert blocks[0] == {"id": "1", "file": {"id": file["id"]}}


def test_an_image_has_its_own_type(web: Web) -> None:
    meta = upload(web, "a.png", "image/png").json()["file"]["meta"]
    assert (meta["type"], meta["ext"]) == ("FILE_TYPE_IMAGE", "png")


def test_parsing_takes_its_time(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.knobs.parse_delay = 0.1
    file_id = upload(web).json()["file"]["id"]
    assert progress(web, file_id) == ["PROCESS_STATUS_PROCESSING"]
    early = web.chat(asking_about(file_id)).trailer
    assert early is not None
    assert early["error"]["code"] == "invalid_argument"
    until(lambda: progress(web, file_id) == ["PROCESS_STATUS_SUCCESS"])


def test_parsing_may_fail_and_states_may_be_numbers(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    good = upload(web).json()["file"]["id"]
    kimi.knobs.parse_fails = True
    bad = upload(web).json()["file"]["id"]
    assert progress(web, bad) == ["PROCESS_STATUS_FAIL"]
    kimi.knobs.numeric_file_status = True
    assert progress(web, good, bad) == [3, 4]


def test_unknown_and_foreign_files_do_not_exist(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    stranger = Web(kimi, kimi.add_account("bob").access)
    theirs = upload(stranger).json()["file"]["id"]
    for file_id in (theirs, "f-unknown"):
        assert web.rpc(PROGRESS, {"file_ids": [file_id]}).status == 404
        trailer = web.chat(asking_about(file_id)).trailer
        assert trailer is not None
        assert trailer["error"]["code"] == "not_found"
    assert web.rpc(PROGRESS, {"file_ids": []}).status == 400


def test_an_upload_needs_a_login_one_file_and_room(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    assert upload(Web(kimi, None)).status == 401
    assert web.rpc(UPLOAD, b"{}").status == 400
    kind = "multipart/form-data; boundary=b"
    two = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'
    assert web.rpc(UPLOAD, two, content_type=kind).status == 400
    kimi.knobs.storage_limit = 5
    full = upload(web)
    assert (full.status, full.json()["code"]) == (429, "resource_exhausted")
    kimi.faults.add("rpc_error", on="upload", error="unavailable")
    assert upload(web).status == 503


def test_another_process_sets_answer_knobs_and_accounts_over_http(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    script = {
        "text": "ab",
        "pieces": ["a", "b"],
        "search": [{"title": "t", "url": "u"}],
    }
    assert web.rpc("/_emulator/answer", script).status == 200
    assert web.chat().said() == "ab"
    assert web.rpc("/_emulator/answer", {}).status == 200
    assert web.chat().said() == "You said: Say hi"
    assert web.rpc("/_emulator/answer", {"nonsense": 1}).status == 400
    knobs = web.rpc("/_emulator/knobs", {"texts": "append"}).json()
    assert (knobs["texts"], kimi.knobs.texts) == ("append", "append")
    assert web.rpc("/_emulator/knobs", {"nonsense": 1}).status == 400
    pair = web.rpc("/_emulator/accounts", {"name": "bob"}).json()
    assert Web(kimi, pair["access"]).chat().trailer == {}
    assert web.rpc("/_emulator/accounts", {"name": "bob"}).status == 400
    listed = web.rpc("/_emulator/chats", method="GET").json()["chats"]
    assert [chat["account"] for chat in listed] == ["bob", "alice", "alice"]


@pytest.mark.parametrize("name", ["kimi-connect", "kimi-legacy"])
def test_an_emulator_runs_as_a_process_and_prints_url_and_token(name: str) -> None:
    command = [sys.executable, "-m", "emulators", name, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert line["name"] == name
    assert line["url"].startswith("http://127.0.0.1:")
    assert line["refresh_token"].startswith("eyJ")
