"""An account's files go up once, several at a time, and are forgotten on demand."""

import subprocess
import threading
import time

import pytest

from kimi_proxy.chat import File
from kimi_proxy.clock import Clock
from kimi_proxy.desk import AccountDesk, Desk
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    InvalidRequest,
    StateUnavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from kimi_proxy.providers.base import PlainDesk, Upload, Uploaded
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document
from kimi_proxy.storage.memory import MemoryStore
from kimi_proxy.worker import Worker
from tests.fakes import HandClock


def scope() -> Scope:
    return Scope(Timeouts(total=30), time.monotonic)


def file(name: str) -> File:
    return File("file", name, "text/plain", name.encode(), f"digest-{name}", name)


class Upstream:
    """Takes files; `meet` is where so many uploads have to be at a time."""

    def __init__(self, meet: int = 0) -> None:
        self.taken: list[str] = []
        self.refuses: dict[str, Exception] = {}
        self._meet = threading.Barrier(meet) if meet else None

    def upload(self, given: File, within: Scope) -> Uploaded:
        if self._meet is not None:
            self._meet.wait(10)
        if given.name in self.refuses:
            raise self.refuses[given.name]
        if given.name == "hangs":
            within.pause(60)
        self.taken.append(given.name)
        return Uploaded(f"id-{given.name}-{len(self.taken)}", {"size": 1})


def desk(clock: HandClock | None = None) -> Desk:
    hand = clock or HandClock()
    told = Clock(hand.now, time.monotonic)
    return Desk(MemoryStore(hand.now).live, Worker(), told, 100.0)


def ensure(at: AccountDesk, upstream: Upstream, *names: str, space: str = "a") -> list:
    files = [file(name) for name in names]
    return [
        uploaded.id
        for uploaded in at.ensure(files, upstream.upload, space=space, scope=scope())
    ]


def test_equal_contents_go_up_once() -> None:
    upstream, shared = Upstream(), desk()
    first = ensure(shared.of("kimi", "alice"), upstream, "x", "x")
    assert first == ensure(shared.of("kimi", "alice"), upstream, "x", "x")
    assert upstream.taken == ["x"]


def test_what_the_upstream_said_is_remembered_with_the_id() -> None:
    upstream, shared = Upstream(), desk()
    given = [file("x")]
    for _ in range(2):
        (found,) = shared.of("kimi", "alice").ensure(
            given, upstream.upload, space="a", scope=scope()
        )
        assert found == Uploaded("id-x-1", {"size": 1})


def test_accounts_providers_and_services_have_files_of_their_own() -> None:
    upstream, shared = Upstream(), desk()
    ensure(shared.of("kimi", "alice"), upstream, "x")
    ensure(shared.of("kimi", "bob"), upstream, "x")
    ensure(shared.of("other", "alice"), upstream, "x")
    ensure(shared.of("kimi", "alice"), upstream, "x", space="b")
    assert len(upstream.taken) == 4


def test_several_go_up_at_a_time_and_stay_in_order() -> None:
    upstream = Upstream(meet=3)
    found = ensure(desk().of("kimi", "alice"), upstream, "x", "y", "z")
    assert [name.split("-")[1] for name in found] == ["x", "y", "z"]


def test_two_requests_at_once_upload_once() -> None:
    upstream, shared = Upstream(), desk()
    begun, go_on = threading.Event(), threading.Event()

    def slowly(given: File, within: Scope) -> Uploaded:
        begun.set()
        assert go_on.wait(10)
        return upstream.upload(given, within)

    def ask(upload: Upload, found: list[str]) -> None:
        at = shared.of("kimi", "alice")
        (uploaded,) = at.ensure([file("x")], upload, space="a", scope=scope())
        found.append(uploaded.id)

    found: list[str] = []
    first = threading.Thread(target=ask, args=(slowly, found))
    first.start()
    assert begun.wait(10)
    second = threading.Thread(target=ask, args=(upstream.upload, found))
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join()
    assert found == ["id-x-1", "id-x-1"]
    assert upstream.taken == ["x"]


def test_who_waited_for_an_upload_that_failed_uploads_itself() -> None:
    upstream, shared = Upstream(), desk()
    begun, go_on = threading.Event(), threading.Event()

    def fail(given: File, within: Scope) -> Uploaded:
        begun.set()
        assert go_on.wait(10)
        raise UpstreamFailed("ill")

    def ask() -> None:
        with pytest.raises(UpstreamFailed):
            at = shared.of("kimi", "alice")
            at.ensure([file("x")], fail, space="a", scope=scope())

    first = threading.Thread(target=ask)
    first.start()
    assert begun.wait(10)
    threading.Timer(0.05, go_on.set).start()
    assert ensure(shared.of("kimi", "alice"), upstream, "x") == ["id-x-1"]
    first.join()


KEY = "upload/kimi/alice/a/digest-x"


def dead_worker() -> str:
    """The name of a process of this machine that has ended."""
    with subprocess.Popen(["true"]) as process:
        machine = Worker().id.rsplit(":", 2)[0]
    return f"{machine}:{process.pid}:1.made-up"


def test_the_claim_of_a_worker_that_died_is_void_at_once() -> None:
    upstream, shared = Upstream(), desk()
    claim = {"by": dead_worker(), "at": shared.clock.now()}
    shared.documents.put(KEY, claim, ttl=120)
    assert ensure(shared.of("kimi", "alice"), upstream, "x") == ["id-x-1"]


class Reader:
    """Waits for a file to be read: for the errors given, in turn, and then at last."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[str] = []
        self._errors = list(errors)

    def settle(self, given: File, uploaded: Uploaded, within: Scope) -> None:
        self.asked.append(uploaded.id)
        if self._errors:
            raise self._errors.pop(0)


def bring(shared: Desk, upstream: Upstream, reader: Reader) -> str:
    at = shared.of("kimi", "alice")
    (found,) = at.ensure(
        [file("x")], upstream.upload, space="a", scope=scope(), settle=reader.settle
    )
    return found.id


@pytest.mark.parametrize("error", [ClientGone("gone"), UpstreamTimeout("late")])
def test_a_file_that_is_up_when_its_request_ends_is_only_waited_for(
    error: GatewayError,
) -> None:
    upstream, reader, shared = Upstream(), Reader(error), desk()
    with pytest.raises(type(error)):
        bring(shared, upstream, reader)
    for _ in range(2):
        assert bring(shared, upstream, reader) == "id-x-1"
    assert (upstream.taken, reader.asked) == (["x"], ["id-x-1", "id-x-1"])


@pytest.mark.parametrize("error", [InvalidRequest("unreadable"), UpstreamFailed("ill")])
def test_a_file_that_cannot_be_read_goes_up_again(error: GatewayError) -> None:
    upstream, reader, shared = Upstream(), Reader(error), desk()
    with pytest.raises(type(error)):
        bring(shared, upstream, reader)
    assert bring(shared, upstream, reader) == "id-x-2"


def test_a_file_that_is_never_read_goes_up_again_at_last() -> None:
    clock, upstream = HandClock(), Upstream()
    reader, shared = Reader(UpstreamTimeout("late")), desk(clock)
    with pytest.raises(UpstreamTimeout):
        bring(shared, upstream, reader)
    clock.advance(601)
    assert bring(shared, upstream, reader) == "id-x-2"


def test_what_a_worker_that_died_had_uploaded_is_only_waited_for() -> None:
    upstream, reader, shared = Upstream(), Reader(), desk()
    claim = {"by": dead_worker(), "at": shared.clock.now()}
    shared.documents.put(KEY, {**claim, "id": "id-x-0", "details": {}}, ttl=120)
    assert bring(shared, upstream, reader) == "id-x-0"
    assert (upstream.taken, reader.asked) == ([], ["id-x-0"])


def test_a_claim_that_is_never_made_good_ends() -> None:
    clock, upstream = HandClock(), Upstream()
    shared = desk(clock)
    claim = {"by": shared.worker.id, "at": clock.now()}
    shared.documents.put(KEY, claim, ttl=120)
    clock.advance(121)
    assert ensure(shared.of("kimi", "alice"), upstream, "x") == ["id-x-1"]


def test_after_its_time_a_file_goes_up_again() -> None:
    clock, upstream = HandClock(), Upstream()
    shared = desk(clock)
    ensure(shared.of("kimi", "alice"), upstream, "x")
    clock.advance(101)
    ensure(shared.of("kimi", "alice"), upstream, "x")
    assert upstream.taken == ["x", "x"]


def test_what_is_forgotten_are_the_files_in_use_and_no_others() -> None:
    upstream, shared = Upstream(), desk()
    ensure(shared.of("kimi", "alice"), upstream, "x", "y")
    at = shared.of("kimi", "alice")
    ensure(at, upstream, "x")
    at.forget()
    ensure(shared.of("kimi", "alice"), upstream, "x", "y")
    assert sorted(upstream.taken) == ["x", "x", "y"]


def test_one_that_is_refused_ends_the_others_and_is_named() -> None:
    upstream = Upstream()
    upstream.refuses["bad"] = InvalidRequest("cannot be read")
    with pytest.raises(InvalidRequest) as caught:
        ensure(desk().of("kimi", "alice"), upstream, "hangs", "bad")
    assert caught.value.param == "bad"
    assert upstream.taken == []


def test_what_is_no_file_s_fault_names_none() -> None:
    upstream = Upstream()
    upstream.refuses["x"] = UpstreamFailed("ill")
    with pytest.raises(UpstreamFailed) as caught:
        ensure(desk().of("kimi", "alice"), upstream, "x")
    assert caught.value.param is None


def test_what_went_up_before_a_failure_does_not_go_up_again() -> None:
    upstream, shared = Upstream(), desk()
    upstream.refuses["bad"] = UpstreamFailed("ill")
    with pytest.raises(UpstreamFailed):
        ensure(shared.of("kimi", "alice"), upstream, "bad")
    ensure(shared.of("kimi", "alice"), upstream, "x")
    upstream.refuses.clear()
    ensure(shared.of("kimi", "alice"), upstream, "x", "bad")
    assert upstream.taken == ["x", "bad"]


@pytest.mark.parametrize("names", [("hangs",), ("hangs", "x")])
def test_a_client_that_leaves_ends_the_uploads(names: tuple[str, ...]) -> None:
    within = scope()
    threading.Timer(0.05, within.cancel, [ClientGone("gone")]).start()
    with pytest.raises(ClientGone):
        desk().of("kimi", "alice").ensure(
            [file(name) for name in names],
            Upstream().upload,
            space="a",
            scope=within,
        )


def test_a_store_that_cannot_be_written_costs_only_the_next_upload() -> None:
    class Full:
        def get(self, key: str) -> Document | None:
            return None

        def put(self, *_: object, **__: object) -> None:
            raise StateUnavailable("the disk is full")

        update = delete = put

    shared = Desk(Full(), Worker(), Clock(), 100.0)  # type: ignore[arg-type]  # all it uses
    assert ensure(shared.of("kimi", "alice"), Upstream(), "x") == ["id-x-1"]


def test_the_wait_for_content_starts_anew_after_an_upload() -> None:
    hand = HandClock()
    within = Scope(Timeouts(first_content=10, total=100), hand.monotonic)
    within.expect_content()

    def upload(given: File, inner: Scope) -> Uploaded:
        hand.advance(20)
        return Uploaded("id")

    store = MemoryStore(hand.now).live
    at = Desk(store, Worker(), hand.clock, 100.0).of("kimi", "alice")
    at.ensure([file("x")], upload, space="a", scope=within)
    assert within.remaining() == 10


def test_without_a_desk_every_file_goes_up() -> None:
    upstream = Upstream()
    for _ in range(2):
        PlainDesk().ensure([file("x")], upstream.upload, space="a", scope=scope())
    assert upstream.taken == ["x", "x"]
