"""The server: chat and models without a door, accounts, log-ins, and the old pair."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from emulators.kilo import chunk
from emulators.kilo.account import Account, Accounts
from emulators.kilo.knob import Answer, Knobs, Script
from emulators.server import Emulator, Exchange, Identity, Request, Route, Shape

# Faults beside the base's; `on=<route name>` limits one.
#   refuse:     status=429, message="made up", metadata=None, headers={}
#   broken_off: at=<content chunk>, code=502; the error chunk of §3
#   stall:      at=<content chunk>; nothing more until the client leaves
#   garbled:    at=<content chunk>; an event that is no JSON
#   cut:        at_byte=<of the body>, rst=False
OWN_FAULTS = frozenset("refuse broken_off stall garbled cut".split())
BASES = ("/api/gateway", "/api/v1")
_OURS = {"conversation_id", "use_search", "include_reasoning"}


class Refused(Exception):
    """A refusal in the shape of §5."""

    def __init__(self, status: int, message: str, **metadata: Any) -> None:
        super().__init__(message)
        self.status = status
        self.metadata = metadata

    def document(self) -> dict[str, Any]:
        """Return the body."""
        error: dict[str, Any] = {"message": str(self), "code": self.status}
        if self.metadata:
            error["metadata"] = self.metadata
        return {"error": error}


def quote(prompt: str) -> Answer:
    """Return the default answer, which repeats the last message."""
    return Answer(("You said: ", prompt))


class KiloEmulator(Emulator):
    """Kilo on 127.0.0.1; `clock` (epoch seconds) decides about log-ins only."""

    known_faults = OWN_FAULTS

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.accounts = Accounts(clock)
        self.knobs = Knobs()
        self.answer: Script = quote
        super().__init__()

    def add_account(self, name: str) -> str:
        """Make an account and return its token."""
        return self.accounts.add(name).token

    def violations(self) -> list[str]:
        """Return what no correct client would have sent."""
        found = (entry.facts.get("violation") for entry in self.log.all())
        return [text for text in found if text]

    def identify(self, request: Request) -> Identity:
        """Return whose token came along."""
        account = self.accounts.holder(request.bearer)
        if account is None:
            return super().identify(request)
        return Identity(account.name, "access")

    def reset(self) -> None:
        """Forget log, faults, log-ins, answer and knobs; accounts stay."""
        super().reset()
        self.accounts.clear()
        self.knobs, self.answer = Knobs(), quote

    def routes(self) -> Iterable[Route]:
        """Return the calls of the sheet's §1 to §4, and the two of §7."""
        codes = "/api/device-auth/codes"
        for base in BASES:
            yield self._row("POST", f"{base}/chat/completions", self._chat, "chat")
            yield self._row("GET", f"{base}/models", self._models, "models")
            yield self._row("POST", f"{base}/fim/completions", self._fim, "fim")
        yield self._row("GET", "/api/profile", self._profile, "profile")
        yield self._row("GET", "/api/profile/balance", self._balance, "balance")
        yield self._row("POST", codes, self._open, "open")
        yield self._row("GET", f"{codes}/{{code}}", self._poll, "poll")
        yield self._row("POST", "/api/claude/v1/messages", self._claude, "claude")
        old = "/api/openrouter/chat/completions"
        yield self._row("POST", old, self._old_chat, "old-chat")

    def _row(
        self, method: str, path: str, answer: Callable[[Exchange], None], name: str
    ) -> Route:
        def serve(exchange: Exchange) -> None:
            fault = exchange.fault("refuse")
            try:
                if fault is not None:
                    _refuse(exchange, **fault.params)
                else:
                    answer(exchange)
            except Refused as refused:
                exchange.json(refused.document(), refused.status)

        return Route(method, path, serve, name)

    def _account(self, exchange: Exchange) -> Account:
        request = exchange.request
        account = self.accounts.holder(request.bearer)
        if account is None:
            raise Refused(401, "made up: no such token")
        if account.blocked:
            raise Refused(403, "made up: this account is blocked")
        organization = request.headers.get("x-kilocode-organizationid")
        if organization and organization not in account.organizations:
            raise Refused(403, "made up: not a member of this organization")
        return account

    def _profile(self, exchange: Exchange) -> None:
        account = self._account(exchange)
        user = {"email": f"{account.name}@example.org", "name": account.name}
        rows = [{"id": i, "name": i, "role": "member"} for i in account.organizations]
        exchange.json({"user": user, "organizations": rows})

    def _balance(self, exchange: Exchange) -> None:
        exchange.json({"balance": self._account(exchange).balance})

    def _models(self, exchange: Exchange) -> None:
        if exchange.request.bearer is not None:
            self._account(exchange)
        exchange.json({"data": list(self.knobs.models)})

    def _fim(self, exchange: Exchange) -> None:
        self._account(exchange)
        exchange.json({"id": "fim-1", "choices": [{"text": "made up"}]})

    def _open(self, exchange: Exchange) -> None:
        if exchange.request.body:
            exchange.note(facts={"violation": "opening a log-in takes no body"})
        login = self.accounts.open_login(self.knobs.code_life, self.knobs.open_codes)
        if login is None:
            raise Refused(429, "made up: too many open requests")
        url = f"https://app.example.org/device-auth?code={login.code}"
        life = self.knobs.code_life
        told = {"code": login.code, "verificationUrl": url, "expiresIn": life}
        exchange.json(told)

    def _poll(self, exchange: Exchange) -> None:
        login = self.accounts.login(exchange.request.params["code"])
        state = "expired" if login is None else login.state
        status = {"pending": 202, "denied": 403, "expired": 410}.get(state, 200)
        told: dict[str, Any] = {"status": state}
        if login is not None and login.account is not None and status == 200:
            told["token"] = login.account.token
            told["userEmail"] = f"{login.account.name}@example.org"
        exchange.json(told, status)

    def _chat(self, exchange: Exchange) -> None:
        body = _body(exchange)
        self._admit(exchange, body)
        prompt = _text_of(body["messages"][-1])
        answer = self.answer(prompt) if callable(self.answer) else self.answer
        if not exchange.pause(answer.first_delay):
            return
        if body.get("stream"):
            self._stream(exchange, list(chunk.chunks(body["model"], prompt, answer)))
        else:
            exchange.json(chunk.whole(body["model"], prompt, answer))

    def _admit(self, exchange: Exchange, body: dict[str, Any]) -> None:
        row = next((m for m in self.knobs.models if m["id"] == body["model"]), None)
        free = row is not None and bool(row["isFree"])
        if exchange.request.bearer not in (None, "anonymous"):
            account = self._account(exchange)
            if not free and account.balance <= 0:
                url = "https://app.example.org/credits"
                raise Refused(402, "made up: no credits left", buyCreditsUrl=url)
        elif not free:
            raise Refused(401, "made up: sign in to use this model")
        if row is None:
            raise Refused(400, f"made up: {body['model']} is not a valid model")
        size = sum(len(_text_of(message)) for message in body["messages"])
        if size > self.knobs.window:
            raise Refused(
                400,
                f"This model's context window is {self.knobs.window} tokens;"
                f" the request has {size}",
            )

    def _stream(self, exchange: Exchange, told: list[dict[str, Any]]) -> None:
        frames = [chunk.encoded(one, self.knobs) for one in told]
        if self.knobs.done:
            frames.append(chunk.encoded("[DONE]", self.knobs))
        stalls = self._damage(exchange, frames)
        cut = exchange.fault("cut")
        params = cut.params if cut is not None else {}
        shape = Shape(
            pieces=tuple(self.knobs.split),
            cut_at=params.get("at_byte"),
            rst=params.get("rst", False),
        )
        writer = exchange.stream("text/event-stream; charset=utf-8", shape)
        for frame in frames:
            if not writer.write(frame):
                return
        while stalls and writer.pause(3600):
            continue

    def _damage(self, exchange: Exchange, frames: list[bytes]) -> bool:
        """Apply what is planned; whether the stream stalls after it."""
        for name in ("broken_off", "garbled", "stall"):
            fault = exchange.fault(name)
            if fault is None:
                continue
            at = fault.params.get("at", 0)
            del frames[at:]
            if name == "stall":
                return True
            broken = chunk.broken_off(fault.params.get("code", 502))
            bad = "{made up" if name == "garbled" else broken
            frames.append(chunk.encoded(bad, self.knobs))
        return False

    def _claude(self, exchange: Exchange) -> None:
        body = self._old(exchange)
        answer = self._old_answer(body)
        writer = exchange.stream("text/event-stream")
        for event, told in chunk.anthropic(body["model"], answer):
            writer.write(chunk.encoded(told, self.knobs, event))

    def _old_chat(self, exchange: Exchange) -> None:
        body = self._old(exchange)
        answer = self._old_answer(body)
        self._stream(exchange, list(chunk.chunks(body["model"], "", answer)))

    def _old(self, exchange: Exchange) -> dict[str, Any]:
        if not self.knobs.old:
            raise Refused(405, "Method Not Allowed")
        if self.accounts.holder(exchange.request.bearer) is None:
            raise Refused(401, "Invalid token")
        body: dict[str, Any] = exchange.request.json()
        return body

    def _old_answer(self, body: dict[str, Any]) -> Answer:
        prompt = _text_of(body["messages"][-1])
        return self.answer(prompt) if callable(self.answer) else self.answer


def _refuse(
    exchange: Exchange,
    *,
    status: int = 429,
    message: str = "made up",
    metadata: Any = None,
    headers: dict[str, str] | None = None,
    on: str = "",
) -> None:
    """Answer what a `refuse` fault asks for; `on` was judged by the queue."""
    document = Refused(status, message, **(metadata or {})).document()
    exchange.json(document, status, headers)


def _body(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    try:
        body = request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or request.content_type != "application/json":
        raise Refused(400, "made up: the body is no JSON object")
    trouble = _trouble(request, body)
    if trouble:
        exchange.note(facts={"violation": trouble})
        raise Refused(400, f"made up: {trouble}")
    return body


def _trouble(request: Request, body: dict[str, Any]) -> str:
    messages = body.get("messages")
    asks_usage = (body.get("stream_options") or {}).get("include_usage")
    bad = {
        "a cookie came along": "cookie" in request.headers,
        "no User-Agent": not (request.headers.get("user-agent") or "").strip(),
        "fields of another server": bool(_OURS & body.keys()),
        "model must be a text": not isinstance(body.get("model"), str),
        "messages are missing": not isinstance(messages, list) or not messages,
        "stream must be true or false": not isinstance(body.get("stream", False), bool),
        "usage was not asked for": bool(body.get("stream")) and not asks_usage,
    }
    return next((text for text, is_bad in bad.items() if is_bad), "")


def _text_of(message: Any) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else json.dumps(content)
