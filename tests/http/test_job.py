"""The mailbox between the thread that works on a request and the one that answers."""

import threading
import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Any, cast

import pytest

from kimi_proxy.attempt import EventStream, Trace
from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import ClientGone, GatewayError, UpstreamCut, UpstreamTimeout
from kimi_proxy.events import Event, Finished, TextDelta
from kimi_proxy.router import Route
from kimi_proxy.routes.job import Item, Job
from kimi_proxy.scope import Scope, Timeouts

REQUEST = ChatRequest("m", ())


class FakeStream:
    """An opened answer of these events; what closed it is kept."""

    route = Route("fake", "model")
    conversation = None
    choices = 1

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = iter(events)
        self.reasons: list[GatewayError | None] = []

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def close(self, reason: GatewayError | None = None) -> None:
        self.reasons.append(reason)


def made(stream: FakeStream, **timeouts: float) -> Job:
    def opener(_: ChatRequest, __: Scope, ___: Trace) -> EventStream:
        return cast(EventStream, stream)

    return Job(opener, REQUEST, Scope(Timeouts(**timeouts), time.monotonic))


def started(stream: FakeStream, **timeouts: float) -> Job:
    job = made(stream, **timeouts)
    job.start()
    return job


def all_of(job: Job) -> list[Item]:
    items: list[Item] = []
    while not items or not isinstance(items[-1], Finished | GatewayError):
        items += job.take(10)
    return items


def test_everything_arrives_in_order() -> None:
    events: list[Event] = [*(TextDelta(f"{n}") for n in range(5000)), Finished("stop")]
    stream = FakeStream(events)
    assert all_of(started(stream)) == events
    assert None in stream.reasons


def test_a_failure_is_the_last_item() -> None:
    def events() -> Iterator[Event]:
        yield TextDelta("a")
        raise UpstreamCut("cut")

    stream = FakeStream(events())
    first, last = all_of(started(stream))
    assert first == TextDelta("a")
    assert isinstance(last, UpstreamCut)
    assert stream.reasons[0] is last


def test_work_of_ones_own_needs_no_thread() -> None:
    threads: set[int] = set()

    def events() -> Iterator[Event]:
        threads.add(threading.get_ident())
        yield TextDelta("a")
        yield Finished("stop")
        raise AssertionError("nothing is read after the end")

    stream = FakeStream(events())
    job = made(stream)
    used: list[Event] = []
    job.work(used.append)
    assert used == [TextDelta("a"), Finished("stop")]
    assert threads == {threading.get_ident()}
    assert job.route == "fake/model"
    assert stream.reasons == [None]


def test_work_of_ones_own_ends_with_the_scope_and_tells_the_stream_why() -> None:
    stream = FakeStream(TextDelta("a") for _ in range(1000))
    job = made(stream)
    gone = ClientGone("gone")
    used: list[Event] = []

    def use(event: Event) -> None:
        used.append(event)
        job.scope.cancel(gone)

    with pytest.raises(ClientGone):
        job.work(use)
    assert used == [TextDelta("a")]
    assert stream.reasons[0] is gone


def test_silence_is_an_empty_list() -> None:
    go = threading.Event()

    def events() -> Iterator[Event]:
        go.wait()
        yield Finished("stop")

    job = started(FakeStream(events()))
    assert job.take(0.05) == []
    go.set()
    assert job.take(10) == [Finished("stop")]


def test_a_cancelled_scope_wakes_who_takes_and_tells_the_stream_why() -> None:
    ready = threading.Event()

    def events() -> Iterator[Event]:
        ready.set()
        while True:
            yield TextDelta("a")

    stream = FakeStream(events())
    job = started(stream)
    ready.wait(10)
    gone = ClientGone("gone")
    job.stop(gone)
    assert stream.reasons[0] is gone
    assert all_of(job)[-1] is gone
    with pytest.raises(ClientGone):
        job.take(0.01)


def test_a_reader_who_lags_holds_the_worker_back() -> None:
    taken: list[Item] = []
    lags: list[int] = []
    full = threading.Event()

    def events() -> Iterator[Event]:
        for number in range(10_000):
            lags.append(number - len(taken))
            if number == 1000:
                full.set()
            yield TextDelta("a")
        yield Finished("stop")

    job = started(FakeStream(events()))
    assert full.wait(10)
    while not taken or not isinstance(taken[-1], Finished):
        taken += job.take(10)
    assert len(taken) == 10_001
    # What waits, and what a `take` that has not returned yet holds.
    assert max(lags) <= 2 * 1001


def test_a_worker_who_is_held_back_ends_with_its_time() -> None:
    stream = FakeStream(TextDelta("a") for _ in range(10_000))
    job = started(stream, total=0.3)
    assert job._over.wait(10)
    assert isinstance(stream.reasons[0], UpstreamTimeout)


class _Racing(SimpleQueue[Any]):
    """Its reader empties it just after the worker has seen that it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def qsize(self) -> int:
        self.looks += 1
        return 5000 if self.looks == 1 else 0


def test_room_made_just_before_the_worker_waits_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold = threading.Event()

    def events() -> Iterator[Event]:
        hold.wait()
        yield TextDelta("a")
        yield Finished("stop")

    job = started(FakeStream(events()))
    job._items = _Racing()
    waited: list[float] = []
    monkeypatch.setattr(job._room, "wait", waited.append)
    hold.set()
    assert [type(item) for item in all_of(job)] == [TextDelta, Finished]
    assert waited == []
