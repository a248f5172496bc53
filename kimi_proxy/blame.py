"""What an error says beside its status: who can mend it, and what it costs a token."""

from enum import StrEnum


class Blame(StrEnum):
    """Who can mend it."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"
    ACCOUNT = "account"


class Penalty(StrEnum):
    """What an error means for the token it happened on; the pool acts on it."""

    NONE = "none"
    FAILURE = "failure"  # one more failure in the window; put aside at the threshold
    BUSY = "busy"  # used elsewhere: leave it alone for a few seconds
    COOL = "cool"  # cool-down of the whole token
    COOL_MODEL = "cool-model"  # cool-down of this model on this token
    LACKS_MODEL = "lacks-model"  # the same, as long as another token may have it
    EXHAUSTED = "exhausted"  # quota used up until `retry_after`
    REFRESH = "refresh"  # the access token is refused: renew it, then judge
    DEAD = "dead"  # nothing but a new log-in helps
    DISABLED = "disabled"  # closed by the service: to be asked no more
