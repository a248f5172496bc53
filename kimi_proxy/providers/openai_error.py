"""What a refusal of an OpenAI-compatible upstream means: by words, code and status.

The first row that fits says it. Rows about words come first, since the same code and
status stand for a spent quota, a ban and an overload (Moonshot sheet §5, §7); a code
says more than a status, which many services give at random.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kimi_proxy import refusal
from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    GatewayForbidden,
    ModelExhausted,
    ModelForbidden,
    ModelRateLimited,
    ModelUnavailable,
    StorageFull,
    TokenDead,
    UpstreamFailed,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.providers import openai_refusal
from kimi_proxy.providers.openai_refusal import Refusal
from kimi_proxy.upstream import Reply

_Kind = type[GatewayError]
_MINUTE = 60.0
_RPM = re.compile(r"\bRPM\b\D{0,20}(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Row:
    """A kind of error and what its text holds; `statuses` empty: with any status."""

    kind: _Kind
    words: str
    statuses: frozenset[int] = frozenset()

    def fits(self, status: int, words: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        return re.search(self.words, words, re.IGNORECASE) is not None


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


# Only refusals whose text is the upstream's own: that of a 400 may quote the request.
# Status 200: within an answer, where nothing else tells one from another.
_BY_WORDS: tuple[_Row, ...] = (
    # Kimi Code (Moonshot sheet §7).
    _Row(AccountExhausted, r"usage limit", _on(200, 403, 429)),
    _Row(UpstreamRateLimited, r"concurrent request limit", _on(200, 403)),
    _Row(GatewayForbidden, r"coding agents?\b", _on(200, 403)),
    _Row(AccountSuspended, r"^access terminated", _on(200, 403)),
    _Row(UpstreamOverloaded, r"currently overloaded", _on(200, 403, 429, 503)),
    # Moonshot's help page: 403 is an empty balance; xAI: "used all available credits".
    _Row(
        AccountExhausted,
        r"balance|recharge|top.?up|credits|(spending|key) limit|quota|余额|欠费|充值",
        _on(402, 403),
    ),
    # A deactivated account, as OpenAI and resellers say it.
    _Row(
        AccountSuspended, r"has been (deactivated|banned|disabled)", _on(200, 401, 403)
    ),
    _Row(GatewayForbidden, r"(country|region).*not supported", _on(200, 400, 403)),
    # A wrong key under a status for wrong requests: xAI, Gemini.
    _Row(
        TokenDead,
        r"^(incorrect|invalid) api key|^api key not valid",
        _on(200, 400, 403),
    ),
    # OpenAI limits each model by itself; what is too large now stays too large.
    _Row(ContextTooLong, r"^request too large for", _on(200, 413, 429)),
    _Row(ModelRateLimited, r"^rate limit reached for\b", _on(200, 429)),
    _Row(AccountExhausted, r"^insufficient[ _]balance|余额不足", _on(200, 429)),
    # A prompt too long, in the words of Moonshot, OpenAI, vLLM and llama.cpp.
    _Row(
        ContextTooLong,
        r"maximum context length|model token limit|token length too long"
        r"|total message size|available context size|prompt is too long|prompt 超长"
        r"|greater than the context length",
        _on(200, 400, 413, 422),
    ),
    _Row(ContentRefused, r"considered high risk", _on(200, 400)),
    _Row(ContentRefused, r"input was flagged", _on(200, 403)),  # OpenRouter
    _Row(
        ModelUnavailable,
        r"^not found the model|\bmodel\b.* not (exist|found)",
        _on(200, 404),
    ),
    _Row(UpstreamUnsupported, r"^method not found", _on(200, 404)),
    _Row(
        UpstreamOverloaded,
        r"overloaded|too busy|server busy|loading model",
        _on(200, 503),
    ),
    # Files at Moonshot (sheet §5): the account's room, and one it cannot read.
    _Row(StorageFull, r"exceeded the max file count", _on(400)),
    _Row(UpstreamRejected, r"^failed to extract file", _on(500)),
)
_BY_CODE: Mapping[str, _Kind] = {
    # OpenAI: platform.openai.com "Error codes".
    "insufficient_quota": AccountExhausted,
    "billing_hard_limit_reached": AccountExhausted,
    "billing_not_active": AccountExhausted,
    "account_deactivated": AccountSuspended,
    "context_length_exceeded": ContextTooLong,
    "content_filter": ContentRefused,
    "content_policy_violation": ContentRefused,
    "moderation_blocked": ContentRefused,
    "invalid_api_key": TokenDead,
    "model_not_found": ModelUnavailable,
    "unsupported_country_region_territory": GatewayForbidden,
    "slow_down": UpstreamOverloaded,
    # Moonshot (sheet §5); a suspended account is one without balance there.
    "exceeded_current_quota_error": AccountExhausted,
    "engine_overloaded_error": UpstreamOverloaded,
    "rate_limit_reached_error": UpstreamRateLimited,
    "invalid_authentication_error": TokenDead,
    "incorrect_api_key_error": TokenDead,
    "resource_not_found_error": ModelUnavailable,
    "access_terminated_error": AccountSuspended,
    # Zhipu and Z.AI: docs.z.ai/api-reference/api-code.
    "1000": TokenDead,
    "1002": TokenDead,
    "1003": TokenDead,
    "1004": TokenDead,
    "1110": AccountSuspended,
    "1111": TokenDead,
    "1112": AccountSuspended,
    "1113": AccountExhausted,
    "1121": AccountSuspended,
    "1211": ModelUnavailable,
    "1220": ModelForbidden,
    "1261": ContextTooLong,
    "1301": ContentRefused,
    "1302": UpstreamRateLimited,
    "1303": UpstreamRateLimited,
    "1304": ModelExhausted,
    "1305": UpstreamOverloaded,
    "1308": AccountExhausted,
    "1309": AccountExhausted,
    "1310": AccountExhausted,
    "1311": ModelForbidden,
    "1312": UpstreamOverloaded,
    "1313": AccountSuspended,
    # DashScope: help.aliyun.com/zh/model-studio/error-code.
    "arrearage": AccountExhausted,
    "data_inspection_failed": ContentRefused,
    "datainspectionfailed": ContentRefused,
    "limit_requests": ModelRateLimited,
    "limit_burst_rate": ModelRateLimited,
    "access_denied.unpurchased": ModelForbidden,
    # Ark: volcengine.com/docs/82379/1299023.
    "accountoverdueerror": AccountExhausted,
    "inputtextriskdetection": ContentRefused,
    "outputtextriskdetection": ContentRefused,
    "sensitivecontentdetected": ContentRefused,
    "invalidendpointormodel.notfound": ModelUnavailable,
    "modelnotopen": ModelForbidden,
    "serveroverloaded": UpstreamOverloaded,
    # StepFun, Perplexity, as their documentation has them.
    "censorship_block": ContentRefused,
    "insufficient_balance": AccountExhausted,
    "invalid_model": ModelUnavailable,
    # MiniMax: platform.minimax.io/docs/api-reference/errorcode.
    "base_resp/1001": UpstreamTimeout,
    "base_resp/1002": UpstreamRateLimited,
    "base_resp/1004": TokenDead,
    "base_resp/1008": AccountExhausted,
    "base_resp/1026": ContentRefused,
    "base_resp/1027": ContentRefused,
    "base_resp/1039": UpstreamRateLimited,
    "base_resp/1041": UpstreamRateLimited,
    "base_resp/2013": UpstreamRejected,
    "base_resp/2049": TokenDead,
    "base_resp/2056": AccountExhausted,
    # Google: its limits are each model's; those per day come with the same code.
    "quota/day": ModelExhausted,
    "resource_exhausted": ModelRateLimited,
    "unauthenticated": TokenDead,
    "api_key_invalid": TokenDead,
    # llama.cpp, tools/server.
    "exceed_context_size_error": ContextTooLong,
    "unavailable_error": UpstreamOverloaded,
}
# What a status would say, where an error comes within an answer; the first one counts.
_BY_TYPE: Mapping[str, _Kind] = {
    "authentication_error": TokenDead,
    "authenticationerror": TokenDead,  # Ark
    "rate_limit_error": UpstreamRateLimited,
    "rate_limit_exceeded": UpstreamRateLimited,
    "rate_limited": UpstreamRateLimited,
    "permission_error": ModelForbidden,
    "permission_denied_error": ModelForbidden,
    "accessdenied": ModelForbidden,  # Ark
    "overloaded_error": UpstreamOverloaded,
    "service_unavailable_error": UpstreamOverloaded,
    "not_found_error": UpstreamNotFound,
    "invalid_request_error": UpstreamRejected,
}
_BY_STATUS: Mapping[int, _Kind] = {
    401: TokenDead,
    402: AccountExhausted,
    403: ModelForbidden,
    404: UpstreamNotFound,
    405: UpstreamUnsupported,
    408: UpstreamTimeout,
    413: ContextTooLong,
    429: UpstreamRateLimited,
    451: ContentRefused,
    456: AccountExhausted,  # kilo sheet §5
    501: UpstreamUnsupported,
    504: UpstreamTimeout,
    529: UpstreamOverloaded,
}


def refused(reply: Reply, now: float) -> GatewayError:
    """What an answer of another status than 200 means; `now` is epoch seconds."""
    document = _document(reply)
    wait = refusal.retry_after(reply.headers, now)
    if wait is None and reply.status in (429, 503):
        wait = refusal.reset_after(reply.headers, now)
    return error_of(reply.status, document, wait)


def _document(reply: Reply) -> Any:
    """What a refusal says: JSON, also as a stream's event, or else text."""
    lines = (line for line in reply.body.split(b"\n") if line.startswith(b"data:"))
    for text in (reply.body, next(lines, b"")[5:]):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
    kind = reply.headers.get("content-type", "").partition(";")[0]
    is_words = kind.strip().lower() == "text/plain"
    return reply.body[:2000].decode("utf-8", "replace") if is_words else None


def error_of(status: int, document: Any, retry_after: float | None) -> GatewayError:
    """What a refusal means, also one within an answer (then `status` is 200)."""
    said = openai_refusal.read(document)
    if status == 200 and said.status is not None:
        status = said.status
    kind = _kind(status, said)
    wait, guessed = _wait(kind, said, retry_after)
    told = refusal.quoted(said.words) if said.words else f"status {status}"
    return kind(
        f"the upstream refused: {told}",
        param=_param(kind, said),
        retry_after=wait,
        guessed=guessed,
        upstream_code=refusal.quoted(next(iter(said.codes), str(status))),
    )


def _kind(status: int, said: Refusal) -> _Kind:
    for row in _BY_WORDS:
        if row.fits(status, said.words):
            return row.kind
    if "quota/day" in said.codes:
        return ModelExhausted
    known = next((_BY_CODE[code] for code in said.codes if code in _BY_CODE), None)
    if known is None and status == 200:
        types = (kind for name, kind in _BY_TYPE.items() if name in said.codes)
        known = next(types, None)
    if known is not None:
        return known
    other = UpstreamRejected if 400 <= status < 500 else UpstreamFailed
    return _BY_STATUS.get(status, other)


def _param(kind: _Kind, said: Refusal) -> str | None:
    """The field at fault, if the client is to blame; its own words, so to speak."""
    if issubclass(kind, ModelUnavailable):
        return "model"
    blamed = issubclass(kind, UpstreamRejected | ContextTooLong | ContentRefused)
    return refusal.quoted(said.param)[:120] if blamed and said.param else None


def _wait(kind: _Kind, said: Refusal, told: float | None) -> tuple[float | None, bool]:
    """When to come back, and whether that is only the upstream's guess.

    A header is believed. Moonshot's text says "after 1 seconds" where three requests a
    minute are allowed (sheet §5): what a text says is where growth begins. A spent
    quota is not there again within a minute, whatever a header for all 429s says.
    """
    if issubclass(kind, AccountExhausted):
        return (told if told is not None and told >= _MINUTE else None), False
    if told is not None or not issubclass(
        kind, UpstreamRateLimited | UpstreamOverloaded
    ):
        return told, False
    if said.wait is not None:
        return refusal.told_wait(f"retry {said.wait}"), False
    hint = refusal.told_wait(said.words)
    if (limit := _RPM.search(said.words)) and int(limit[1]):
        hint = max(hint or 0.0, _MINUTE / int(limit[1]))
    return hint, hint is not None
