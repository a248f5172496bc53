"""The lasting switches that only Moonshot's services have."""

from dataclasses import dataclass

from emulators.openai import Knobs


@dataclass(slots=True)
class MoonshotKnobs(Knobs):
    """Standing behaviour, changed at will.

    `search_rounds` is how often the model searches when `$web_search` is there,
    `search_type` the type its calls have. `raw_content` gives the text of a file as it
    is, not inside JSON. `old_estimate` adds the older fields to an estimate.
    Files: `file_size_limit` in bytes, `file_limit` in number.

    Kimi Code: `allowed_agents` are parts of User-Agents that are let in (none: all
    are); `sparse_usages` leaves the fields out that the service may leave out.
    """

    search_rounds: int = 1
    search_type: str = "builtin_function"
    raw_content: bool = False
    old_estimate: bool = False
    file_size_limit: int = 104_857_600
    file_limit: int = 1000
    allowed_agents: tuple[str, ...] = ()
    sparse_usages: bool = False
