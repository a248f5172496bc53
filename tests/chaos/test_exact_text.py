"""What the upstream says arrives letter by letter, whoever else is talking."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import product

import openai
import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_legacy import Answer as LegacyAnswer
from tests.chaos.conftest import OpenHouse
from tests.chaos.gateway import KEY
from tests.chaos.house import House, Plan
from tests.chaos.waiting import together

TEXTS: Mapping[str, str] = {
    "zh": "月之暗面，长文本。" * 10,
    "en": 'Plain words, "quotes", back\\slash, tab\t, data: [DONE]\n\nnew line\r\n.'
    * 9,
    "emoji": "👩‍👩‍👧‍👦🇨🇳🏳️‍🌈e\u0301\u200d𝒳" * 8,
    "odd": "\u0000\u0001\u007f\u2028\u2029\ufeff</script>{}\\u0041: event: x",
}
LONG = "一段很长的文字 and a long line 🌙\n" * 4700  # about 200 KB in UTF-8
CROWD = 100


@pytest.fixture(scope="module")
def house(open_house: OpenHouse) -> House:
    return open_house({"connect": Plan(rooms=3), "legacy": Plan("legacy", rooms=2)})


def test_a_text_arrives_exactly_however_its_bytes_are_split(house: House) -> None:
    gateway, connect = house.gateway, house.take("connect").emulator
    for piece, (name, text) in product((1, 2, 3, 7), TEXTS.items()):
        connect.answer = Answer(text, pieces=5)
        for stream in (True, False):
            connect.faults.add("split", pieces=[piece])
            reply = gateway.ask(name, stream=stream)
            assert reply.text == text
            assert reply.finish_reason == "stop"


def test_legacy_a_text_arrives_exactly_however_its_bytes_are_split(
    house: House,
) -> None:
    gateway, legacy = house.gateway, house.take("legacy").emulator
    for piece, (name, text) in product((1, 2, 3, 7), TEXTS.items()):
        legacy.knobs.split = (piece,)
        legacy.knobs.crlf = piece == 2
        legacy.answer = LegacyAnswer(text, pieces=5)
        for stream in (True, False):
            reply = gateway.ask(name, stream=stream)
            assert reply.text == text
            assert reply.finish_reason == "stop"


def test_a_very_long_text_arrives_exactly(house: House) -> None:
    gateway, connect = house.gateway, house.take("connect").emulator
    assert len(LONG.encode()) > 200_000
    # Whole, in frames of more than 64 KiB, and in crumbs.
    for pieces, split in ((len(LONG), 50_000), (40_000, 1 << 20), (50, 7)):
        connect.answer = Answer(LONG, pieces=pieces)
        connect.knobs.texts = "append"
        for stream in (True, False):
            connect.faults.add("split", pieces=[split])
            assert gateway.ask("a lot", stream=stream).text == LONG


def test_legacy_a_very_long_text_arrives_exactly(house: House) -> None:
    gateway, legacy = house.gateway, house.take("legacy").emulator
    for pieces, split in ((len(LONG), 50_000), (50, 7)):
        legacy.answer = LegacyAnswer(LONG, pieces=pieces)
        legacy.knobs.split = (split,)
        for stream in (True, False):
            assert gateway.ask("a lot", stream=stream).text == LONG


def test_a_very_long_prompt_arrives_exactly(house: House) -> None:
    gateway, connect = house.gateway, house.take("connect").emulator
    connect.answer = lambda prompt, _: Answer(f"You said: {prompt}", pieces=5000)
    assert gateway.ask(LONG, stream=True).text == f"You said: {LONG}"


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def hall(request: pytest.FixtureRequest, open_house: OpenHouse) -> House:
    """Two workers and room for a hundred streams at a time."""
    plans = {"crowd": Plan(rooms=2, settings={"pool": {"concurrency": CROWD}})}
    return open_house(plans, worker_class=request.param, workers=2)


@pytest.fixture
def crowd(hall: House) -> KimiConnectEmulator:
    """An emulator whose answers are slow."""
    emulator: KimiConnectEmulator = hall.take("crowd").emulator
    emulator.knobs.turns_per_account = CROWD
    emulator.answer = lambda prompt, _: Answer(said(prompt), pieces=9, delay=0.02)
    return emulator


def said(prompt: str) -> str:
    """An answer that no other prompt has."""
    return f"{prompt} 你好 🌙 " * 20


def test_a_hundred_streams_of_openai_clients_in_threads_are_not_mixed_up(
    hall: House, crowd: KimiConnectEmulator
) -> None:
    with openai.OpenAI(
        base_url=f"{hall.gateway.url}/v1", api_key=KEY, max_retries=0, timeout=60
    ) as client:

        def ask(number: int) -> str:
            stream = client.chat.completions.create(
                model=hall.gateway.provider,
                messages=[{"role": "user", "content": f"number {number}"}],
                stream=True,
            )
            with stream:
                return "".join(c.choices[0].delta.content or "" for c in stream)

        texts = together(ask, range(CROWD))
    assert texts == [said(f"number {n}") for n in range(CROWD)]
    assert len(crowd.log.of("Chat")) == CROWD


def test_a_hundred_streams_of_an_async_openai_client_are_not_mixed_up(
    hall: House, crowd: KimiConnectEmulator
) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model=hall.gateway.provider,
            messages=[{"role": "user", "content": f"number {number}"}],
            stream=True,
        )
        async with stream:
            return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def everybody() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{hall.gateway.url}/v1", api_key=KEY, max_retries=0, timeout=60
        ) as client:
            return await asyncio.gather(*(ask(client, n) for n in range(CROWD)))

    assert asyncio.run(everybody()) == [said(f"number {n}") for n in range(CROWD)]
    assert len(crowd.log.of("Chat")) == CROWD
