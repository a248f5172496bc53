"""What a file is, by its first bytes; what it is called, by what it is.

Clients often say nothing of the kind, or something wrong: bare base64 has no header,
and a server may call everything `application/octet-stream`.
"""

import codecs
import re
from collections.abc import Mapping, Sequence

OTHER = "application/octet-stream"
PLAIN = "text/plain"
# What a sender says goes into headers: nothing else may be in it.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64}", re.ASCII)
_OFFICE = "application/vnd.openxmlformats-officedocument."

# (offset, bytes, type): the first row whose bytes are at their offset counts.
_MAGIC: Sequence[tuple[int, bytes, str]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ENDS = 65_536
_PIECE = 65_536
_ARCHIVE = "application/zip"
# What the name of a member of a zip archive tells of the whole.
_IN_ZIP: Mapping[bytes, str] = {
    b"word/document": f"{_OFFICE}wordprocessingml.document",
    b"xl/workbook": f"{_OFFICE}spreadsheetml.sheet",
    b"ppt/presentation": f"{_OFFICE}presentationml.presentation",
}
# The brand of an ISO media file, at its bytes 8 to 12.
_BRANDS: Mapping[bytes, str] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}
# Suffixes by type, the usual one first.
_SUFFIXES: Mapping[str, Sequence[str]] = {
    "image/png": ("png",),
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "image/bmp": ("bmp", "dib"),
    "image/tiff": ("tiff", "tif"),
    "image/vnd.microsoft.icon": ("ico",),
    "image/heic": ("heic",),
    "image/heif": ("heif",),
    "image/avif": ("avif",),
    "image/svg+xml": ("svg",),
    "application/pdf": ("pdf",),
    "application/rtf": ("rtf",),
    "application/zip": ("zip",),
    "application/gzip": ("gz", "tgz"),
    "application/x-7z-compressed": ("7z",),
    "application/vnd.rar": ("rar",),
    "application/epub+zip": ("epub",),
    f"{_OFFICE}wordprocessingml.document": ("docx",),
    f"{_OFFICE}spreadsheetml.sheet": ("xlsx",),
    f"{_OFFICE}presentationml.presentation": ("pptx",),
    "application/msword": ("doc",),
    "application/vnd.ms-excel": ("xls",),
    "application/vnd.ms-powerpoint": ("ppt",),
    "application/vnd.oasis.opendocument.text": ("odt",),
    "application/vnd.oasis.opendocument.spreadsheet": ("ods",),
    "application/vnd.oasis.opendocument.presentation": ("odp",),
    "audio/mpeg": ("mp3",),
    "audio/wav": ("wav",),
    "audio/ogg": ("ogg", "oga", "opus"),
    "audio/mp4": ("m4a",),
    "video/mp4": ("mp4", "m4v"),
    "video/quicktime": ("mov",),
    "video/webm": ("webm", "mkv"),
    PLAIN: ("txt", "text", "log"),
    "text/markdown": ("md", "markdown"),
    "text/csv": ("csv",),
    "text/html": ("html", "htm"),
    "text/css": ("css",),
    "text/xml": ("xml",),
    "text/x-python": ("py",),
    "application/json": ("json",),
    "application/yaml": ("yaml", "yml"),
    "text/javascript": ("js", "mjs"),
}
_BY_SUFFIX = {s: kind for kind, suffixes in _SUFFIXES.items() for s in suffixes}
_SPELLINGS: Mapping[str, str] = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "application/x-pdf": "application/pdf",
    "application/xml": "text/xml",
    "application/csv": "text/csv",
    "text/x-markdown": "text/markdown",
}
# Some containers hold one of several types that only the name or the sender tells.
_INSIDE: Mapping[str, frozenset[str]] = {
    "application/x-ole-storage": frozenset(
        {
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
        }
    ),
    "video/webm": frozenset({"video/webm"}),
}


def media_type(data: bytes, told: str | None = None, name: str | None = None) -> str:
    """The type of the bytes; what they leave open is as `told`, or as the name says.

    `application/octet-stream` where nothing tells. Text that claims to be something
    binary is text.
    """
    told = _SPELLINGS.get(told or "", told or "")
    named = _BY_SUFFIX.get(suffix(name or ""), "")
    claims = [claim for claim in (told, named) if _MEDIA_TYPE.fullmatch(claim)]
    found = _by_bytes(data)
    if found is not None:
        inside = _INSIDE.get(found, frozenset())
        return next((claim for claim in claims if claim in inside), found)
    if _is_text(data):
        claims.reverse()  # servers call any text text/plain; a suffix says more
        return next((claim for claim in claims if _is_textual(claim)), PLAIN)
    return next((c for c in claims if not _is_known_or_text(c)), OTHER)


def fitting_name(name: str | None, kind: str, stem: str) -> str:
    """The name with a suffix that belongs to the type; `stem` where there is none."""
    name = name or stem
    known = _SUFFIXES.get(kind)
    if known is None or (_is_textual(kind) and suffix(name) not in _BY_SUFFIX):
        return name if suffix(name) or known is None else f"{name}.{known[0]}"
    return name if suffix(name) in known else f"{name}.{known[0]}"


def suffix(name: str) -> str:
    """What follows the last dot, in lower case; empty if there is none."""
    stem, _, last = name.rpartition(".")
    return last.lower() if stem and last.isalnum() else ""


def _by_bytes(data: bytes) -> str | None:
    if data.startswith(_ZIP):
        return _zip_type(data)
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video/mp4")
    if data.startswith(b"BM") and data[2:6] == len(data).to_bytes(4, "little"):
        return "image/bmp"  # two letters alone may begin any text
    rows = (kind for at, magic, kind in _MAGIC if data.startswith(magic, at))
    return next(rows, None)


def _zip_type(data: bytes) -> str:
    """What kind of archive it is, by the names of its members.

    They stand unpacked at the ends of the file; an archive of a million members is not
    to be read for that.
    """
    if data[30:38] == b"mimetype" and data[8:10] == b"\0\0":  # first, and not packed
        length = int.from_bytes(data[18:22], "little")
        told = data[38 : 38 + min(length, 128)].decode("latin-1").strip()
        return told if _MEDIA_TYPE.fullmatch(told) else _ARCHIVE
    names = data[:_ENDS] + data[-_ENDS:]
    if b"[Content_Types].xml" in names:
        return next((kind for part, kind in _IN_ZIP.items() if part in names), _ARCHIVE)
    return _ARCHIVE


def _is_text(data: bytes) -> bool:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True  # UTF-16 with its mark
    if b"\0" in data:
        return False
    # Piece by piece: as a whole it may take four times the memory it has as bytes.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _PIECE):
            decoder.decode(data[start : start + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_textual(kind: str) -> bool:
    return (
        kind.startswith("text/")
        or kind.endswith(("+xml", "+json"))
        or kind in {"application/json", "application/yaml", "application/javascript"}
    )


def _is_known_or_text(kind: str) -> bool:
    """Whether its bytes would have told: then these are no such file."""
    magic = {row[2] for row in _MAGIC} | {*_IN_ZIP.values(), *_BRANDS.values()}
    inside = {kind for kinds in _INSIDE.values() for kind in kinds}
    told = magic | inside | {"image/bmp", _ARCHIVE, "video/mp4", OTHER}
    # MPEG audio has no mark of its own unless it is tagged.
    return (kind in told and kind != "audio/mpeg") or kind.startswith("image/")
