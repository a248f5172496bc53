"""Where the sources of an answer are shown: not at all, beside it, in it, or below."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from kimi_proxy.chat import ChatRequest, Citations
from kimi_proxy.events import Citation, Event, Finished, TextDelta
from kimi_proxy.shaping.ask import Ask, closing

_Shown = Callable[[Iterator[Event]], Iterator[Event]]


def showing_sources(ask: Ask) -> Ask:
    """Obey `request.citations`; "annotations" leaves it to the dialect.

    Links within JSON would break it: there they go beside it.
    """

    def asked(request: ChatRequest) -> Iterator[Event]:
        shown = request.citations or "annotations"
        if request.json_format is not None and shown != "none":
            shown = "annotations"
        with closing(ask(request)) as events:
            yield from _WAYS[shown](events)

    return asked


def _hidden(events: Iterator[Event]) -> Iterator[Event]:
    return (event for event in events if not isinstance(event, Citation))


def _beside(events: Iterator[Event]) -> Iterator[Event]:
    """As data, with the place it belongs to: a point, or all that was said so far."""
    said = 0
    for event in events:
        if isinstance(event, TextDelta):
            said += len(event.text)
        if isinstance(event, Citation):
            yield replace(event, span=(said if event.placed else 0, said))
        else:
            yield event


def _inline(events: Iterator[Event]) -> Iterator[Event]:
    """A link right after the words; sources without a place of their own follow."""
    placed: set[str] = set()
    rest: dict[str, Citation] = {}
    for event in events:
        if isinstance(event, Citation) and event.placed:
            placed.add(event.url)
            yield TextDelta(f" ({_link(event)})")
        elif isinstance(event, Citation):
            rest.setdefault(event.url, event)
        else:
            if isinstance(event, Finished):
                yield from _listed([c for c in rest.values() if c.url not in placed])
            yield event


def _footnotes(events: Iterator[Event]) -> Iterator[Event]:
    """A number after the words, the numbered links at the end."""
    known: dict[str, Citation] = {}
    for event in events:
        if isinstance(event, Citation):
            known.setdefault(event.url, event)
            if event.placed:
                yield TextDelta(f"[{list(known).index(event.url) + 1}]")
            continue
        if isinstance(event, Finished):
            yield from _listed(list(known.values()))
        yield event


def _listed(sources: list[Citation]) -> Iterator[Event]:
    lines = [f"\n[{n}] {_link(source)}" for n, source in enumerate(sources, start=1)]
    if lines:
        yield TextDelta("\n" + "".join(lines))


def _link(source: Citation) -> str:
    """A Markdown link that the title and the address cannot break out of."""
    title = source.title.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    address = source.url.replace("(", "%28").replace(")", "%29").replace(" ", "%20")
    return f"[{' '.join(title.split())}]({address})"


_WAYS: dict[Citations, _Shown] = {
    "none": _hidden,
    "annotations": _beside,
    "footnotes": _footnotes,
    "inline": _inline,
}
