"""`max_tokens` for upstreams that know none: the answer is cut at an estimate."""

from collections.abc import Iterator
from dataclasses import replace

from kimi_proxy.chat import ChatRequest
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta, Usage
from kimi_proxy.shaping import tokens
from kimi_proxy.shaping.ask import Ask, closing


class _Meter:
    """Lets so much text through; `full` when there was more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counter = tokens.Counter()
        self.full = False

    def take(self, text: str) -> str:
        taken = self._counter.take(text, self._limit)
        self.full = len(taken) < len(text)
        return taken


def cutting_off(ask: Ask) -> Ask:
    """Obey `request.max_tokens`, thinking included; the reason becomes "length".

    The rest of an answer is read only where the chat is kept. The request goes up with
    its limit: who lets answers go on that the upstream cut then knows when not to.
    """

    def asked(request: ChatRequest) -> Iterator[Event]:
        meter = _Meter(request.max_tokens or 0)
        with closing(ask(request)) as events:
            for event in events:
                if meter.full:
                    if isinstance(event, Finished):
                        yield replace(event, reason="length")
                    elif isinstance(event, Usage):
                        yield event
                    continue
                yield from _metered(event, meter)
                if meter.full and not request.keeps:
                    yield Finished("length")
                    return

    return asked


def _metered(event: Event, meter: _Meter) -> Iterator[Event]:
    if not isinstance(event, TextDelta | ReasoningDelta):
        yield event
        return
    text = meter.take(event.text)
    if text:
        yield replace(event, text=text)
