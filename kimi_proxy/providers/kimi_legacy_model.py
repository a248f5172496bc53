"""What the legacy wire is asked: its models, and the bodies of its two POST calls."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_proxy.chat import Message, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.providers.prompt import merge

_AGENT = re.compile(r"[0-9a-z]{20}")


@dataclass(frozen=True, slots=True)
class Switches:
    """What a model id means in a completion request (legacy sheet §4)."""

    kimiplus_id: str
    use_research: bool = False
    use_math: bool = False


# The wire has no call that lists models: these are the switches of legacy sheet §9.
_SWITCHES: Mapping[str, Switches] = {
    "kimi": Switches("kimi"),
    "k1": Switches("crm40ee9e5jvhsn7ptcg"),
    "kimi-research": Switches("kimi", use_research=True),
    "kimi-math": Switches("kimi", use_math=True),
}
MODELS = (
    Model("kimi", "Kimi", "moonshot"),
    Model("k1", "Kimi K1", "moonshot", reasoning=True),
    Model("kimi-research", "Kimi Research", "moonshot"),
    Model("kimi-math", "Kimi Math", "moonshot"),
)


def switches(model: str) -> Switches:
    """The switches of a model, or of a kimi+ agent named by its id of 20 characters.

    Raises `ModelNotFound`.
    """
    found = _SWITCHES.get(model)
    if found is not None:
        return found
    if _AGENT.fullmatch(model):
        return Switches(model)
    raise ModelNotFound(f"the legacy Kimi service has no model {model!r}")


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
    """The body of a completion (legacy sheet §4): only the first message is read."""
    return {
        "kimiplus_id": chosen.kimiplus_id,
        "messages": [{"role": "user", "content": merge(messages)}],
        "refs": [],
        "refs_file": [],
        "use_math": chosen.use_math,
        "use_research": chosen.use_research,
        "use_search": search,
        "extend": {"sidebar": True},
    }
