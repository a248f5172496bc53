"""Dialogues that go on in the chat they began in, found by the history sent again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kimi_proxy.chat import Attachment, Message, Tool, ToolCall, ToolChoice
from kimi_proxy.errors import (
    AccountBusy,
    InvalidAnswer,
    TokenDead,
    UpstreamCut,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamRejected,
)
from kimi_proxy.events import Finished, TextDelta, ToolCallDelta
from kimi_proxy.storage import Store
from tests.fakes import HandClock
from tests.flow.talks import Town, bot, system, town, user

WEATHER = Tool("weather", "tells the weather", {"type": "object"})
PICTURE = Attachment("image", "messages[0].content[1]", data=b"made-up picture")


@pytest.fixture
def place(hand: HandClock, hand_store: Store) -> Town:
    return town(hand.clock, hand_store)


def begun(place: Town, *before: Message, **fields: object) -> list[Message]:
    """A dialogue of one turn, as its client has it."""
    history = [*before, user("one")]
    place.ask(history, **fields)
    return [*history, bot("re: one")]


def follows(place: Town) -> list[bool]:
    return [turn.follows for turn in place.turns]


def test_only_the_new_turn_goes_up_in_the_chat_of_the_dialogue(place: Town) -> None:
    history: list[Message] = [system("be kind")]
    for number in range(5):
        history.append(user(f"question {number}"))
        answer = place.ask(history).text
        assert answer == f"re: question {number}"
        history.append(bot(answer))
    assert follows(place) == [False, True, True, True, True]
    assert {turn.chat for turn in place.turns} == {"talk-1"}
    assert [turn.text for turn in place.turns[1:]] == [
        f"user:question {number}" for number in range(1, 5)
    ]
    assert {turn.account for turn in place.turns} == {"a"}
    assert len(place.entries()) == 1
    assert place.sweep() == []


def test_what_the_chat_has_is_still_counted(place: Town) -> None:
    history = begun(place)
    place.ask([*history, user("two")])
    assert place.turns[-1].request.past == tuple(history)


def test_an_edited_history_is_a_branch_and_the_old_one_goes_on(place: Town) -> None:
    history = begun(place)
    longer = [*history, user("two"), bot(place.ask([*history, user("two")]).text)]
    edited = [user("another one"), *longer[1:]]
    assert place.ask([*edited, user("three")]).text == "re: three"
    assert place.turns[-1].follows is False
    assert len(place.turns[-1].request.messages) == 5
    place.ask([*history, user("two again")])
    assert place.turns[-1].follows is False
    place.ask([*longer, user("three")])
    assert (place.turns[-1].follows, place.turns[-1].chat) == (True, "talk-1")


def test_a_branch_goes_on_in_its_own_chat(place: Town) -> None:
    history = begun(place)
    place.ask([*history, user("two")])
    branch = [*history, user("zwei")]
    branch.append(bot(place.ask(branch).text))
    place.ask([*branch, user("three")])
    last = place.turns[-1]
    assert (last.follows, last.chat) == (True, place.turns[2].chat)


RESENT: dict[str, Callable[[Message], Message]] = {
    "blanks trimmed": lambda m: replace(m, text=m.text.strip()),
    "blanks added": lambda m: replace(m, text=f"\n{m.text} \n"),
    "other newlines": lambda m: replace(m, text=m.text.replace("\n", "\r\n")),
    "blanks at line ends": lambda m: replace(m, text=m.text.replace("\n", "  \n")),
    "thinking before it": lambda m: replace(
        m, text=("<think>\nhm\n</think>\n\n" * (m.role == "assistant")) + m.text
    ),
    "thinking in a box before it": lambda m: replace(
        m,
        text='<details type="reasoning" done="true">\n<summary>...</summary>\n> hm\n'
        "</details>\n" * (m.role == "assistant") + m.text,
    ),
    "names dropped": lambda m: replace(m, name=None),
    "JSON written anew": lambda m: replace(
        m,
        tool_calls=tuple(
            ToolCall("call_new", c.name, '{"b" : [2e0, 1],"a":1}') for c in m.tool_calls
        ),
    ),
    "words beside calls dropped": lambda m: replace(
        m, text="" if m.tool_calls else m.text
    ),
    "pictures elsewhere in the request": lambda m: replace(
        m, attachments=tuple(replace(a, param="other") for a in m.attachments)
    ),
}


@pytest.mark.parametrize("resent", RESENT.values(), ids=RESENT.keys())
def test_a_history_is_known_again_however_clients_send_it(
    place: Town, resent: Callable[[Message], Message]
) -> None:
    first = [system("be kind "), user("look:\n\nhere ", name="me")]
    first[1] = replace(first[1], attachments=(PICTURE,))
    call = '{"a": 1.0, "b": [2, 1]}'
    place.provider.plays.append(
        [
            TextDelta(" let me\nsee "),
            ToolCallDelta(0, "call_1", "weather", call),
            Finished("tool_calls"),
        ]
    )
    tools = {"tools": (WEATHER,)}
    place.ask(first, **tools)
    said = bot(" let me\nsee ", ToolCall("call_1", "weather", call))
    result = Message("tool", "rain", tool_call_id="call_1")
    second = [*first, said, result]
    answer = place.ask([resent(m) for m in second], **tools).text
    assert place.turns[-1].follows
    third = [*second, bot(answer), user("thanks")]
    place.ask([resent(m) for m in third], **tools)
    assert follows(place) == [False, True, True]
    assert place.turns[-1].text == f"user:{resent(user('thanks')).text}"


def test_of_a_step_with_tools_only_the_results_go_up(place: Town) -> None:
    calls = [ToolCallDelta(n, f"call_{n}", "weather", "{}") for n in (0, 1)]
    place.provider.plays.append([*calls, Finished("tool_calls")])
    place.ask([user("where does it rain?")], tools=(WEATHER,))
    said = bot("", *(ToolCall(f"call_{n}", "weather", "{}") for n in (0, 1)))
    results = [Message("tool", f"rain {n}", tool_call_id=f"call_{n}") for n in (0, 1)]
    place.ask([user("where does it rain?"), said, *results], tools=(WEATHER,))
    assert place.turns[-1].request.messages == tuple(
        replace(result, name="weather") for result in results
    )


EDITS: dict[str, Callable[[list[Message]], list[Message]]] = {
    "a word": lambda h: [h[0], replace(h[1], text="One"), *h[2:]],
    "the answer": lambda h: [*h[:2], bot("re: one!"), *h[3:]],
    "the directions": lambda h: [system("be rude"), *h[1:]],
    "no directions": lambda h: h[1:],
    "a message more": lambda h: [h[0], user("zero"), *h[1:]],
    "a message less": lambda h: [h[0], *h[2:]],
    "another role": lambda h: [h[0], bot("one"), *h[2:]],
    "another picture": lambda h: [
        h[0],
        replace(h[1], attachments=(replace(PICTURE, data=b"other"),)),
        *h[2:],
    ],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_whatever_was_edited_the_whole_history_goes_up(
    place: Town, edit: Callable[[list[Message]], list[Message]]
) -> None:
    history = begun(place, system("be kind"))
    messages = edit([*history, user("two")])
    place.ask(messages)
    assert place.turns[-1].follows is False
    assert place.turns[-1].request.messages == tuple(messages)


def test_another_model_begins_a_chat_of_its_own(place: Town) -> None:
    place.provider.model_ids = ["model", "other"]
    history = begun(place)
    place.ask([*history, user("two")], model="fake/other")
    assert follows(place) == [False, False]


@pytest.mark.parametrize(
    "tools", [(), (replace(WEATHER, description="says when it rains"),)]
)
def test_other_tools_begin_a_chat_of_their_own(
    place: Town, tools: tuple[Tool, ...]
) -> None:
    history = begun(place, tools=(WEATHER,))
    place.ask([*history, user("two")], tools=tools)
    assert follows(place) == [False, False]


def test_which_tool_must_be_called_begins_no_chat(place: Town) -> None:
    history = begun(place, tools=(WEATHER,))
    choice = ToolChoice("required")
    place.ask([*history, user("two")], tools=(WEATHER,), tool_choice=choice)
    assert follows(place) == [False, True]
    thread = place.turns[-1].request.follows
    assert thread is not None and thread.knows_tools


def test_directions_in_the_new_turn_go_up_with_it(place: Town) -> None:
    history = begun(place, system("be kind"))
    history += [system("be brief"), user("two")]
    history.append(bot(place.ask(history).text))
    assert place.turns[-1].text == "system:be brief|user:two"
    place.ask([*history, user("three")])
    assert place.turns[-1].text == "user:three"


def test_nobody_goes_on_with_a_chat_of_somebody_else(place: Town) -> None:
    history = begun(place, owner="me")
    place.ask([*history, user("two")], owner="you")
    assert follows(place) == [False, False]


def test_two_who_say_the_same_each_go_on_with_a_chat_of_their_own(place: Town) -> None:
    histories = {name: begun(place, owner=name) for name in ("me", "you")}
    for name, history in histories.items():
        place.ask([*history, user("two")], owner=name)
    first, second, *again = [turn.chat for turn in place.turns]
    assert again == [first, second]


def test_of_two_who_go_on_at_once_one_gets_a_new_chat(place: Town) -> None:
    history = begun(place)
    slow = place.open([*history, user("two")])
    assert place.ask([*history, user("two")]).text == "re: two"
    assert "".join(e.text for e in slow if isinstance(e, TextDelta)) == "re: two"
    assert follows(place) == [False, True, False]
    assert place.sweep() == []


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize(
    "error",
    [UpstreamNotFound, UpstreamRejected, UpstreamCut, UpstreamGarbled, TokenDead],
)
def test_a_chat_that_fails_is_merged_into_a_new_one_unseen(
    hand: HandClock, hand_store: Store, error: type[Exception], linear: bool
) -> None:
    place = town(hand.clock, hand_store, linear=linear)
    history = begun(place)
    place.provider.plays.append([error("made up")])
    assert place.ask([*history, user("two")]).text == "re: two"
    assert follows(place) == [False, True, False]
    assert place.turns[-1].request.messages == (*history, user("two"))


def test_an_answer_that_stays_wrong_is_not_asked_for_in_another_chat(
    place: Town,
) -> None:
    history = begun(place)
    place.provider.plays.append([InvalidAnswer("no JSON")])
    with pytest.raises(InvalidAnswer):
        place.ask([*history, user("two")])
    assert follows(place) == [False, True]


@pytest.mark.parametrize("error", [AccountBusy, UpstreamForbidden])
def test_a_chat_outlives_a_refusal(place: Town, error: type[Exception]) -> None:
    history = begun(place)
    place.provider.plays.append([error("made up")])
    assert place.ask([*history, user("two")]).text == "re: two"
    place.sweep()
    assert place.provider.deleted == []


def test_a_chat_deleted_upstream_is_forgotten(place: Town) -> None:
    history = begun(place)
    del place.provider.rooms["talk-1"]
    history.append(user("two"))
    history.append(bot(place.ask(history).text))
    assert place.ask([*history, user("three")]).text == "re: three"
    assert follows(place) == [False, False, True]
    place.sweep()
    assert len(place.entries()) == 1


def test_a_dead_account_costs_one_merge(place: Town) -> None:
    history = begun(place)
    place.provider.plays.append([TokenDead("log in again")])
    history.append(user("two"))
    history.append(bot(place.ask(history).text))
    place.ask([*history, user("three")])
    assert [(t.account, t.follows) for t in place.turns] == [
        ("a", False),
        ("a", True),
        ("b", False),
        ("b", True),
    ]


def test_several_choices_are_kept_nowhere(place: Town) -> None:
    history = begun(place)
    place.ask([*history, user("two")], choices=2)
    assert place.turns[-1].follows is False
    assert place.turns[-1].request.keeps is False
    assert len(place.sweep()) == 1


def test_a_history_that_ends_with_an_answer_goes_up_whole(place: Town) -> None:
    place.ask(begun(place))
    assert follows(place) == [False, False]


def test_stateless_keeps_nothing(hand: HandClock, hand_store: Store) -> None:
    place = town(hand.clock, hand_store, "stateless")
    history = begun(place)
    result = place.ask([*history, user("two")])
    assert result.conversation is None
    assert follows(place) == [False, False]
    assert len(place.sweep()) == 2
    assert place.entries() == []


def test_each_user_has_a_chat_of_its_own(hand: HandClock, hand_store: Store) -> None:
    place = town(hand.clock, hand_store, "user")
    for name in ("ann", "bob", "ann"):
        place.ask([user(f"{name} speaks")], user=name)
    place.ask([user("ann elsewhere")], owner="you", user="ann")
    place.ask([user("nobody speaks")])
    chats = [turn.chat for turn in place.turns]
    assert follows(place) == [False, False, True, False, False]
    assert chats[0] == chats[2] and len(set(chats)) == 4
    assert place.sweep() == [chats[4]]


def test_of_a_users_history_only_the_new_turn_goes_up(
    hand: HandClock, hand_store: Store
) -> None:
    place = town(hand.clock, hand_store, "user")
    history = begun(place, system("be kind"), user="ann")
    place.ask([*history, user("two")], user="ann")
    assert place.turns[-1].text == "user:two"
    place.ask([system("be kind"), user("three")], user="ann")
    assert place.turns[-1].text == "user:three"
