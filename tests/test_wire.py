"""Whoever leaves while a connection is being made is not kept waiting for it."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
import urllib3.util.connection

from kimi_proxy.errors import ClientGone, UpstreamUnreachable
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream
from kimi_proxy.wire import Wire

Began = Callable[[], bool]
Hangs = Callable[[ExitStack, pytest.MonkeyPatch], tuple[str, Began]]


def lookup_hangs(stack: ExitStack, patch: pytest.MonkeyPatch) -> tuple[str, Began]:
    began, end = threading.Event(), threading.Event()

    def look_up(*_: object) -> list[object]:
        began.set()
        end.wait(20)
        return []

    patch.setattr(urllib3.util.connection.socket, "getaddrinfo", look_up)
    stack.callback(end.set)
    return "http://127.0.0.1:9", began.is_set


def connect_hangs(stack: ExitStack, patch: pytest.MonkeyPatch) -> tuple[str, Began]:
    """A listener whose queue is full: the kernel answers nobody any more."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    place = listener.getsockname()
    for _ in range(3):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(place)
    began = threading.Event()
    real = socket.socket.connect

    def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        began.set()
        real(sock, address)

    patch.setattr(socket.socket, "connect", connect)
    return f"http://127.0.0.1:{place[1]}", began.is_set


def handshake_hangs(stack: ExitStack, patch: pytest.MonkeyPatch) -> tuple[str, Began]:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(0.01)
    accepted: list[socket.socket] = []

    def has_begun() -> bool:
        with suppress(TimeoutError):
            accepted.append(stack.enter_context(listener.accept()[0]))
        return bool(accepted and accepted[0].recv(1))

    return f"https://127.0.0.1:{listener.getsockname()[1]}", has_begun


@pytest.mark.parametrize("hangs", [lookup_hangs, connect_hangs, handshake_hangs])
def test_cancelling_wakes_whoever_waits_for_a_connection(
    hangs: Hangs, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Scope(Timeouts(connect=20), time.monotonic)
    with ExitStack() as stack:
        origin, has_begun = hangs(stack, monkeypatch)
        upstream = Upstream([origin])
        stack.callback(upstream.close)

        def leave_once_begun() -> None:
            while not has_begun():
                time.sleep(0.005)
            limits.cancel(ClientGone("left"))

        canceller = threading.Thread(target=leave_once_begun)
        canceller.start()
        began = time.monotonic()
        with pytest.raises(ClientGone):
            upstream.request("GET", f"{origin}/ok", headers={}, scope=limits)
        assert time.monotonic() - began < 10, "it was waited for all the same"
        canceller.join()


def test_the_time_to_connect_is_for_all_addresses_of_a_host_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        origin, _ = connect_hangs(stack, monkeypatch)
        address = socket.getaddrinfo("127.0.0.1", int(origin.rpartition(":")[2]))[0]
        monkeypatch.setattr(
            urllib3.util.connection.socket, "getaddrinfo", lambda *_: [address] * 50
        )
        upstream = Upstream([origin])
        stack.callback(upstream.close)
        limits = Scope(Timeouts(connect=0.2), time.monotonic)
        began = time.monotonic()
        with pytest.raises(UpstreamUnreachable, match="timed out"):
            upstream.request("GET", f"{origin}/ok", headers={}, scope=limits)
        assert time.monotonic() - began < 5


def test_a_socket_that_its_reader_has_just_closed_stops_no_cancellation() -> None:
    class Closing(socket.socket):
        """Closed between a look at its descriptor and its use."""

        def fileno(self) -> int:
            number = super().fileno()
            self.close()
            return number

    scope, woken = Scope(Timeouts(), time.monotonic), threading.Event()
    wire = Wire(scope)
    with Closing() as sock:
        wire.attach(sock)
        scope.on_cancel(woken.set)
        scope.cancel(ClientGone("left"))
    assert woken.is_set()


def test_another_socket_that_got_its_number_meanwhile_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    taken: list[socket.socket] = []

    class Closing(socket.socket):
        """Closed between a look at its descriptor and its use; its number is reused."""

        def fileno(self) -> int:
            number = super().fileno()
            if len(looked) == 1:
                self.close()
                taken.append(socket.socket(fileno=os.dup2(ours.fileno(), number)))
            looked.append(number)
            return number

    looked: list[int] = []
    scope = Scope(Timeouts(), time.monotonic)
    wire = Wire(scope)
    with ours, theirs, Closing() as sock:
        wire.attach(sock)
        scope.cancel(ClientGone("left"))
        ours.sendall(b"still open")
        assert theirs.recv(20) == b"still open"
        taken[0].close()
