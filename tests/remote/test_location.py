"""Reading the URLs of clients: what is refused before anybody is asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.errors import InvalidRequest
from kimi_proxy.remote.location import Location, read_location


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("http://files.test", "http", "files.test", 80, "/"),
        ("https://files.test/a?b=c#d", "https", "files.test", 443, "/a?b=c"),
        (" HTTP://Files.Test:8080/A \n", "http", "files.test", 8080, "/A"),
        ("https://bücher.test/ä b", "https", "xn--bcher-kva.test", 443, "/%C3%A4%20b"),
        ("http://[2606:4700::1]:81/x", "http", "2606:4700::1", 81, "/x"),
        ("http://8.8.8.8/x", "http", "8.8.8.8", 80, "/x"),
        ("http://files.test//x//y", "http", "files.test", 80, "//x//y"),
        ("http://a_b.test./", "http", "a_b.test.", 80, "/"),
        # A backslash ends the host for us, so nothing behind it can be another one.
        ("http://files.test\\@127.0.0.1/", "http", "files.test", 80, "/%5C@127.0.0.1/"),
        ("http://files.test#@127.0.0.1/", "http", "files.test", 80, "/"),
    ],
)
def test_a_url_is_taken_apart_once(
    url: str, scheme: str, host: str, port: int, target: str
) -> None:
    assert read_location(url) == Location(scheme, host, port, target)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://files.test/x", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://files.test:11211/x", "only http and https"),
        ("data:text/plain,x", "only http and https"),
        ("files.test/x", "only http and https"),
        ("//files.test/x", "only http and https"),
        ("", "only http and https"),
        ("http://user:made-up@files.test/", "user name or password"),
        ("http://user@files.test/", "user name or password"),
        ("http://files.test:80@127.0.0.1/", "user name or password"),
        ("http://", "malformed"),
        ("http:///x", "malformed"),
        ("http://files.test:99999/", "malformed"),
        ("http://files.test:x/", "malformed"),
        ("http://[::1/", "malformed"),
        ("http://[v1.x]/", "malformed"),
        ("http://%31%32%37.1/", "spelling|malformed"),
        ("http://a..test/", "malformed"),
        ("http://files test/", "malformed"),
        ("http://files.test/a\r\nHost: b", "control characters"),
        ("http://files.test/\x00", "control characters"),
        ("http://files.test/" + "x" * 9000, "too long"),
        ("http://2130706433/", "unusual spelling"),
        ("http://017700000001/", "unusual spelling"),
        ("http://0x7f000001/", "unusual spelling"),
        ("http://0X7F.0.0.1/", "unusual spelling"),
        ("http://0177.0.0.1/", "unusual spelling"),
        ("http://127.1/", "unusual spelling"),
        ("http://127.0.0.1./", "unusual spelling"),
        ("http://127.0.0.0x1/", "unusual spelling"),
        ("http://127.0.0.01/", "unusual spelling"),
        ("http://１２７.１/", "spelling|malformed"),
        ("http://0/", "unusual spelling"),
    ],
)
def test_a_url_that_is_not_fetched_says_why(url: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_location(url)


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_is_a_location_or_refused_without_being_quoted(
    host: str, rest: str
) -> None:
    for url in (rest, f"http://{host}/{rest}", f"http://{host}@{rest}"):
        try:
            location = read_location(url)
        except InvalidRequest as exc:
            assert exc.message.isascii()
        else:
            assert location.target.isascii()
            assert location.host.isascii()


def test_what_may_be_quoted_of_a_url_holds_no_secret() -> None:
    location = read_location("https://files.test:444/made-up/path?sig=made-up")
    assert location.origin == "https://files.test"
    assert "made-up" not in repr(location)
