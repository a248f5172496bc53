"""Nobody waits for ever: time-outs, and callers who leave."""

import threading
import time

import pytest

from kimi_proxy.errors import ClientGone, UpstreamTimeout
from kimi_proxy.upstream import Upstream
from tests.upstream.server import Server, scope


@pytest.mark.parametrize(
    ("path", "times", "says"),
    [
        ("silent", {"headers": 0.1}, "no response headers"),
        ("silent", {"total": 0.1}, "longer than 0.1 s"),
        ("silent_body", {"idle": 0.1}, "silent for 0.1 s"),
        ("silent_body", {"total": 0.1}, "longer than 0.1 s"),
    ],
)
def test_each_silence_has_its_own_time_out(
    server: Server, upstream: Upstream, path: str, times: dict[str, float], says: str
) -> None:
    with pytest.raises(UpstreamTimeout, match=says):
        upstream.request(
            "GET", f"{server.origin}/{path}", headers={}, scope=scope(**times)
        )


def test_a_whole_answer_is_left_without_waiting_for_its_end(
    server: Server, upstream: Upstream
) -> None:
    exchange = upstream.open(
        "GET", f"{server.origin}/pieces", headers={}, scope=scope(idle=20)
    )
    blocks = exchange.blocks()
    assert next(blocks) == b"one"
    exchange.finish(blocks)
    assert next(blocks, None) is None


def test_no_content_in_time_is_a_time_out_although_the_connection_lives(
    server: Server, upstream: Upstream
) -> None:
    limits = scope(first_content=0.1)
    limits.expect_content()
    with pytest.raises(UpstreamTimeout, match=r"no content within 0\.1 s"):
        upstream.request(
            "GET", f"{server.origin}/silent_body", headers={}, scope=limits
        )


@pytest.mark.parametrize("path", ["silent", "silent_body"])
def test_cancelling_wakes_whoever_waits_for_the_upstream(
    server: Server, upstream: Upstream, path: str
) -> None:
    limits = scope()

    def leave_once_asked() -> None:
        while not server.seen:
            time.sleep(0.005)
        limits.cancel(ClientGone("left"))

    canceller = threading.Thread(target=leave_once_asked)
    canceller.start()
    with pytest.raises(ClientGone):
        upstream.request("GET", f"{server.origin}/{path}", headers={}, scope=limits)
    canceller.join()


def test_a_cancelled_request_is_not_sent(server: Server, upstream: Upstream) -> None:
    limits = scope()
    limits.cancel(ClientGone("left"))
    with pytest.raises(ClientGone):
        upstream.request("GET", f"{server.origin}/ok", headers={}, scope=limits)
    assert server.seen == []
