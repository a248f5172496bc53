"""One request being worked on: for a stream in a thread of its own, with a mailbox.

The upstream side may block anywhere: queueing, connecting, reading. With it in a thread
of its own the WSGI side is always free to send headers when `hold` is over, keep-alives
in every silence, and nothing more once the client is gone. Under gevent the thread is a
greenlet.
"""

import _thread
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue

from kimi_proxy.attempt import EventStream, Trace
from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import GatewayError, InternalError
from kimi_proxy.events import Event, Finished
from kimi_proxy.logs import logger
from kimi_proxy.scope import Scope

_FULL = 1000  # events a slow reader may lag behind before the upstream has to wait
_FAREWELL = 1.0  # seconds that `stop` waits for the work to wind down

Item = Event | GatewayError
Opener = Callable[[ChatRequest, Scope, Trace], EventStream]


class Job:
    """Runs one request, here by `work` or apart by `start`.

    Of what runs apart `take` hands over what has arrived, in order. The last item is
    `Finished` or a `GatewayError`; a cancelled scope ends it with the scope's reason.
    """

    def __init__(self, opener: Opener, request: ChatRequest, scope: Scope) -> None:
        self.scope = scope
        self.trace = Trace()
        self.route: str | None = None
        self.conversation: str | None = None
        self._open = opener
        self._request = request
        self._items: SimpleQueue[Item | None] = SimpleQueue()
        self._room = threading.Event()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin; nothing has happened before."""
        self._forget = self.scope.on_cancel(self._wake)
        # Half the price of a Thread object, which nobody would join or name.
        _thread.start_new_thread(self._run, ())

    def stop(self, reason: GatewayError) -> None:
        """End the work and wait a moment until the trace knows how it ended."""
        self.scope.cancel(reason)
        self._over.wait(_FAREWELL)

    def work(self, use: Callable[[Event], None]) -> None:
        """Work in the caller's own thread, handing each event to `use`.

        Enough for an answer that is sent whole: the client is told nothing before its
        end, and every wait of the upstream side obeys the scope. It saves a tenth of
        the request: a thread, a queue and the switches between. A `Finished` ends each
        of the choices asked for, or all that came together. Raises `GatewayError`.
        """
        missing = self._request.choices - self._answer(self._request, use)
        if missing > 0:
            one_by_one = replace(self._request, relays=False)
            while missing > 0:
                missing -= self._answer(one_by_one, use)

    def _answer(self, request: ChatRequest, use: Callable[[Event], None]) -> int:
        """Open an answer and use it up; how many of the choices it brought."""
        stream = self._open(request, self.scope, self.trace)
        try:
            self.route = f"{stream.route.provider}/{stream.route.model}"
            self.conversation = stream.conversation
            for event in stream:
                use(event)
                if isinstance(event, Finished):
                    self.conversation = event.conversation
                    break
                self.scope.check()
        except GatewayError as exc:
            stream.close(exc)
            raise
        finally:
            stream.close()
        return stream.choices

    def take(self, timeout: float) -> list[Item]:
        """What has arrived; waits up to `timeout` seconds for the first item.

        Empty when nothing came. Raises the reason of a cancelled scope.
        """
        items: list[Item] = []
        try:
            item = self._items.get(timeout=timeout)
            while True:
                if item is not None:
                    items.append(item)
                item = self._items.get_nowait()
        except Empty:
            self._room.set()
        if not items or not isinstance(items[-1], GatewayError | Finished):
            self.scope.check()
        return items

    def _wake(self) -> None:
        self._items.put(None)
        self._room.set()

    def _run(self) -> None:
        try:
            self.work(self._put)
        except GatewayError as exc:
            self._items.put(exc)
        except Exception as exc:  # the outermost handler of this thread
            logger.exception("a request failed by a defect")
            self._items.put(InternalError(f"internal error ({type(exc).__name__})"))
        finally:
            self._forget()
            self._over.set()

    def _put(self, event: Event) -> None:
        self._items.put(event)
        while self._items.qsize() > _FULL:
            self._room.clear()
            # Looked at again: the reader may have made room just before the clear.
            if self._items.qsize() > _FULL:
                self._room.wait(1.0)
            self.scope.check()
