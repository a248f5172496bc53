"""Every error of the sheet's §5 and §7; ids inside the messages are made up."""

from collections.abc import Mapping

from emulators.openai import ERRORS, Refusal

ORGANIZATION = "org-madeup0000000000"
ACCESS_KEY = "ak-madeup0000000000"
_ACCOUNT = f"Your account {ORGANIZATION}<{ACCESS_KEY}>"
_LATER = "please try again after 1 seconds"


def error(status: int, kind: str, message: str) -> Refusal:
    """Return an error in Moonshot's shape."""
    return Refusal(status, {"error": {"type": kind, "message": message}})


# name -> status, type, message
_PLATFORM: Mapping[str, tuple[int, str, str]] = {
    "content_filter": (
        400,
        "content_filter",
        "The request was rejected because it was considered high risk",
    ),
    "invalid": (400, "invalid_request_error", "Invalid request: made-up details"),
    "input_too_long": (400, "invalid_request_error", "Input token length too long"),
    "token_limit": (
        400,
        "invalid_request_error",
        "Your request exceeded model token limit : 262144",
    ),
    "purpose": (
        400,
        "invalid_request_error",
        "Invalid purpose: only 'file-extract' accepted",
    ),
    "file_too_large": (
        400,
        "invalid_request_error",
        "File size is too large, max file size is 100MB, please confirm and re-upload",
    ),
    "file_empty": (
        400,
        "invalid_request_error",
        "File size is zero, please confirm and re-upload the file",
    ),
    "too_many_files": (
        400,
        "invalid_request_error",
        "The number of files you have uploaded exceeded the max file count 1000, "
        "please delete previous uploaded files",
    ),
    "auth": (401, "invalid_authentication_error", "Invalid Authentication"),
    "key": (401, "incorrect_api_key_error", "Incorrect API key provided"),
    "not_open": (
        403,
        "permission_denied_error",
        "The API you are accessing is not open",
    ),
    "other_user": (
        403,
        "permission_denied_error",
        "You are not allowed to get other user info",
    ),
    "model": (
        404,
        "resource_not_found_error",
        "Not found the model made-up or Permission denied",
    ),
    "overloaded": (
        429,
        "engine_overloaded_error",
        "The engine is currently overloaded, please try again later",
    ),
    "quota": (
        429,
        "exceeded_current_quota_error",
        f"You exceeded your current token quota: <{ORGANIZATION}> 0, please check your "
        "account balance",
    ),
    "suspended": (
        429,
        "exceeded_current_quota_error",
        f"{_ACCOUNT} is suspended, please check your plan and billing details",
    ),
    "balance": (
        429,
        "exceeded_current_quota_error",
        f"{_ACCOUNT} is suspended due to insufficient balance, please recharge your "
        "account or check your plan and billing details",
    ),
    "balance_403": (
        403,
        "exceeded_current_quota_error",
        f"{_ACCOUNT} is suspended due to insufficient balance, please recharge",
    ),
    "concurrency": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max concurrency: 1, {_LATER}",
    ),
    "concurrency_other": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached max organization concurrency: 1, {_LATER}",
    ),
    "rpm": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max RPM: 3, {_LATER}",
    ),
    "tpm": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization TPM rate limit, current:500001, "
        "limit:500000",
    ),
    "project_tpm": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached project TPM rate limit, current:9, limit:8",
    ),
    "tpd": (
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization TPD rate limit, current:1500001, "
        "limit:1500000",
    ),
    "extract": (500, "server_error", "Failed to extract file: made-up reason"),
    "unexpected": (500, "unexpected_output", "invalid state transition"),
}
_CODE: Mapping[str, tuple[int, str, str]] = {
    "key": (
        401,
        "authentication_error",
        "The API Key appears to be invalid or may have expired. Please verify.",
    ),
    "auth": (401, "invalid_authentication_error", "Invalid Authentication"),
    "plan": (
        402,
        "payment_required_error",
        "We are unable to verify your membership benefits at this time.",
    ),
    "client": (
        403,
        "access_terminated_error",
        "Kimi For Coding is currently only available for Coding Agents such as Kimi "
        "CLI, Claude Code, Roo Code, Kilo Code, etc.",
    ),
    "quota": (
        403,
        "access_terminated_error",
        "You've reached your usage limit for this billing cycle. Your quota will be "
        "refreshed in the next cycle.",
    ),
    "quota_5h": (
        403,
        "permission_error",
        "You've reached your 5-hour usage limit. Please try again later.",
    ),
    "quota_week": (
        403,
        "access_terminated_error",
        "You've reached your weekly (7-day) usage limit. Please try again later.",
    ),
    "quota_month": (
        403,
        "access_terminated_error",
        "You've reached your monthly usage limit. Please try again later.",
    ),
    "sanction": (
        403,
        "access_terminated_error",
        "Access terminated due to a violation of the terms of service.",
    ),
    "concurrency": (
        403,
        "permission_error",
        "You've reached your concurrent request limit.",
    ),
    "overloaded": (
        429,
        "rate_limit_error",
        "The engine is currently overloaded, please try again later",
    ),
    "overloaded_other": (
        429,
        "engine_overloaded_error",
        "The engine is currently overloaded, please try again later",
    ),
    "rate": (
        429,
        "rate_limit_reached_error",
        "We're receiving too many requests at the moment. Please wait a moment.",
    ),
    "period": (
        429,
        "rate_limit_reached_error",
        "You've reached your usage limit for this period. Please try again later.",
    ),
    "month": (
        429,
        "rate_limit_reached_error",
        "You've reached your kimi monthly usage limit.",
    ),
    "size": (
        400,
        "invalid_request_error",
        "total message size 2097153 exceeds limit 2097152",
    ),
    "token_limit": (
        400,
        "invalid_request_error",
        "Your request exceeded model token limit: 262144",
    ),
    "image": (400, "invalid_request_error", "unsupported image url: ftp://made-up"),
    "duplicated": (
        400,
        "invalid_request_error",
        "function name made_up is duplicated",
    ),
    "content_filter": (
        400,
        "content_filter",
        "The request was rejected because it was considered high risk",
    ),
    "model": (
        404,
        "resource_not_found_error",
        "Not found the model made-up or Permission denied",
    ),
    "method": (404, "resource_not_found_error", "method not found"),
}
# "moonshot.<what>" and "code.<what>" beside the rows of every other vendor.
MOONSHOT_ERRORS: Mapping[str, Refusal] = {
    **ERRORS,
    **{f"moonshot.{name}": error(*row) for name, row in _PLATFORM.items()},
    **{f"code.{name}": error(*row) for name, row in _CODE.items()},
    "moonshot.timeout": Refusal(504, text="", content_type="text/plain"),
}
