"""The server: Firebase's renewal, the chat of generation A, the tasks of B and C."""

import itertools
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs

from emulators.qodo import line
from emulators.qodo.credential import WEB_KEY, Credentials, RenewalRefused, User
from emulators.qodo.knob import Knobs
from emulators.qodo.request import (
    CHAT_MODELS,
    TASK_MODELS,
    Violation,
    chat_body,
    check_headers,
    task_body,
)
from emulators.server import Emulator, Exchange, Identity, Request, Route, Shape

# Faults beside the base's; `on=<route name>` limits one.
#   cut:        at_byte=<of the body>, rst=False
#   stall:      at=<piece>; nothing more until the client leaves
#   garbled:    at=<piece>; a line that is no JSON
#   error_line: at=<piece>, line={...}; a line that looks like an error
#   refuse:     status=403, body={"detail": ...} or a text
OWN_FAULTS = frozenset("cut stall garbled error_line refuse".split())
NEEDS_BEARER = {"detail": "Bearer authentication is needed"}
_CHINESE = re.compile("[\u4e00-\u9fff]")
Pieces = Sequence[str] | Callable[[str], Sequence[str]]


def quote(prompt: str) -> tuple[str, ...]:
    """Return the default answer, which repeats the prompt."""
    return ("You said: ", prompt)


class QodoEmulator(Emulator):
    """All hosts of the service in one; `clock` (epoch seconds) decides about tokens.

    `answer` are the pieces of every answer, or what makes them of a prompt.
    """

    known_faults = OWN_FAULTS

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.credentials = Credentials(clock)
        self.knobs = Knobs()
        self.answer: Pieces = quote
        self._sessions: dict[str, str] = {}
        self._numbers = itertools.count(1)
        super().__init__()

    def add_key(self, name: str) -> str:
        """Make an account and return an API key of it."""
        return self.credentials.issue(name, "key")

    def add_account(self, name: str) -> str:
        """Make an account and return what the official way gives: an API key."""
        return self.add_key(name)

    def add_pair(self, name: str) -> str:
        """Make an account and return its pair, as the seed writes it."""
        return f"{WEB_KEY}={self.credentials.issue(name, 'refresh')}"

    def violations(self) -> list[str]:
        """Return what no correct client would have sent."""
        found = (entry.facts.get("violation") for entry in self.log.all())
        return [text for text in found if text]

    def identify(self, request: Request) -> Identity:
        """Return whose token came along, live or expired."""
        held = self.credentials.holder(request.bearer)
        if held is None:
            return super().identify(request)
        return Identity(held.user.name, held.kind)

    def decode_body(self, request: Request) -> Any:
        """Return the body for the log, without the refresh token of a renewal."""
        if request.path == "/v1/token":
            return sorted(parse_qs(request.body.decode()))
        return super().decode_body(request)

    def reset(self) -> None:
        """Forget log, faults, sessions, answer and knobs; accounts stay."""
        super().reset()
        self.knobs, self.answer = Knobs(), quote
        self._sessions.clear()

    def routes(self) -> Iterable[Route]:
        """Return the calls of the sheet's §1 to §4."""
        return (
            Route("POST", "/v1/token", self._renew, "renew"),
            Route("POST", "/v2/chats/chat", self._strict(self._chat), "chat"),
            Route("GET", "/v2/info/get-things", self._strict(self._things), "things"),
            Route("POST", "/v2/agentic/start-task", self._strict(self._start), "start"),
            Route(
                "POST",
                "/v2/agentic/continue-task",
                self._strict(self._continue),
                "continue",
            ),
        )

    def _strict(self, serve: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
        def checked(exchange: Exchange) -> None:
            try:
                check_headers(exchange.request)
                refuse = exchange.fault("refuse")
                if refuse is None:
                    serve(exchange)
                else:
                    _refuse(exchange, **refuse.params)
            except Violation as violation:
                exchange.note(facts={"violation": str(violation)})
                exchange.json({"detail": [{"msg": str(violation)}]}, 422)

        return checked

    def _renew(self, exchange: Exchange) -> None:
        request = exchange.request
        form = parse_qs(request.body.decode())
        if request.content_type != "application/x-www-form-urlencoded":
            exchange.note(facts={"violation": "the renewal is no form"})
        refresh = form.get("refresh_token", [""])[0]
        try:
            if form.get("grant_type") != ["refresh_token"]:
                raise RenewalRefused("INVALID_GRANT_TYPE")
            user = self.credentials.renewing(request.query.get("key", ""), refresh)
        except RenewalRefused as refused:
            error = {"code": 400, "message": str(refused), "status": "INVALID_ARGUMENT"}
            exchange.json({"error": error}, 400)
            return
        exchange.note(account=user.name)
        exchange.json(self._bought(user, refresh))

    def _bought(self, user: User, refresh: str) -> dict[str, str]:
        life = self.knobs.token_life
        access = self.credentials.issue(user.name, "access", life)
        if self.knobs.rotates_refresh:
            self.credentials.revoke(user.name, "refresh")
            refresh = self.credentials.issue(user.name, "refresh")
        return {
            "access_token": access,
            "expires_in": f"{life:.0f}",
            "token_type": "Bearer",
            "refresh_token": refresh,
            "id_token": access,
            "user_id": user.user_id,
            "project_id": "123456",
        }

    def _chat(self, exchange: Exchange) -> None:
        if self.credentials.live(exchange.request.bearer, "access") is None:
            exchange.json(NEEDS_BEARER, 403)
            return
        body = chat_body(exchange.request)
        earlier = [message["content"] for message in body["previous_messages"]]
        if self._too_chinese(exchange, *earlier, body["chat_input"]):
            return
        if body["custom_model"] not in CHAT_MODELS:
            raise Violation("no such model")
        pieces = self._pieces(body["chat_input"])
        self._stream(exchange, line.chat_lines(pieces, body["custom_model"]))

    def _things(self, exchange: Exchange) -> None:
        if self.credentials.live(exchange.request.bearer, "key") is None:
            exchange.json({"detail": "made-up: no such key"}, 401)
            return
        number = 1 if self.knobs.same_session else next(self._numbers)
        models = self.knobs.models
        exchange.json(
            {
                "session-id": f"20251101-{uuid.UUID(int=number)}",
                "models": list(models) if isinstance(models, tuple) else models,
                "default_model": "gpt-5.1",
                "version": "made-up",
            }
        )

    def _start(self, exchange: Exchange) -> None:
        if self.credentials.live(exchange.request.bearer, "access") is not None:
            body = exchange.request.json()  # generation B, whose form nobody checks
            pieces = self._pieces(body["user_request"])
            self._stream(exchange, line.agent_lines(pieces, body["session_id"]))
            return
        self._task(exchange, is_new=True)

    def _continue(self, exchange: Exchange) -> None:
        self._task(exchange, is_new=False)

    def _task(self, exchange: Exchange, *, is_new: bool) -> None:
        user = self.credentials.live(exchange.request.bearer, "key")
        if user is None:
            exchange.json({"detail": "made-up: no such key"}, 401)
            return
        body = task_body(exchange.request)
        session = body["session_id"]
        known = self._sessions.get(session)
        if is_new and known is not None:
            text = f"Internal server error, session ID: {session}"
            exchange.answer(500, text.encode(), "text/plain")
            return
        if not is_new and known != user.name:
            exchange.json({"detail": "made-up: no such session"}, 404)
            return
        self._sessions[session] = user.name
        if self._too_chinese(exchange, body["user_request"]):
            return
        if body["custom_model"] not in TASK_MODELS:
            raise Violation("no such model")
        pieces = self._pieces(body["user_request"])
        self._stream(exchange, line.task_lines(pieces, session))

    def _too_chinese(self, exchange: Exchange, *texts: str) -> bool:
        found = any(_CHINESE.search(text) for text in texts)
        if found and self.knobs.refuses_chinese:
            exchange.json(NEEDS_BEARER, 403)
            return True
        return False

    def _pieces(self, prompt: str) -> Sequence[str]:
        return self.answer(prompt) if callable(self.answer) else self.answer

    def _stream(self, exchange: Exchange, lines: Iterable[line.Line]) -> None:
        frames = line.encoded(iter(lines), self.knobs)
        stalls = _damage(exchange, frames)
        cut = exchange.fault("cut")
        params = cut.params if cut is not None else {}
        shape = Shape(
            chunked=self.knobs.chunked,
            pieces=tuple(self.knobs.split),
            cut_at=params.get("at_byte"),
            rst=params.get("rst", False),
        )
        writer = exchange.stream("text/plain; charset=utf-8", shape)
        for frame in frames:
            if not writer.write(frame) or not writer.pause(self.knobs.delay):
                return
        while stalls and writer.pause(3600):
            continue


def _refuse(
    exchange: Exchange,
    status: int = 403,
    body: Any = None,
    headers: dict[str, str] | None = None,
    on: str = "",
) -> None:
    """Answer what a `refuse` fault asks for; `on` was judged by the queue."""
    if isinstance(body, str):
        exchange.answer(status, body.encode(), "text/plain", headers)
    else:
        exchange.json(NEEDS_BEARER if body is None else body, status, headers)


def _damage(exchange: Exchange, frames: list[bytes]) -> bool:
    """Apply what is planned for the lines; whether the answer stalls after them."""
    for name in ("garbled", "error_line", "stall"):
        fault = exchange.fault(name)
        if fault is None:
            continue
        at = line.place_of(frames, fault.params.get("at", 0), line.holds_piece)
        if name == "stall":
            del frames[at:]
            return True
        odd = b"{made up\n"
        if name == "error_line":
            told = fault.params.get("line", {"type": "error", "error": "made up"})
            odd = json.dumps(told).encode() + b"\n"
        frames.insert(at, odd)
    return False
