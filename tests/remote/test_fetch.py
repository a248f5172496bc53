"""Fetching what clients name, over real sockets, from servers that mean harm."""

import socket
import threading
import time
import traceback
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    UpstreamTimeout,
)
from kimi_proxy.remote import Fetched, RemoteFiles
from kimi_proxy.scope import Scope, Timeouts
from tests.remote.conftest import Names, serving
from tests.remote.server import FileServer

Make = Callable[..., RemoteFiles]


def scope(**times: float) -> Scope:
    return Scope(Timeouts(**times), time.monotonic)


def refusal(files: RemoteFiles, url: str) -> GatewayError:
    with pytest.raises(InvalidRequest) as caught:
        files.get(url, scope(), "messages[0].content[1].image_url.url")
    assert caught.value.param == "messages[0].content[1].image_url.url"
    return caught.value


@pytest.mark.parametrize("path", ["file/a.png", "file/a.png?token=made-up"])
def test_a_file_comes_with_its_name_and_type(
    server: FileServer, files: Make, path: str
) -> None:
    fetched = files().get(f"{server.origin}/{path}", scope(), "file_url")
    assert fetched == Fetched("a.png", "image/png", b"data")
    assert "data" not in repr(fetched)


def test_a_chunked_file_without_a_type_comes_too(
    server: FileServer, files: Make
) -> None:
    fetched = files().get(f"{server.origin}/chunked", scope(), "file_url")
    assert fetched == Fetched("chunked", None, b"data")


def test_the_name_the_server_gives_is_cleaned(server: FileServer, files: Make) -> None:
    fetched = files().get(f"{server.origin}/named/x", scope(), "file_url")
    assert fetched == Fetched("b.md", None, b"")


def test_the_host_is_looked_up_once_and_the_checked_address_called(
    server: FileServer, files: Make
) -> None:
    """Also when the next answer of the same DNS server would be a private address."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    url = f"http://files.test:{server.server_port}/file/a.png"
    assert files(resolve=names).get(url, scope(), "file_url").data == b"data"
    assert names.asked == ["files.test"]
    assert server.seen[0][1]["Host"] == f"files.test:{server.server_port}"


def test_a_name_that_leads_to_a_private_address_is_never_called(
    server: FileServer, files: Make
) -> None:
    names = Names(["127.0.0.1"])
    url = f"http://files.test:{server.server_port}/file/a.png"
    error = refusal(files(networks=[], resolve=names), url)
    assert "http://files.test: its host has a private address" in error.message
    assert server.calls == 0


@pytest.mark.parametrize(
    "host",
    "127.0.0.1 2130706433 017700000001 0x7f000001 127.1 0177.0.0.1 %31%32%37.0.0.1"
    " [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] 0"
    " localhost [2002:7f00:1::] [::] [::1%25lo] 0.0.0.0 169.254.169.254".split(),
)
def test_no_spelling_of_a_private_address_is_called(
    server: FileServer, files: Make, host: str
) -> None:
    refusal(files(networks=[]), f"http://{host}:{server.server_port}/file")
    assert server.calls == 0


@pytest.mark.parametrize(
    "answer",
    [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1", "fe80::1%lo"]],
)
def test_one_private_address_among_others_is_one_too_many(
    server: FileServer, files: Make, answer: list[str]
) -> None:
    networks = [ip_network("127.0.0.1/32")] if answer[0].startswith("127") else []
    maker = files(networks=networks, resolve=Names(answer))
    error = refusal(maker, f"http://files.test:{server.server_port}/file")
    assert "private address" in error.message
    assert server.calls == 0


def test_when_one_address_is_dead_the_next_is_called(
    server: FileServer, files: Make
) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    maker = files(networks=[ip_network("127.0.0.0/8")], resolve=names)
    url = f"http://files.test:{server.server_port}/file/a.png"
    assert maker.get(url, scope(), "file_url").data == b"data"


def test_an_ipv6_literal_of_an_allowed_network_is_called(files: Make) -> None:
    with serving(FileServer("::1")) as server:
        maker = files(networks=[ip_network("::1/128")])
        url = f"http://[::1]:{server.server_port}/file/a.png"
        assert maker.get(url, scope(), "file_url").data == b"data"
        assert server.seen[0][1]["Host"] == f"[::1]:{server.server_port}"


def unknown(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "made-up words of the system")


def nothing(host: str, port: int) -> list[str]:
    return []


@pytest.mark.parametrize("resolve", [unknown, nothing])
def test_an_unknown_host_is_said_to_be_unknown(
    files: Make, resolve: Callable[[str, int], list[str]]
) -> None:
    error = refusal(files(resolve=resolve), "https://files.test/x?sig=made-up")
    text = "cannot fetch the file at https://files.test: its host is unknown"
    assert error.message == text


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_for_a_url_is_refused_as_the_client_s_mistake(
    host: str, rest: str
) -> None:
    files = RemoteFiles(limit=1, seconds=20, resolve=nothing)
    for url in (host, f"http://{host}/{rest}", f"http://{host}:81?{rest}"):
        with pytest.raises(InvalidRequest):
            files.get(url, scope(), "url")


def test_nobody_listening_is_said_to_be_unreachable(files: Make) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/x?sig=made-up"
        assert "cannot connect" in refusal(files(), url).message


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("status/404", "not found (404)"),
        ("status/410", "not found (410)"),
        ("status/403", "status 403"),
        ("status/500", "status 500"),
        ("status/304", "status 304"),
        ("empty", "status 204"),
        ("moved_nowhere", "without saying where"),
        ("cut", "incomplete or malformed"),
        ("garbled", "incomplete or malformed"),
        ("bomb", "compresses"),
        ("transfer_bomb", "compresses"),
    ],
)
def test_what_is_no_file_says_why_and_keeps_the_rest_of_the_url_to_itself(
    server: FileServer, files: Make, path: str, says: str
) -> None:
    error = refusal(files(), f"{server.origin}/{path}?signature=made-up")
    assert says in error.message
    assert "made-up" not in "".join(traceback.format_exception(error))


def test_redirects_are_followed_without_the_cookies_they_set(
    server: FileServer, files: Make
) -> None:
    fetched = files().get(f"{server.origin}/steps/2", scope(), "file_url")
    assert fetched == Fetched("at-last.png", "image/png", b"data")
    assert len(server.seen) == 4
    for _, headers in server.seen:
        assert not {"Cookie", "Authorization", "Referer"} & headers.keys()


def test_one_redirect_more_than_allowed_is_too_many(
    server: FileServer, files: Make
) -> None:
    assert "3 redirects" in refusal(files(), f"{server.origin}/steps/3").message
    assert len(server.seen) == 4


def test_a_redirect_in_circles_ends(server: FileServer, files: Make) -> None:
    server.location = "/moved"
    assert "redirects" in refusal(files(), f"{server.origin}/moved").message
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://127.0.0.2:{port}/file", "http://127.0.0.2: its host has a private"),
        ("//127.0.0.2:{port}/file", "http://127.0.0.2: its host has a private"),
        ("http://[::1]:{port}/file", "private address"),
        ("http://169.254.169.254/latest/meta-data", "private address"),
        ("http://2130706433:{port}/file", "unusual spelling"),
        ("file:///etc/passwd", "only http and https"),
        ("http://me:made-up@127.0.0.1:{port}/file", "user name or password"),
        ("http://[::1/", "malformed"),
        ("http://" + "x" * 9000, "too long"),
    ],
)
def test_a_redirect_is_checked_like_the_first_url(
    server: FileServer, files: Make, location: str, says: str
) -> None:
    server.location = location.format(port=server.server_port)
    assert says in refusal(files(), f"{server.origin}/moved").message
    assert server.calls == 1


def test_a_redirect_to_the_same_name_is_looked_up_again_and_refused(
    server: FileServer, files: Make
) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    server.location = "/file"
    url = f"http://files.test:{server.server_port}/moved"
    assert "private address" in refusal(files(resolve=names), url).message
    assert names.asked == ["files.test", "files.test"]
    assert [path for path, _ in server.seen] == ["/moved"]


@pytest.mark.parametrize("digits", ["3", "30", "6000"])
def test_a_file_announced_too_large_is_not_read(
    server: FileServer, files: Make, digits: str
) -> None:
    with pytest.raises(PayloadTooLarge, match="limit of 999 bytes") as caught:
        files(limit=999).get(f"{server.origin}/long/{digits}", scope(), "file_url")
    assert (caught.value.status, caught.value.param) == (413, "file_url")


@pytest.mark.parametrize("path", ["endless", "endless_chunks"])
def test_a_file_without_end_is_cut_off_at_the_limit(
    server: FileServer, files: Make, path: str
) -> None:
    with pytest.raises(PayloadTooLarge):
        files(limit=500_000).get(f"{server.origin}/{path}", scope(), "file_url")
    assert server.hung_up.wait(20)


def test_a_file_of_exactly_the_limit_is_taken(server: FileServer, files: Make) -> None:
    for path in ("file", "chunked"):
        url = f"{server.origin}/{path}"
        assert files(limit=4).get(url, scope(), "file_url").data == b"data"
        with pytest.raises(PayloadTooLarge):
            files(limit=3).get(url, scope(), "file_url")


SLOW = ["drip", "drip_head", "continue", "silent", "silent_body"]


@pytest.mark.parametrize("path", SLOW)
def test_the_time_is_capped_however_the_server_spends_it(
    server: FileServer, files: Make, path: str
) -> None:
    maker = files(limit=1_000_000, seconds=0.2)
    assert "longer than 0.2 s" in refusal(maker, f"{server.origin}/{path}").message


@pytest.mark.parametrize("path", SLOW)
def test_the_request_s_own_deadline_comes_first(
    server: FileServer, files: Make, path: str
) -> None:
    maker = files(limit=1_000_000)
    with pytest.raises(UpstreamTimeout):
        maker.get(f"{server.origin}/{path}", scope(total=0.2), "file_url")


@pytest.mark.parametrize("path", SLOW)
def test_a_client_that_leaves_ends_the_fetch(
    server: FileServer, files: Make, path: str
) -> None:
    limits = scope()

    def leave_once_asked() -> None:
        while not server.seen:
            time.sleep(0.005)
        limits.cancel(ClientGone("left"))

    canceller = threading.Thread(target=leave_once_asked)
    canceller.start()
    with pytest.raises(ClientGone):
        files(limit=1_000_000).get(f"{server.origin}/{path}", limits, "file_url")
    canceller.join()


class Stuck:
    """A resolver that answers nothing until the test is over."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.release = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.set()
        self.release.wait(20)
        return ["127.0.0.1"]


def test_a_resolver_that_hangs_is_not_waited_for(files: Make) -> None:
    stuck = Stuck()
    limits = scope()
    canceller = threading.Thread(
        target=lambda: stuck.asked.wait(20) and limits.cancel(ClientGone("left"))
    )
    canceller.start()
    with pytest.raises(ClientGone):
        files(resolve=stuck).get("http://files.test/x", limits, "file_url")
    canceller.join()
    refusal(files(resolve=stuck, seconds=0.1), "http://files.test/x")
    stuck.release.set()


def test_a_cancelled_request_fetches_nothing(server: FileServer, files: Make) -> None:
    limits = scope()
    limits.cancel(ClientGone("left"))
    with pytest.raises(ClientGone):
        files().get(f"{server.origin}/file", limits, "file_url")
    assert server.calls == 0


def test_a_proxy_in_the_environment_is_not_used(
    server: FileServer, files: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fetched = files().get(f"{server.origin}/file", scope(), "file_url")
    assert fetched.data == b"data"


def test_no_thread_outlives_a_fetch(server: FileServer, files: Make) -> None:
    before = set(threading.enumerate())
    for path in ("file", "status/404", "moved_nowhere"):
        try:
            files().get(f"{server.origin}/{path}", scope(), "file_url")
        except InvalidRequest:
            continue
    deadline = time.monotonic() + 10
    while ours := {
        thread
        for thread in set(threading.enumerate()) - before
        if isinstance(thread, threading.Timer) or thread.name == "dial"
    }:
        assert time.monotonic() < deadline, ours
        time.sleep(0.005)
