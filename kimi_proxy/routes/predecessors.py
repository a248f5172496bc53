"""Paths of the predecessors that lead nowhere here: what to do instead is told."""

from collections.abc import Callable
from typing import NoReturn

from flask import Blueprint

from kimi_proxy.errors import NotFound

_PAGES = "the page about the API is at /docs"
_LOGIN = (
    "there is no log-in by telephone here: put the browser's token into the"
    " configuration (providers.kimi.tokens)"
)
# Of kilo2api and qodo2api; kimi-ai-2api and reverse-kimi; aibotgo (sheet §1).
_GONE = {
    "/swagger": _PAGES,
    "/swagger/<path:rest>": _PAGES,
    "/v1/auth/login": _LOGIN,
    "/v1/auth/sendMsg": _LOGIN,
    "/v1/sendMessage": "use POST /v1/chat/completions",
}


def blueprint() -> Blueprint:
    """These paths need no key: nothing is behind them."""
    gone = Blueprint("predecessors", __name__)
    for number, (rule, words) in enumerate(_GONE.items()):
        view, methods = _telling(words), ["GET", "POST"]
        gone.add_url_rule(
            rule, endpoint=f"gone{number}", view_func=view, methods=methods
        )
    return gone


def _telling(words: str) -> Callable[..., NoReturn]:
    def view(rest: str = "") -> NoReturn:
        raise NotFound(words)

    return view
