"""The text forms of a tool call: what models write, each as a row of one table.

Sources: connect sheet §12 for the forms in use on Kimi web, the model's own special
tokens as seen leaking (clients sheet, item 26), and the form our prompt teaches.
"""

import re
from dataclasses import dataclass
from re import Pattern

_SPACED = re.compile(r"[\w.:\-\s]*")
_TIGHT = re.compile(r"[\w.:\-]*")
_ATTRIBUTE = re.compile(r"[\w.:\-\s=\"']*")


@dataclass(frozen=True, slots=True)
class Form:
    """`open`, a head of such characters that ends with `until`, arguments, `close`.

    A form without a head is a wrapper: what it holds is JSON or other forms. `inner`
    ones mean something only in a wrapper. What has a `token` for a marker is never
    part of a sentence.
    """

    open: str
    close: str = ""
    head: Pattern[str] | None = None
    until: str = ""
    inner: bool = False
    token: bool = False


FORMS = (
    Form("<tool_call>", "</tool_call>"),
    Form("<tool_calls>", "</tool_calls>"),
    Form("<function_call>", "</function_call>"),
    Form("<function_calls>", "</function_calls>"),
    Form("[function_calls]", "[/function_calls]"),
    Form("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", token=True),
    Form("[call:", "[/call]", _TIGHT, "]"),
    Form("<invoke name=", "</invoke>", _ATTRIBUTE, ">"),
    # Models that have read our results, which name their tool in the tag, do the same.
    Form("<tool_call name=", "</tool_call>", _ATTRIBUTE, ">"),
    Form("<function_call name=", "</function_call>", _ATTRIBUTE, ">"),
    Form("<name>", "", _SPACED, "</name>", inner=True),
    # In a section the token before the name may be missing.
    Form(
        "functions.",
        "<|tool_call_end|>",
        _SPACED,
        "<|tool_call_argument_begin|>",
        inner=True,
    ),
    Form(
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        _SPACED,
        "<|tool_call_argument_begin|>",
        token=True,
    ),
)
OUTER = {form.open: form for form in FORMS if not form.inner}
INNER = {form.open: form for form in FORMS}
CLOSERS = tuple(form.close for form in FORMS if form.close)

# The labels of a code fence that holds calls, and of one that may hold them as JSON.
CALL_LABELS = {"tool_call", "tool_calls"}
JSON_LABELS = {"", "json"}

# The first key of a call's JSON.
KEYS = {"name", "arguments", "parameters", "function", "tool_calls", "id", "type"}
