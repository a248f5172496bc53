"""The one driver: a job's events out to the client, streamed or folded.

Streaming holds the headers until the first event, so that a failure has a real status;
after `timeouts.hold` they go out and keep-alives fill every silence.
"""

from collections.abc import Callable, Iterator

import orjson
from flask import Response, current_app

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects import openai_chat
from kimi_proxy.dialects.openai_chat import ChatEncoder, Stamp
from kimi_proxy.errors import ClientGone, GatewayError
from kimi_proxy.events import Collector, Finished
from kimi_proxy.routes.job import Item, Job
from kimi_proxy.routes.record import Record

_STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def answer(job: Job, request: ChatRequest, stamp: Stamp, record: Record) -> Response:
    """Run the job to the client; raises `GatewayError` while a status can be sent."""
    record.trace = job.trace
    job.start()
    if request.stream:
        return _streamed(job, request, stamp, record)
    return _whole(job, stamp, record)


def _whole(job: Job, stamp: Stamp, record: Record) -> Response:
    collector = Collector()
    while not collector.finished:
        for item in job.take(job.scope.limit(60.0)):
            if isinstance(item, GatewayError):
                raise item
            record.first_event()
            collector.add(item)
    body = orjson.dumps(openai_chat.render(collector.result(), stamp))
    response = current_app.response_class(body, mimetype="application/json")
    response.headers.update(_route_headers(job))
    return response


def _streamed(job: Job, request: ChatRequest, stamp: Stamp, record: Record) -> Response:
    items = job.take(job.scope.limit(job.scope.timeouts.hold))
    if items and isinstance(items[0], GatewayError):
        raise items[0]
    encoder = ChatEncoder(stamp, include_usage=request.include_usage)
    body = _Body(_frames(job, encoder, items, record), _abandon(job))
    response = current_app.response_class(body, mimetype="text/event-stream")
    response.headers.update(_STREAM_HEADERS)
    response.headers.update(_route_headers(job))
    return response


def _route_headers(job: Job) -> dict[str, str]:
    headers = {}
    if job.route is not None:
        headers["x-kimi-proxy-route"] = job.route
    if job.trace.ignored:
        headers["x-kimi-proxy-ignored"] = ", ".join(job.trace.ignored)
    return headers


def _abandon(job: Job) -> Callable[[], None]:
    """What closing the response means for a job that still runs."""
    gone = ClientGone("the client stopped reading")
    return lambda: job.scope.cancel(gone)


class _Body:
    """The response's iterable: closing it reaches the job even if it never started.

    A generator's own `finally` does not run when nobody ever asked for its first item.
    """

    def __init__(self, frames: Iterator[bytes], close: Callable[[], None]) -> None:
        self._frames = frames
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        self._close()


def _frames(
    job: Job, encoder: ChatEncoder, items: list[Item], record: Record
) -> Iterator[bytes]:
    """Bytes for the client, one write for all that arrived together."""
    pending = encoder.start()
    while True:
        frames = [pending] if pending else []
        pending = b""
        ended = False
        for item in items:
            frames.append(_frame(encoder, item, record))
            ended = isinstance(item, GatewayError | Finished)
        yield record.sent(b"".join(frames) or openai_chat.KEEP_ALIVE)
        if ended:
            return
        try:
            items = job.take(job.scope.limit(job.scope.timeouts.keep_alive))
        except GatewayError as exc:
            items = [exc]
            if isinstance(exc, ClientGone):
                record.failed(exc)
                return


def _frame(encoder: ChatEncoder, item: Item, record: Record) -> bytes:
    if isinstance(item, GatewayError):
        record.failed(item)
        return encoder.fail(item)
    record.first_event()
    if isinstance(item, Finished):
        return encoder.feed(item) + encoder.finish()
    return encoder.feed(item)
