"""A name for a file that came over HTTP: harmless wherever it is shown or stored."""

import re
import unicodedata
from urllib.parse import unquote

_LONGEST = 120
_LONGEST_SUFFIX = 16
_LOOKED_AT = 2000
_EXTENDED = re.compile(r"filename\*\s*=\s*(utf-8|iso-8859-1)'[^';]*'([^;\s]+)", re.I)
_PLAIN = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))', re.I)


def file_name(disposition: str, target: str) -> str:
    """The name in a Content-Disposition header (RFC 6266), else in the URL's path.

    Without directories, control and format characters; 1 to 120 characters long, the
    suffix kept; "file" when nothing is left.
    """
    path = target.partition("?")[0].partition("#")[0]
    for name in (_named(disposition), unquote(path)):
        cleaned = clean(name)
        if cleaned:
            return cleaned
    return "file"


def clean(name: str) -> str:
    """The last part of `name` without what is dangerous; may be empty."""
    name = name.strip()
    last = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    if len(last) > _LOOKED_AT:  # a client's name may be as long as its request
        last = last[: _LOOKED_AT // 2] + last[-_LOOKED_AT // 2 :]
    # Categories C*: control, format (a right-to-left override hides a suffix),
    # surrogates, private and unassigned. Z*: any space becomes a plain one.
    kept = "".join(_plain(char) for char in last)
    return _short(kept.strip(" ."))


def decoded(header: str) -> str:
    """A header as its server meant it: http.client reads Latin-1, most write UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _named(disposition: str) -> str:
    extended = _EXTENDED.search(disposition)
    if extended:
        return unquote(extended[2], encoding=extended[1])
    plain = _PLAIN.search(disposition)
    if plain is None:
        return ""
    # A backslash quotes only what needs it: old servers send whole Windows paths.
    quoted = re.sub(r'\\(["\\])', r"\1", plain[1] or "")
    return decoded(quoted or plain[2] or "")


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    return "" if category[0] == "C" else " " if category[0] == "Z" else char


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _LONGEST_SUFFIX:
        return name[:_LONGEST].strip(" .")
    kept = _LONGEST - len(dot + suffix)
    return stem[:kept].strip(" .") + dot + suffix
