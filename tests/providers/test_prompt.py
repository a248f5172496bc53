"""The merged prompt: nothing lost, nothing moved, readable tool traffic."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_proxy.chat import File, Message, ToolCall
from kimi_proxy.providers.prompt import merge

# A busy machine is slow, which is no fault of the code.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HINT = "system: Answer the user's last message; the conversation so far is above it."
CALL = ToolCall("call_7", "get_weather", '{"city":"Oslo"}')

texts = st.text(
    st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30
).filter(lambda text: not text.isspace())
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    text=texts,
    name=st.none() | st.just("ann"),
    tool_call_id=st.none() | st.just("call_7"),
)


PICTURE = File("image", "cat.png", "image/png", b"made up", "made-up-digest")


def test_a_single_user_message_is_unchanged() -> None:
    assert merge([Message("user", " hi\n")]) == " hi\n"
    assert merge([Message("user", " hi\n", files=(PICTURE,))]) == " hi\n"


def test_a_message_that_had_files_says_so_by_name() -> None:
    other = File("file", "a.pdf", "application/pdf", b"x", "another-digest")
    first = Message("user", "What is this?", files=(PICTURE, other))
    assert merge([first, Message("assistant", "A cat."), Message("user", "Sure?")]) == (
        "user: [attached: cat.png, a.pdf]\nWhat is this?\n\n"
        f"assistant: A cat.\n\n{HINT}\n\nuser: Sure?"
    )


def test_a_file_without_words_is_a_message() -> None:
    alone = Message("user", "", files=(PICTURE,))
    assert merge([alone]) == "[attached: cat.png]"
    assert merge([alone, Message("user", "Well?")]).startswith(
        "user: [attached: cat.png]\n\n"
    )


def test_a_single_user_message_among_empty_ones_is_unchanged() -> None:
    history = [Message("system", ""), Message("user", "hi"), Message("assistant", " ")]
    assert merge(history) == "hi"


def test_one_question_under_a_system_message_needs_no_hint() -> None:
    history = [Message("system", "Be brief."), Message("user", "hi")]
    assert merge(history) == "system: Be brief.\n\nuser: hi"


def test_several_turns_end_with_the_hint_and_the_question() -> None:
    history = [
        Message("user", "one"),
        Message("assistant", "two"),
        Message("user", "three"),
    ]
    assert merge(history) == f"user: one\n\nassistant: two\n\n{HINT}\n\nuser: three"


def test_all_system_messages_stay_where_they_were() -> None:
    history = [
        Message("system", "A"),
        Message("user", "one"),
        Message("system", "B"),
        Message("user", "two"),
    ]
    assert merge(history) == (
        f"system: A\n\nuser: one\n\nsystem: B\n\n{HINT}\n\nuser: two"
    )


def test_tool_calls_and_results_name_tool_id_and_arguments() -> None:
    history = [
        Message("user", "Weather?"),
        Message("assistant", "I look.", tool_calls=(CALL,)),
        Message("tool", "-3 °C", tool_call_id="call_7"),
    ]
    assert merge(history) == (
        "user: Weather?\n\n"
        'assistant: I look.\n[calls get_weather, call call_7, with {"city":"Oslo"}]\n\n'
        "tool (result of get_weather, call call_7): -3 °C"
    )


def test_a_call_without_words_is_not_an_empty_message() -> None:
    prompt = merge([Message("user", "x"), Message("assistant", "", tool_calls=(CALL,))])
    assert prompt.endswith(
        'assistant: [calls get_weather, call call_7, with {"city":"Oslo"}]'
    )


def test_an_empty_tool_result_is_told() -> None:
    prompt = merge([Message("user", "x"), Message("tool", "", tool_call_id="call_9")])
    assert prompt.endswith("tool (result, call call_9): ")


def test_names_tell_speakers_apart() -> None:
    history = [Message("user", "one", name="ann"), Message("user", "two", name="bob")]
    assert merge(history) == f"user (ann): one\n\n{HINT}\n\nuser (bob): two"


def test_no_messages_make_an_empty_prompt() -> None:
    assert merge([]) == ""


@PATIENT
@given(st.lists(messages, max_size=8))
def test_every_text_occurs_in_order(history: list[Message]) -> None:
    prompt, position = merge(history), 0
    for message in history:
        found = prompt.find(message.text, position)
        assert found >= 0
        position = found + len(message.text)


@PATIENT
@given(st.lists(messages, min_size=2, max_size=8))
def test_the_prompt_ends_with_the_last_text(history: list[Message]) -> None:
    assert merge(history).endswith(history[-1].text)
