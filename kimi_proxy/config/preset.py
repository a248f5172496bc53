"""Known upstreams with OpenAI's API: where each is and how it differs, as data.

A difference is in a row only where a public source says so; `source` names it. What
differs by model is the models' list's to tell, not a row's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

_WHEN = "2026-11"


@dataclass(frozen=True, slots=True)
class Preset:
    """One upstream.

    `source` was read in the month `looked_up`. `quirks` are values of `OpenAIQuirks`;
    `models` stands in for a list that the upstream does not give; `keyless`: no key is
    needed. `notice` has to be told to whoever uses it.
    """

    base_url: str
    source: str
    quirks: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    models: tuple[str, ...] = ()
    keyless: bool = False
    notice: str | None = None
    looked_up: str = _WHEN


PresetName = Literal[
    "moonshot-cn",
    "moonshot-intl",
    "kimi-code",
    "kimi-code-intl",
    "openai",
    "deepseek",
    "zhipu",
    "zai",
    "dashscope-cn",
    "dashscope-intl",
    "stepfun-cn",
    "stepfun-intl",
    "minimax-cn",
    "minimax-intl",
    "spark",
    "baichuan",
    "ark",
    "gemini",
    "mistral",
    "perplexity",
    "xai",
    "openrouter",
    "ollama",
    "vllm",
    "llamacpp",
    "lmstudio",
]

_OLD_LIMIT = {"limit": "max_tokens"}
_NO_DEVELOPER = {"developer": False}
# Moonshot sheet §3: roles, fields, schemas, thinking; §4: calls about the account.
_MOONSHOT = {
    **_NO_DEVELOPER,
    "limit": "max_completion_tokens",
    "thinking": "thinking",
    "unsupported": ("n",),
    "returns_reasoning": True,
    "plain_schemas": True,
    "plain_names": True,
    "empty_content": False,
    "longest_call_id": 64,
    "files": "extract",
    "search": True,
    "account": "moonshot",
}
# Moonshot sheet §7: a service of its own, with neither files nor `$web_search`.
_KIMI_CODE = {
    **_NO_DEVELOPER,
    "limit": "max_completion_tokens",
    "thinking": "reasoning_effort",
    "efforts": ("none", "low", "high", "max"),
    "unsupported": ("n",),
    "returns_reasoning": True,
    "plain_schemas": True,
    "plain_names": True,
    "empty_content": False,
    "longest_call_id": 64,
    "account": "kimi-code",
}
_KIMI_CODE_RULES = (
    "Kimi Code is for your own interactive use only: no batch jobs and no sharing."
    " kimi-proxy says who it is; if the service refuses that, it stays refused"
)
# Roles and fields are those of the service's own reference; forced tools and other
# fields as AgentScope's formatter found them.
_GLM = {
    **_OLD_LIMIT,
    **_NO_DEVELOPER,
    "thinking": "thinking",
    "stream_options": False,
    "unsupported": ("presence_penalty", "frequency_penalty"),
}
_GLM_SOURCE = (
    "docs.z.ai/api-reference (base, thinking);"
    " java.agentscope.io/v2/en/integration/model/glm (fields left out)"
)
_DASHSCOPE = {"thinking": "enable_thinking"}
_DASHSCOPE_SOURCE = (
    "alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope,"
    " .../deep-thinking"
)
# Those that its reference names, and no other (docs.ollama.com).
_OLLAMA = {
    **_OLD_LIMIT,
    "thinking": "reasoning_effort",
    "unsupported": ("logit_bias", "n"),
}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "moonshot-cn": Preset(
            "https://api.moonshot.cn/v1", "platform.kimi.com/docs", _MOONSHOT
        ),
        "moonshot-intl": Preset(
            "https://api.moonshot.ai/v1", "platform.kimi.ai/docs", _MOONSHOT
        ),
        "kimi-code": Preset(
            "https://api.kimi.com/coding/v1",
            "github.com/MoonshotAI/kimi-cli, kimi.com/code/docs",
            _KIMI_CODE,
            notice=_KIMI_CODE_RULES,
        ),
        "kimi-code-intl": Preset(
            "https://api.kimi.ai/coding/v1",
            "github.com/MoonshotAI/kimi-cli, kimi.com/code/docs",
            _KIMI_CODE,
            notice=_KIMI_CODE_RULES,
        ),
        "openai": Preset(
            "https://api.openai.com/v1",
            "platform.openai.com/docs/api-reference/chat",
            {
                "thinking": "reasoning_effort",
                "efforts": ("none", "minimal", "low", "medium", "high", "xhigh"),
                "unsupported": ("top_k", "min_p", "repetition_penalty"),
            },
        ),
        "deepseek": Preset(
            "https://api.deepseek.com/v1",
            "api-docs.deepseek.com, .../guides/thinking_mode;"
            " earendil-works/pi#1048 (developer)",
            {
                **_OLD_LIMIT,
                **_NO_DEVELOPER,
                "thinking": "thinking",
                "efforts": ("high", "max"),
                "returns_reasoning": True,
            },
        ),
        "zhipu": Preset("https://open.bigmodel.cn/api/paas/v4", _GLM_SOURCE, _GLM),
        "zai": Preset("https://api.z.ai/api/paas/v4", _GLM_SOURCE, _GLM),
        "dashscope-cn": Preset(
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            _DASHSCOPE_SOURCE,
            _DASHSCOPE,
        ),
        "dashscope-intl": Preset(
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            _DASHSCOPE_SOURCE,
            _DASHSCOPE,
        ),
        "stepfun-cn": Preset(
            "https://api.stepfun.com/v1",
            "platform.stepfun.com/docs/zh/api-reference/chat",
            _NO_DEVELOPER,
        ),
        "stepfun-intl": Preset(
            "https://api.stepfun.ai/v1",
            "platform.stepfun.ai/docs/en/overview/quickstart",
            _NO_DEVELOPER,
        ),
        "minimax-cn": Preset(
            "https://api.minimaxi.com/v1",
            "platform.minimaxi.com/docs/api-reference/text-openai-api",
        ),
        "minimax-intl": Preset(
            "https://api.minimax.io/v1",
            "platform.minimax.io/docs/api-reference/text-openai-api",
        ),
        "spark": Preset(
            "https://spark-api-open.xf-yun.com/v1",
            "xfyun.cn/doc/spark (HTTP): an answer has no finish reason, and there is no"
            " list of models",
            {**_OLD_LIMIT, "finish_reason": False, "lists_models": False},
            models=(
                *("lite", "generalv3", "pro-128k", "generalv3.5", "max-32k"),
                "4.0Ultra",
            ),
        ),
        "baichuan": Preset(
            "https://api.baichuan-ai.com/v1",
            "io.github.tasure:sure-ai-baichuan 1.9.0 and langchain_community (base),"
            " after platform.baichuan-ai.com/docs/api",
            _OLD_LIMIT,
        ),
        "ark": Preset(
            "https://ark.cn-beijing.volces.com/api/v3",
            "volcengine.com/docs/82379/1355331; @lobehub/chat 1.143, model-runtime"
            " (thinking)",
            {"thinking": "thinking"},
        ),
        "gemini": Preset(
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "ai.google.dev/gemini-api/docs/openai",
            {"thinking": "reasoning_effort"},
        ),
        "mistral": Preset(
            "https://api.mistral.ai/v1",
            "docs.mistral.ai/api (base); editor-code-assistant/eca#231 (limit),"
            " partITech/php-mistral#76 (stream_options)",
            {**_OLD_LIMIT, "stream_options": False},
        ),
        "perplexity": Preset(
            "https://api.perplexity.ai",
            "docs.perplexity.ai/docs/sonar/openai-compatibility; librechat.ai/docs"
            " (no list of models)",
            {**_OLD_LIMIT, "lists_models": False},
            models=("sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research"),
            notice="Sonar's chat completions are said to have ended on 2026-09-27"
            " (AI SDK 5.0 release notes); what came after speaks another dialect",
        ),
        "xai": Preset(
            "https://api.x.ai/v1",
            "docs.x.ai/developers",
            {"thinking": "reasoning_effort"},
        ),
        "openrouter": Preset(
            "https://openrouter.ai/api/v1",
            "openrouter.ai/docs/api-reference, .../use-cases/reasoning-tokens",
            {"thinking": "reasoning"},
        ),
        "ollama": Preset(
            "http://127.0.0.1:11434/v1",
            "docs.ollama.com/api/openai-compatibility",
            _OLLAMA,
            keyless=True,
        ),
        "vllm": Preset(
            "http://127.0.0.1:8000/v1",
            "docs.vllm.ai/en/stable/serving/openai_compatible_server.html",
            keyless=True,
        ),
        "llamacpp": Preset(
            "http://127.0.0.1:8080/v1",
            "github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
            keyless=True,
        ),
        "lmstudio": Preset(
            "http://127.0.0.1:1234/v1",
            "lmstudio.ai/docs/developer/openai-compat",
            keyless=True,
        ),
    }
)
