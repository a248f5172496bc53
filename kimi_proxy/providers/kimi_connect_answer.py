"""The Connect wire's answer: its frames as events of ours (connect sheet §6–§8)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from kimi_proxy.connect import Frame
from kimi_proxy.errors import GatewayError, UpstreamCut, UpstreamGarbled
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta
from kimi_proxy.providers import kimi_connect_error
from kimi_proxy.providers.json_part import mapping_of, text_of
from kimi_proxy.providers.kimi_citation import CitedText
from kimi_proxy.providers.kimi_connect_question import Questions
from kimi_proxy.providers.kimi_connect_source import Sources
from kimi_proxy.providers.kimi_connect_told import Told
from kimi_proxy.refusal import quoted

_TEXT_PATH: Final = "block.text.content"
_THINK_PATH: Final = "block.think.content"
_AGENT_PATH: Final = "block.agentMessage.content"
# The first is proto's word for a field that is not set.
_KNOWN_STATUSES: Final = ("_UNSPECIFIED", "_GENERATING", "_COMPLETED")
_SILENT_ROLES: Final = frozenset({"user", "system"})
_Place = tuple[str, str]  # ids of a message and of a block in it
_log = logging.getLogger(__name__)


class Answer:
    """One answer being read: give it frames, take events.

    `opened` is called once, with the chat's id, as soon as that is known; an answer in
    a chat that goes on has its `chat_id` from the start. `wait` is the Retry-After of
    the response, in seconds, for errors that come inside it. `trailer` turns true at
    the end of the stream, `over` as soon as the upstream has nothing left to generate,
    `asked` when it waits for the user's word: nothing more comes then (sheet §12).
    """

    def __init__(
        self,
        opened: Callable[[str], None],
        wait: float | None = None,
        chat_id: str | None = None,
    ) -> None:
        self.chat_id = chat_id
        self.message_id: str | None = None
        self.trailer = False
        self.asked = False
        self._opened = opened
        self._wait = wait
        self._failed = False
        self._done = False
        self._spoke = False
        self._roles: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._current = ""
        # Ids of blocks begin anew in each message; the kind of a block may change.
        self._told: dict[tuple[_Place, str], Told] = {}
        self._thinking: dict[_Place, bool] = {}
        self._sources = Sources(begins=chat_id is None)
        self._cited = CitedText(self._sources.named)
        self._writing: _Place | None = None
        self._questions = Questions()

    @property
    def over(self) -> bool:
        return self.trailer or self._failed or self._is_whole

    @property
    def _is_whole(self) -> bool:
        return self._done or self._ended_as.endswith("_COMPLETED")

    @property
    def _ended_as(self) -> str:
        """The status last told of the current answer; empty when none was."""
        return self._status.get(self.message_id or "", "")

    def feed(self, frame: Frame) -> Iterator[Event]:
        """The events of one frame; unknown frames have none.

        Raises `UpstreamGarbled` for what is no JSON object, and what the upstream's
        error or exception means; an error counts even after `done` (sheet §6).
        """
        said = _document(frame.payload)
        self.trailer = self.trailer or frame.end
        if said.get("error") is not None:
            self._failed = True
            raise self._refused(said["error"])
        if frame.end:
            return
        self._done = self._done or "done" in said
        self._see_chat(mapping_of(said.get("chat")))
        append = str(said.get("op")).lower().endswith("append")
        if "message" in said:
            yield from self._message(mapping_of(said["message"]), append)
        if "block" in said:
            mask = _paths(said.get("mask"))
            yield from self._block(
                self._current, mapping_of(said["block"]), mask, append
            )

    def end(self) -> Iterator[Event]:
        """The last events, after the trailer or the close of the connection.

        A trailer without error ends an answer that said something, too. Raises
        `UpstreamCut` when the answer is not whole: also when its last status is none
        of those that the sheet knows, whatever `done` says.
        """
        if self._ended_as and not self._ended_as.endswith(_KNOWN_STATUSES):
            raise UpstreamCut(f"Kimi ended its answer as {quoted(self._ended_as)}")
        if not (self._is_whole or self.asked or (self.trailer and self._spoke)):
            raise UpstreamCut("Kimi's answer ended early")
        yield from self._cited.flush()
        yield from self._sources.unplaced(self._cited.placed)
        yield Finished("stop", self.chat_id, self.message_id)

    def _refused(self, error: object) -> GatewayError:
        return kimi_connect_error.error_of(kimi_connect_error.read(error), self._wait)

    def _see_chat(self, chat: Mapping[str, Any]) -> None:
        chat_id = chat.get("id")
        if self.chat_id is None and isinstance(chat_id, str) and chat_id:
            self.chat_id = chat_id
            self._opened(chat_id)

    def _message(self, message: Mapping[str, Any], append: bool) -> Iterator[Event]:
        ident, role = text_of(message, "id"), _role(message)
        if ident and role and (role == "assistant" or ident not in self._roles):
            # A question counts at first sight only: a late update of it must not make
            # the answer's next blocks look like an echo.
            self._roles[ident] = role
            self._current = ident
        owner = ident or self._current
        if self._roles.get(owner, role) in _SILENT_ROLES:
            return
        if self._roles.get(owner) == "assistant":
            self._see_status(owner, text_of(message, "status"))
        self._sources.message(message, append)
        # A message of unknown role may be the echo of the prompt.
        blocks = message.get("blocks") if self._roles.get(owner) else None
        for block in blocks if isinstance(blocks, list) else ():
            yield from self._block(owner, mapping_of(block), (), False)

    def _see_status(self, owner: str, status: str) -> None:
        self.message_id = owner if owner == self._current else self.message_id
        if status:
            self._status[owner] = status

    def _block(
        self,
        owner: str,
        block: Mapping[str, Any],
        mask: tuple[str, ...],
        append: bool,
    ) -> Iterator[Event]:
        if block.get("exception") is not None:
            raise self._refused(block["exception"])
        owner = text_of(block, "messageId") or owner
        if self._roles.get(owner) in _SILENT_ROLES:
            return
        self._sources.block(block)
        place = (owner, str(block.get("id", "")))
        yield from self._asks(place, mapping_of(block.get("tool")), append)
        agent = mapping_of(block.get("agentMessage"))
        think, text = mapping_of(block.get("think")), mapping_of(block.get("text"))
        if think and _covers(mask, _THINK_PATH):
            yield from self._thought(place, "think", think, append)
        if agent and _covers(mask, _AGENT_PATH):
            yield from self._thought(place, "agent", agent, append)
        if text:
            thinking = self._flagged(place, text.get("flags"))
            if _covers(mask, _TEXT_PATH) and thinking:
                yield from self._thought(place, "think", text, append)
            elif _covers(mask, _TEXT_PATH):
                yield from self._answered(place, text, append)

    def _asks(
        self, place: _Place, tool: Mapping[str, Any], append: bool
    ) -> Iterator[Event]:
        """What the model asks the user is the end of its answer for now."""
        questions = self._questions.read(place, tool, append)
        if questions:
            self.asked = True
            yield from self._cited.flush()
            yield TextDelta("\n\n" * bool(self._writing) + questions)

    def _flagged(self, place: _Place, flags: object) -> bool:
        """Whether a text block holds thinking: old builds say so, and say it once."""
        if flags:
            self._thinking[place] = "thinking" in str(flags).lower()
        return self._thinking.get(place, False)

    def _thought(
        self, place: _Place, kind: str, value: Mapping[str, Any], append: bool
    ) -> Iterator[Event]:
        """Thinking, and what sub-agents say: work on the answer, not the answer.

        What the client has can be neither taken back nor mended; here a retouched text
        is no loss.
        """
        content = _content(value)
        if content is None:
            return
        told = self._told.setdefault((place, kind), Told())
        name = text_of(value, "agentName")
        if name and content and not told.begun:
            yield ReasoningDelta(f"\n\n{name}: ")
        try:
            news = told.append(content) if append else told.replace(content)
        except ValueError:
            _log.debug("Kimi rewrote its thinking; the first version stays")
            told.start_over(content)
            return
        if news:
            self._spoke = True
            yield ReasoningDelta(news)

    def _answered(
        self, place: _Place, value: Mapping[str, Any], append: bool
    ) -> Iterator[Event]:
        """A piece of the answer; one that turned out different is an error, since
        there is no other way to say so."""
        content = _content(value)
        if content is None:
            return
        told = self._told.setdefault((place, "answer"), Told())
        try:
            news = told.append(content) if append else told.replace(content)
        except ValueError:
            raise UpstreamGarbled(
                "Kimi rewrote a part of its answer that was already sent"
            ) from None
        if not news:
            return
        self._spoke = True
        if place != self._writing:  # no marker reaches from one block into another
            self._writing = place
            yield from self._cited.flush()
        yield from self._cited.feed(news)


def _content(value: Mapping[str, Any]) -> str | None:
    """The text of a block, if it tells any; raises `UpstreamGarbled`."""
    content = value.get("content")
    if content is not None and not isinstance(content, str):
        raise UpstreamGarbled("a piece of Kimi's answer holds no text")
    return content


def _document(payload: bytes) -> Mapping[str, Any]:
    if not payload:
        return {}
    try:
        said = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("a frame of Kimi's answer is not JSON") from exc
    if not isinstance(said, dict):
        raise UpstreamGarbled("a frame of Kimi's answer is not an object")
    return said


def _paths(mask: object) -> tuple[str, ...]:
    """The fields of a mask: a comma list, a list, or `{"paths": […]}`."""
    if isinstance(mask, dict):
        mask = mask.get("paths")
    if isinstance(mask, str):
        mask = mask.split(",")
    if not isinstance(mask, list):
        return ()
    return tuple(path.strip() for path in mask if isinstance(path, str) and path)


def _covers(mask: tuple[str, ...], field: str) -> bool:
    """Whether a mask names the field, a part of it or what it is a part of."""
    return not mask or any(
        path == field or field.startswith(f"{path}.") or path.startswith(f"{field}.")
        for path in mask
    )


def _role(message: Mapping[str, Any]) -> str:
    return text_of(message, "role").lower().rpartition("_")[2]
