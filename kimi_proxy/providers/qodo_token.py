"""Qodo's two credentials, told apart by their form (qodo sheet §1)."""

import re

from kimi_proxy.providers.base import Credential

_BEARER = re.compile(r"bearer\s+", re.IGNORECASE)
_KEY = re.compile(r"sk-[\w.~+/=-]+")
_PAIR = re.compile(r"(?!sk-)([\w-]+)=([^\s,;]+)")


def read(text: str) -> Credential:
    """An API key of the command line, or the pair `WEB_API_KEY=REFRESH_TOKEN`.

    The pair is kept whole as what buys an access token: neither half does it alone, and
    the web API key is the same for all users, so it names nobody. Raises ValueError,
    whose text never quotes the token.
    """
    word = _BEARER.sub("", text.strip(), count=1)
    if _KEY.fullmatch(word):
        return Credential(access=word, region="cli")
    if _PAIR.fullmatch(word):
        return Credential(refresh=word, region="ide")
    raise ValueError(
        "this is no Qodo token: an API key (sk-...) or WEB_API_KEY=REFRESH_TOKEN"
    )


def halves(pair: str) -> tuple[str, str]:
    """The web API key and the refresh token of a pair."""
    key, _, refresh = pair.partition("=")
    return key, refresh


def paired(pair: str, refresh: str) -> str:
    """The pair with another refresh token."""
    return f"{halves(pair)[0]}={refresh}"
