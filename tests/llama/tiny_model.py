"""A language model of 100 KB with random weights, in the GGUF format (version 3).

Written from the format's specification (ggml repository, docs/gguf.md): a header, keys
and values, the tensors' names and shapes, and their data at multiples of 32 bytes.
"""

import random
import struct
from array import array
from collections.abc import Iterable
from itertools import chain
from math import prod
from pathlib import Path

_EMBEDDING, _HIDDEN, _HEADS, _CONTEXT = 32, 64, 2, 512
_ALIGNMENT = 32
_UINT32, _FLOAT32, _INT32, _STRING, _ARRAY = 4, 6, 5, 8, 9
_UNKNOWN, _NORMAL, _CONTROL, _BYTE = 2, 1, 3, 6
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
_LETTERS = [chr(code) for code in range(0x20, 0x7F)] + ["\u2581", "你", "好", "😀"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # for whatever is no letter
_TOKENS = ["<unk>", "<s>", "</s>", *_BYTES, *_LETTERS]
_TYPES = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(_LETTERS)]


def write(path: Path) -> None:
    """Write the model; always the same one."""
    tensors = _tensors()
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(_FACTS)))
    for name, kind, value in _FACTS:
        head += _text(name) + struct.pack("<I", kind) + _value(kind, value)
    offset = 0
    for name, shape in tensors:
        head += _text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *shape, 0, offset)
        offset += prod(shape) * 4
    head += bytes(-len(head) % _ALIGNMENT)
    source = random.Random(7)
    with path.open("wb") as file:
        file.write(head)
        for name, shape in tensors:
            file.write(_weights(source, name, prod(shape)).tobytes())


def _tensors() -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes, the fastest index first; each a multiple of 32 bytes."""
    vocabulary = (_EMBEDDING, len(_TOKENS))
    square = (_EMBEDDING, _EMBEDDING)
    wide, narrow = (_EMBEDDING, _HIDDEN), (_HIDDEN, _EMBEDDING)
    layer = {
        "attn_norm": (_EMBEDDING,),
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), square),
        "ffn_norm": (_EMBEDDING,),
        "ffn_gate": wide,
        "ffn_up": wide,
        "ffn_down": narrow,
    }
    return [
        ("token_embd.weight", vocabulary),
        *((f"blk.0.{name}.weight", shape) for name, shape in layer.items()),
        ("output_norm.weight", (_EMBEDDING,)),
        ("output.weight", vocabulary),
    ]


def _weights(source: random.Random, name: str, count: int) -> "array[float]":
    if "norm" in name:
        return array("f", [1.0]) * count
    return array("f", (source.gauss(0, 0.4) for _ in range(count)))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: object) -> bytes:
    match value:
        case str():
            return _text(value)
        case int():
            return struct.pack("<I", value)
        case float():
            return struct.pack("<f", value)
        case list():
            inner = _kind(value)
            items = chain.from_iterable(_value(inner, item) for item in value)
            return struct.pack("<IQ", inner, len(value)) + bytes(items)
    raise TypeError(f"no GGUF value: {kind}")


def _kind(values: Iterable[object]) -> int:
    kinds: dict[type, int] = {str: _STRING, float: _FLOAT32, int: _INT32}
    return kinds[type(next(iter(values)))]


_FACTS: tuple[tuple[str, int, object], ...] = (
    ("general.architecture", _STRING, "llama"),
    ("general.name", _STRING, "tiny"),
    ("llama.context_length", _UINT32, _CONTEXT),
    ("llama.embedding_length", _UINT32, _EMBEDDING),
    ("llama.block_count", _UINT32, 1),
    ("llama.feed_forward_length", _UINT32, _HIDDEN),
    ("llama.attention.head_count", _UINT32, _HEADS),
    ("llama.attention.layer_norm_rms_epsilon", _FLOAT32, 1e-5),
    ("llama.rope.dimension_count", _UINT32, _EMBEDDING // _HEADS),
    ("tokenizer.ggml.model", _STRING, "llama"),
    ("tokenizer.ggml.tokens", _ARRAY, _TOKENS),
    ("tokenizer.ggml.scores", _ARRAY, [0.0] * len(_TOKENS)),
    ("tokenizer.ggml.token_type", _ARRAY, _TYPES),
    ("tokenizer.ggml.bos_token_id", _UINT32, 1),
    ("tokenizer.ggml.eos_token_id", _UINT32, 2),
    ("tokenizer.ggml.unknown_token_id", _UINT32, 0),
    ("tokenizer.chat_template", _STRING, _TEMPLATE),
)
