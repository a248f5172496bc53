"""What the official client, unmodified, must get of every endpoint that is relayed.

    python relay_checks.py BASE_URL KEY

The gateway stands before an emulated upstream named `up`, its default for relayed
calls. This file needs the openai package alone. It ends with an AssertionError at the
first wrong answer.
"""

import asyncio
import base64
import io
import sys
from typing import Any

from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

PNG = b"\x89PNG\r\n\r\n--made-up\r\n" + bytes(range(256))
MP3 = bytes(range(256)) * 9000  # more than the gateway holds in memory
SOUND = 50_000  # bytes, as the emulator was told
TEXT = "up/gpt-3.5-turbo"


def embeddings(client: OpenAI) -> None:
    for name in ("up/text-embedding-3-small", "text-embedding-3-small"):
        made = client.embeddings.create(model=name, input=["one", "two"])
        assert [len(row.embedding) for row in made.data] == [8, 8]
        assert made.usage.total_tokens > 0
    plain = client.embeddings.create(
        model=name, input="one", encoding_format="float", dimensions=4
    )
    assert len(plain.data[0].embedding) == 4


def moderations(client: OpenAI) -> None:
    made = client.moderations.create(input="made-up-harm")
    assert made.results[0].flagged
    made = client.moderations.create(model="up/omni-moderation-latest", input=["x"])
    assert not made.results[0].flagged


def speech(client: OpenAI) -> None:
    asked: Any = {"model": "up/tts-1", "voice": "alloy", "input": "hi"}
    whole = client.audio.speech.create(**asked).content
    assert len(whole) == SOUND
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert b"".join(response.iter_bytes(1000)) == whole


def transcriptions(client: OpenAI) -> None:
    file = ("a.mp3", io.BytesIO(MP3), "audio/mpeg")
    made = client.audio.transcriptions.create(model="up/whisper-1", file=file)
    assert made.text == "A made-up transcript."
    file = ("a.mp3", io.BytesIO(MP3[:1000]), "audio/mpeg")
    words = client.audio.transcriptions.create(
        model="whisper-1", file=file, response_format="text"
    )
    assert "transcript" in str(words)
    stream = client.audio.transcriptions.create(
        model="up/whisper-1", file=("a.mp3", MP3[:1000]), stream=True
    )
    assert [event.type for event in stream] == [
        "transcript.text.delta",
        "transcript.text.done",
    ]
    english = client.audio.translations.create(
        model="up/whisper-1", file=("a.mp3", MP3[:1000])
    )
    assert english.text


def images(client: OpenAI) -> None:
    made = client.images.generate(model="up/gpt-image-1", prompt="a dot", n=2)
    assert made.data is not None and len(made.data) == 2
    assert base64.b64decode(made.data[0].b64_json or "").startswith(b"\x89PNG")
    image = ("a.png", PNG, "image/png")
    made = client.images.edit(model="up/gpt-image-1", image=image, prompt="a dot")
    assert made.data
    made = client.images.create_variation(image=image, response_format="b64_json")
    assert made.data


def completions(client: OpenAI) -> None:
    made = client.completions.create(model=TEXT, prompt="say this")
    assert made.choices[0].text
    stream = client.completions.create(model=TEXT, prompt="say this", stream=True)
    said = "".join(chunk.choices[0].text for chunk in stream)
    assert said == made.choices[0].text


def batches(client: OpenAI, file_id: str) -> None:
    made = client.batches.create(
        input_file_id=file_id,
        endpoint="/v1/embeddings",
        completion_window="24h",
    )
    assert client.batches.retrieve(made.id).id == made.id
    assert made.id in [batch.id for batch in client.batches.list()]
    assert client.batches.cancel(made.id).id == made.id


def stored_chats(client: OpenAI) -> None:
    say: Any = [{"role": "user", "content": "keep this"}]
    made = client.chat.completions.create(model="up/gpt-4o", messages=say, store=True)
    (kept,) = client.chat.completions.list()
    assert kept.id == made.id
    assert kept.choices[0].message.content == made.choices[0].message.content
    messages = client.chat.completions.messages.list(kept.id)
    assert [message.content for message in messages] == ["keep this"]
    client.chat.completions.update(kept.id, metadata={"a": "b"})
    assert client.chat.completions.retrieve(kept.id).metadata == {"a": "b"}
    assert client.chat.completions.delete(kept.id).deleted


def errors(client: OpenAI) -> None:
    try:
        client.embeddings.create(model="up/text-embedding-3-small", input=[])
        raise AssertionError("no error")
    except BadRequestError as exc:
        assert (exc.param, exc.code) == ("input", "empty_array")
        assert exc.request_id
    try:
        client.batches.retrieve("batch_nowhere_1")
        raise AssertionError("no error")
    except NotFoundError as exc:
        assert exc.type == "invalid_request_error"


async def asynchronous(client: AsyncOpenAI) -> None:
    rows = await asyncio.gather(
        *(client.embeddings.create(model="my-embedding", input=f"{n}") for n in "abcd")
    )
    assert all(len(row.data[0].embedding) == 8 for row in rows)
    stream = await client.completions.create(model=TEXT, prompt="say", stream=True)
    assert [chunk async for chunk in stream]
    made = client.audio.speech.with_streaming_response.create(
        model="up/tts-1", voice="alloy", input="hi"
    )
    async with made as response:
        assert sum([len(piece) async for piece in response.iter_bytes()]) == SOUND
    words = await client.audio.transcriptions.create(
        model="up/whisper-1", file=("a.mp3", MP3)
    )
    assert words.text
    assert (await client.moderations.create(input="x")).results


def run(base_url: str, key: str, file_id: str) -> None:
    with OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        for check in (
            embeddings,
            moderations,
            speech,
            transcriptions,
            images,
            completions,
            stored_chats,
            errors,
        ):
            check(client)
        batches(client, file_id)

    async def apart() -> None:
        async with AsyncOpenAI(base_url=base_url, api_key=key) as client:
            await asynchronous(client)

    asyncio.run(apart())


if __name__ == "__main__":
    run(*sys.argv[1:])
