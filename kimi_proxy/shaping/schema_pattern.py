"""Whether a text has the pattern of a JSON Schema, in a time that its length bounds.

Patterns come from clients. Python's own matcher takes years over some, `(a+)+$` for
one, and nothing else of the worker runs meanwhile; RE2 takes any text in one go. What
it does not know (looking ahead, references back, counts above 1000) Python matches
where that cannot take long: on short texts, with few repetitions, none of a group.
Any other such pattern is a note to the model and no rule, as formats are.
"""

import re

_LONGEST = 40  # characters
_MOST_REPEATED = 6
# What may hold the signs of a repetition without being one.
_LITERAL = re.compile(r"\\.|\[(?:\\.|[^\]\\])+\]|\(\?", re.S)
_REPEATED = re.compile(r"[*+?{]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")


def require(pattern: str) -> None:
    """Raises `ValueError` for a pattern that no text could be held to."""
    import re2  # noqa: PLC0415 (most workers never see a schema)

    try:
        re2.compile(pattern, _options())
    except (re2.error, UnicodeEncodeError):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as exc:
            text = f"the JSON Schema has a pattern that fails: {exc}"
            raise ValueError(text) from exc


def found(pattern: str, text: str) -> bool:
    """Whether it is anywhere in the text; raises `ValueError`, see `require`."""
    import re2  # noqa: PLC0415 (most workers never see a schema)

    try:
        return re2.compile(pattern, _options()).search(text) is not None
    except (re2.error, UnicodeEncodeError):
        require(pattern)
        return not _is_quick(pattern, text) or re.search(pattern, text) is not None


def _options() -> object:
    import re2  # noqa: PLC0415 (most workers never see a schema)

    options = re2.Options()
    options.log_errors = False
    return options


def _is_quick(pattern: str, text: str) -> bool:
    """Whether Python's matcher cannot take long."""
    bare = _LITERAL.sub("x", pattern)
    few = len(_REPEATED.findall(bare)) <= _MOST_REPEATED
    return len(text) <= _LONGEST and few and not _REPEATED_GROUP.search(bare)
