"""/v1/files by Anthropic's official client: the same files in its own shapes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError

from tests.http.conftest import House, house, serving

KEY = "kp-files-made-up-key"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory: Path = tmp_path_factory.mktemp("files")
    with house(directory, {"keys": [{"name": "a", "key": KEY}]}) as built:
        yield built


@pytest.fixture
def client(made: House) -> Iterator[Anthropic]:
    """The official client, alone with its files."""
    with serving(made.app) as port:
        base_url = f"http://127.0.0.1:{port}"
        with Anthropic(base_url=base_url, api_key=KEY, max_retries=0) as sdk:
            yield sdk
            for file in sdk.beta.files.list():
                sdk.beta.files.delete(file.id)


def test_a_file_goes_all_the_way(made: House, client: Anthropic) -> None:
    files = client.beta.files
    sent = ("报告.txt", "内容".encode(), "text/plain")
    stored = files.upload(file=sent, expires_in_seconds=3600)
    assert (stored.type, stored.filename, stored.size_bytes) == ("file", "报告.txt", 6)
    assert (stored.mime_type, stored.downloadable) == ("text/plain", True)
    assert stored.expires_at is not None
    assert (stored.expires_at - stored.created_at).total_seconds() == 3600
    assert files.retrieve_metadata(stored.id) == stored
    assert list(files.list()) == [stored]
    assert files.download(stored.id).read() == sent[1]
    # OpenAI's clients see the same file.
    listed = made.client.get("/v1/files", headers=AUTH).get_json()["data"]
    assert [(file["id"], file["purpose"]) for file in listed] == [
        (stored.id, "user_data")
    ]
    gone = files.delete(stored.id)
    assert (gone.id, gone.type) == (stored.id, "file_deleted")
    with pytest.raises(NotFoundError) as caught:
        files.retrieve_metadata(stored.id)
    assert caught.value.type == "not_found_error"
    assert caught.value.error_code == "not_found"


def test_a_list_is_paged_and_may_name_files(client: Anthropic) -> None:
    files = client.beta.files
    made = [files.upload(file=(f"{n}.txt", b"a")).id for n in range(5)]
    page = files.list(limit=2)
    assert [file.id for file in page.data] == made[:2:-1]
    assert [file.id for file in page] == made[::-1]
    named = files.list(ids=[made[0], made[3], "file-nobody"])
    assert {file.id for file in named} == {made[0], made[3]}
    older = client.get("/v1/files?limit=3&after_id=" + made[3], cast_to=object)
    assert isinstance(older, dict)
    assert [file["id"] for file in older["data"]] == made[2::-1]
    assert (older["last_id"], older["has_more"]) == (made[0], False)


def test_what_is_wrong_is_said_in_its_dialect(client: Anthropic) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.beta.files.upload(file=("a.txt", b""))
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(BadRequestError, match="limit"):
        client.beta.files.list(limit=0)
    with pytest.raises(BadRequestError, match="expires_in_seconds"):
        client.beta.files.upload(file=("a.txt", b"a"), expires_in_seconds=-1)
