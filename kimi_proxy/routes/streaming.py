"""The one driver: a job's events out to the client, streamed or folded.

Streaming holds the headers until the first event, so that a failure has a real status;
after `timeouts.hold` they go out and keep-alives fill every silence.
"""

from collections.abc import Iterator
from urllib.parse import quote

from flask import Response, current_app

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects.contract import Dialect, Encoder, Stamp
from kimi_proxy.errors import ClientGone, GatewayError, InternalError
from kimi_proxy.events import ChatResult, Collector, Event
from kimi_proxy.logs import logger
from kimi_proxy.routes.job import Item, Job
from kimi_proxy.routes.record import Record

_STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def answer(
    job: Job, request: ChatRequest, dialect: Dialect, stamp: Stamp, record: Record
) -> Response:
    """Run the job to the client; raises `GatewayError` while a status can be sent."""
    record.trace = job.trace
    if not request.stream:
        results = _results(job, record)
        body = dialect.written(results, request, stamp)
        response = current_app.response_class(body, mimetype="application/json")
        response.headers.update(_route_headers(job))
        return response
    job.start()
    try:
        encoder = dialect.encoder(request, stamp)
        return _streamed(job, encoder, dialect.keep_alive, record)
    except BaseException as exc:
        given_up = InternalError("the request was given up")
        job.stop(exc if isinstance(exc, GatewayError) else given_up)
        raise


def _results(job: Job, record: Record) -> list[ChatResult]:
    collectors = [Collector()]

    def use(event: Event) -> None:
        record.first_event()
        if collectors[-1].finished:
            collectors.append(Collector())
        collectors[-1].add(event)

    job.work(use)
    return [collector.result() for collector in collectors]


def _streamed(
    job: Job, encoder: Encoder, keep_alive: bytes, record: Record
) -> Response:
    items = job.take(job.scope.limit(job.scope.timeouts.hold))
    if items and isinstance(items[0], GatewayError):
        raise items[0]
    body = _Body(job, encoder, keep_alive, items, record)
    response = current_app.response_class(body, mimetype="text/event-stream")
    response.headers.update(_STREAM_HEADERS)
    response.headers.update(_route_headers(job))
    return response


def _route_headers(job: Job) -> dict[str, str]:
    headers = {}
    if job.route is not None:
        # A model's name may hold anything, a header's value may not.
        headers["x-kimi-proxy-route"] = quote(job.route, safe="/:@+,=~")
    if job.conversation is not None:
        headers["x-conversation-id"] = job.conversation
    if job.trace.ignored:
        headers["x-kimi-proxy-ignored"] = ", ".join(job.trace.ignored)
    if job.trace.emulated:
        headers["x-kimi-proxy-emulated"] = ", ".join(job.trace.emulated)
    return headers


class _Body:
    """The response's iterable: closing it reaches the job even if it never started.

    A generator's own `finally` does not run when nobody ever asked for its first item.
    """

    def __init__(
        self,
        job: Job,
        encoder: Encoder,
        keep_alive: bytes,
        items: list[Item],
        record: Record,
    ) -> None:
        self._job = job
        self._encoder = encoder
        self._keep_alive = keep_alive
        self._record = record
        self._frames = self._run(items)
        self._batch: list[bytes] = []  # what a defect must not take with it
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._record.sent(next(self._frames))
        except StopIteration:
            raise
        except Exception as exc:  # the outermost handler once headers are out
            logger.exception("a stream failed by a defect")
            error = InternalError(f"internal error ({type(exc).__name__})")
            frames = [*self._batch, self._frame(error)]
            return self._record.sent(b"".join(frames))

    def close(self) -> None:
        """The server is done: after the last frame, or because the client left."""
        gone = ClientGone("the client stopped reading")
        if not self._ended:
            self._record.failed(gone)
        self._job.stop(gone)

    def _run(self, items: list[Item]) -> Iterator[bytes]:
        """Bytes for the client, one write for all that arrived together."""
        while True:
            for item in items:
                self._batch.append(self._frame(item))
            frames, self._batch = b"".join(self._batch), []
            yield frames or self._keep_alive
            if self._ended:
                return
            items = self._next_items()
            if items and isinstance(items[0], ClientGone):
                return

    def _next_items(self) -> list[Item]:
        scope = self._job.scope
        try:
            return self._job.take(scope.limit(scope.timeouts.keep_alive))
        except GatewayError as exc:
            return [exc]

    def _frame(self, item: Item) -> bytes:
        if isinstance(item, GatewayError):
            self._ended = True
            self._record.failed(item)
            return self._encoder.fail(item)
        self._record.first_event()
        frame = self._encoder.feed(item)
        if self._encoder.finished:
            self._ended = True
            return frame + self._encoder.finish()
        return frame
