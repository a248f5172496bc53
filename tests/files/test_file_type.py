"""What bytes are is told by the bytes; a name gets the suffix that fits them."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.file_type import OTHER, fitting_name, media_type, suffix

_OFFICE = "application/vnd.openxmlformats-officedocument."


def archive(*names: str, mimetype: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        if mimetype:
            made.writestr("mimetype", mimetype)
        for name in names:
            made.writestr(name, "x")
    return packed.getvalue()


def media(brand: bytes) -> bytes:
    return b"\x00\x00\x00\x18ftyp" + brand + bytes(12)


BMP = b"BM" + struct.pack("<I", 30) + bytes(24)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20)
KNOWN = {
    "png": (b"\x89PNG\r\n\x1a\n...", "image/png"),
    "jpeg": (b"\xff\xd8\xff\xe0...", "image/jpeg"),
    "gif": (b"GIF89a...", "image/gif"),
    "webp": (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    "bmp": (BMP, "image/bmp"),
    "heic": (media(b"heic"), "image/heic"),
    "avif": (media(b"avif"), "image/avif"),
    "mp4": (media(b"isom"), "video/mp4"),
    "pdf": (b"%PDF-1.4\n", "application/pdf"),
    "zip": (archive("a.txt"), "application/zip"),
    "empty zip": (archive(), "application/zip"),
    "broken zip": (b"PK\x03\x04 and no more", "application/zip"),
    "docx": (
        archive("[Content_Types].xml", "word/document.xml"),
        f"{_OFFICE}wordprocessingml.document",
    ),
    "xlsx": (
        archive("[Content_Types].xml", "xl/workbook.xml"),
        f"{_OFFICE}spreadsheetml.sheet",
    ),
    "pptx": (
        archive("[Content_Types].xml", "ppt/presentation.xml"),
        f"{_OFFICE}presentationml.presentation",
    ),
    "epub": (archive("a", mimetype="application/epub+zip"), "application/epub+zip"),
    "lying epub": (archive("a", mimetype="a/b\r\nEvil: 1"), "application/zip"),
    "text": (b"Dear reader", "text/plain"),
    "chinese": ("床前明月光".encode(), "text/plain"),
    "utf-16": ("words".encode("utf-16"), "text/plain"),
    "noise": (b"\x00\x01\x02\xff", OTHER),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_bytes_tell(name: str) -> None:
    data, kind = KNOWN[name]
    assert media_type(data) == kind


@pytest.mark.parametrize("told", ["image/gif", "text/plain", OTHER, "nonsense"])
def test_the_bytes_are_believed_more_than_the_sender(told: str) -> None:
    assert media_type(KNOWN["png"][0], told, "a.pdf") == "image/png"


@pytest.mark.parametrize(
    ("data", "told", "name", "kind"),
    [
        (b"a,b", "text/plain", "a.csv", "text/csv"),
        (b"a,b", "text/csv", None, "text/csv"),
        (b"{}", None, "a.json", "application/json"),
        (b"# a", "application/octet-stream", "README.md", "text/markdown"),
        (b"<svg/>", "image/svg+xml", None, "image/svg+xml"),
        (b"words", "image/png", "a.png", "text/plain"),
        (b"words", "application/pdf", None, "text/plain"),
        (OLE, None, "a.doc", "application/msword"),
        (OLE, "application/vnd.ms-excel", None, "application/vnd.ms-excel"),
        (OLE, None, None, "application/x-ole-storage"),
        (b"\xff\xfb\x90\x00", "audio/mpeg", "a.mp3", "audio/mpeg"),
        (b"\x00\x01", "image/png", "a.png", OTHER),
        (b"\x00\x01", "application/x-made-up", None, "application/x-made-up"),
        (b"\x00\x01", "application/x\r\nEvil: 1", None, OTHER),
        (b"words", "text/x\r\nEvil: 1", None, "text/plain"),
        (b"words", "text/" + "x" * 99, None, "text/plain"),
    ],
)
def test_what_the_bytes_leave_open_the_sender_or_the_name_tells(
    data: bytes, told: str | None, name: str | None, kind: str
) -> None:
    assert media_type(data, told, name) == kind


@pytest.mark.parametrize(
    ("name", "kind", "fitting"),
    [
        ("cat.jpeg", "image/jpeg", "cat.jpeg"),
        ("cat.JPG", "image/jpeg", "cat.JPG"),
        ("cat.gif", "image/jpeg", "cat.gif.jpg"),
        ("cat", "image/jpeg", "cat.jpg"),
        (None, "image/png", "stem.png"),
        ("main.rs", "text/plain", "main.rs"),
        ("Makefile", "text/plain", "Makefile.txt"),
        ("notes.pdf", "text/plain", "notes.pdf.txt"),
        ("a.bin", OTHER, "a.bin"),
        ("v1.2 (final)", "application/pdf", "v1.2 (final).pdf"),
    ],
)
def test_a_name_ends_in_what_the_file_is(
    name: str | None, kind: str, fitting: str
) -> None:
    assert fitting_name(name, kind, "stem") == fitting


@given(st.binary(max_size=64), st.text(max_size=20))
def test_any_bytes_have_a_type_and_any_name_can_fit(data: bytes, name: str) -> None:
    kind = media_type(data, None, name)
    assert "/" in kind
    fitted = fitting_name(name, kind, "stem")
    assert fitted and suffix(fitting_name(fitted, kind, "stem")) == suffix(fitted)


def test_a_long_text_is_not_copied_to_be_looked_at() -> None:
    text = ("月" * 1000 + "🌙").encode() * 2000
    tracemalloc.start()
    try:
        assert media_type(text) == "text/plain"
        assert media_type(text[:-1]) == OTHER, "its last letter is cut"
        assert media_type(text + b"\0") == OTHER
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(text) * 1.5  # the two variants themselves, and a piece
