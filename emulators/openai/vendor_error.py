"""Errors as many vendors word them: status, body, headers, and who reported each.

Faults name a row: `faults.add("refuse", error="deepseek.balance")`. Names, keys and
numbers inside the messages are made up.
"""

from collections.abc import Mapping

from emulators.openai.local_error import FRONT, LLAMACPP, OLLAMA, VLLM
from emulators.openai.refusal import Refusal, refuse

# platform.openai.com "Error codes" and the clients sheet §3.1.
_OPENAI = {
    "region": refuse(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "no_member": refuse(
        401, "You must be a member of an organization to use the API", code=None
    ),
    "permission": refuse(
        403, "You have insufficient permissions for this operation.", code=None
    ),
    "model": refuse(
        404,
        "The model `made-up` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    "content_policy": refuse(
        400,
        "Your request was rejected as a result of our safety system.",
        "image_generation_user_error",
        "moderation_blocked",
    ),
    "conflict": refuse(409, "The resource was updated by another process."),
    "unprocessable": refuse(422, "Unable to process the request despite its format."),
    "server": refuse(
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
    ),
    "overloaded": refuse(
        503,
        "That model is currently overloaded with other requests. You can retry your "
        "request.",
        "server_error",
    ),
    "slow_down": refuse(503, "Slow down.", "server_error", "slow_down"),
    "key": refuse(
        401, "Incorrect API key provided: sk-ma***key.", code="invalid_api_key"
    ),
    "balance": refuse(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "billing_limit": refuse(
        429,
        "Billing hard limit has been reached.",
        "billing_limit_user_error",
        "billing_hard_limit_reached",
    ),
    "deactivated": refuse(
        401,
        "The OpenAI account associated with this API key has been deactivated.",
        code="account_deactivated",
    ),
    "rate": refuse(
        429,
        "Rate limit reached for gpt-4o in organization org-madeup on requests per min "
        "(RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
        "requests",
        "rate_limit_exceeded",
    ),
    "tokens": refuse(
        429,
        "Request too large for gpt-4o in organization org-madeup on tokens per min "
        "(TPM): Limit 30000, Requested 40000.",
        "tokens",
        "rate_limit_exceeded",
    ),
}
# api-docs.deepseek.com "Error Codes"; Aider-AI/aider#4851 (402).
_DEEPSEEK = {
    "key": refuse(
        401,
        "Authentication Fails, Your api key: ****eKey is invalid",
        "authentication_error",
        "invalid_request_error",
    ),
    "balance": refuse(
        402, "Insufficient Balance", "unknown_error", "invalid_request_error"
    ),
    "overloaded": refuse(
        503,
        "Service is too busy. We advise users to temporarily switch to alternative LLM "
        "API service providers.",
        "service_unavailable_error",
        "invalid_request_error",
    ),
}
# docs.bigmodel.cn/cn/api/api-code (codes); zhayujie/CowAgent#2659 (body and status).
_ZHIPU = {
    name: Refusal(status, {"error": {"code": code, "message": message}})
    for name, status, code, message in (
        ("key", 401, "1000", "身份验证失败。"),
        ("expired", 401, "1003", "Authentication Token已过期，请重新生成/获取"),
        ("balance", 429, "1113", "余额不足或无可用资源包,请充值。"),
        ("locked", 429, "1121", "账户存违规行为，账号已被锁定"),
        ("concurrency", 429, "1302", "您当前使用该API的并发数过高，请降低并发"),
        ("rate", 429, "1303", "您当前使用该API的频率过高，请降低频率"),
        ("daily", 429, "1304", "该API已达今日调用次数限额"),
        (
            "plan_limit",
            429,
            "1310",
            "您已达到每周使用上限，您的限额将在 2026-12-01 重置",
        ),
        ("overloaded", 429, "1312", "该模型当前访问量过大，请您稍后再试"),
        ("model", 400, "1211", "模型不存在，请检查模型代码。"),
        ("filter", 400, "1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
        ("too_long", 400, "1261", "Prompt 超长"),
    )
}
# hsliuping/TradingAgents-CN#170 (shape, Arrearage); help.aliyun.com model-studio error
# codes (the other codes and messages).
_DASHSCOPE = {
    name: Refusal(
        status,
        {
            "error": {"message": message, "type": code, "param": None, "code": code},
            "id": "chatcmpl-made-up",
            "request_id": "made-up",
        },
    )
    for name, status, code, message in (
        (
            "balance",
            400,
            "Arrearage",
            "Access denied, please make sure your account is in good standing.",
        ),
        ("key", 401, "invalid_api_key", "Incorrect API key provided. "),
        ("rate", 429, "limit_requests", "You exceeded your current requests list."),
        (
            "quota",
            429,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan.",
        ),
        (
            "filter",
            400,
            "data_inspection_failed",
            "Output data may contain inappropriate content.",
        ),
    )
}
# platform.minimax.io/docs/api-reference/errorcode: status 200, the error inside.
_MINIMAX = {
    name: Refusal(
        200,
        {
            "id": "madeup",
            "choices": None,
            "base_resp": {"status_code": code, "status_msg": message},
        },
    )
    for name, code, message in (
        ("rate", 1002, "rate limit"),
        ("key", 1004, "login fail: Please carry the API secret key"),
        ("balance", 1008, "insufficient balance"),
        ("filter", 1026, "input new_sensitive"),
        ("params", 2013, "invalid params"),
        ("unknown", 1000, "unknown error"),
    )
}
# openrouter.ai/docs/api/reference/errors-and-debugging.
_OPENROUTER = {
    "balance": Refusal(
        402,
        {
            "error": {
                "code": 402,
                "message": "Insufficient credits. Add more using the credits page.",
                "metadata": {"limit_source": "openrouter_credits"},
            },
            "user_id": "user_madeup",
        },
    ),
    "key": Refusal(401, {"error": {"code": 401, "message": "User not found."}}),
    "moderation": Refusal(
        403,
        {
            "error": {
                "code": 403,
                "message": "Input was flagged",
                "metadata": {"reasons": ["made up"], "provider_name": "Made Up"},
            }
        },
    ),
    "provider": Refusal(
        502, {"error": {"code": 502, "message": "Provider returned error"}}
    ),
    "no_provider": Refusal(
        503, {"error": {"code": 503, "message": "No instances available"}}
    ),
}
# raycast/extensions#31107, pydantic/pydantic-ai#1885 (429); partITech/php-mistral#76.
_MISTRAL = {
    "rate": Refusal(
        429,
        {
            "object": "error",
            "message": "Rate limit exceeded",
            "type": "rate_limited",
            "param": None,
            "code": "1300",
            "raw_status_code": 429,
        },
    ),
    "rate_plain": Refusal(429, {"message": "Requests rate limit exceeded"}),
    "key": Refusal(401, {"detail": "Unauthorized"}),
    "extra": Refusal(
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options"],
                        "msg": "Extra inputs are not permitted",
                        "input": {},
                    }
                ]
            },
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    ),
}
# nocmt/LLMSearchPlus#2 (shape), continuedev/continue#10778 (400 for a wrong key).
_XAI = {
    "key": Refusal(
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: ma***ey. You can obtain an API key "
            "from https://console.x.ai.",
        },
    ),
}
# google-gemini/gemini-cli#7569: the object inside an array.
_GEMINI = {
    "quota": Refusal(
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "Resource has been exhausted (e.g. check quota).",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.RetryInfo",
                            "retryDelay": "17s",
                        }
                    ],
                }
            }
        ],
    ),
    "key": Refusal(
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
}
_VENDORS: Mapping[str, Mapping[str, Refusal]] = {
    "openai": _OPENAI,
    "deepseek": _DEEPSEEK,
    "zhipu": _ZHIPU,
    "dashscope": _DASHSCOPE,
    "minimax": _MINIMAX,
    "vllm": VLLM,
    "llamacpp": LLAMACPP,
    "ollama": OLLAMA,
    "openrouter": _OPENROUTER,
    "mistral": _MISTRAL,
    "xai": _XAI,
    "gemini": _GEMINI,
    "front": FRONT,
}
# "<vendor>.<what>" -> the answer.
ERRORS: Mapping[str, Refusal] = {
    f"{vendor}.{name}": refusal
    for vendor, rows in _VENDORS.items()
    for name, refusal in rows.items()
}
