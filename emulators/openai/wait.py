"""Every way an upstream says how long to wait."""

import math
from dataclasses import dataclass
from email.utils import formatdate

# form -> what it looks like for 20 s:
#   seconds   Retry-After: 20           date      Retry-After: <HTTP date>
#   ms        retry-after-ms: 20000     epoch     X-RateLimit-Reset: <epoch ms>
#   requests  x-ratelimit-reset-requests: 20s
#   tokens    x-ratelimit-reset-tokens: 20s
#   text      "Please try again in 20s." in the message
FORMS = ("seconds", "date", "ms", "epoch", "requests", "tokens", "text")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait and in which of `FORMS` it is told (none: not at all)."""

    seconds: float
    forms: tuple[str, ...] = ("seconds",)

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown form."""
        unknown = set(self.forms) - set(FORMS)
        if unknown:
            raise ValueError(f"unknown forms {sorted(unknown)}; known: {FORMS}")

    def headers(self, now: float) -> dict[str, str]:
        """Return the header fields; `now` is epoch seconds."""
        later = now + self.seconds
        left = duration(self.seconds)
        told = {
            "seconds": {"Retry-After": f"{self.seconds:g}"},
            "date": {"Retry-After": formatdate(math.ceil(later), usegmt=True)},
            "ms": {"retry-after-ms": f"{self.seconds * 1000:g}"},
            "epoch": {"X-RateLimit-Reset": str(int(later * 1000))},
            "requests": {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": left,
            },
            "tokens": {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": left,
            },
        }
        fields: dict[str, str] = {}
        for form in self.forms:
            fields |= told.get(form, {})
        return fields

    def text(self) -> str:
        """Return the sentence that tells it, or nothing."""
        if "text" not in self.forms:
            return ""
        return f" Please try again in {duration(self.seconds)}."


def duration(seconds: float) -> str:
    """Return seconds as Go writes durations: `310ms`, `1.5s`, `1m26.4s`, `2h0m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{round(rest, 3):g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
