"""Which dialect a request is answered in, its errors too."""

import re

from flask import request

from kimi_proxy.dialects.anthropic_messages import AnthropicMessages
from kimi_proxy.dialects.contract import Dialect
from kimi_proxy.dialects.openai_chat import OpenAIChat

OPENAI: Dialect = OpenAIChat()
ANTHROPIC: Dialect = AnthropicMessages()

_MESSAGES = re.compile(r"/v1/messages(/|$)")
_BOTH = re.compile(r"/v1/(models|files)(/|$)")


def spoken() -> Dialect:
    """The dialect of the request at hand, known from its path alone; of models and
    files, which both have on the same paths, from the header that only Anthropic's
    clients send.

    So that whoever is refused before the path's own code runs can read why.
    """
    if _MESSAGES.search(request.path):
        return ANTHROPIC
    versioned = "anthropic-version" in request.headers
    if versioned and _BOTH.search(request.path):
        return ANTHROPIC
    return OPENAI
