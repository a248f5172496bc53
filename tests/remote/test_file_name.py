"""Names that servers and URLs give, made harmless."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.remote.file_name import clean, decoded, file_name


@pytest.mark.parametrize(
    ("disposition", "target", "name"),
    [
        ("", "/a/report.pdf", "report.pdf"),
        ("", "/a/report.pdf?token=x/y", "report.pdf"),
        ("", "/a/%E6%8A%A5%E5%91%8A.pdf", "报告.pdf"),
        ("", "/a/..%2f..%2fetc%2fpasswd", "passwd"),
        ("", "/", "file"),
        ("", "/..", "file"),
        ("inline", "/x.png", "x.png"),
        ('attachment; filename="b c.md"', "/x", "b c.md"),
        ("attachment; filename=b.md; size=3", "/x", "b.md"),
        ('attachment; filename="a\\"b.md"', "/x", 'a"b.md'),
        ('attachment; filename="C:\\docs\\b.md"', "/x", "b.md"),
        ('attachment; filename="../../b.md"', "/x", "b.md"),
        ("attachment; filename*=UTF-8''%E6%8A%A5.md; filename=b.md", "/x", "报.md"),
        ("attachment; filename=b.md; filename*=utf-8'zh'%E6%8A%A5.md", "/x", "报.md"),
        ("attachment; filename*=iso-8859-1''%E9.md", "/x", "é.md"),
        ("attachment; filename*=ebcdic''%E9.md; filename=b.md", "/x", "b.md"),
        ('attachment; filename="æ\x8a¥.md"', "/x", "报.md"),  # UTF-8 read as Latin-1
        ('attachment; filename=""', "/x.md", "x.md"),
        ('attachment; filename="\x00\r\n"', "/x.md", "x.md"),
        ('attachment; filename="fdp\u202e.exe"', "/x", "fdp.exe"),
    ],
)
def test_a_file_has_the_name_that_was_meant(
    disposition: str, target: str, name: str
) -> None:
    assert file_name(disposition, target) == name


def test_a_long_name_keeps_its_suffix() -> None:
    name = clean("n" * 500 + ".docx")
    assert len(name) == 120
    assert name.endswith("n.docx")
    assert clean("n" * 500) == "n" * 120
    assert clean("n." + "s" * 500) == "n." + "s" * 118


@settings(deadline=None)
@given(st.text(), st.text())
def test_every_name_is_harmless(disposition: str, target: str) -> None:
    for name in (
        file_name(disposition, target),
        file_name(f'attachment; filename="{disposition}"', target),
    ):
        assert 1 <= len(name) <= 120
        assert not set(name) & set("/\\")
        assert name == name.strip(" .")
        assert not any(unicodedata.category(char)[0] == "C" for char in name)


def test_a_header_that_is_no_utf8_stays_as_it_is() -> None:
    assert decoded("caf\xe9") == "café"
    assert decoded("报") == "报"
