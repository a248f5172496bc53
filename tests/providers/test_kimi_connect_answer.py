"""The Connect wire's answer, frame by frame, without any socket (connect sheet §6)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.connect import Frame, FrameDecoder, encode
from kimi_proxy.errors import (
    UpstreamCut,
    UpstreamGarbled,
)
from kimi_proxy.events import Citation, Event, Finished, ReasoningDelta, TextDelta
from kimi_proxy.providers.kimi_connect_answer import Answer
from tests.providers.connect_frames import (
    ASSISTANT,
    COMPLETED,
    DONE,
    answered,
    as_frames,
    block,
    read,
    refs,
    text,
    think,
    told,
)

CHAT = "1a2b3c4d-0000-4000-8000-00000000c0de"
# The hand-made example of the sheet, whole; its trailer follows in the tests.
EXAMPLE = """
{"heartbeat":{}}
{"op":"set","mask":"chat","eventOffset":1,"chat":{"id":"1a2b3c4d-0000-4000-8000-00000000c0de","name":"Untitled"}}
{"op":"set","mask":"message","eventOffset":2,"message":{"id":"m-user-1","parentId":"m-root","role":"user","status":"MESSAGE_STATUS_COMPLETED","blocks":[{"id":"1","text":{"content":"Weather in Oslo?"}}]}}
{"op":"set","mask":"message","eventOffset":3,"message":{"id":"m-asst-1","parentId":"m-user-1","role":"assistant","status":"MESSAGE_STATUS_GENERATING","blocks":[]}}
{"op":"set","mask":"block.multiStage","eventOffset":4,"block":{"id":"1","multiStage":{"stages":[{"name":"STAGE_NAME_THINKING","status":"running"}]}}}
{"op":"set","mask":"block.think","eventOffset":5,"block":{"id":"2","parentId":"1","think":{"content":"The user"}}}
{"op":"append","mask":"block.think.content","eventOffset":6,"block":{"id":"2","think":{"content":" wants weather."}}}
{"op":"set","mask":"block.tool","eventOffset":7,"block":{"id":"3","tool":{"toolCallId":"web_search:1","name":"web_search"}}}
{"op":"append","mask":"block.tool.args","eventOffset":8,"block":{"id":"3","tool":{"args":"{\\"queries\\":[\\"Oslo"}}}
{"op":"append","mask":"block.tool.args","eventOffset":9,"block":{"id":"3","tool":{"args":" weather\\"]}"}}}
{"op":"append","mask":"block.tool.contents","eventOffset":10,"block":{"id":"3","tool":{"contents":[{"searchResult":{"id":"s1","refIndex":"web_search:1#0","base":{"title":"Oslo weather","url":"https://example.org/oslo","siteName":"Example","snippet":"…","publishTime":"2026-09-20"}}}]}}}
{"heartbeat":{}}
{"op":"set","mask":"block.text","eventOffset":11,"block":{"id":"4","text":{"content":"It is "}}}
{"op":"append","mask":"block.text.content","eventOffset":12,"block":{"id":"4","text":{"content":"cold.[^1^]"}}}
{"op":"set","mask":"message.refs.usedSearchChunks","eventOffset":13,"message":{"id":"m-asst-1","refs":{"usedSearchChunks":[{"id":"s1","base":{"title":"Oslo weather","url":"https://example.org/oslo"}}]}}}
{"op":"set","mask":"chat.name","eventOffset":14,"chat":{"id":"1a2b3c4d-0000-4000-8000-00000000c0de","name":"Oslo weather"}}
{"op":"set","mask":"message.status","eventOffset":15,"message":{"id":"m-asst-1","status":"MESSAGE_STATUS_COMPLETED"}}
{"done":{}}
"""  # noqa: E501 - one frame a line, as the sheet has it
FRAMES = [line.encode() for line in EXAMPLE.strip().splitlines()]
WIRE = b"".join(map(encode, FRAMES)) + b"\x02\0\0\0\x02{}"
TOLD: list[Event] = [
    ReasoningDelta("The user"),
    ReasoningDelta(" wants weather."),
    TextDelta("It is "),
    TextDelta("cold."),
    Citation("https://example.org/oslo", "Oslo weather", placed=True),
    Finished("stop", CHAT, "m-asst-1"),
]


def test_the_sheets_example_is_read_whole() -> None:
    opened: list[str] = []
    assert read(FrameDecoder().feed(WIRE), Answer(opened.append)) == TOLD
    assert opened == [CHAT]


def test_the_sheets_example_survives_a_cut_at_every_byte() -> None:
    for cut in range(len(WIRE) + 1):
        decoder = FrameDecoder()
        frames = decoder.feed(WIRE[:cut]) + decoder.feed(WIRE[cut:])
        assert read(frames) == TOLD


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_the_sheets_example_survives_any_pieces(sizes: list[int]) -> None:
    decoder, frames, data, turn = FrameDecoder(), [], WIRE, 0
    while data:
        size = sizes[turn % len(sizes)]
        frames += decoder.feed(data[:size])
        data, turn = data[size:], turn + 1
    assert read(frames) == TOLD


def test_the_sheets_example_ended_early_is_never_a_success() -> None:
    complete = len(FRAMES) - 1  # from MESSAGE_STATUS_COMPLETED on the answer is whole
    for count in range(complete):
        with pytest.raises(UpstreamCut):
            read(Frame(0, payload) for payload in FRAMES[:count])
    for count in (complete, complete + 1):
        assert read(Frame(0, payload) for payload in FRAMES[:count]) == TOLD


@pytest.mark.parametrize("op", ["append", "APPEND", "OPERATOR_APPEND", "OP_APPEND"])
@pytest.mark.parametrize(
    "mask",
    [
        "block.text.content",
        "block.id,block.text.content",
        "block.id, block.text",
        {"paths": ["block.text.content"]},
        ["block.text.content"],
        "block",
        "",
        None,
    ],
    ids=str,
)
def test_every_spelling_of_an_update_is_understood(op: str, mask: object) -> None:
    first = block("OPERATOR_SET", mask, text={"content": "a"})
    assert answered(first, block(op, mask, text={"content": "a"})) == "aa"


def test_a_field_outside_the_mask_is_not_touched() -> None:
    assert (
        answered(
            text("set", "a"), block("append", "block.stage", text={"content": "b"})
        )
        == "a"
    )


@pytest.mark.parametrize(
    ("updates", "whole"),
    [
        ([("set", "ab"), ("set", "ab")], "ab"),
        ([("set", "ab"), ("set", "abcd")], "abcd"),
        ([("append", "ab"), ("set", "abc"), ("append", "d")], "abcd"),
        ([("set", ""), ("set", "ab")], "ab"),
        ([("set", "abc"), ("set", "ab")], "abc"),
        ([("set", "abc"), ("set", "a"), ("append", "b"), ("append", "cd")], "abcd"),
        ([("set", "abc"), ("set", ""), ("set", "abcd"), ("append", "e")], "abcde"),
    ],
    ids=["same", "longer", "mixed", "empty", "shorter", "retold", "retold by set"],
)
def test_set_on_a_seen_block_tells_only_what_is_new(
    updates: list[tuple[str, str]], whole: str
) -> None:
    assert answered(*(text(op, content) for op, content in updates)) == whole


@pytest.mark.parametrize(
    "updates",
    [
        [("set", "It is cold"), ("set", "It is warm")],
        [("set", "It is cold"), ("set", "It is "), ("append", "warm")],
        [("append", "abc"), ("set", "xabc")],
    ],
)
def test_an_answer_rewritten_after_the_fact_is_an_error(
    updates: list[tuple[str, str]],
) -> None:
    with pytest.raises(UpstreamGarbled, match="rewrote"):
        told(*(text(op, content) for op, content in updates))


def test_thinking_rewritten_after_the_fact_is_not_told_twice() -> None:
    updates = [
        think("set", "Hm, well"),
        think("set", "Summary."),
        think("append", " Ok"),
    ]
    assert told(*updates) == [ReasoningDelta("Hm, well"), ReasoningDelta(" Ok")]


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=6)), max_size=12))
def test_growing_text_arrives_exactly_once(pieces: list[tuple[bool, str]]) -> None:
    sofar, updates = "", []
    for by_append, piece in pieces:
        sofar += piece
        updates.append(text("append", piece) if by_append else text("set", sofar))
    assert answered(*updates) == sofar


def test_block_ids_begin_anew_in_each_message() -> None:
    second = {
        "op": "set",
        "mask": "message",
        "message": {"id": "m2", "role": "assistant"},
    }
    assert answered(text("set", "ab"), second, text("set", "abc")) == "ababc"


def test_a_block_may_name_its_message() -> None:
    echo = {"message": {"id": "u", "role": "user"}}
    documents = [
        echo,
        {
            "op": "set",
            "block": {"id": "1", "messageId": "m1", "text": {"content": "a"}},
        },
        {"op": "set", "block": {"id": "1", "messageId": "u", "text": {"content": "b"}}},
    ]
    assert answered(*documents) == "a"


@pytest.mark.parametrize("role", ["user", "system", "ROLE_USER", "MESSAGE_ROLE_USER"])
def test_no_echo_of_the_prompt_is_told(role: str) -> None:
    echo = {
        "op": "set",
        "message": {
            "id": "u",
            "role": role,
            "status": "MESSAGE_STATUS_COMPLETED",
            "blocks": [{"id": "1", "text": {"content": "the prompt"}}],
        },
    }
    frames = as_frames([echo, text("append", "the prompt again"), ASSISTANT])
    with pytest.raises(UpstreamCut):  # its COMPLETED does not end the answer either
        read(frames)
    assert answered(echo, text("set", "a")) == ""
    assert answered(echo, ASSISTANT, text("set", "a")) == "a"
    late = {"op": "set", "message": {**echo["message"], "id": "u2"}}
    del late["message"]["role"]
    assert answered(late, text("set", "a")) == "a"


def test_a_late_update_of_the_question_does_not_silence_the_answer() -> None:
    question = {"message": {"id": "u", "role": "user"}}
    frames = as_frames([question, ASSISTANT, text("set", "a"), question])
    frames += as_frames([text("append", "b"), COMPLETED])
    assert read(frames) == [
        TextDelta("a"),
        TextDelta("b"),
        Finished("stop", None, "m1"),
    ]


def test_a_snapshot_of_the_answer_tells_only_what_is_new() -> None:
    snapshot = {
        "op": "set",
        "mask": "message",
        "message": {
            "id": "m1",
            "role": "assistant",
            "blocks": [{"id": "1", "text": {"content": "abc"}}],
        },
    }
    assert answered(text("set", "ab"), snapshot) == "abc"


def test_old_builds_flag_thinking_once_for_a_block() -> None:
    documents = [
        text("set", "Hm", flags="thinking"),
        text("append", "m"),
        {
            "op": "set",
            "block": {"id": "2", "text": {"content": "Yes", "flags": "answer"}},
        },
    ]
    assert told(*documents) == [
        ReasoningDelta("Hm"),
        ReasoningDelta("m"),
        TextDelta("Yes"),
    ]


def test_an_old_builds_block_may_turn_from_thinking_to_answer() -> None:
    documents = [
        text("append", "Hm", flags="thinking"),
        text("append", "Yes", flags="answer"),
    ]
    assert told(*documents) == [ReasoningDelta("Hm"), TextDelta("Yes")]


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"heartbeat": {}},
        {"nobody": {"knows": "it"}},
        {"op": "set", "mask": "chat", "chat": "odd"},
        {"op": 5, "mask": 5, "block": None, "message": []},
        {"message": {"id": 5, "role": None, "refs": [], "blocks": {}}},
        {"block": {"id": None, "text": {}, "think": "x", "tool": {"contents": 5}}},
        block("set", "block.agentMessage", agentMessage={"content": "sub"}),
        block("set", "block.file", file={"id": "f"}),
        refs(searchChunks=json.loads("[" * 200 + "]" * 200)),
        {"error": None},
    ],
    ids=str,
)
def test_unknown_frames_are_ignored(frame: object) -> None:
    assert answered(text("set", "a"), frame, text("append", "b")) == "ab"


def test_an_empty_frame_says_nothing() -> None:
    frames = [*as_frames([ASSISTANT, DONE]), Frame(0, b""), Frame(2, b"")]
    assert read(frames) == [Finished("stop", None, "m1")]


@pytest.mark.parametrize(
    "payload",
    [
        *(b"<html>", b'{"op":"app', b"[1]", b'"text"', b"null", b'{"x":"\xff"}'),
        b'{"block":{"id":"1","text":{"content":5}}}',
    ],
)
def test_garbage_is_an_error(payload: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        read([*as_frames([ASSISTANT, text("set", "a")]), Frame(0, payload)])
