"""The offline provider: answers with the user's own words and needs no account."""

import re
from collections.abc import Iterator

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.scope import Scope

_MODEL = Model("echo", "Echo", "kimi-proxy", reasoning=True)
# A few words, or a few characters of a script that puts no spaces between words.
_PIECE = re.compile(r"(?:\S{1,12}\s*){1,3}|\s+")


class Echo:
    """Says the last user message again, in pieces, so that streaming can be seen.

    It thinks one sentence when asked for an effort, and counts no tokens.
    """

    honours: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`. Raises `ModelNotFound`."""
        if request.model != _MODEL.id:
            raise ModelNotFound(f"provider {self.name} has no model {request.model!r}")
        if request.effort not in (None, "none"):
            yield ReasoningDelta("I only have to repeat it.")
        for piece in _PIECE.findall(_question(request)):
            lease.scope.check()
            yield TextDelta(piece)
        yield Finished("stop")

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """The one model; no I/O."""
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The one model."""
        return [_MODEL]


def _question(request: ChatRequest) -> str:
    asked = (m.text for m in reversed(request.messages) if m.role == "user")
    return next(asked, "")
