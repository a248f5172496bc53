"""Kimi Code, the membership's API (Moonshot sheet §7)."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emulators.moonshot import account
from emulators.moonshot.device_flow import DeviceFlow
from emulators.moonshot.emulator import MoonshotEmulator
from emulators.moonshot.knob import MoonshotKnobs
from emulators.moonshot.model import CODE_MODELS
from emulators.moonshot.rules import INFERENCE, MoonshotRules
from emulators.openai import Model, Refusal
from emulators.openai.endpoint import ENDPOINTS, Row
from emulators.openai.key import Key
from emulators.openai.refusal import Refused
from emulators.openai.world import Call
from emulators.server import Request, Route

BODY_LIMIT = 2_097_152
# User-Agents of official and well-known clients: an honest product has its own.
_FORGED = re.compile(
    r"^(kimi-?cli|kimi-?code|claude-cli|claude-code|codex|opencode|roo-?code|cline"
    r"|kilo-?code)/",
    re.IGNORECASE,
)
# state of a key -> row of `error.py`
_STATES = {
    "no_plan": "code.plan",
    "no_balance": "code.quota",
    "quota": "code.quota",
    "quota_5h": "code.quota_5h",
    "quota_week": "code.quota_week",
    "quota_month": "code.quota_month",
    "suspended": "code.sanction",
    "busy": "code.concurrency",
    "rate_limited": "code.rate",
    "overloaded": "code.overloaded",
}


class KimiCodeRules(MoonshotRules):
    """Kimi Code."""

    states = frozenset({"ok", "invalid", *_STATES})

    def models(self) -> tuple[Model, ...]:
        """Return the models of 2026-09."""
        return CODE_MODELS

    def knobs(self) -> MoonshotKnobs:
        """Return the switches as they are at first."""
        return MoonshotKnobs(
            usage_place="both", id_prefix="chatcmpl-", body_limit=BODY_LIMIT
        )

    def wrong_key(self, secret: str) -> Refusal:
        """Return the refusal of a key that is none."""
        return self.errors["code.key"]

    def no_key(self) -> Refusal:
        """Return the refusal of a call without a bearer key."""
        return self.errors["code.auth"]

    def key_refusal(
        self, key: Key, route: str, model: str, now: float
    ) -> Refusal | None:
        """Return why a key in its state may not call this route; None: it may."""
        if key.state == "invalid":
            return self.wrong_key(key.secret)
        if route not in INFERENCE or key.state == "ok":
            return None
        refusal = self.errors[_STATES[key.state]]
        if refusal.status != 429:
            return refusal
        headers = key.wait.headers(now)
        return Refusal(refusal.status, refusal.document, headers=headers)

    def admit(self, request: Request, knobs: Any) -> None:
        """Judge the size and who calls; raises Refused."""
        super().admit(request, knobs)
        agent = request.headers.get("user-agent") or ""
        allowed = knobs.allowed_agents
        if allowed and not any(name in agent for name in allowed):
            raise Refused(self.errors["code.client"])

    def media_trouble(self, kind: str, url: str, call: Call) -> str:
        """Return what is wrong with the url: web addresses are fine here."""
        if url.startswith(("https://", "http://")):
            return ""
        return super().media_trouble(kind, url, call)


def usages(call: Call) -> Any:
    """Return how much of the plan is used, from the key's `extra`.

    `extra["week"]` and `extra["window"]` are the per cent used. Numbers are strings.
    """
    knobs = call.world.knobs
    assert isinstance(knobs, MoonshotKnobs)
    sparse, extra = knobs.sparse_usages, call.key.extra
    window = {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}
    detail = _used(extra.get("window", 1), sparse)
    zero = {"priceInCents": "0", "currency": "USD"}
    return {
        "usage": _used(extra.get("week", 40), sparse),
        "limits": [{"window": window, "detail": detail}],
        "boosterWallet": {
            "balance": {"type": "BOOSTER", "amount": "0", "amountLeft": "0"},
            "monthlyChargeLimitEnabled": False,
            "monthlyChargeLimit": zero,
            "monthlyUsed": zero,
        },
    }


def me(call: Call) -> Any:
    """Return who the key belongs to."""
    return {
        "user_id": f"made-up-{call.key.name}",
        "nickname": call.key.name,
        "status": "active",
        "region": "cn",
        "user_level": 2,
        "user_level_name": "Made-up",
    }


_SHARED = frozenset(
    "models model chat file-upload files file file-delete file-content".split()
)
CALLS: tuple[Row, ...] = (
    *(row for row in ENDPOINTS if row[2] in _SHARED),
    ("GET", "/usages", "usages", usages),
    ("GET", "/me", "me", me),
    ("POST", "/search", "search", account.search),
    ("POST", "/fetch", "search", account.fetch),
)


class KimiCodeEmulator(MoonshotEmulator):
    """Kimi Code on 127.0.0.1, and the log-in of its official client (`device`)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.device = DeviceFlow(self._issue, clock)
        super().__init__("/coding/v1", KimiCodeRules(), clock)

    def violations(self) -> list[str]:
        """Return what no honest product would have sent: also another's identity."""
        forged = [
            f"{entry.name}: identity of another client"
            for entry in self.log.all()
            if _FORGED.match(entry.headers.get("user-agent", ""))
            or any(name.startswith("x-msh-") for name in entry.headers)
        ]
        return [*super().violations(), *forged]

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """Return what every answer carries; a trace id for the support."""
        trace = {"x-trace-id": self.world.new_id("trace-")}
        return {**super().answer_headers(request), **trace}

    def calls(self) -> Iterable[Row]:
        """Return every call below the prefix."""
        return CALLS

    def messages_path(self) -> str:
        """Return where Anthropic's dialect is spoken."""
        return "/coding/v1/messages"

    def routes(self) -> Iterable[Route]:
        """Return the calls, the log-in, and the control paths."""
        yield from super().routes()
        yield Route(
            "POST",
            "/api/oauth/device_authorization",
            self.device.authorize,
            "device-authorization",
        )
        yield Route("POST", "/api/oauth/token", self.device.token, "device-token")

    def _issue(self, number: int, life: float) -> str:
        """Make the key that an access token is."""
        secret = f"made-up-access-token-{number}"
        expires = self.world.clock() + life
        return self.add_key(f"device-{number}", secret, expires_at=expires)


def _used(percent: int, sparse: bool) -> dict[str, str]:
    row = {"limit": "100", "used": str(percent), "remaining": str(100 - percent)}
    if sparse:
        del row["remaining"]
    return {**row, "resetTime": "2026-12-09T11:16:04.416717Z"}
