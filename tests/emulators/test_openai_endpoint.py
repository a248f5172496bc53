"""Every other endpoint of the OpenAI emulator, and the exact bytes that reached it."""

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from emulators.openai import Answer, Choice, OpenAIEmulator, ToolCall
from emulators.openai.embedding import vector
from emulators.openai.media import PIXEL, sound
from tests.emulators.openai_client import Api, form

BYTES = bytes(range(256)) * 3 + b"\r\n--made-up\r\n\r\n"


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


@pytest.fixture
def sdk(emulator: OpenAIEmulator) -> Iterator[OpenAI]:
    key = emulator.world.keys.named("alice").secret
    with OpenAI(base_url=emulator.base_url, api_key=key, max_retries=0) as client:
        yield client


def test_embeddings_depend_on_the_text_and_come_in_both_encodings(
    api: Api, sdk: OpenAI
) -> None:
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    plain = api.call("POST", "/embeddings", body).json()
    assert [row["index"] for row in plain["data"]] == [0, 1]
    assert plain["data"][0]["embedding"] == vector("a", 8)
    assert plain["data"][0]["embedding"] != plain["data"][1]["embedding"]
    coded = api.call("POST", "/embeddings", {**body, "encoding_format": "base64"})
    raw = base64.b64decode(coded.json()["data"][1]["embedding"])
    assert list(struct.unpack("<8f", raw)) == vector("b", 8)
    made = sdk.embeddings.create(
        model="text-embedding-3-small", input="a", dimensions=40
    )
    assert made.data[0].embedding == vector("a", 40) and made.usage.total_tokens == 1
    assert api.call("POST", "/embeddings", {**body, "input": []}).status == 400
    assert api.call("POST", "/embeddings", {**body, "input": 7}).status == 400
    assert api.call("POST", "/embeddings", {**body, "model": "x"}).status == 404
    tokens = api.call("POST", "/embeddings", {**body, "input": [1, 2, 3]})
    assert len(tokens.json()["data"]) == 1


def test_moderations_judge_each_input(api: Api) -> None:
    body = {"input": ["fine", "this is made-up-harm"]}
    results = api.call("POST", "/moderations", body).json()["results"]
    assert [row["flagged"] for row in results] == [False, True]
    assert results[1]["categories"]["harassment"] is True
    assert api.call("POST", "/moderations", {}).status == 400


def test_speech_is_a_stream_of_every_byte(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.knobs.speech_bytes = 10_000
    body = {"model": "tts-1", "input": "x", "voice": "alloy", "response_format": "wav"}
    reply = api.call("POST", "/audio/speech", body)
    assert reply.body == sound(10_000) and set(reply.body) == set(range(256))
    assert reply.headers["content-type"] == "audio/wav"
    for wrong in ({"voice": None}, {"response_format": "mp9"}, {"input": 7}):
        assert api.call("POST", "/audio/speech", {**body, **wrong}).status == 400
    emulator.faults.add("cut", at_byte=5000)
    assert api.call("POST", "/audio/speech", body).broken


def test_a_transcription_takes_a_form_and_answers_as_asked(
    emulator: OpenAIEmulator, api: Api
) -> None:
    parts = (("file", "a.wav", BYTES), ("model", None, b"whisper-1"))
    path = "/audio/transcriptions"
    assert api.post_form(path, *parts).json()["text"] == "A made-up transcript."
    (entry,) = emulator.log.of("transcriptions")
    assert entry.raw == form(*parts)
    assert entry.body[0]["sha256"] == hashlib.sha256(BYTES).hexdigest()
    assert entry.body[0]["filename"] == "a.wav"
    for kind in (b"text", b"srt", b"vtt"):
        reply = api.post_form(path, *parts, ("response_format", None, kind))
        assert reply.headers["content-type"].startswith("text/plain")
        assert b"made-up transcript" in reply.body
    reply = api.post_form(path, *parts, ("response_format", None, b"verbose_json"))
    assert reply.json()["segments"]
    reply = api.post_form(path, *parts, ("stream", None, b"true"))
    assert [e["type"] for e in reply.events] == [
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert api.post_form("/audio/translations", *parts).json()["text"]


def test_a_form_must_be_whole_and_have_its_fields(api: Api) -> None:
    path, model = "/audio/transcriptions", ("model", None, b"whisper-1")
    file = ("file", "a.wav", b"x")
    assert api.post_form(path, model).error["param"] == "file"
    assert api.post_form(path, file).error["param"] == "model"
    assert api.post_form(path, ("file", "a.wav", b""), model).status == 400
    wrong = ("model", None, b"gpt-9")
    assert api.post_form(path, file, wrong).status == 404
    assert api.call("POST", path, {"file": "x"}).status == 400
    kind = {"Content-Type": "multipart/form-data; boundary=made-up-boundary"}
    for body in (
        form(file, model)[:-6],
        b"nothing",
        form(file).replace(b"name=", b"x="),
    ):
        assert api.call("POST", path, body, headers=kind).status == 400


def test_images_are_made_changed_and_varied(emulator: OpenAIEmulator, api: Api) -> None:
    made = api.call("POST", "/images/generations", {"prompt": "a dot", "n": 2}).json()
    assert [base64.b64decode(row["b64_json"]) for row in made["data"]] == [PIXEL] * 2
    body = {"prompt": "a dot", "response_format": "url"}
    url = api.call("POST", "/images/generations", body).json()["data"][0]["url"]
    assert url.startswith(emulator.base_url)
    assert api.call("GET", url.removeprefix(emulator.base_url)).body == PIXEL
    events = api.call("POST", "/images/generations", {**body, "stream": True}).events
    assert events[-1]["type"] == "image_generation.completed"
    image, prompt = ("image[]", "a.png", PIXEL), ("prompt", None, b"ein Punkt")
    assert api.post_form("/images/edits", image, image, prompt).json()["data"]
    assert len(emulator.log.of("image-edits")[0].body) == 3
    assert api.post_form("/images/variations", ("image", "a.png", PIXEL)).status == 200
    assert api.post_form("/images/edits", prompt).status == 400
    assert api.call("POST", "/images/generations", {}).status == 400


def test_files_are_kept_listed_read_and_deleted_by_their_own_key(
    emulator: OpenAIEmulator, api: Api
) -> None:
    parts = (("purpose", None, b"user_data"), ("file", "a b.bin", BYTES))
    made = api.post_form("/files", *parts).json()
    assert made["filename"] == "a b.bin"
    assert made["status"] == "processed" and made["bytes"] == len(BYTES)
    assert api.call("GET", f"/files/{made['id']}").json() == made
    assert api.call("GET", f"/files/{made['id']}/content").body == BYTES
    assert api.call("GET", "/files").json()["data"] == [made]
    assert api.call("GET", "/files?purpose=batch").json()["data"] == []
    bob = Api(emulator, emulator.add_key("bob"))
    assert bob.call("GET", f"/files/{made['id']}").status == 404
    assert bob.call("GET", "/files").json()["data"] == []
    gone = api.call("DELETE", f"/files/{made['id']}").json()
    assert gone == {"id": made["id"], "object": "file", "deleted": True}
    assert api.call("GET", f"/files/{made['id']}/content").status == 404
    assert api.post_form("/files", ("file", "a", b"x")).status == 400
    wrong = ("purpose", None, b"fun")
    assert api.post_form("/files", wrong, ("file", "a", b"x")).status == 400
    empty = ("file", "a", b"")
    assert api.post_form("/files", parts[0], empty).error["code"] == "empty_file"


def upload_batch(api: Api, purpose: bytes = b"batch") -> str:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
    line = {"custom_id": "one", "method": "POST", "body": asked}
    file = ("file", "b.jsonl", json.dumps(line).encode() + b"\n")
    return str(api.post_form("/files", ("purpose", None, purpose), file).json()["id"])


def test_a_batch_is_taken_worked_on_and_answered(api: Api) -> None:
    body: dict[str, Any] = {
        "input_file_id": upload_batch(api),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch = api.call("POST", "/batches", body).json()
    assert batch["status"] == "validating"
    path = f"/batches/{batch['id']}"
    states = [api.call("GET", path).json()["status"] for _ in range(3)]
    assert states == ["validating", "in_progress", "completed"]
    output = api.call("GET", path).json()["output_file_id"]
    row = json.loads(api.call("GET", f"/files/{output}/content").body)
    assert row["custom_id"] == "one"
    message = row["response"]["body"]["choices"][0]["message"]
    assert message["content"] == "You said: x"
    assert api.call("POST", f"{path}/cancel").status == 400
    second = api.call("POST", "/batches", body).json()
    path = f"/batches/{second['id']}"
    assert api.call("POST", f"{path}/cancel").json()["status"] == "cancelling"
    assert api.call("GET", path).status == 200
    assert api.call("GET", path).json()["status"] == "cancelled"
    assert len(api.call("GET", "/batches").json()["data"]) == 2
    for wrong in (
        {"input_file_id": "file-x"},
        {"completion_window": "1h"},
        {"input_file_id": upload_batch(api, b"user_data")},
    ):
        assert api.call("POST", "/batches", {**body, **wrong}).status in (400, 404)


def test_a_completion_that_was_stored_can_be_read_changed_and_deleted(
    emulator: OpenAIEmulator, api: Api
) -> None:
    made = api.ask(store=True, metadata={"a": "1"}).json()
    api.ask()
    path = f"/chat/completions/{made['id']}"
    (listed,) = api.call("GET", "/chat/completions").json()["data"]
    assert listed["id"] == made["id"] and listed["metadata"] == {"a": "1"}
    assert api.call("GET", "/chat/completions?model=x").json()["data"] == []
    assert api.call("GET", path).json()["choices"] == made["choices"]
    (message,) = api.call("GET", f"{path}/messages").json()["data"]
    assert message["content"] == "hello" and message["id"]
    changed = api.call("POST", path, {"metadata": {"b": "2"}}).json()
    assert changed["metadata"] == {"b": "2"}
    assert api.call("POST", path, {}).status == 400
    bob = Api(emulator, emulator.add_key("bob"))
    assert bob.call("GET", path).status == 404
    assert api.call("DELETE", path).json()["deleted"] is True
    assert api.call("GET", path).status == 404


def test_a_text_is_continued_the_older_way(api: Api, sdk: OpenAI) -> None:
    made = sdk.completions.create(model="gpt-4o", prompt="Once")
    assert made.choices[0].text == "You said: Once"
    body = {"model": "gpt-4o", "prompt": ["On", "ce"], "stream": True}
    reply = api.call("POST", "/completions", body)
    assert reply.done
    texts = [event["choices"][0]["text"] for event in reply.events]
    assert "".join(texts) == "You said: Once"
    assert reply.events[-1]["choices"][0]["finish_reason"] == "stop"
    assert api.call("POST", "/completions", {"model": "gpt-4o"}).status == 400


def test_the_official_client_reads_responses(
    emulator: OpenAIEmulator, sdk: OpenAI, api: Api
) -> None:
    emulator.answer = Answer(Choice("Hi.", tools=(ToolCall("f", '{"a":1}'),)))
    made = sdk.responses.create(model="gpt-4o", input="x")
    assert made.output_text == "Hi." and made.output[1].type == "function_call"
    with sdk.responses.stream(model="gpt-4o", input="x") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "Hi."
    assert sdk.responses.retrieve(made.id).id == made.id
    sdk.responses.delete(made.id)
    assert api.call("GET", f"/responses/{made.id}").status == 404
    emulator.set_key("alice", max_parallel=0)
    reply = api.call("POST", "/responses", {"model": "gpt-4o", "input": "x"})
    assert reply.status == 429
    emulator.set_key("alice", max_parallel=None)
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "y"}]}]
    emulator.answer = lambda body: Answer(body["messages"][0]["content"])
    assert sdk.responses.create(model="gpt-4o", input=parts).output_text == "y"  # type: ignore[arg-type]  # a plain list is what clients send


@pytest.mark.parametrize(
    "item", [{"content": None}, {}, "x", {"content": [None, {"text": "x"}]}]
)
def test_responses_read_an_input_without_words(api: Api, item: object) -> None:
    reply = api.call("POST", "/responses", {"model": "gpt-4o", "input": [item]})
    assert reply.status == 200


def test_every_refusal_of_a_key_holds_for_every_endpoint(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.set_key("alice", state="no_balance")
    for method, path, *_ in emulator.calls():
        place = path.replace("{", "").replace("}", "")
        assert api.call(method, place).status == 429, path
