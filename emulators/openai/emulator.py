"""The server: routes, the door every call passes, and the control paths."""

import gzip
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from emulators.openai.answer import Script, answer_from
from emulators.openai.endpoint import ENDPOINTS, Answering, Row
from emulators.openai.event_stream import EDITS, STREAM_ERROR
from emulators.openai.key import Key
from emulators.openai.knob import Knobs, Spelling
from emulators.openai.model import Model
from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal, Refused
from emulators.openai.vendor import OpenAIRules
from emulators.openai.wait import Wait
from emulators.openai.world import Call, World
from emulators.server import Emulator, Exchange, Identity, Request, Route

# Faults beside the base's and those of `event_stream.py`; `on=<route name>` limits one.
#   refuse:       error=<row of vendor_error.py>, or status=503, body={} or text="…",
#                 content_type; headers={}; wait=<seconds>, forms=["seconds"]
#   odd_body:     status=200, text="" (or body=<JSON>), content_type=application/json
#   error_body:   body={"error": …}; a whole answer of status 200 that is an error
#   short_body:   rst=True; a whole answer cut in its middle
#   lost_answer:  rst=True; the call takes effect, its answer never arrives
#   not_streamed: a whole answer although a stream was asked for
#   typed:        content_type="text/plain"; a stream under a wrong type
#   cut:          at_byte=0 <of the body of a stream>, rst=False
#   change_key:   state="invalid", …; the calling key changes, then the call is judged
OWN_FAULTS = frozenset(
    "refuse odd_body error_body short_body lost_answer not_streamed typed cut "
    "change_key".split()
)
_CONTROL = "/_emulator/"
# Headers that only a client's own request may have; a relay must not pass them on.
STRAY = frozenset(
    "cookie x-forwarded-for forwarded x-real-ip origin referer x-api-key "
    "proxy-authorization".split()
)


class OpenAIEmulator(Emulator):
    """An OpenAI-compatible upstream on 127.0.0.1, its calls below `prefix`.

    `clock` returns epoch seconds. `answer` is an `Answer`, a `Recording`, a `Refusal`
    or a callable of the request's body; `knobs` are the lasting switches, `faults` the
    planned mishaps, `log` what arrived, each body byte for byte in `Entry.raw`.
    """

    known_faults = OWN_FAULTS | EDITS.keys()
    keeps_bodies = True

    def __init__(
        self,
        prefix: str = "/v1",
        rules: OpenAIRules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.prefix = prefix
        self.world = World(rules or OpenAIRules(), clock)
        super().__init__()

    @property
    def base_url(self) -> str:
        """The URL that clients are given, such as http://127.0.0.1:4000/v1."""
        return self.url + self.prefix

    @property
    def knobs(self) -> Knobs:
        """The lasting switches; change them in place."""
        return self.world.knobs

    @property
    def models(self) -> dict[str, Model]:
        """The models by id; change them in place."""
        return self.world.models

    @property
    def answer(self) -> Script:
        """The script every chat request follows."""
        return self.world.answer

    @answer.setter
    def answer(self, script: Script) -> None:
        self.world.answer = script

    @property
    def answers(self) -> dict[str, Recording | Refusal]:
        """Recordings and refusals by route name: what any call of it gets."""
        return self.world.answers

    def add_key(self, name: str, secret: str | None = None, **fields: Any) -> str:
        """Make a key (fields of `Key`) and return its secret."""
        return self.world.keys.add(name, secret, **fields).secret

    def add_account(self, name: str) -> str:
        """Make a key in good order and return its secret."""
        return self.add_key(name)

    def set_key(self, name: str, **fields: Any) -> None:
        """Change a key, such as `state="rate_limited", wait=Wait(20, ("ms",))`."""
        self.world.keys.set(name, **fields)

    def violations(self) -> list[str]:
        """Return what no correct relay would have sent: headers not meant for us."""
        return [
            f"{entry.name}: {name}"
            for entry in self.log.all()
            for name in sorted(STRAY & entry.headers.keys())
        ]

    def identify(self, request: Request) -> Identity:
        """Return whose key came along, in good order or not."""
        key = self.world.keys.find(request.bearer)
        if key is None:
            return super().identify(request)
        return Identity(key.name, "key")

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """Return what OpenAI's front sets on every answer; none of it is a client's.

        The cookie names the caller, so that a jar shared between keys shows.
        """
        owner = self.identify(request).account or "nobody"
        number = self.world.new_id("req_")
        return {
            "Server": "made-up-upstream",
            "Set-Cookie": f"__cf_bm=made-up-{owner}; path=/; HttpOnly",
            "x-internal-address": "10.11.12.13:8443",
            "openai-organization": "org-madeupmadeupmadeup",
            "openai-processing-ms": "12",
            "openai-version": "2020-10-01",
            "x-request-id": number,
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "29984",
            "x-ratelimit-reset-tokens": "32ms",
        }

    def no_route(self, exchange: Exchange) -> None:
        """Refuse a path that is not served."""
        request = exchange.request
        refusal = self.world.rules.no_route(request.method, request.path)
        _refuse(exchange, refusal)

    def describe_chats(self) -> Any:
        """Return what is stored."""
        items = self.world.stored.all("chat.completion")
        return [item.document for item in items]

    def reset(self) -> None:
        """Forget log, faults, stored objects, script, knobs, models; keys stay."""
        super().reset()
        self.world.clear()

    def calls(self) -> Iterable[Row]:
        """Return every call below the prefix."""
        return ENDPOINTS

    def routes(self) -> Iterable[Route]:
        """Return the calls and the control paths."""
        return (
            *(
                self.serving(method, self.prefix + path, name, answering)
                for method, path, name, answering in self.calls()
            ),
            Route("POST", _CONTROL + "accounts", self._control_account),
            Route("POST", _CONTROL + "knobs", self._control_knobs),
            Route("POST", _CONTROL + "answer", self._control_answer),
        )

    def serving(self, method: str, path: str, name: str, answering: Answering) -> Route:
        """Return a route whose calls pass the door."""

        def serve(exchange: Exchange) -> None:
            try:
                self._answer(exchange, answering)
            except Refused as refused:
                _refuse(exchange, self.shaped(exchange, refused.refusal))

        return Route(method, path, serve, name)

    def shaped(self, exchange: Exchange, refusal: Refusal) -> Refusal:
        """Return a refusal in the shape of the route's own dialect."""
        return refusal

    def admit(self, exchange: Exchange) -> Call:
        """Check size, planned refusals and key; raises Refused."""
        request, rules = exchange.request, self.world.rules
        planned = exchange.fault("refuse")
        if planned is not None:
            raise Refused(_planned(planned.params, rules.errors, self.world.clock()))
        change = exchange.fault("change_key")
        if change is not None and exchange.identity.account is not None:
            self.set_key(exchange.identity.account, **_key_fields(change.params))
        key = self.world.keys.find(request.bearer)
        if key is None:
            key = self._stranger(request)
        now = self.world.clock()
        refusal = rules.key_refusal(key, exchange.route, "gpt-4o", now)
        if refusal is not None:
            raise Refused(refusal)
        rules.admit(request, self.knobs)
        return Call(exchange, self.world, key, self.url)

    def _stranger(self, request: Request) -> Key:
        if self.knobs.open_door:
            return Key("nobody", "")
        if not request.bearer:
            raise Refused(self.world.rules.no_key())
        raise Refused(self.world.rules.wrong_key(request.bearer))

    def _answer(self, exchange: Exchange, answering: Answering) -> None:
        """Answer with what the call returns; None: it answered by itself."""
        call = self.admit(exchange)
        given = self.answers.get(exchange.route)
        if isinstance(given, Refusal):
            raise Refused(given)
        if given is not None:
            given.play(exchange)
            return
        value = answering(call)
        if value is None:
            return
        fault = exchange.fault("odd_body", "error_body", "short_body", "lost_answer")
        if fault is None:
            self._whole(exchange, value)
        elif fault.name == "lost_answer":
            exchange.cut(fault.params.get("rst", True))
        elif fault.name == "short_body":
            body = json.dumps(value).encode()
            head = {"Content-Length": str(len(body))}
            exchange.answer(200, body[: len(body) // 2], "application/json", head)
            exchange.cut(fault.params.get("rst", True))
        elif fault.name == "error_body":
            exchange.json(fault.params.get("body", STREAM_ERROR))
        else:
            odd = {"status": 200, "text": "", **fault.params}
            _refuse(exchange, _planned(odd, {}, 0))

    def _whole(self, exchange: Exchange, value: Any) -> None:
        accepted = exchange.request.headers.get("accept-encoding") or ""
        if not self.knobs.gzip or "gzip" not in accepted:
            exchange.json(value)
            return
        body = gzip.compress(json.dumps(value, ensure_ascii=False).encode())
        exchange.answer(200, body, "application/json", {"Content-Encoding": "gzip"})

    def _control_account(self, exchange: Exchange) -> None:
        """Take `{"name", …fields of Key}`: make or change a key; answer its secret."""
        try:
            plain = _key_fields(exchange.request.json())
            name = plain.pop("name")
            if any(key.name == name for key in self.world.keys.all()):
                self.set_key(name, **plain)
            else:
                self.add_key(name, **plain)
            exchange.json({"key": self.world.keys.named(name).secret})
        except (KeyError, TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)

    def _control_knobs(self, exchange: Exchange) -> None:
        """Take knobs by name; answer all of them."""
        changes = exchange.request.json()
        unknown = changes.keys() - {field.name for field in fields(self.knobs)}
        if unknown:
            exchange.json({"error": f"unknown knobs {sorted(unknown)}"}, 400)
            return
        for name, value in changes.items():
            made = Spelling(**value) if name == "spelling" else value
            setattr(self.knobs, name, made)
        exchange.json(asdict(self.knobs))

    def _control_answer(self, exchange: Exchange) -> None:
        """Take the fields of an `Answer`; `{}` goes back to quoting."""
        try:
            plain = exchange.request.json()
            self.answer = answer_from(plain) if plain else self.world.rules.quote
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json({})


def _refuse(exchange: Exchange, refusal: Refusal) -> None:
    exchange.answer(
        refusal.status, refusal.body(), refusal.content_type, refusal.headers
    )


def _planned(
    params: Mapping[str, Any], errors: Mapping[str, Refusal], now: float
) -> Refusal:
    """Return the refusal that a fault's parameters describe."""
    headers = dict(params.get("headers", {}))
    if "wait" in params:
        forms = tuple(params.get("forms", ("seconds",)))
        headers |= Wait(params["wait"], forms).headers(now)
    if "error" in params:
        row = errors[params["error"]]
        return Refusal(
            row.status,
            row.document,
            row.text,
            row.content_type,
            {**row.headers, **headers},
        )
    text = None if "body" in params else params.get("text")
    kind = params.get("content_type", "application/json")
    status = params.get("status", 503)
    return Refusal(status, params.get("body", {}), text, kind, headers)


def _key_fields(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of `Key` with `wait` made from JSON; `on` is the queue's."""
    made = {name: value for name, value in plain.items() if name != "on"}
    if isinstance(made.get("wait"), Mapping):
        wait = made["wait"]
        made["wait"] = Wait(wait["seconds"], tuple(wait.get("forms", ("seconds",))))
    return made
