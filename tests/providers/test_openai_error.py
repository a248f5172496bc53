"""What each vendor's refusal means: every row of the Moonshot sheet, and many more."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from requests.structures import CaseInsensitiveDict

from emulators.openai import ERRORS, FURTHER_ERRORS
from kimi_proxy import errors
from kimi_proxy.errors import GatewayError
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_error import error_of, refused
from kimi_proxy.upstream import Reply

NOW = 1_800_000_000.0
ORG = "Your account org-made-up<ak-made-up>"

# Moonshot sheet §5: status, type, message, what it means.
MOONSHOT = [
    (400, "content_filter", "The request was rejected because it was considered high"
     " risk", "ContentRefused"),
    (400, "invalid_request_error", "Invalid request: bad", "UpstreamRejected"),
    (400, "invalid_request_error", "Input token length too long", "ContextTooLong"),
    (400, "invalid_request_error", "Your request exceeded model token limit : 8192",
     "ContextTooLong"),
    (400, "invalid_request_error", "Invalid purpose: only 'file-extract' accepted",
     "UpstreamRejected"),
    (400, "invalid_request_error", "File size is zero, please", "UpstreamRejected"),
    (400, "invalid_request_error", "The number of files you have uploaded exceeded the"
     " max file count 1000, please delete some", "StorageFull"),
    (401, "invalid_authentication_error", "Invalid Authentication", "TokenDead"),
    (401, "incorrect_api_key_error", "Incorrect API key provided", "TokenDead"),
    (403, "permission_denied_error", "The API you are accessing is not open",
     "ModelForbidden"),
    (403, "permission_denied_error", "You are not allowed to get other user info",
     "ModelForbidden"),
    (403, "permission_denied_error", "insufficient balance, please recharge",
     "AccountExhausted"),
    (404, "resource_not_found_error", "Not found the model x or Permission denied",
     "ModelUnavailable"),
    (429, "engine_overloaded_error", "The engine is currently overloaded, please try"
     " again later", "UpstreamOverloaded"),
    (429, "exceeded_current_quota_error", "You exceeded your current token quota:"
     " <org-made-up> 0.1, please check your account balance", "AccountExhausted"),
    (429, "exceeded_current_quota_error", f"{ORG} is suspended, please check your plan"
     " and billing details", "AccountExhausted"),
    (429, "rate_limit_reached_error", f"{ORG} request reached organization max"
     " concurrency: 1, please try again after 1 seconds", "UpstreamRateLimited"),
    (429, "rate_limit_reached_error", f"{ORG} request reached organization max RPM: 3,"
     " please try again after 1 seconds", "UpstreamRateLimited"),
    (429, "rate_limit_reached_error", f"{ORG} request reached organization TPD rate"
     " limit, current:9, limit:8", "UpstreamRateLimited"),
    (500, "server_error", "Failed to extract file: broken", "UpstreamRejected"),
    (500, "unexpected_output", "invalid state transition", "UpstreamFailed"),
    (504, None, "", "UpstreamTimeout"),
]  # fmt: skip
# Moonshot sheet §7.
KIMI_CODE = [
    (401, None, "The API Key appears to be invalid or may have expired", "TokenDead"),
    (402, None, "We're unable to verify your membership benefits", "AccountExhausted"),
    (403, "permission_error", "Kimi For Coding is currently only available for Coding"
     " Agents such as these", "GatewayForbidden"),
    (403, "access_terminated_error", "You've reached your usage limit for this billing"
     " cycle.", "AccountExhausted"),
    (403, "permission_error", "You've reached your weekly (7-day) usage limit",
     "AccountExhausted"),
    (403, "access_terminated_error", "Access terminated. Contact us.",
     "AccountSuspended"),
    (403, "permission_error", "You've reached your concurrent request limit",
     "UpstreamRateLimited"),
    (429, "rate_limit_error", "The engine is currently overloaded, try later",
     "UpstreamOverloaded"),
    (429, "rate_limit_reached_error", "We're receiving too many requests at the"
     " moment.", "UpstreamRateLimited"),
    (429, "rate_limit_error", "You've reached your usage limit for this period",
     "AccountExhausted"),
    (429, None, "kimi monthly usage limit reached", "AccountExhausted"),
    (400, "invalid_request_error", "total message size 3000000 exceeds limit 2097152",
     "ContextTooLong"),
    (400, "invalid_request_error", "thinking is enabled but reasoning_content is"
     " missing in assistant tool call message", "UpstreamRejected"),
    (404, None, "method not found", "UpstreamUnsupported"),
]  # fmt: skip
VENDORS = {
    "openai.region": "GatewayForbidden",
    "openai.no_member": "TokenDead",
    "openai.permission": "ModelForbidden",
    "openai.model": "ModelUnavailable",
    "openai.content_policy": "ContentRefused",
    "openai.conflict": "UpstreamRejected",
    "openai.unprocessable": "UpstreamRejected",
    "openai.server": "UpstreamFailed",
    "openai.overloaded": "UpstreamOverloaded",
    "openai.slow_down": "UpstreamOverloaded",
    "openai.key": "TokenDead",
    "openai.balance": "AccountExhausted",
    "openai.billing_limit": "AccountExhausted",
    "openai.deactivated": "AccountSuspended",
    "openai.rate": "ModelRateLimited",
    "openai.tokens": "ContextTooLong",
    "deepseek.key": "TokenDead",
    "deepseek.balance": "AccountExhausted",
    "deepseek.overloaded": "UpstreamOverloaded",
    "zhipu.key": "TokenDead",
    "zhipu.expired": "TokenDead",
    "zhipu.balance": "AccountExhausted",
    "zhipu.locked": "AccountSuspended",
    "zhipu.concurrency": "UpstreamRateLimited",
    "zhipu.rate": "UpstreamRateLimited",
    "zhipu.daily": "ModelExhausted",
    "zhipu.plan_limit": "AccountExhausted",
    "zhipu.overloaded": "UpstreamOverloaded",
    "zhipu.model": "ModelUnavailable",
    "zhipu.filter": "ContentRefused",
    "zhipu.too_long": "ContextTooLong",
    "dashscope.balance": "AccountExhausted",
    "dashscope.key": "TokenDead",
    "dashscope.rate": "ModelRateLimited",
    "dashscope.quota": "AccountExhausted",
    "dashscope.filter": "ContentRefused",
    "minimax.rate": "UpstreamRateLimited",
    "minimax.key": "TokenDead",
    "minimax.balance": "AccountExhausted",
    "minimax.filter": "ContentRefused",
    "minimax.params": "UpstreamRejected",
    "minimax.unknown": "UpstreamFailed",
    "vllm.model": "ModelUnavailable",
    "vllm.model_wrapped": "ModelUnavailable",
    "vllm.too_long": "ContextTooLong",
    "vllm.key": "TokenDead",
    "llamacpp.key": "TokenDead",
    "llamacpp.loading": "UpstreamOverloaded",
    "llamacpp.too_long": "ContextTooLong",
    "llamacpp.server": "UpstreamFailed",
    "ollama.model": "ModelUnavailable",
    "ollama.model_plain": "ModelUnavailable",
    "ollama.busy": "UpstreamOverloaded",
    "openrouter.balance": "AccountExhausted",
    "openrouter.key": "TokenDead",
    "openrouter.moderation": "ContentRefused",
    "openrouter.provider": "UpstreamFailed",
    "openrouter.no_provider": "UpstreamFailed",
    "mistral.rate": "UpstreamRateLimited",
    "mistral.rate_plain": "UpstreamRateLimited",
    "mistral.key": "TokenDead",
    "mistral.extra": "UpstreamRejected",
    "xai.key": "TokenDead",
    "gemini.quota": "ModelRateLimited",
    "gemini.key": "TokenDead",
    "ark.key": "TokenDead",
    "ark.balance": "AccountExhausted",
    "ark.access": "ModelForbidden",
    "ark.model": "ModelUnavailable",
    "ark.filter": "ContentRefused",
    "stepfun.key": "TokenDead",
    "stepfun.balance": "AccountExhausted",
    "stepfun.rate": "UpstreamRateLimited",
    "stepfun.filter": "ContentRefused",
    "lmstudio.too_long": "ContextTooLong",
    "perplexity.key": "TokenDead",
    "perplexity.model": "ModelUnavailable",
    "front.html_401": "TokenDead",
    "front.html_413": "ContextTooLong",
    "front.empty_500": "UpstreamFailed",
    "front.empty_401": "TokenDead",
    "front.empty_429": "UpstreamRateLimited",
    "front.plain_503": "UpstreamFailed",
    "front.string": "UpstreamFailed",
    "front.broken_json": "UpstreamFailed",
    "front.code_200": "UpstreamFailed",
    "front.zhipu_200": "TokenDead",
    "front.empty_200": "UpstreamGarbled",
    "front.null_200": "UpstreamGarbled",
}
ROWS = {**ERRORS, **FURTHER_ERRORS}
# Refused before a body is looked at: see the tests of `upstream`.
PAGES = {"front.html_502", "front.html_504", "front.html_403", "front.html_200"}


def reply(status: int, document: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, CaseInsensitiveDict(named), orjson.dumps(document))


def name(error: GatewayError) -> str:
    return type(error).__name__


@pytest.mark.parametrize(("status", "kind", "message", "meaning"), MOONSHOT + KIMI_CODE)
def test_every_row_of_the_moonshot_sheet(
    status: int, kind: str | None, message: str, meaning: str
) -> None:
    body = {"error": {"type": kind, "message": message}}
    error = error_of(status, body, None)
    assert name(error) == meaning
    assert "made-up" not in error.message
    as_anthropic = error_of(status, {"type": "error", **body}, None)
    assert name(as_anthropic) == meaning


@pytest.mark.parametrize("row", sorted(ROWS.keys() - PAGES))
def test_every_vendors_refusal(row: str) -> None:
    told = ROWS[row]
    headers = CaseInsensitiveDict({"content-type": told.content_type})
    if told.status == 200:
        with pytest.raises(GatewayError) as caught:
            list(whole(told.body()))
        error = caught.value
    else:
        error = refused(Reply(told.status, headers, told.body()), NOW)
    assert name(error) == VENDORS[row]
    assert "<html" not in error.message


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        ({"code": 429, "message": "slow"}, "UpstreamRateLimited"),
        ({"code": 402, "message": "Insufficient credits"}, "AccountExhausted"),
        ({"code": 502, "message": "Provider disconnected"}, "UpstreamFailed"),
        ({"type": "engine_overloaded_error", "message": "busy"}, "UpstreamOverloaded"),
        ({"message": "Insufficient Balance"}, "AccountExhausted"),
        ({"code": "1113", "message": "余额不足"}, "AccountExhausted"),
        ("went wrong", "UpstreamFailed"),
    ],
)
def test_an_error_within_a_stream_is_told_by_what_it_says(
    error: Any, meaning: str
) -> None:
    wire = b"data: " + orjson.dumps({"error": error, "choices": []}) + b"\n\n"
    with pytest.raises(GatewayError) as caught:
        list(streamed(iter([wire])))
    assert name(caught.value) == meaning


@pytest.mark.parametrize(
    "text",
    [
        b'data: {"error":{"code":"insufficient_quota","message":"made up"}}\n\n',
        b": hi\n\nevent: error\ndata:"
        b'{"error":{"code":"insufficient_quota","message":"made up"}}\r\n\r\n',
    ],
)
def test_a_refusal_may_have_the_form_of_a_stream(text: bytes) -> None:
    headers = CaseInsensitiveDict({"content-type": "text/event-stream"})
    error = refused(Reply(429, headers, text), NOW)
    assert (name(error), "made up" in error.message) == ("AccountExhausted", True)


@pytest.mark.parametrize(
    ("headers", "text", "wait", "guessed"),
    [
        ({"retry_after": "20"}, "", 20, False),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:20 GMT"}, "", 20, False),
        ({"retry_after_ms": "2500"}, "after 1 seconds", 2.5, False),
        ({"x_ratelimit_reset_requests": "20s"}, "", 20, False),
        ({"x_ratelimit_reset": "1800000020000"}, "", 20, False),
        ({}, "please try again after 4 seconds", 4, True),
        ({}, "max RPM: 3, please try again after 1 seconds", 20, True),
        ({}, "max RPM: 100, please try again after 1 seconds", 1, True),
        ({}, "too many", None, False),
        ({"retry_after": "99999999999"}, "", 31 * 86_400, False),
    ],
)
def test_when_to_come_back_is_understood_in_every_form(
    headers: dict[str, str], text: str, wait: float | None, guessed: bool
) -> None:
    document = {"error": {"type": "rate_limit_reached_error", "message": text}}
    error = refused(reply(429, document, **headers), NOW)
    assert (error.retry_after, error.guessed) == (wait, guessed)


@pytest.mark.parametrize(("told", "wait"), [("1", None), ("18000", 18_000)])
def test_a_spent_quota_is_not_back_in_a_moment(told: str, wait: float | None) -> None:
    document = {"error": {"code": "insufficient_quota", "message": "no"}}
    error = refused(reply(429, document, retry_after=told), NOW)
    assert error.retry_after == wait


def test_googles_time_to_wait_is_understood_and_a_day_is_a_quota() -> None:
    def told(quota: str) -> GatewayError:
        retry = {"@type": "type.googleapis.com/g.RetryInfo", "retryDelay": "17.5s"}
        failure = {"violations": [{"quotaId": quota}]}
        facts = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded"}
        return error_of(429, [{"error": {**facts, "details": [retry, failure]}}], None)

    minute = told("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
    assert (name(minute), minute.retry_after) == ("ModelRateLimited", 17.5)
    day = told("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    assert (name(day), day.retry_after) == ("ModelExhausted", None)


def test_what_a_client_did_wrong_names_its_field() -> None:
    facts = {"message": "bad", "type": "invalid_request_error", "param": "tools[0]"}
    assert error_of(400, {"error": facts}, None).param == "tools[0]"
    assert error_of(500, {"error": facts}, None).param is None


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [], "usage": None},
        {"choices": [], "code": 0, "message": "Success"},
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": [], "error": None},
        {"object": "chat.completion.chunk", "choices": [], "code": "200"},
    ],
)
def test_what_only_looks_like_an_error_is_none(document: Any) -> None:
    wire = b"data: " + orjson.dumps(document) + b"\n\n"
    with pytest.raises(errors.UpstreamCut):
        list(streamed(iter([wire])))
