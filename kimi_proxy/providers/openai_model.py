"""What an OpenAI-compatible upstream's list tells of its models.

Each vendor has its own names for the same facts; where a place is not named in the
comment, several have it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from kimi_proxy.chat import Model

Switch = Literal["only", "no", "both"]
_CONTEXT = (
    "context_length",  # Moonshot sheet §4, kilo sheet §4, OpenRouter, xAI
    "max_model_len",  # vLLM
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "n_ctx",  # llama.cpp, within `meta`
    "n_ctx_train",
    "inputTokenLimit",  # Google
)
_OUTPUT = (
    "max_completion_tokens",  # kilo sheet §4, OpenRouter, Groq
    "max_output_tokens",
    "max_output_length",
    "outputTokenLimit",  # Google
)
# Where else in a row such numbers are: OpenRouter and kilo; llama.cpp.
_WITHIN = ("top_provider", "meta", "limits")
_SEEN = {
    "image": ("supports_image_in", "supports_vision", "vision"),
    "video": ("supports_video_in",),
    "audio": ("supports_audio_in", "audio"),
    "file": ("supports_file_in",),
}
_KNOWN_INPUTS = frozenset({"text", "image", "file", "audio", "video"})
_SWITCHES: dict[str, Switch] = {"only": "only", "no": "no", "both": "both"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of the list, and how it thinks.

    `thinking`: always, never, or as asked; None where the list does not tell.
    `efforts` are the words it takes for how hard. `free`: it costs nothing.
    """

    model: Model
    thinking: Switch | None = None
    efforts: tuple[str, ...] = ()
    free: bool = False


def listed(document: Mapping[str, Any], owner: str) -> list[Listed]:
    """The models of a list's answer, in its order; rows without an id are none."""
    rows = document.get("data")
    rows = rows if isinstance(rows, list) else document.get("models")
    found: dict[str, Listed] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and isinstance(row.get("id"), str) and row["id"]:
            found.setdefault(row["id"], _listed(row, owner))
    return list(found.values())


def unlisted(ids: tuple[str, ...], owner: str) -> list[Listed]:
    """Models of which only the names are known."""
    return [Listed(Model(name, name, owner)) for name in ids]


def taking_files(one: Listed) -> Listed:
    """The model, where documents are turned into text before it sees them."""
    modalities = one.model.modalities
    if modalities is None:
        return one
    return replace(one, model=replace(one.model, modalities=modalities | {"file"}))


def to_json(one: Listed) -> dict[str, Any]:
    """The model as JSON; `from_json` reads it."""
    known = one.model.modalities
    model = asdict(one.model) | {"modalities": None if known is None else sorted(known)}
    facts = {"thinking": one.thinking, "efforts": list(one.efforts), "free": one.free}
    return {"model": model, **facts}


def from_json(document: Mapping[str, Any]) -> Listed:
    """What `to_json` wrote."""
    model = dict(document["model"])
    known = model["modalities"]
    model["modalities"] = None if known is None else frozenset(known)
    efforts = tuple(document["efforts"])
    return Listed(Model(**model), document["thinking"], efforts, document["free"])


def _listed(row: Mapping[str, Any], owner: str) -> Listed:
    thinking, efforts = _thinking(row), _efforts(row)
    reasons = thinking in ("only", "both") or bool(efforts) or _says_reasoning(row)
    name = row.get("display_name") or row.get("name")
    model = Model(
        id=row["id"],
        name=name if isinstance(name, str) and name else row["id"],
        owner=owner,
        context_length=_number(row, _CONTEXT),
        reasoning=reasons,
        max_output=_number(row, _OUTPUT),
        modalities=_modalities(row),
    )
    return Listed(model, thinking, efforts, row.get("isFree") is True)  # kilo sheet §4


def _number(row: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    holders = [row, *(row[w] for w in _WITHIN if isinstance(row.get(w), Mapping))]
    for name in names:
        for holder in holders:
            value = holder.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _modalities(row: Mapping[str, Any]) -> frozenset[str] | None:
    """What goes in; None where the row says nothing of it."""
    named = _named_inputs(row)
    if named is not None:
        return named
    told: dict[str, bool] = {}
    for holder in (row, _mapping(row, "capabilities")):
        for modality, names in _SEEN.items():
            for name in names:
                if isinstance(holder.get(name), bool):
                    told[modality] = told.get(modality, False) or holder[name]
    if "image" not in told:
        return None
    return frozenset({"text", *(m for m, can in told.items() if can)})


def _named_inputs(row: Mapping[str, Any]) -> frozenset[str] | None:
    architecture = _mapping(row, "architecture")
    for holder in (architecture, row):
        for name in ("input_modalities", "modalities"):
            value = holder.get(name)
            if isinstance(value, list) and value:
                words = [word for word in value if isinstance(word, str)]
                return frozenset({"text", *_KNOWN_INPUTS.intersection(words)})
    arrow = architecture.get("modality")  # OpenRouter's older "text+image->text"
    if isinstance(arrow, str) and "->" in arrow:
        words = arrow.partition("->")[0].split("+")
        return frozenset({"text", *_KNOWN_INPUTS.intersection(words)})
    return None


def _thinking(row: Mapping[str, Any]) -> Switch | None:
    said = row.get("supports_thinking_type")
    told = _SWITCHES.get(said) if isinstance(said, str) else None
    if told is None and row.get("supports_reasoning") is False:
        return "no"
    return told


def _efforts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Moonshot's `think_efforts`; xAI's list among the capabilities."""
    efforts = _mapping(row, "think_efforts")
    words = efforts.get("valid_efforts") if efforts.get("support") else None
    words = words or _mapping(row, "capabilities").get("reasoning_effort")
    listed = words if isinstance(words, list) else []
    return tuple(word for word in listed if isinstance(word, str))


def _says_reasoning(row: Mapping[str, Any]) -> bool:
    return any(_signs(row))


def _signs(row: Mapping[str, Any]) -> Iterator[bool]:
    yield row.get("supports_reasoning") is True
    yield _mapping(row, "capabilities").get("reasoning") is True
    parameters = row.get("supported_parameters")
    yield isinstance(parameters, list) and "reasoning" in parameters


def _mapping(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = row.get(name)
    return found if isinstance(found, Mapping) else {}
