"""Which dialect a request is answered in, its errors too."""

from kimi_proxy.dialects.contract import Dialect
from kimi_proxy.dialects.openai_chat import OpenAIChat

OPENAI: Dialect = OpenAIChat()


def spoken() -> Dialect:
    """The dialect of the request at hand, known from its path alone.

    So that whoever is refused before the path's own code runs can read why.
    """
    return OPENAI
