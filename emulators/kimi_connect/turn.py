"""Plays the steps of a stream to a client, and lives on when the client is gone."""

import time
from collections.abc import Iterable

from emulators.kimi_connect.script import (
    CLEAN_TRAILER,
    DONE,
    HEARTBEAT,
    Ask,
    Scene,
    Script,
    Send,
    Step,
    Wait,
)
from emulators.kimi_connect.world import Turn, World
from emulators.stream import StreamWriter


class Player:
    """One generation: its turn stays taken until it is over or cancelled.

    A client that leaves does not end it: only CancelChat does, or the knob
    `generates_after_disconnect` (seconds), or its own end.
    """

    def __init__(
        self, world: World, turn: Turn, scene: Scene, writer: StreamWriter
    ) -> None:
        self._world = world
        self._turn = turn
        self._scene = scene
        self._writer = writer
        self._lost_at: float | None = None
        self._said: list[str] = []

    def play(self, steps: Iterable[Step], script: Script) -> None:
        """Send every step, then end the stream as a cancelled turn ends it."""
        for step in steps:
            if not self._going():
                break
            self._step(step)
        if self._turn.cancelled.is_set():
            self._end_turn()
            for step in (script.status(), DONE, CLEAN_TRAILER):
                self._writer.write(step.data)
        self._end_turn()

    def _step(self, step: Step) -> None:
        match step:
            case Wait():
                self._wait(step)
            case Ask():
                self._scene.chat.status = "STATUS_ASK_USER_QUESTION"
                self._turn.asking = True
            case Send():
                # The turn is free before the client can know that it is over.
                if step.kind in ("done", "trailer", "error"):
                    self._end_turn()
                self._said.append(step.text)
                self._writer.write(step.data)

    def _going(self) -> bool:
        """Whether the turn is neither cancelled nor orphaned for too long."""
        if self._lost_at is None and (self._writer.gone or self._writer.ended):
            self._lost_at = time.monotonic()
        return not self._turn.cancelled.is_set() and self._patience() > 0

    def _patience(self) -> float:
        if self._lost_at is None:
            return float("inf")
        limit = self._world.knobs.generates_after_disconnect
        return self._lost_at + limit - time.monotonic()

    def _wait(self, step: Wait) -> None:
        until = time.monotonic() + step.seconds
        interval = self._world.knobs.heartbeat_interval
        beat = time.monotonic() + interval
        while self._going() and (left := until - time.monotonic()) > 0:
            if self._lost_at is not None:
                self._turn.cancelled.wait(min(left, self._patience()))
                continue
            self._writer.pause(min(left, max(0.0, beat - time.monotonic()), 3600))
            if time.monotonic() >= beat:
                beat += interval
                if step.heartbeats:
                    self._writer.write(HEARTBEAT)

    def _end_turn(self) -> None:
        scene = self._scene
        with self._world.chats.lock:
            scene.assistant.status = "MESSAGE_STATUS_COMPLETED"
            text = {"content": "".join(self._said)}
            scene.assistant.blocks = [{"id": "1", "text": text}]
            scene.chat.status = "STATUS_COMPLETED"
            if scene.new and scene.answer.name and scene.chat.name == "Untitled":
                scene.chat.name = scene.answer.name
        self._world.turns.end(self._turn)
