"""What is lost on an upstream that takes a text and nothing else."""

from kimi_proxy.chat import ChatRequest

_SEARCH = ("use_search", "web_search_options")
_EFFORT = "reasoning_effort"


def ignored(request: ChatRequest) -> tuple[str, ...]:
    """The fields of a request that ask for a search or for thinking, which will have
    no effect: there is no word for either. What the configuration asks for is no
    client's loss."""
    asked: tuple[str, ...] = _SEARCH if request.search else ()
    asked += (_EFFORT,) if request.effort not in (None, "none") else ()
    return tuple(name for name in asked if request.body.get(name) is not None)
