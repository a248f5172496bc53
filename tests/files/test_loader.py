"""Attachments become files, each once and several at a time, or nothing does."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kimi_proxy.chat import Attachment, ChatRequest, File, Message
from kimi_proxy.errors import ClientGone, InvalidRequest, NotFound, PayloadTooLarge
from kimi_proxy.files import FileLimits, Loader
from kimi_proxy.remote import Fetched
from kimi_proxy.scope import Scope, Timeouts
from tests.files.hall import PDF, PNG


@dataclass
class Web:
    """What is behind URLs; `meet` is where so many fetches have to be at a time."""

    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    meet: threading.Barrier | None = None
    hang: bool = False

    def get(self, url: str, scope: Scope, param: str) -> Fetched:
        self.asked.append(url)
        if self.meet is not None:
            self.meet.wait(10)
        if url not in self.pages:
            if self.hang:
                scope.pause(60)
            raise InvalidRequest("nothing is there", param=param)
        return Fetched(url.rpartition("/")[2], None, self.pages[url])


@dataclass(frozen=True)
class Kept:
    name: str
    media_type: str
    data: bytes


class Shelf:
    """One owner's stored file."""

    def get(self, owner: str, file_id: str) -> Kept:
        if (owner, file_id) != ("laptop", "file-1"):
            raise NotFound("no such file")
        return Kept("kept.pdf", "application/octet-stream", PDF)


def scope(total: float = 30) -> Scope:
    return Scope(Timeouts(total=total), time.monotonic)


def loader(web: Web | None = None, **limits: int) -> Loader:
    return Loader(web or Web(), Shelf(), FileLimits(**limits), time.monotonic)


def asking(*attachments: Attachment) -> ChatRequest:
    return ChatRequest("m", (Message("user", "hi", attachments=attachments),))


def given(data: bytes, number: int = 0) -> Attachment:
    return Attachment("file", f"part{number}", data=data)


def linked(url: str) -> Attachment:
    return Attachment("file", url, url=url)


def loaded(request: ChatRequest) -> list[File]:
    return [file for message in request.messages for file in message.files]


def test_a_request_without_attachments_is_left_as_it_is() -> None:
    request = asking()
    assert loader().load(request, "laptop", scope()) is request


def test_a_file_has_its_digest_and_a_name_from_it() -> None:
    (file,) = loaded(loader().load(asking(given(PNG)), "laptop", scope()))
    digest = hashlib.sha256(PNG).hexdigest()
    assert file == File(
        "image", f"image-{digest[:8]}.png", "image/png", PNG, digest, "part0"
    )


def test_names_lose_their_directories() -> None:
    attachment = Attachment("file", "part", data=PDF, name="..\\..\\etc/pass\x00wd.pdf")
    (file,) = loaded(loader().load(asking(attachment), "laptop", scope()))
    assert file.name == "passwd.pdf"


def test_remote_files_are_fetched_at_the_same_time_and_stay_in_order() -> None:
    pages = {f"http://x/{n}.txt": b"words %d" % n for n in range(3)}
    web = Web(pages, meet=threading.Barrier(3))
    request = loader(web).load(asking(*map(linked, pages)), "laptop", scope())
    assert [file.data for file in loaded(request)] == list(pages.values())


def test_what_was_loaded_is_not_fetched_again() -> None:
    web, known = Web({"http://x/a": PDF}), dict[str, File]()
    request = asking(linked("http://x/a"))
    first = loader(web).load(request, "laptop", scope(), known)
    assert loader(web).load(request, "laptop", scope(), known) == first
    assert web.asked == ["http://x/a"]


def test_one_that_fails_ends_the_others_at_once() -> None:
    web = Web(hang=True)
    web.pages["http://x/empty"] = b""
    started = time.monotonic()
    with pytest.raises(InvalidRequest, match="empty") as caught:
        request = asking(linked("http://x/hangs"), linked("http://x/empty"))
        loader(web).load(request, "laptop", scope())
    assert caught.value.param == "http://x/empty"
    assert time.monotonic() - started < 20


def test_a_client_that_leaves_ends_the_fetching() -> None:
    within = scope()
    threading.Timer(0.05, within.cancel, [ClientGone("gone")]).start()
    with pytest.raises(ClientGone):
        request = asking(linked("http://x/1"), linked("http://x/2"))
        loader(Web(hang=True)).load(request, "laptop", within)


def test_a_stored_file_is_its_owners_alone() -> None:
    attachment = Attachment("file", "place", file_id="file-1")
    (file,) = loaded(loader().load(asking(attachment), "laptop", scope()))
    assert (file.name, file.media_type) == ("kept.pdf", "application/pdf")
    with pytest.raises(NotFound) as caught:
        loader().load(asking(attachment), "somebody", scope())
    assert caught.value.param == "place"


@pytest.mark.parametrize(
    ("load", "error"),
    [
        (lambda: loader(size=10).load(asking(given(PDF)), "", scope()), "max_size"),
        (
            lambda: loader(total=30).load(
                asking(given(PDF, 1), given(PDF, 2)), "", scope()
            ),
            "max_total",
        ),
    ],
)
def test_limits_are_named(load: Callable[[], object], error: str) -> None:
    with pytest.raises(PayloadTooLarge, match=error):
        load()


def test_files_elsewhere_are_no_longer_fetched_once_they_are_too_heavy() -> None:
    pages = {f"http://x/{n}.txt": b"ten bytes!" for n in range(40)}
    web = Web(pages)
    with pytest.raises(PayloadTooLarge, match="max_total"):
        loader(web, total=25).load(asking(*map(linked, pages)), "laptop", scope())
    assert len(web.asked) <= 2 + 4, "what fits, and those that were on their way"
