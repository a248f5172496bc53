"""Stop sequences for upstreams that know none: the answer ends before the first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kimi_proxy.chat import ChatRequest
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.shaping.ask import Ask, closing


class Scanner:
    """Finds the first of several sequences in a text that comes in pieces.

    Holds back no more than may turn out to be the beginning of one. `matched` is the
    one that was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.matched: str | None = None

    @property
    def hit(self) -> bool:
        """Whether one was found."""
        return self.matched is not None

    def feed(self, piece: str) -> str:
        """The text that is safe to say; once `hit` is true there is no more."""
        text = self._held + piece
        found = [(i + len(s), i, s) for s in self._stops if (i := text.find(s)) >= 0]
        if found:
            # That which is complete first, or it would matter how the text is cut.
            _, at, self.matched = min(found)
            self._held = ""
            return text[:at]
        keep = max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """How many characters at the end of `text` begin `stop`."""
        longest = min(len(text), len(stop) - 1)
        return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)

    def finish(self) -> str:
        """What was held back in vain."""
        held, self._held = self._held, ""
        return held


def stopping(ask: Ask) -> Ask:
    """Obey `request.stop`; the rest is read only where the chat is kept."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        scanner = Scanner(request.stop)
        with closing(ask(replace(request, stop=()))) as events:
            for event in events:
                if scanner.hit:
                    if isinstance(event, Finished):
                        matched = scanner.matched
                        yield replace(event, reason="stop", matched=matched)
                    elif isinstance(event, Usage):
                        yield event
                    continue
                yield from _scanned(event, scanner)
                if scanner.hit and not request.keeps:
                    yield Finished("stop", matched=scanner.matched)
                    return

    return asked


def _scanned(event: Event, scanner: Scanner) -> Iterator[Event]:
    match event:
        case TextDelta(text):
            said = scanner.feed(text)
        # No sequence reaches across a call, or a place that the upstream has marked.
        case Finished() | ToolCallDelta() | Citation(placed=True):
            said = scanner.finish()
        case _:
            said = ""
    if said:
        yield TextDelta(said)
    if not isinstance(event, TextDelta):
        yield event
