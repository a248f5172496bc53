"""Speech, transcriptions and images: binary answers and multipart requests."""

import base64
from typing import Any

from emulators.openai.event_stream import Say, Step, play
from emulators.openai.knob import Spelling
from emulators.openai.refusal import Refused
from emulators.openai.world import Call
from emulators.server import Shape

# One transparent pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
_AUDIO = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_WORDS = "A made-up transcript."


def sound(size: int) -> bytes:
    """Return the bytes of an audio answer; every value of a byte occurs in them."""
    return bytes((index * 7 + index // 256) % 256 for index in range(size))


def speak(call: Call) -> None:
    """Stream the bytes of an audio file."""
    body = call.json()
    call.world.model(body.get("model"))
    call.need(body, "input", str)
    call.need(body, "voice", str, dict)
    kind = body.get("response_format", "mp3")
    if kind not in _AUDIO:
        message = f"Invalid value: '{kind}'."
        code = "invalid_value"
        raise Refused(call.world.rules.invalid(message, "response_format", code))
    cut = call.exchange.fault("cut")
    shape = Shape(
        pieces=call.world.knobs.split or (4096,),
        cut_at=cut.params.get("at_byte", 0) if cut else None,
        rst=bool(cut and cut.params.get("rst")),
    )
    writer = call.exchange.stream(_AUDIO[kind], shape)
    writer.write(sound(call.world.knobs.speech_bytes))


def transcribe(call: Call) -> Any:
    """Return what a sound says, in the form asked for."""
    form = call.form("file", "model")
    call.world.model(form.get("model"))
    if not form.file("file").content:
        message = "Audio file is too short. Minimum audio length is 0.1 seconds."
        raise Refused(call.world.rules.invalid(message, "file", "audio_too_short"))
    if form.get("stream") == "true":
        _stream(call, "transcript.text", {"text": _WORDS})
        return None
    kind = form.get("response_format", "json")
    if kind in ("text", "srt", "vtt"):
        text = {
            "text": f"{_WORDS}\n",
            "srt": f"1\n00:00:00,000 --> 00:00:01,000\n{_WORDS}\n\n",
            "vtt": f"WEBVTT\n\n00:00.000 --> 00:01.000\n{_WORDS}\n\n",
        }[kind]
        call.exchange.answer(200, text.encode(), "text/plain; charset=utf-8")
        return None
    if kind == "verbose_json":
        return {
            "task": "transcribe",
            "language": "english",
            "duration": 1.0,
            "text": _WORDS,
            "segments": [{"id": 0, "start": 0.0, "end": 1.0, "text": _WORDS}],
        }
    return {"text": _WORDS, "usage": {"type": "duration", "seconds": 1}}


def draw(call: Call) -> Any:
    """Return pictures for a text."""
    body = call.json()
    call.world.model(body.get("model", "gpt-image-1"))
    call.need(body, "prompt", str)
    if body.get("stream"):
        _stream(call, "image_generation", {"b64_json": _coded()})
        return None
    return _pictures(call, body.get("n") or 1, body.get("response_format", "b64_json"))


def edit(call: Call) -> Any:
    """Return changed pictures."""
    form = call.form("image", "prompt")
    call.world.model(form.get("model", "gpt-image-1"))
    return _pictures(call, int(form.get("n", "1")), form.get("response_format"))


def vary(call: Call) -> Any:
    """Return variations of a picture."""
    form = call.form("image")
    return _pictures(call, int(form.get("n", "1")), form.get("response_format"))


def picture(call: Call) -> None:
    """Return the bytes of a picture that was given by its address."""
    call.exchange.answer(200, PIXEL, "image/png")


def _pictures(call: Call, count: int, wanted: str) -> Any:
    url = f"{call.url}{call.exchange.request.path}/made-up.png"
    row = {"url": url} if wanted == "url" else {"b64_json": _coded()}
    usage = {"input_tokens": 5, "output_tokens": 10, "total_tokens": 15}
    return {"created": call.world.now(), "data": [row] * count, "usage": usage}


def _coded() -> str:
    return base64.b64encode(PIXEL).decode()


def _stream(call: Call, name: str, end: dict[str, Any]) -> None:
    """Send one event on the way and one at the end."""
    partial = {"transcript.text": "delta", "image_generation": "partial_image"}[name]
    last = {"transcript.text": "done", "image_generation": "completed"}[name]
    first = {"delta": _WORDS} if name == "transcript.text" else {"b64_json": _coded()}
    events = [(f"{name}.{partial}", first), (f"{name}.{last}", end)]
    steps: list[Step] = [Say({"type": t, **f}, event=t) for t, f in events]
    writer = call.exchange.stream("text/event-stream; charset=utf-8")
    play(writer, steps, Spelling())
