"""Errors of local servers, and of what stands in front of any server."""

from dataclasses import replace
from typing import Any

from emulators.openai.refusal import Refusal, refuse


def _numeric(status: int, message: str, kind: str, **more: Any) -> Refusal:
    """Return an error whose `code` is the status as a number."""
    error = {"code": status, "message": message, "type": kind, **more}
    return Refusal(status, {"error": error})


def _page(status: int, title: str) -> Refusal:
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {title}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return Refusal(status, text=page, content_type="text/html")


# vllm-project/vllm#3485 (flat), its later versions wrap the same in `error`.
VLLM = {
    "model": Refusal(
        404,
        {
            "object": "error",
            "message": "The model `made-up` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
    ),
    "model_wrapped": _numeric(
        404, "The model `made-up` does not exist.", "NotFoundError", param="model"
    ),
    "too_long": Refusal(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, "
            "you requested 5000 tokens in the messages, Please reduce the length of "
            "the messages.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "key": Refusal(401, {"error": "Unauthorized"}),
}
# ggml-org/llama.cpp, tools/server: format_error_response, server-context.
LLAMACPP = {
    "key": _numeric(401, "Invalid API Key", "authentication_error"),
    "loading": _numeric(503, "Loading model", "unavailable_error"),
    "too_long": _numeric(
        400,
        "request (9412 tokens) exceeds the available context size (8192 tokens), try "
        "increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=9412,
        n_ctx=8192,
    ),
    "server": _numeric(500, "slot unavailable", "server_error"),
}
# netease-youdao/QAnything#555 (wrapped), stackblitz-labs/bolt.diy#434 (plain string).
OLLAMA = {
    "model": refuse(
        404, 'model "made-up" not found, try pulling it first', "api_error"
    ),
    "model_plain": Refusal(
        404, {"error": 'model "made-up" not found, try pulling it first'}
    ),
    "busy": Refusal(
        503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
    ),
}
# What stands in front of any of them.
FRONT = {
    "html_502": _page(502, "Bad Gateway"),
    "html_504": _page(504, "Gateway Time-out"),
    "html_403": _page(403, "Forbidden"),
    "html_401": _page(401, "Authorization Required"),
    "html_413": _page(413, "Request Entity Too Large"),
    "html_200": replace(_page(502, "Bad Gateway"), status=200),
    "empty_500": Refusal(500, text=""),
    "empty_401": Refusal(401, text="", content_type="text/plain"),
    "empty_429": Refusal(429, text="", content_type="text/plain"),
    "empty_200": Refusal(200, text=""),
    "plain_503": Refusal(503, text="upstream connect error", content_type="text/plain"),
    "null_200": Refusal(200, None),
    "string": Refusal(500, {"error": "something went wrong"}),
    "broken_json": Refusal(500, text='{"error":{"message":"trunc'),
    "code_200": Refusal(200, {"code": -2001, "message": "request failed"}),
    "zhipu_200": Refusal(200, {"error": {"code": "1000", "message": "身份验证失败。"}}),
}
