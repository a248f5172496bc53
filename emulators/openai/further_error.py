"""Errors of further vendors, in the form of `vendor_error.py`."""

from collections.abc import Mapping

from emulators.openai.refusal import Refusal

# volcengine.com/docs/82379/1299023 (rows); coze-dev/coze-studio#2195 (fields).
_ARK = {
    name: Refusal(
        status,
        {"error": {"code": code, "message": message, "param": "", "type": kind}},
    )
    for name, status, kind, code, message in (
        (
            "key",
            401,
            "Unauthorized",
            "AuthenticationError",
            "The API key or AK/SK in the request is missing or invalid. Request id: "
            "made-up",
        ),
        (
            "balance",
            403,
            "Forbidden",
            "AccountOverdueError",
            "The request failed because your account has an overdue balance. Request "
            "id: made-up",
        ),
        (
            "access",
            403,
            "Forbidden",
            "AccessDenied",
            "The request failed because you do not have access to the requested "
            "resource. Request id: made-up",
        ),
        (
            "model",
            404,
            "NotFound",
            "InvalidEndpointOrModel.NotFound",
            "The model or endpoint made-up does not exist or you do not have access to "
            "it. Request id: made-up",
        ),
        (
            "filter",
            400,
            "BadRequest",
            "InputTextRiskDetection",
            "The request could not be processed because the input text includes "
            "sensitive content. Request id: made-up",
        ),
    )
}
# platform.stepfun.com/docs/zh/api-reference/error-codes and …/guide/exception.
_STEPFUN = {
    name: Refusal(status, {"error": {"message": message, "type": kind}})
    for name, status, kind, message in (
        ("key", 401, "invalid_api_key", "Incorrect API key provided"),
        ("balance", 402, "insufficient_balance", "made-up: the balance is not enough"),
        ("rate", 429, "rate_limited", "made-up: too many requests"),
        ("filter", 451, "censorship_block", "made-up: the content is not allowed"),
    )
}
# Gitlawb/openclaude#353.
_LMSTUDIO = {
    "too_long": Refusal(
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater "
            "than the context length (n_keep: 13055>= n_ctx: 4096). Try to load the "
            "model with a larger context length, or provide a shorter input."
        },
    ),
}
# BerriAI/litellm#2584 (a page for a wrong key), FerroxLabs/wayland#603.
_PERPLEXITY = {
    "key": Refusal(
        401,
        text="<html>\r\n<head><title>401 Authorization Required</title></head>\r\n"
        "<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr>"
        "<center>openresty/1.21.4.3</center>\r\n</body>\r\n</html>\r\n",
        content_type="text/html",
    ),
    "model": Refusal(
        400,
        {
            "error": {
                "message": "Invalid model 'made-up'. Permitted models can be found in "
                "the documentation.",
                "type": "invalid_model",
                "code": 400,
            }
        },
    ),
}
# "<vendor>.<what>" -> the answer.
FURTHER_ERRORS: Mapping[str, Refusal] = {
    f"{vendor}.{name}": refusal
    for vendor, rows in (
        ("ark", _ARK),
        ("stepfun", _STEPFUN),
        ("lmstudio", _LMSTUDIO),
        ("perplexity", _PERPLEXITY),
    )
    for name, refusal in rows.items()
}
