"""The server: the page with its nonce, and the one call that it allows."""

import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from emulators.server import Emulator, Exchange, Request, Route, Shape

# Faults beside the base's; `on=<page|message>` limits the base's.
#   refused:   data="made up"; success false, whatever was sent
#   empty:     success true with an empty message
#   garbled:   body=b"{made up"; status=200, content_type
#   cut:       at_byte=<of the answer>, rst=False
#   bare_page: the page comes without the script's variable
OWN_FAULTS = frozenset("refused empty garbled cut bare_page".split())
MODELS = ("moonshotai/Kimi-K2-Instruct-0905", "moonshotai/Kimi-K2-Instruct")
_FIELDS = {"action", "nonce", "message", "model", "session_id"}
_SESSION = re.compile(r"session_\d{13}_[a-z0-9]{9}")


@dataclass(slots=True)
class Knobs:
    """The lasting switches.

    `bad_nonce` is how an old nonce is refused: "false" (success false) or "403" (the
    body -1). `limit` is in characters of a message. `html` lets the calls' answers
    claim to be HTML, as WordPress does where a plugin does not say better. `split` are
    the sizes in which bytes travel.
    """

    bad_nonce: str = "false"
    limit: int = 1000
    html: bool = False
    split: tuple[int, ...] = ()


class KimiAiChatEmulator(Emulator):
    """The site on 127.0.0.1; `answer` is the answer, or what makes it of a message."""

    known_faults = OWN_FAULTS

    def __init__(self) -> None:
        self.knobs = Knobs()
        self.answer: str | Callable[[str], str] = "You said: {}".format
        self._tick = 1
        self._lock = threading.Lock()
        super().__init__()

    def add_account(self, name: str) -> str:
        """Return the word for "none": the site knows no accounts."""
        return "none"

    @property
    def nonce(self) -> str:
        """The nonce of this tick: ten hexadecimal characters."""
        return f"{0xA1B2C3D4E5 + self._tick:010x}"[-10:]

    def expire(self) -> None:
        """Let the next tick begin: the old nonce is good no more."""
        with self._lock:
            self._tick += 1

    def violations(self) -> list[str]:
        """Return what no correct client would have sent."""
        found = (entry.facts.get("violation") for entry in self.log.all())
        return [text for text in found if text]

    def decode_body(self, request: Request) -> Any:
        """Return the form, each field once."""
        if not request.body:
            return None
        form = parse_qs(request.body.decode(), keep_blank_values=True)
        return {name: values[-1] for name, values in form.items()}

    def reset(self) -> None:
        """Forget log, faults, answer and knobs."""
        super().reset()
        self.knobs, self.answer = Knobs(), "You said: {}".format

    def routes(self) -> Iterable[Route]:
        """Return the page and the call of the sheet's §2 and §3."""
        return (
            Route("GET", "/chat/", self._page, "page"),
            Route("POST", "/wp-admin/admin-ajax.php", self._message, "message"),
        )

    def _page(self, exchange: Exchange) -> None:
        variable = {
            "ajax_url": f"{self.url}/wp-admin/admin-ajax.php",
            "nonce": self.nonce,
        }
        text = json.dumps(variable, separators=(",", ":")).replace("/", "\\/")
        script = f"<script>var kimi_ajax = {text};</script>"
        if exchange.fault("bare_page") is not None:
            script = ""
        page = f"<!DOCTYPE html><html><head>{script}</head><body>Chat</body></html>"
        exchange.answer(200, page.encode(), "text/html; charset=UTF-8")

    def _message(self, exchange: Exchange) -> None:
        request = exchange.request
        form = self.decode_body(request) or {}
        trouble = _trouble(request, form)
        if trouble:
            exchange.note(facts={"violation": trouble})
        if form.get("action") != "kimi_send_message":
            exchange.answer(400, b"0", "text/html; charset=UTF-8")
        elif form.get("nonce") != self.nonce:
            self._refuse_nonce(exchange)
        else:
            self._answer(exchange, form)

    def _refuse_nonce(self, exchange: Exchange) -> None:
        if self.knobs.bad_nonce == "403":
            exchange.answer(403, b"-1", "text/html; charset=UTF-8")
        else:
            self._json(exchange, {"success": False, "data": "Security check failed"})

    def _answer(self, exchange: Exchange, form: dict[str, str]) -> None:
        refused, garbled = exchange.fault("refused"), exchange.fault("garbled")
        if garbled is not None:
            params = garbled.params
            exchange.answer(
                params.get("status", 200),
                params.get("body", b"{made up"),
                params.get("content_type", "application/json"),
            )
        elif refused is not None:
            data = refused.params.get("data", "made up")
            self._json(exchange, {"success": False, "data": data})
        elif len(form["message"]) > self.knobs.limit:
            data = {"message": f"made up: over {self.knobs.limit} characters"}
            self._json(exchange, {"success": False, "data": data})
        else:
            empty = exchange.fault("empty") is not None
            text = "" if empty else self._said(form["message"])
            self._json(exchange, {"success": True, "data": {"message": text}})

    def _said(self, message: str) -> str:
        return self.answer(message) if callable(self.answer) else self.answer

    def _json(self, exchange: Exchange, value: Any) -> None:
        cut = exchange.fault("cut")
        params = cut.params if cut is not None else {}
        shape = Shape(
            pieces=tuple(self.knobs.split),
            cut_at=params.get("at_byte"),
            rst=params.get("rst", False),
        )
        kind = "text/html" if self.knobs.html else "application/json"
        writer = exchange.stream(f"{kind}; charset=UTF-8", shape)
        writer.write(json.dumps(value, ensure_ascii=False).encode())


def _trouble(request: Request, form: dict[str, str]) -> str:
    """Return why no correct client sent this; empty if one may have."""
    headers, kind = request.headers, "application/x-www-form-urlencoded"
    bad = {
        "the message is no form": request.content_type != kind,
        f"the fields are {sorted(form)}": form.keys() != _FIELDS,
        "there is no such model": form.get("model") not in MODELS,
        "session_id is malformed": not _SESSION.fullmatch(form.get("session_id", "")),
        "the message is empty": not form.get("message"),
        "a User-Agent is missing": not (headers.get("user-agent") or "").strip(),
        "credentials were sent": "cookie" in headers or "authorization" in headers,
    }
    return next((text for text, is_bad in bad.items() if is_bad), "")
