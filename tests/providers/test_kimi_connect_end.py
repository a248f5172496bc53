"""How an answer of the Connect wire ends: well, in an error, or cut (sheet §6, §8)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.connect import Frame
from kimi_proxy.errors import (
    AccountBusy,
    ContentRefused,
    GatewayError,
    UpstreamCut,
    UpstreamFailed,
    UpstreamOverloaded,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.providers.kimi_connect_answer import Answer
from tests.providers.connect_frames import (
    ASSISTANT,
    COMPLETED,
    DONE,
    as_frames,
    block,
    exception,
    read,
    text,
)

ERROR = {"code": "unavailable", "message": "no"}


@pytest.mark.parametrize(
    "frame",
    [
        Frame(2, json.dumps({"error": ERROR}).encode()),
        Frame(0, json.dumps({"error": ERROR}).encode()),
        Frame(2, b'{"error":{}}'),
    ],
    ids=["trailer", "inline", "empty"],
)
@pytest.mark.parametrize("before", [[], [text("set", "a")], [DONE], [COMPLETED, DONE]])
def test_an_error_counts_wherever_it_comes(frame: Frame, before: list[object]) -> None:
    answer = Answer(lambda _: None, wait=7)
    with pytest.raises(UpstreamFailed) as caught:
        read([*as_frames([ASSISTANT, *before]), frame], answer)
    assert caught.value.retry_after == 7
    assert answer.over


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (exception(severity="SEVERITY_BLOCK_RETRACT"), ContentRefused),
        (
            exception(reason="REASON_X", severity="SEVERITY_BLOCK_RETRACT"),
            ContentRefused,
        ),
        (exception(reason="REASON_COMPLETION_OVERLOADED"), UpstreamOverloaded),
        (
            exception(
                reason="REASON_COMPLETION_OVERLOADED", severity="SEVERITY_BLOCK_RETRACT"
            ),
            UpstreamOverloaded,
        ),
        (exception(reason="REASON_NEW"), UpstreamFailed),
        (exception(localizedMessage={"message": "session in progress"}), AccountBusy),
        (block("set", None, exception={}), UpstreamFailed),
    ],
)
def test_an_exception_block_ends_the_answer(
    frame: object, kind: type[GatewayError]
) -> None:
    for before in ([], [text("set", "a")]):
        answer = Answer(lambda _: None)
        with pytest.raises(kind):
            read(as_frames([ASSISTANT, *before, frame]), answer)
        assert not answer.over  # it may go on generating: worth a CancelChat


def test_a_clean_trailer_ends_an_answer_that_said_something() -> None:
    frames = [*as_frames([ASSISTANT, text("set", "a")]), Frame(2, b"{}")]
    assert read(frames) == [TextDelta("a"), Finished("stop", None, "m1")]


def test_a_clean_trailer_without_any_answer_is_no_success() -> None:
    for frames in ([], as_frames([ASSISTANT]), as_frames([{"heartbeat": {}}])):
        with pytest.raises(UpstreamCut):
            read([*frames, Frame(2, b"{}")])


def test_a_message_that_goes_on_generating_is_not_complete() -> None:
    with pytest.raises(UpstreamCut):
        read(as_frames([ASSISTANT, COMPLETED, ASSISTANT]))
    other = {"message": {"id": "m2", "role": "assistant"}}
    with pytest.raises(UpstreamCut):
        read(as_frames([ASSISTANT, COMPLETED, other]))


def ended_as(status: str, ident: str = "m1") -> dict[str, object]:
    return {"op": "set", "message": {"id": ident, "status": status}}


@pytest.mark.parametrize("before", [[], [text("set", "a")]])
@pytest.mark.parametrize("ends", [[DONE], [], [COMPLETED, DONE]])
def test_an_answer_that_ended_as_something_unheard_of_is_no_success(
    before: list[object], ends: list[object]
) -> None:
    odd = ended_as("MESSAGE_STATUS_CANCELLED")
    order = [*ends, odd] if COMPLETED in ends else [odd, *ends]
    frames = [*as_frames([ASSISTANT, *before, *order]), Frame(2, b"{}")]
    with pytest.raises(UpstreamCut, match="MESSAGE_STATUS_CANCELLED"):
        read(frames)


def test_only_the_last_status_of_the_answer_itself_counts() -> None:
    for told in (
        [ended_as("MESSAGE_STATUS_QUEUED"), COMPLETED],
        [ended_as("MESSAGE_STATUS_UNSPECIFIED"), DONE],
        [ended_as("MESSAGE_STATUS_GENERATING"), DONE],
        [ended_as("MESSAGE_STATUS_CANCELLED", "another"), DONE],
    ):
        frames = as_frames([ASSISTANT, text("set", "a"), *told])
        assert read(frames) == [TextDelta("a"), Finished("stop", None, "m1")]


def test_a_question_that_is_complete_does_not_complete_the_answer() -> None:
    question = {"message": {"id": "u", "role": "user"}}
    late = {"message": {"id": "u", "status": "MESSAGE_STATUS_COMPLETED"}}
    unknown = {"message": {"id": "x", "status": "MESSAGE_STATUS_COMPLETED"}}
    nameless = {"message": {"status": "MESSAGE_STATUS_COMPLETED"}}
    for frames in (
        [question, ASSISTANT, text("set", "a"), late],
        [ASSISTANT, text("set", "a"), unknown],
        [text("set", "a"), unknown],
        [text("set", "a"), nameless],
    ):
        with pytest.raises(UpstreamCut):
            read(as_frames(frames))


KEYS = (
    "op mask paths chat message block id role status blocks text think content flags "
    "refs base url searchChunks usedSearchChunks tool contents exception error details "
    "debug violations field elements done"
).split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([0, 2]))
def test_nothing_but_a_gateway_error_ever_comes_out(
    documents: list[object], flags: int
) -> None:
    frames = [*as_frames(documents), Frame(flags, b"{}")]
    try:
        events = read(frames)
    except GatewayError:
        return
    assert isinstance(events[-1], Finished)
    assert all(not isinstance(event, Finished) for event in events[:-1])
