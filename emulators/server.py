"""The base of every emulator: a real threaded HTTP server that logs and misbehaves.

Standard library only. A subclass lists its `routes`; a route's handler gets an
`Exchange` and answers on it. Times are seconds.
"""

import base64
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Self

from emulators.audit import AuditLog, Entry, fingerprint, redact, safe_headers
from emulators.exchange import Exchange, Identity, Route
from emulators.fault import Faults
from emulators.http_server import Handler, Request, Server
from emulators.stream import Shape, StreamWriter

__all__ = [
    "BASE_FAULTS",
    "Emulator",
    "Exchange",
    "Identity",
    "Request",
    "Route",
    "Shape",
    "StreamWriter",
]

# Faults every route understands; `on=<route name>` limits one to a route.
#   status:    status=503, body={}, headers={}, retry_after=None
#   challenge: status=403; an HTML page as a bot wall shows it
#   redirect:  status=302, location=<a path here that records a bearer's coming along>
#   hang:      no answer at all until the peer leaves
#   slow:      delay=1.0 before the ordinary answer
#   reset:     the connection is cut without an answer; rst=True
BASE_FAULTS = frozenset({"status", "challenge", "redirect", "hang", "slow", "reset"})
CHALLENGE_PAGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body>Checking your browser before accessing the site.</body></html>"
)
_CONTROL = "/_emulator/"
_TRAP = "/_emulator_trap"


class Emulator:
    """A local upstream: `with Emulator() as upstream: upstream.url`.

    Subclasses override `routes`, `identify`, `reset`, `describe_chats`,
    `answer_headers`, `no_route`, `known_faults` and `keeps_bodies` (whether the log
    has each request's body byte for byte). A handler that crashed makes `stop` raise
    RuntimeError, so that a mistake here never passes for an upstream's fault.
    """

    known_faults: frozenset[str] = frozenset()
    keeps_bodies = False

    def __init__(self) -> None:
        self.log = AuditLog()
        self.faults = Faults(BASE_FAULTS | self.known_faults)
        self.crashes: list[str] = []
        self._routes = (*self.routes(), *self._control_routes())
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def routes(self) -> Iterable[Route]:
        """Return what this emulator serves."""
        return ()

    def identify(self, request: Request) -> Identity:
        """Return who sent the request, as far as its credentials tell."""
        return Identity(None, None if request.bearer is None else "unknown")

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """Return what every answer, refusals and faults too, carries in its head."""
        return {}

    def no_route(self, exchange: Exchange) -> None:
        """Answer a request for a path or method that is not served."""
        exchange.json({"error": "no such path"}, 404)

    def describe_chats(self) -> Any:
        """Return the conversations as JSON for `GET /_emulator/chats`."""
        return []

    def reset(self) -> None:
        """Forget log and faults; subclasses also forget conversations."""
        self.log.clear()
        self.faults.clear()

    def decode_body(self, request: Request) -> Any:
        """Return the request body for the log; JSON where it is JSON."""
        try:
            return request.json() if request.body else None
        except ValueError:
            return f"<{len(request.body)} bytes of {request.content_type}>"

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end; raises when not started."""
        if self._server is None:
            raise RuntimeError("the emulator is not running")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self, port: int = 0) -> Self:
        """Bind 127.0.0.1 (port 0: any free one) and serve in a thread."""
        server = Server(self.serve, self.crashes, port)
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name=f"{type(self).__name__}:{server.server_address[1]}",
            daemon=True,
        )
        self._thread.start()
        return self

    def narrow(self, size: int) -> None:
        """Let the kernel hold about so many bytes of what is sent on new connections.

        Left to itself it takes megabytes that nobody reads, and makes the reader's
        buffer as large as the answers are fast.
        """
        if self._server is None:
            raise RuntimeError("the emulator is not running")
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def stop(self) -> None:
        """Close every connection and end every thread.

        Raises RuntimeError when a handler crashed or does not end.
        """
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()
        if self.crashes:
            raise RuntimeError("emulator handler crashed:\n" + "\n".join(self.crashes))

    def __enter__(self) -> Self:
        """Start on a free port unless already started."""
        return self if self._server else self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def serve(self, handler: Handler, request: Request) -> None:
        """Log one request, apply planned base faults, and let its route answer."""
        route, request = self._find(request)
        if route is not None and request.path.startswith(_CONTROL):
            route.handler(self._exchange(handler, request, Identity(), route.title, 0))
            return
        name = route.title if route else "unknown"
        identity = self.identify(request)
        entry = self.log.add(
            request.method,
            request.path,
            name,
            query=dict(request.query),
            headers=safe_headers(request.headers),
            body=redact(self.decode_body(request)),
            peer=handler.client_address[1],
            account=identity.account,
            token_kind=identity.token_kind,
            token_hash=fingerprint(request.bearer) if request.bearer else None,
            raw=request.body if self.keeps_bodies else b"",
        )
        exchange = self._exchange(handler, request, identity, name, entry.id)
        if self._misbehave(exchange):
            return
        if route is None:
            self.no_route(exchange)
            return
        route.handler(exchange)

    def _find(self, request: Request) -> tuple[Route | None, Request]:
        for route in self._routes:
            params = route.match(request.method, request.path)
            if params is not None:
                return route, replace(request, params=params)
        return None, request

    def _exchange(
        self,
        handler: Handler,
        request: Request,
        identity: Identity,
        route: str,
        entry_id: int,
    ) -> Exchange:
        return Exchange(
            handler,
            request,
            log=self.log,
            faults=self.faults,
            identity=identity,
            route=route,
            entry_id=entry_id,
            headers=self.answer_headers(request),
        )

    def _misbehave(self, exchange: Exchange) -> bool:
        """Apply a planned base fault; False when the route shall answer after all."""
        fault = exchange.fault(*BASE_FAULTS)
        if fault is None:
            return False
        params = fault.params
        if fault.name == "slow":
            return not exchange.pause(params.get("delay", 1.0))
        if fault.name == "hang":
            exchange.hang()
        elif fault.name == "reset":
            exchange.cut(params.get("rst", True))
        elif fault.name == "challenge":
            exchange.answer(params.get("status", 403), CHALLENGE_PAGE, "text/html")
        elif fault.name == "redirect":
            place = params.get("location", _TRAP)
            exchange.answer(
                params.get("status", 302), b"", "text/html", {"Location": place}
            )
        else:
            headers = dict(params.get("headers", {}))
            if "retry_after" in params:
                headers["Retry-After"] = str(params["retry_after"])
            exchange.json(params.get("body", {}), params.get("status", 503), headers)
        return True

    def _control_routes(self) -> Iterable[Route]:
        def trap(method: str) -> Route:
            return Route(method, _TRAP, lambda exchange: exchange.json({}), "Trap")

        return (
            Route("POST", _CONTROL + "faults", self._add_fault),
            Route("GET", _CONTROL + "log", self._show_log),
            Route("GET", _CONTROL + "chats", self._show_chats),
            Route("POST", _CONTROL + "reset", self._reset),
            trap("GET"),
            trap("POST"),
        )

    def _add_fault(self, exchange: Exchange) -> None:
        """Take `{"name", "times", "account", "after", …params}`."""
        try:
            self.faults.add(**exchange.request.json())
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json({"pending": len(self.faults.pending())})

    def _show_log(self, exchange: Exchange) -> None:
        name = exchange.request.query.get("name")
        entries = self.log.of(name) if name else self.log.all()
        exchange.json({"entries": [_shown(entry) for entry in entries]})

    def _show_chats(self, exchange: Exchange) -> None:
        exchange.json({"chats": self.describe_chats()})

    def _reset(self, exchange: Exchange) -> None:
        self.reset()
        exchange.json({})


def _shown(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON; the bytes of `raw` in base64."""
    return {**asdict(entry), "raw": base64.b64encode(entry.raw).decode()}
