"""The server: routes, the door every call passes, and the control paths."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlsplit

from emulators.kimi_legacy import completion, conversation, upload
from emulators.kimi_legacy.answer import Script, answer_from, quote
from emulators.kimi_legacy.chat import Chat, Turn
from emulators.kimi_legacy.credential import REFRESH_LIFE, TokenPair
from emulators.kimi_legacy.knob import Knobs
from emulators.kimi_legacy.refusal import (
    MESSAGES,
    TOKEN_INVALID,
    Refused,
    bad_request,
)
from emulators.kimi_legacy.script import EDITS
from emulators.kimi_legacy.stored_file import StoredFile
from emulators.kimi_legacy.world import Call, World
from emulators.server import Emulator, Exchange, Identity, Request, Route

# Faults beside the base's and those of `script.py`; `on=<route name>` limits one.
#   refuse:       error_type=None, message=…, status=<knob>, retry_after=None; JSON
#   revoke:       kinds=["access"]; the account's tokens die, then the call is judged
#   moved:        status=307; as the old host answers (sheet §0): to another host name
#   delete_fails: DELETE answers 500 although it worked (sheet §3)
#   lost_answer:  rst=True; the call takes effect, its answer never arrives
#   cut:          at_byte=<of the body of a stream>, rst=False
#   parse_fails:  the files of a parse call end as "failed"
OWN_FAULTS = frozenset(
    "refuse revoke moved delete_fails lost_answer cut parse_fails".split()
)
_CONTROL = "/_emulator/"
Answering = Callable[[World, Call], Any]
# Every JSON call and the completion: method, path, name in log and faults, answer.
CALLS: tuple[tuple[str, str, str, Answering], ...] = (
    ("GET", "/api/auth/token/refresh", "refresh", conversation.refresh),
    ("GET", "/api/user", "user", conversation.user),
    ("POST", "/api/chat", "create", conversation.create),
    ("POST", "/api/chat/list", "list", conversation.listed),
    ("POST", "/api/chat/segment/v3/rag-refs", "rag-refs", conversation.rag_refs),
    ("GET", "/api/chat/research/usage", "research-usage", conversation.research_usage),
    ("DELETE", "/api/chat/{id}", "delete", conversation.delete),
    ("POST", "/api/chat/{id}/segment/scroll", "scroll", conversation.scroll),
    ("POST", "/api/chat/{id}/completion/stream", "completion", completion.complete),
    ("POST", "/api/chat/{id}/token_size", "token-size", conversation.token_size),
    ("POST", "/api/chat/{id}/pre-n2s", "pre-n2s", conversation.pre_n2s),
    ("POST", "/api/suggestion", "suggestion", conversation.suggestion),
    ("POST", "/api/file", "register", upload.register),
    ("POST", "/api/file/parse_process", "parse", upload.parse_process),
)


class KimiLegacyEmulator(Emulator):
    """Kimi's legacy web service on 127.0.0.1.

    `clock` returns epoch seconds and decides about tokens only. `answer` is an
    `Answer` or a callable; `knobs` are the lasting switches, `faults` the planned
    mishaps, `log` what arrived.
    """

    known_faults = OWN_FAULTS | EDITS.keys()

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.world = World(clock)
        super().__init__()

    @property
    def knobs(self) -> Knobs:
        """The lasting switches; change them in place."""
        return self.world.knobs

    @property
    def answer(self) -> Script:
        """The script every new turn follows."""
        return self.world.answer

    @answer.setter
    def answer(self, script: Script) -> None:
        self.world.answer = script

    def add_account(
        self, name: str, access_life: float = 900, refresh_life: float = REFRESH_LIFE
    ) -> TokenPair:
        """Make an account and return its first tokens; lives in seconds.

        Raises ValueError for a name that exists.
        """
        return self.world.credentials.add(name, access_life, refresh_life)

    def revoke(self, name: str, *kinds: str) -> None:
        """Kill an account's tokens: "access", "refresh", or (default) both."""
        self.world.credentials.revoke(name, *(kinds or ("access", "refresh")))

    def login(self, name: str) -> TokenPair:
        """Return another, independent pair of tokens for an account."""
        return self.world.credentials.login(name)

    def chats(self, account: str | None = None) -> tuple[Chat, ...]:
        """Return the conversations that exist, newest first."""
        return self.world.chats.all(account)

    def running(self, account: str | None = None) -> tuple[Turn, ...]:
        """Return the turns being written now, with a client or without."""
        return self.world.chats.running(account)

    def files(self, account: str | None = None) -> tuple[StoredFile, ...]:
        """Return the files that were uploaded, oldest first."""
        stored = (file for file in self.world.files.all() if file.content is not None)
        return tuple(file for file in stored if account in (None, file.account))

    def lose_files(self) -> None:
        """Forget every file, as the service may after a while."""
        self.world.files.clear()

    def violations(self) -> list[str]:
        """Return what no correct client would have sent."""
        found = (entry.facts.get("violation") for entry in self.log.all())
        return [text for text in found if text]

    def identify(self, request: Request) -> Identity:
        """Return whose token came along, live or expired."""
        held = self.world.credentials.holder(request.bearer)
        if held is None:
            return super().identify(request)
        return Identity(held.account, held.kind)

    def describe_chats(self) -> Any:
        """Return every conversation with its history."""
        return [
            {
                **chat.row(),
                "account": chat.account,
                "running": any(turn.running for turn in chat.turns),
                "segments": list(chat.segments()),
            }
            for chat in self.world.chats.all()
        ]

    def reset(self) -> None:
        """Forget log, faults, chats, files, quotas, script, knobs; accounts stay."""
        super().reset()
        self.world.clear()

    def routes(self) -> Iterable[Route]:
        """Return the calls of the sheet's §2 to §7."""
        return (
            *(self._row(*call) for call in CALLS),
            self._row("POST", "/api/pre-sign-url", "pre-sign", self._pre_sign),
            Route("PUT", "/bucket/{object}", self._put, "upload"),
            Route("POST", _CONTROL + "accounts", self._control_account),
            Route("POST", _CONTROL + "knobs", self._control_knobs),
            Route("POST", _CONTROL + "answer", self._control_answer),
        )

    def _row(self, method: str, path: str, name: str, answering: Answering) -> Route:
        def serve(exchange: Exchange) -> None:
            try:
                if not self._moved(exchange):
                    self._answer(exchange, answering)
            except Refused as refused:
                self._refuse(exchange, refused)

        return Route(method, path, serve, name)

    def _answer(self, exchange: Exchange, answering: Answering) -> None:
        """Answer with what the call returns; None: it answered by itself."""
        value = answering(self.world, self._admit(exchange))
        if value is None:
            return
        lost = exchange.fault("lost_answer")
        if lost is not None:
            exchange.cut(lost.params.get("rst", True))
        else:
            exchange.json(value)

    def _admit(self, exchange: Exchange) -> Call:
        """Check token, faults, content type and JSON; raises Refused."""
        revoke = exchange.fault("revoke")
        account = exchange.identity.account
        if revoke is not None and account is not None:
            self.revoke(account, *revoke.params.get("kinds", ("access",)))
        planned = exchange.fault("refuse")
        if planned is not None:
            raise _refused(**planned.params)
        request = exchange.request
        kind = "refresh" if exchange.route == "refresh" else "access"
        account = self.world.credentials.check(request.bearer, kind)
        return Call(exchange, account, _body_of(request))

    def _moved(self, exchange: Exchange) -> bool:
        """Redirect to another host name, whose trap tells whether the bearer came."""
        fault = exchange.fault("moved")
        if fault is None:
            return False
        port = urlsplit(self.url).port
        location = f"http://localhost:{port}/_emulator_trap"
        status = fault.params.get("status", 307)
        exchange.answer(status, b"", "text/html", {"Location": location})
        return True

    def _refuse(self, exchange: Exchange, refused: Refused) -> None:
        if refused.violation:
            exchange.note(facts={"violation": refused.message})
        if refused.error_type != TOKEN_INVALID or refused.status is not None:
            status = refused.status or self.knobs.error_status
            exchange.json(refused.document(), status, refused.headers())
        elif self.knobs.auth_refusal == "bare-401":
            exchange.answer(401, b"Unauthorized", "text/plain")
        else:
            status = {"json-401": 401, "json-200": 200}[self.knobs.auth_refusal]
            exchange.json(refused.document(), status)

    def _pre_sign(self, world: World, call: Call) -> Any:
        return upload.pre_sign(world, call, f"{self.url}/bucket")

    def _put(self, exchange: Exchange) -> None:
        upload.put(self.world, exchange)

    def _control_account(self, exchange: Exchange) -> None:
        """Take `{"name", "access_life", "refresh_life"}`; answer the tokens."""
        try:
            tokens = self.add_account(**exchange.request.json())
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json(asdict(tokens))

    def _control_knobs(self, exchange: Exchange) -> None:
        """Take knobs by name; answer all of them."""
        changes = exchange.request.json()
        unknown = changes.keys() - {field.name for field in fields(Knobs)}
        if unknown:
            exchange.json({"error": f"unknown knobs {sorted(unknown)}"}, 400)
            return
        for name, value in changes.items():
            setattr(self.knobs, name, value)
        exchange.json(asdict(self.knobs))

    def _control_answer(self, exchange: Exchange) -> None:
        """Take the fields of an `Answer`; `{}` goes back to quoting."""
        try:
            plain = exchange.request.json()
            self.answer = answer_from(plain) if plain else quote
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json({})


def _refused(
    error_type: str | None = None,
    message: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
    on: str = "",
) -> Refused:
    """Return the refusal a `refuse` fault asks for; `on` was judged by the queue."""
    text = message or MESSAGES.get(error_type, "made-up refusal")
    return Refused(text, error_type=error_type, status=status, retry_after=retry_after)


def _body_of(request: Request) -> Any:
    if request.method != "POST":
        return None
    if request.content_type != "application/json":
        raise bad_request("Content-Type must be application/json")
    try:
        body = request.json()
    except ValueError as error:
        raise bad_request("the body is no JSON") from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    return body
