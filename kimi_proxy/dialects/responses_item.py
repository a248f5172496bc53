"""Output items as they grow: what is told of each, from its beginning to its end."""

from collections.abc import Iterator
from typing import Any

from kimi_proxy.dialects.responses_thought import seal
from kimi_proxy.dialects.responses_tools import Name, action_of, free_text
from kimi_proxy.events import Citation

Wire = dict[str, Any]


class _Item:
    """What every item has; `whole` is the item as it is told last."""

    def __init__(self, place: int, id: str) -> None:
        self.id = id
        self.whole: Wire = {}
        self._place = place
        self._head = {"item_id": id, "output_index": place}

    def _added(self, item: Wire) -> Wire:
        return {
            "type": "response.output_item.added",
            "output_index": self._place,
            "item": item,
        }

    def _done(self, item: Wire) -> Wire:
        self.whole = item
        return {
            "type": "response.output_item.done",
            "output_index": self._place,
            "item": item,
        }

    def _told(self, kind: str, **fields: Any) -> Wire:
        return {"type": f"response.{kind}", **self._head, **fields}


class MessageItem(_Item):
    """What the assistant says: one part of text with its sources, or of a refusal.

    `start` is how much was said before it, since sources count from the beginning.
    """

    def __init__(
        self, place: int, id: str, start: int = 0, *, refuses: bool = False
    ) -> None:
        super().__init__(place, id)
        self.refuses = refuses
        self._start = start
        self._texts: list[str] = []
        self._sources: list[Wire] = []
        self.length = 0

    def begin(self) -> Iterator[Wire]:
        yield self._added(self._item("in_progress", []))
        yield self._told("content_part.added", content_index=0, part=self._part())

    def say(self, text: str) -> Iterator[Wire]:
        self._texts.append(text)
        self.length += len(text)
        if self.refuses:
            yield self._told("refusal.delta", content_index=0, delta=text)
            return
        yield self._told("output_text.delta", content_index=0, delta=text, logprobs=[])

    def cite(self, citation: Citation) -> Iterator[Wire]:
        first, last = citation.span or (0, self._start + self.length)
        source = {
            "type": "url_citation",
            "url": citation.url,
            "title": citation.title,
            "start_index": max(0, first - self._start),
            "end_index": max(0, last - self._start),
        }
        index = len(self._sources)
        self._sources.append(source)
        yield self._told(
            "output_text.annotation.added",
            content_index=0,
            annotation_index=index,
            annotation=source,
        )

    def end(self, status: str) -> Iterator[Wire]:
        part = self._part()
        if self.refuses:
            told = {"refusal": part["refusal"]}
            yield self._told("refusal.done", content_index=0, **told)
        else:
            told = {"text": part["text"], "logprobs": []}
            yield self._told("output_text.done", content_index=0, **told)
        yield self._told("content_part.done", content_index=0, part=part)
        yield self._done(self._item(status, [part]))

    def _part(self) -> Wire:
        if self.refuses:
            return {"type": "refusal", "refusal": "".join(self._texts)}
        return {
            "type": "output_text",
            "text": "".join(self._texts),
            "annotations": list(self._sources),
            "logprobs": [],
        }

    def _item(self, status: str, content: list[Wire]) -> Wire:
        return {
            "type": "message",
            "id": self.id,
            "role": "assistant",
            "status": status,
            "content": content,
        }


class ThoughtItem(_Item):
    """Thinking: as a summary where the client asked for one, else as it is.

    Upstreams do not sum up: a summary is all that was thought.
    """

    def __init__(self, place: int, id: str, *, summarised: bool, sealed: bool) -> None:
        super().__init__(place, id)
        self._summarised = summarised
        self._sealed = sealed
        self._texts: list[str] = []

    def begin(self) -> Iterator[Wire]:
        yield self._added(self._item("in_progress", whole=False))
        yield self._part("added")

    def think(self, text: str) -> Iterator[Wire]:
        self._texts.append(text)
        yield self._text("delta", delta=text)

    def end(self, status: str) -> Iterator[Wire]:
        yield self._text("done", text="".join(self._texts))
        yield self._part("done")
        yield self._done(self._item(status, whole=True))

    def _text(self, end: str, **fields: Any) -> Wire:
        if self._summarised:
            kind = f"reasoning_summary_text.{end}"
            return self._told(kind, summary_index=0, **fields)
        return self._told(f"reasoning_text.{end}", content_index=0, **fields)

    def _part(self, end: str) -> Wire:
        part = self._content()
        if self._summarised:
            kind = f"reasoning_summary_part.{end}"
            return self._told(kind, summary_index=0, part=part)
        return self._told(f"content_part.{end}", content_index=0, part=part)

    def _content(self) -> Wire:
        kind = "summary_text" if self._summarised else "reasoning_text"
        return {"type": kind, "text": "".join(self._texts)}

    def _item(self, status: str, *, whole: bool) -> Wire:
        parts = [self._content()] if whole else []
        item: Wire = {
            "type": "reasoning",
            "id": self.id,
            "summary": parts if self._summarised else [],
            "status": status,
        }
        if not self._summarised:
            item["content"] = parts
        if self._sealed:
            item["encrypted_content"] = seal("".join(self._texts)) if whole else None
        return item


class CallItem(_Item):
    """A call of a tool; only a function's arguments are told as they come."""

    def __init__(self, place: int, id: str, call_id: str, name: Name) -> None:
        super().__init__(place, id)
        self._call_id = call_id
        self._name = name
        self._arguments: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    def begin(self) -> Iterator[Wire]:
        yield self._added(self._item("in_progress", ""))

    def write(self, text: str) -> Iterator[Wire]:
        if not text:
            return
        self._arguments.append(text)
        if self._name.kind == "function":
            yield self._told("function_call_arguments.delta", delta=text)

    def end(self, status: str) -> Iterator[Wire]:
        arguments = self.arguments
        if self._name.kind == "function":
            yield self._told(
                "function_call_arguments.done",
                name=self._name.name,
                arguments=arguments,
            )
        elif self._name.kind == "custom":
            text = free_text(arguments)
            if text:
                yield self._told("custom_tool_call_input.delta", delta=text)
            yield self._told("custom_tool_call_input.done", input=text)
        yield self._done(self._item(status, arguments))

    def _item(self, status: str, arguments: str) -> Wire:
        kind, name = self._name.kind, self._name.name
        item: Wire = {"type": f"{kind}_call", "id": self.id, "status": status}
        match kind:
            case "function":
                item |= {"name": name, "arguments": arguments}
            case "custom":
                text = free_text(arguments) if arguments else ""
                item |= {"type": "custom_tool_call", "name": name, "input": text}
            case "local_shell":
                item["action"] = action_of(arguments or "{}")
        item["call_id"] = self._call_id
        if self._name.namespace is not None:
            item["namespace"] = self._name.namespace
        return item
