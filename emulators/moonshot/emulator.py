"""The open platform's server (Moonshot sheet §1–§6)."""

import time
from collections.abc import Callable, Iterable

from emulators.moonshot import account, anthropic_message
from emulators.moonshot.knob import MoonshotKnobs
from emulators.moonshot.rules import MoonshotRules
from emulators.openai import OpenAIEmulator, Refusal
from emulators.openai.endpoint import ENDPOINTS, Row
from emulators.server import Exchange, Route

# What the platform shares with OpenAI, by the names of the calls.
_SHARED = frozenset(
    "models model chat file-upload files file file-delete file-content batch-create "
    "batches batch batch-cancel".split()
)
CALLS: tuple[Row, ...] = (
    *(row for row in ENDPOINTS if row[2] in _SHARED),
    ("GET", "/users/me/balance", "balance", account.balance),
    ("POST", "/tokenizers/estimate-token-count", "estimate", account.estimate),
    ("POST", "/responses", "responses", account.respond),
    ("POST", "/tools/search", "search", account.search),
    ("POST", "/tools/search-pro", "search", account.search),
    ("POST", "/tools/fetch", "search", account.fetch),
)


class MoonshotEmulator(OpenAIEmulator):
    """Moonshot's open platform on 127.0.0.1, with everything `OpenAIEmulator` has.

    `Key.extra["balance"]` is the money of a key.

    Faults beside OpenAI's: extract_fails (a file cannot be read: 500).
    """

    known_faults = OpenAIEmulator.known_faults | {"extract_fails"}

    def __init__(
        self,
        prefix: str = "/v1",
        rules: MoonshotRules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(prefix, rules or MoonshotRules(), clock)

    @property
    def knobs(self) -> MoonshotKnobs:
        """The lasting switches; change them in place."""
        knobs = self.world.knobs
        assert isinstance(knobs, MoonshotKnobs)
        return knobs

    def calls(self) -> Iterable[Row]:
        """Return every call below the prefix."""
        return CALLS

    def messages_path(self) -> str:
        """Return where Anthropic's dialect is spoken."""
        return "/anthropic/v1/messages"

    def routes(self) -> Iterable[Route]:
        """Return the calls, Anthropic's dialect, and the control paths."""
        path = self.messages_path()
        respond = anthropic_message.respond
        yield from super().routes()
        yield self.serving("POST", path, "messages", respond)

    def shaped(self, exchange: Exchange, refusal: Refusal) -> Refusal:
        """Return a refusal in the shape of the route's own dialect."""
        if exchange.route == "messages":
            return anthropic_message.shaped(refusal)
        return refusal
