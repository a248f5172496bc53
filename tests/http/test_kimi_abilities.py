"""What a Kimi account can do, as a client sees it, on both wires."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from emulators import kimi_connect, kimi_legacy
from emulators.kimi_connect import bracket_citation, citation
from tests.http import expect
from tests.http.conftest import Build, House

PATH = "/v1/chat/completions"
AGENT = "fakeagent00000000020"
A, B, C = (f"https://example.org/{name}" for name in "abc")
MARKED = f"Cold{citation(1)} and wet{citation(2)}{citation(9)}."
BRACKETS = f"Cold{bracket_citation('web_search:1#0')} and wet{citation(2)}."
PLAIN = "Cold and wet."
SHOWN = {
    "none": PLAIN,
    "annotations": PLAIN,
    "footnotes": f"Cold[1] and wet[2].\n\n[1] [A]({A})\n[2] [B]({B})\n[3] [C]({C})",
    "inline": f"Cold ([A]({A})) and wet ([B]({B})).\n\n[1] [C]({C})",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, whichever way it came."""

    text: str
    reasoning: str
    annotations: list[dict[str, Any]]
    reason: str

    def sources(self) -> list[tuple[str, tuple[int, int]]]:
        """URL and place of each annotation."""
        found = [annotation["url_citation"] for annotation in self.annotations]
        return [(f["url"], (f["start_index"], f["end_index"])) for f in found]


@dataclass(frozen=True, slots=True)
class Stand:
    """A gateway before an emulator of one wire."""

    house: House
    emulator: Any
    wire: str
    model: str
    call: str  # the streaming call's name in the emulator's log

    def post(self, model: str, *, stream: bool = False, **fields: Any) -> Any:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Weather?"}],
            "stream": stream,
            **fields,
        }
        return self.house.client.post(PATH, json=body)

    def say(self, model: str, *, stream: bool, **fields: Any) -> Said:
        answer = self.post(model, stream=stream, **fields)
        assert answer.status_code == 200, answer.data
        return streamed(answer.data) if stream else whole(answer.get_json())

    def script(self, text: str, pieces: int = 3, **fields: Any) -> None:
        """Let the emulator say this, and find three pages where it may search."""
        package: Any = kimi_connect if self.wire == "connect" else kimi_legacy
        hits = tuple(package.SearchHit(url[-1].upper(), url) for url in (A, B, C))
        self.emulator.answer = package.Answer(
            text, pieces=pieces, search=hits, **fields
        )

    def sent(self) -> dict[str, Any]:
        """The last question as the emulator got it."""
        body = self.emulator.log.of(self.call)[-1].body
        assert isinstance(body, dict)
        return body

    def searched(self) -> bool:
        body = self.sent()
        if self.wire == "legacy":
            return bool(body["use_search"])
        return {"type": "TOOL_TYPE_SEARCH", "search": {}} in body["tools"]


def whole(body: dict[str, Any]) -> Said:
    (choice,) = body["choices"]
    message = choice["message"]
    return Said(
        message["content"],
        message.get("reasoning_content", ""),
        message.get("annotations", []),
        choice["finish_reason"],
    )


def streamed(data: bytes) -> Said:
    lines = [line for line in data.decode().splitlines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    choices = [json.loads(line[6:])["choices"][0] for line in lines]
    deltas = [choice["delta"] for choice in choices]
    return Said(
        "".join(delta.get("content", "") for delta in deltas),
        "".join(delta.get("reasoning_content", "") for delta in deltas),
        [one for delta in deltas for one in delta.get("annotations", [])],
        choices[-1]["finish_reason"],
    )


def stand(build: Build, emulator: Any, wire: str, **provider: Any) -> Stand:
    settings = {
        "type": "kimi",
        "wire": wire,
        "tokens": [{"name": "a", "token": emulator.add_account("a").refresh}],
        "hosts": dict.fromkeys(("api", "auth", "legacy"), emulator.url),
        **provider,
    }
    model = {"connect": "k2d6-chat", "legacy": "kimi"}[wire]
    default = f"kimi/{model}"
    aliases: dict[str, Any] = {
        "kimi-search": {"route": default, "search": True},
        "kimi-silent": {"route": default, "search": True, "citations": "none"},
        "kimi-thinking": {"route": default, "effort": "high"},
        "kimi-quiet": {"route": default, "effort": "high", "reasoning": "hidden"},
        "instant": {"route": default, "effort": "none"},
        "my-agent": f"kimi/{AGENT}",
        **{mode: {"route": default, "citations": mode} for mode in SHOWN},
    }
    house = build(providers={"kimi": settings}, models=aliases)
    call = {"connect": "Chat", "legacy": "completion"}[wire]
    return Stand(house, emulator, wire, model, call)


@pytest.fixture(params=["connect", "legacy"])
def kimi(request: pytest.FixtureRequest, build: Build) -> Iterator[Stand]:
    with ExitStack() as stack:
        kinds = {
            "connect": kimi_connect.KimiConnectEmulator,
            "legacy": kimi_legacy.KimiLegacyEmulator,
        }
        emulator = stack.enter_context(kinds[request.param]())
        yield stand(build, emulator, request.param)


@pytest.fixture
def connect(build: Build) -> Iterator[Stand]:
    with kimi_connect.KimiConnectEmulator() as emulator:
        yield stand(build, emulator, "connect")


@pytest.fixture
def legacy(build: Build) -> Iterator[Stand]:
    with kimi_legacy.KimiLegacyEmulator() as emulator:
        yield stand(build, emulator, "legacy")
        assert emulator.violations() == []


@pytest.mark.parametrize(
    ("model", "fields", "searched"),
    [
        ("kimi", {}, False),
        ("kimi", {"use_search": True}, True),
        ("kimi", {"web_search_options": {}}, True),
        ("kimi", {"tools": [{"type": "web_search"}]}, True),
        ("kimi-search", {}, True),
        ("kimi-search", {"use_search": False}, False),
        ("kimi-silent", {}, True),
        ("instant", {"use_search": True}, True),
    ],
)
def test_search_is_on_where_it_is_asked_for(
    kimi: Stand, model: str, fields: dict[str, Any], searched: bool
) -> None:
    kimi.script(PLAIN)
    said = kimi.say(model, stream=False, **fields)
    assert said.text == PLAIN
    assert kimi.searched() is searched
    quiet = not searched or model == "kimi-silent"
    assert [url for url, _ in said.sources()] == ([] if quiet else [A, B, C])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pieces", [1, 2, 500])
@pytest.mark.parametrize("mode", SHOWN)
def test_sources_are_shown_in_the_way_that_was_configured(
    kimi: Stand, mode: str, pieces: int, stream: bool
) -> None:
    kimi.script(MARKED, pieces)
    said = kimi.say(mode, stream=stream, use_search=True)
    assert (said.text, said.reason) == (SHOWN[mode], "stop")
    expected = [(A, (4, 4)), (B, (12, 12)), (C, (0, 13))]
    assert said.sources() == (expected if mode == "annotations" else [])


@pytest.mark.parametrize("stream", [False, True])
def test_a_result_is_found_by_its_full_reference(connect: Stand, stream: bool) -> None:
    connect.script(BRACKETS, 1)
    said = connect.say("inline", stream=stream, use_search=True)
    assert said.text == SHOWN["inline"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [f"kimi/{AGENT}", "my-agent"])
def test_an_agent_is_a_model_by_its_id(kimi: Stand, model: str, stream: bool) -> None:
    kimi.script("Here I am.")
    assert kimi.say(model, stream=stream).text == "Here I am."
    assert kimi.sent()["kimiplus_id"] == AGENT


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["nobody00000000000020", "nobody", "k9"])
def test_an_unknown_agent_is_no_model(kimi: Stand, model: str, stream: bool) -> None:
    answer = kimi.post(f"kimi/{model}", stream=stream)
    expect.error(answer, 404, "model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "fields", "thinks"),
    [
        ("kimi-thinking", {}, True),
        ("kimi-quiet", {}, True),
        ("instant", {}, False),
        ("kimi-thinking", {"reasoning_effort": "none"}, False),
        ("instant", {"reasoning_effort": "high"}, True),
        ("instant", {"thinking": {"type": "enabled"}}, True),
        ("kimi-thinking", {"enable_thinking": False}, False),
        ("kimi-thinking", {"include_reasoning": False}, True),
        ("kimi-quiet", {"include_reasoning": True}, True),
    ],
)
def test_thinking_is_on_off_or_hidden(
    kimi: Stand, model: str, fields: dict[str, Any], thinks: bool, stream: bool
) -> None:
    extra: dict[str, Any] = {"thinking": "I ponder."} if kimi.wire == "connect" else {}
    kimi.script("Done.", **extra)
    said = kimi.say(model, stream=stream, **fields)
    assert said.text == "Done."
    shown = fields.get("include_reasoning", model != "kimi-quiet")
    if kimi.wire == "connect":
        assert kimi.sent()["options"]["thinking"] is thinks
        assert said.reasoning == ("I ponder." if thinks and shown else "")
    else:  # this wire has a thinking model, but no known word for its thoughts
        assert (kimi.sent()["kimiplus_id"] != "kimi") is thinks


@pytest.mark.parametrize("stream", [False, True])
def test_deep_research_asks_back_and_goes_on_with_the_reply(
    connect: Stand, stream: bool
) -> None:
    question = {
        "question": "Which city?",
        "type": "single",
        "options": [{"option": "Oslo", "description": "", "recommended": True}],
    }
    connect.script("First.", questions=(question,))
    asked = connect.post("kimi/deep-researcher", stream=stream, conversation_id="none")
    said = streamed(asked.data) if stream else whole(asked.get_json())
    expected = "First.\n\nWhich city?\n1. Oslo (recommended)"
    assert (said.text, said.reason) == (expected, "stop")
    (chat,) = connect.emulator.chats()
    connect.script("Rain.")
    reply = connect.say(
        "kimi/deep-researcher",
        stream=stream,
        conversation_id=chat.id,
        messages=[{"role": "user", "content": "Oslo"}],
    )
    assert reply.text == "Rain."
    assert connect.sent()["chat_id"] == chat.id
    assert [c.id for c in connect.emulator.chats()] == [chat.id]


def test_research_that_is_used_up_is_refused(legacy: Stand) -> None:
    legacy.emulator.knobs.research_total = 0
    answer = legacy.post("kimi/kimi-research")
    expect.error(answer, 429, "insufficient_quota", None)
    assert legacy.emulator.log.of("create") == ()
    assert legacy.post("kimi/kimi").status_code == 200, "only research is used up"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_goes_on_after_the_upstreams_limit(
    legacy: Stand, stream: bool
) -> None:
    legacy.script("It was long. " * 3, 5, length_after=2)
    said = legacy.say("kimi", stream=stream)
    assert (said.text, said.reason) == ("It was long. " * 3, "stop")
    legacy.script("It was very, very long. " * 4, 5, length_after=2)
    said = legacy.say("kimi", stream=stream)
    assert (said.text, said.reason) == (("It was very, very long. " * 4)[:40], "length")
    calls = len(legacy.emulator.log.of("completion"))
    said = legacy.say("kimi", stream=stream, max_tokens=1)
    assert said.reason == "length"
    assert len(legacy.emulator.log.of("completion")) == calls + 1


def test_links_are_handed_to_the_link_reader(legacy: Stand) -> None:
    legacy.say(
        "kimi",
        stream=False,
        messages=[
            {"role": "system", "content": "Use https://example.org/a"},
            {"role": "user", "content": "Read https://example.org/b."},
        ],
    )
    prompt = legacy.sent()["messages"][0]["content"]
    assert prompt.count("<url ") == 1
    assert 'wc="">https://example.org/b</url>.' in prompt
