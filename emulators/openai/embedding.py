"""Embeddings and moderations: plausible numbers that depend on nothing but the text."""

import base64
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

from emulators.openai.completion import tokens
from emulators.openai.refusal import Refused
from emulators.openai.world import Call

DIMENSIONS = 8
HARM = "made-up-harm"
_CATEGORIES = ("harassment", "hate", "self-harm", "sexual", "violence")


def embed(call: Call) -> Any:
    """Return a vector for every input (clients sheet §3.4)."""
    body = call.json()
    call.world.model(body.get("model"))
    inputs = _inputs(call, call.need(body, "input", str, list))
    coded = body.get("encoding_format", "float") == "base64"
    size = body.get("dimensions") or DIMENSIONS
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _coded(vector(text, size)) if coded else vector(text, size),
        }
        for index, text in enumerate(inputs)
    ]
    count = sum(map(tokens, inputs))
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": rows, "model": body["model"], "usage": usage}


def moderate(call: Call) -> Any:
    """Return a verdict on every input; the word `HARM` is harassment."""
    body = call.json()
    name = body.get("model", "omni-moderation-latest")
    call.world.model(name)
    inputs = _inputs(call, call.need(body, "input", str, list))
    rows = [_verdict(text) for text in inputs]
    return {"id": call.world.new_id("modr-"), "model": name, "results": rows}


def vector(text: str, size: int) -> list[float]:
    """Return the embedding of a text: float32 values between -1 and 1."""
    seed, out = text.encode(), b""
    while len(out) < size * 2:
        seed = hashlib.sha256(seed).digest()
        out += seed
    numbers = struct.unpack(f"<{size}h", out[: size * 2])
    return [number / 32768 for number in numbers]


def _coded(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _inputs(call: Call, given: Any) -> list[str]:
    """Return the inputs as texts; token arrays count as one text each."""
    if isinstance(given, str):
        given = [given]
    if not given:
        message = "Invalid 'input': empty array."
        raise Refused(call.world.rules.invalid(message, "input", "empty_array"))
    if all(isinstance(item, int) for item in given):
        given = [given]
    return [item if isinstance(item, str) else str(item) for item in given]


def _verdict(text: str) -> dict[str, Any]:
    bad = HARM in text
    return {
        "flagged": bad,
        "categories": {name: bad and name == "harassment" for name in _CATEGORIES},
        "category_scores": {
            name: 0.9 if bad and name == "harassment" else 0.001 for name in _CATEGORIES
        },
    }
