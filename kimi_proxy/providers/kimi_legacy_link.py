"""Addresses in a question, marked as the web page does (legacy sheet §8)."""

import re
from typing import Final

# An address ends where RFC 3986 knows no such character: Chinese text follows without
# a space. What the client has marked already is left as it is.
_FOUND: Final = re.compile(
    r"(<url\b[^<>]{0,300}>)?"
    r"(?<![A-Za-z0-9])https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+",
    re.IGNORECASE,
)
_TAIL: Final = ".,:;!?'*"  # of the sentence or its Markdown, not of the address
_PAIRS: Final = ((")", "("), ("]", "["))


def marked(text: str) -> str:
    """The text with its http(s) addresses marked; Kimi reads no page without that."""
    return _FOUND.sub(_marked, text)


def _marked(match: re.Match[str]) -> str:
    found = match[0]
    url = _trimmed(found)
    if match[1] or url.endswith("//"):
        return found
    tag = '<url id="" type="url" status="" title="" wc="">'
    return f"{tag}{url}</url>{found[len(url) :]}"


def _trimmed(url: str) -> str:
    """The address without what only follows it, such as the bracket around it."""
    surplus = {last: url.count(last) - url.count(first) for last, first in _PAIRS}
    end = len(url)
    while url[end - 1] in _TAIL or surplus.get(url[end - 1], 0) > 0:
        end -= 1
        if url[end] in surplus:
            surplus[url[end]] -= 1
    return url[:end]
