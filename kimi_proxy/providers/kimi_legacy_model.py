"""What the legacy wire is asked: its models, and the bodies of its two POST calls."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kimi_proxy.chat import Effort, Message, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.providers.kimi_legacy_link import marked
from kimi_proxy.providers.prompt import merge

_AGENT = re.compile(r"[0-9a-z]{20}")


@dataclass(frozen=True, slots=True)
class Switches:
    """What a model id means in a completion request (legacy sheet §4)."""

    kimiplus_id: str
    use_research: bool = False
    use_math: bool = False


# Its id is that of an agent; the wire has no other way to make a model think.
_THINKER = "crm40ee9e5jvhsn7ptcg"
# The wire has no call that lists models: these are the switches of legacy sheet §9.
_SWITCHES: Mapping[str, Switches] = {
    "kimi": Switches("kimi"),
    "k1": Switches(_THINKER),
    "kimi-research": Switches("kimi", use_research=True),
    "kimi-math": Switches("kimi", use_math=True),
}
MODELS = (
    Model("kimi", "Kimi", "moonshot"),
    Model("k1", "Kimi K1", "moonshot", reasoning=True),
    Model("kimi-research", "Kimi Research", "moonshot"),
    Model("kimi-math", "Kimi Math", "moonshot"),
)


def is_model(model: str) -> bool:
    """Whether it is a model, or may be a kimi+ agent by its id of 20 characters."""
    return model in _SWITCHES or _AGENT.fullmatch(model) is not None


def switches(model: str, effort: Effort | None = None) -> Switches:
    """The switches of a model, or of a kimi+ agent; raises `ModelNotFound`.

    Thinking that is asked for is the thinking model's, in place of the plain one, and
    the other way round; there are no degrees of it.
    """
    if not is_model(model):
        raise ModelNotFound(
            f"the legacy Kimi service has no model {model!r}", param="model"
        )
    found = _SWITCHES.get(model) or Switches(model)
    if effort is not None and found.kimiplus_id in ("kimi", _THINKER):
        plain = effort == "none" or found.use_research or found.use_math
        return replace(found, kimiplus_id="kimi" if plain else _THINKER)
    return found


def new_chat(name: str, chosen: Switches) -> Mapping[str, Any]:
    """The body that makes a chat (legacy sheet §3)."""
    return {
        "name": name,
        "is_example": False,
        "enter_method": "new_chat",
        "kimiplus_id": chosen.kimiplus_id,
    }


def question(
    messages: Sequence[Message], chosen: Switches, *, search: bool
) -> Mapping[str, Any]:
    """The body of a completion but its files (legacy sheet §4).

    The service reads the first message only. Addresses in the user's own words are
    marked, so that it reads the pages.
    """
    messages = [
        replace(message, text=marked(message.text))
        if message.role == "user"
        else message
        for message in messages
    ]
    return {
        "kimiplus_id": chosen.kimiplus_id,
        "messages": [{"role": "user", "content": merge(messages)}],
        "use_math": chosen.use_math,
        "use_research": chosen.use_research,
        "use_search": search,
        "extend": {"sidebar": True},
    }


def continuation(segment: str, chosen: Switches) -> Mapping[str, Any]:
    """The body that lets an answer go on after its limit (legacy sheet §4).

    `segment` is the id that the last `req` event told.
    """
    return {
        "segment_id": segment,
        "action": "continue",
        "messages": [{"role": "user", "content": " "}],
        "kimiplus_id": chosen.kimiplus_id,
        "extend": {"sidebar": True},
    }
