"""An answer as the steps of a stream (connect sheet §6): pure, no I/O, no clock."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulators.kimi_connect.answer import Answer, SearchHit
from emulators.kimi_connect.frame import TRAILER, data_frame
from emulators.kimi_connect.prompt import Prompt
from emulators.kimi_connect.world import Chat, Knobs, Message

_COMMA_MASKS = {
    "chat": "chat.id,chat.name",
    "message": "message.id,message.parentId,message.role,message.status",
    "block.text": "block.id,block.text.content",
    "block.think": "block.id,block.think.content",
    "message.status": "message.id,message.status",
}


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to send. `content` marks a delta of thinking or answer; `text` is the
    part of the answer it adds. `kind`: head, frame, status, error, done or trailer.
    """

    data: bytes
    kind: str = "frame"
    content: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """A silence in seconds, with or without heartbeats in it."""

    seconds: float
    heartbeats: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """The model waits for the user: the chat's status changes."""


Step = Send | Wait | Ask
HEARTBEAT = data_frame({"heartbeat": {}})
DONE = Send(data_frame({"done": {}}), "done")
CLEAN_TRAILER = Send(data_frame({}, TRAILER), "trailer")


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything an answer's stream is made from."""

    chat: Chat
    new: bool
    user: Message
    assistant: Message
    prompt: Prompt
    answer: Answer
    knobs: Knobs


class Script:
    """Writes one stream; block ids and offsets start anew in each."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._offset = 0
        self._block = 0

    def steps(self) -> Iterator[Step]:
        """Yield the whole stream, from the first heartbeat to the clean trailer."""
        yield Send(HEARTBEAT, "head")
        yield from self._head()
        yield from self._body()
        yield from self._tail()

    def status(self) -> Send:
        """The event that ends the assistant's message."""
        ended = {"id": self._scene.assistant.id, "status": "MESSAGE_STATUS_COMPLETED"}
        return self._event("message.status", {"message": ended}, kind="status")

    def _event(
        self,
        mask: str,
        payload: Mapping[str, Any],
        *,
        append: bool = False,
        kind: str = "frame",
        content: bool = False,
        text: str = "",
    ) -> Send:
        self._offset += 1
        op: str = "append" if append else "set"
        masks: Any = mask
        if self._scene.knobs.masks == "comma":
            masks = _COMMA_MASKS.get(mask, mask)
        elif self._scene.knobs.masks == "paths":
            op, masks = f"OPERATOR_{op.upper()}", {"paths": mask.split(",")}
        event = {"op": op, "mask": masks, "eventOffset": self._offset, **payload}
        return Send(data_frame(event), kind, content, text)

    def _next_block(self) -> str:
        self._block += 1
        return str(self._block)

    def _head(self) -> Iterator[Step]:
        scene, chat = self._scene, self._scene.chat
        if scene.new:
            root = {"id": scene.user.parent_id, "role": "system"}
            named = {"id": chat.id, "name": "Untitled"}
            yield self._event("chat", {"chat": named}, kind="head")
            yield self._event("message", {"message": root}, kind="head")
        else:
            last = {"id": chat.id, "lastRequest": chat.last_request}
            yield self._event("chat.lastRequest", {"chat": last}, kind="head")
        for message in (scene.user, scene.assistant):
            shown = message.json()
            del shown["createTime"]
            yield self._event("message", {"message": shown}, kind="head")

    def _body(self) -> Iterator[Step]:
        scene, answer = self._scene, self._scene.answer
        thinking = answer.thinking_pieces if scene.prompt.thinking else ()
        stage = self._next_block() if thinking else ""
        if thinking:
            yield self._stage(stage, "block.multiStage", "running")
        if answer.first_delay:
            yield Wait(answer.first_delay)
        yield from self._texts("think", thinking)
        if thinking:
            yield self._stage(stage, "block.stage", "completed")
        hits = answer.search if scene.prompt.search else ()
        if hits:
            yield from self._search(hits)
        if thinking and answer.delay:
            yield Wait(answer.delay)
        yield from self._texts("text", answer.text_pieces)
        yield from self._extras()
        if hits:
            yield self._used(hits)
        if answer.questions and scene.prompt.asks:
            yield from self._ask()

    def _tail(self) -> Iterator[Step]:
        answer, chat = self._scene.answer, self._scene.chat
        if answer.name and self._scene.new:
            named = {"id": chat.id, "name": answer.name}
            yield self._event("chat.name", {"chat": named})
        yield self.status()
        yield DONE
        yield CLEAN_TRAILER

    def _stage(self, block: str, mask: str, status: str) -> Send:
        stage = {"name": "STAGE_NAME_THINKING", "status": status}
        field = mask.partition(".")[2]
        value = {"stages": [stage]} if field == "multiStage" else stage
        return self._event(mask, {"block": {"id": block, field: value}})

    def _texts(self, field: str, pieces: Sequence[str]) -> Iterator[Step]:
        """Yield one content frame per piece, and repeated `set`s between them.

        Old builds put both kinds in text blocks and tell them by a flag, which comes
        with the first frame of the block only (§6).
        """
        knobs, sofar = self._scene.knobs, ""
        extra: dict[str, str] = {}
        name = field
        if knobs.old_build:
            name = "text"
            extra = {"flags": "thinking" if field == "think" else "answer"}
        block = self._next_block() if pieces else ""
        for index, piece in enumerate(pieces):
            if index and self._scene.answer.delay:
                yield Wait(self._scene.answer.delay)
            sofar += piece
            grow = knobs.texts == "set" or (knobs.texts == "mixed" and index % 4 == 2)
            append = index > 0 and not grow
            value = {
                "content": piece if append else sofar,
                **(extra if not index else {}),
            }
            yield self._event(
                f"block.{name}.content" if append else f"block.{name}",
                {"block": {"id": block, name: value}},
                append=append,
                content=True,
                text=piece if field == "text" else "",
            )
            if knobs.texts == "mixed" and index % 4 == 3:
                again = {"block": {"id": block, name: {"content": sofar}}}
                yield self._event(f"block.{name}", again)

    def _search(self, hits: Sequence[SearchHit]) -> Iterator[Step]:
        block = self._next_block()
        if self._scene.knobs.old_build:
            found = {"keywords": [self._scene.prompt.text[:40]]}
            pages = {"webPages": [_page(hit) for hit in hits]}
            for mask, value in (("keywords", found), ("webPages", pages)):
                payload: dict[str, Any] = {"block": {"id": block, "search": value}}
                yield self._event(f"block.search.{mask}", payload)
            return
        query = json.dumps({"queries": [self._scene.prompt.text[:40]]})
        yield from self._tool(block, "web_search", query)
        for index, hit in enumerate(hits):
            contents = {"contents": [{"searchResult": _chunk(index, hit)}]}
            payload = {"block": {"id": block, "tool": contents}}
            yield self._event("block.tool.contents", payload, append=True)
        chunks = [_chunk(index, hit) for index, hit in enumerate(hits)]
        listed = {"id": self._scene.assistant.id, "refs": {"searchChunks": chunks}}
        yield self._event("message.refs.searchChunks", {"message": listed})

    def _tool(self, block: str, name: str, arguments: str) -> Iterator[Step]:
        call = {"toolCallId": f"{name}:1", "name": name}
        yield self._event("block.tool", {"block": {"id": block, "tool": call}})
        half = len(arguments) // 2
        for part in (arguments[:half], arguments[half:]):
            payload = {"block": {"id": block, "tool": {"args": part}}}
            yield self._event("block.tool.args", payload, append=True)

    def _used(self, hits: Sequence[SearchHit]) -> Send:
        used = [_chunk(index, hit) for index, hit in enumerate(hits) if hit.used]
        message: dict[str, Any] = {"id": self._scene.assistant.id}
        if self._scene.knobs.old_build:
            message["ref"] = {"search": [_page(hit) for hit in hits if hit.used]}
            return self._event("message.ref.search", {"message": message})
        message["refs"] = {"usedSearchChunks": used}
        return self._event("message.refs.usedSearchChunks", {"message": message})

    def _extras(self) -> Iterator[Step]:
        answer = self._scene.answer
        for index, (name, text) in enumerate(answer.agents):
            said = {"agentId": f"agent-{index}", "agentName": name, "content": text}
            payload = {"block": {"id": self._next_block(), "agentMessage": said}}
            yield self._event("block.agentMessage", payload)
        for name in answer.files:
            made = {"id": f"made-up-{name}", "meta": {"name": name}}
            payload = {"block": {"id": self._next_block(), "file": made}}
            yield self._event("block.file", payload)

    def _ask(self) -> Iterator[Step]:
        arguments = json.dumps({"questions": list(self._scene.answer.questions)})
        *asking, last = self._tool(self._next_block(), "ask_user", arguments)
        yield from asking
        yield Ask()  # before the client can know of it
        yield last
        yield Wait(math.inf)


def _chunk(index: int, hit: SearchHit) -> dict[str, Any]:
    base = {
        "title": hit.title,
        "url": hit.url,
        "siteName": hit.site,
        "snippet": hit.snippet,
        "publishTime": hit.published,
    }
    ref = f"web_search:1#{index}" if hit.ref is None else hit.ref
    return {"id": f"s{index + 1}", "refIndex": ref, "base": base}


def _page(hit: SearchHit) -> dict[str, str]:
    return {
        "title": hit.title,
        "url": hit.url,
        "siteName": hit.site,
        "publishTime": hit.published,
        "snippet": hit.snippet,
    }
