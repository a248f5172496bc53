"""Addresses in a question are marked for Kimi's link reader (legacy sheet §8)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.chat import Message, ToolCall
from kimi_proxy.providers.kimi_legacy_link import marked
from kimi_proxy.providers.kimi_legacy_model import question, switches
from kimi_proxy.providers.prompt import merge

OPEN = '<url id="" type="url" status="" title="" wc="">'


def tag(url: str) -> str:
    return f"{OPEN}{url}</url>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/", tag("https://a.example/")),
        ("http://a.example", tag("http://a.example")),
        ("HTTPS://A.example/x", tag("HTTPS://A.example/x")),
        ("a https://a.example/b b", f"a {tag('https://a.example/b')} b"),
        ("看https://a.example/b，谢谢", f"看{tag('https://a.example/b')}，谢谢"),
        ("读https://a.example/b总结", f"读{tag('https://a.example/b')}总结"),
        ("(see https://a.example/b).", f"(see {tag('https://a.example/b')})."),
        ("https://a.example/b_(c)", tag("https://a.example/b_(c)")),
        ("[x](https://a.example/b_(c))", f"[x]({tag('https://a.example/b_(c)')})"),
        ("**https://a.example/**", f"**{tag('https://a.example/')}**"),
        (
            "https://a.example/?q=1&r=%20#s!",
            f"{tag('https://a.example/?q=1&r=%20#s')}!",
        ),
        (
            "https://a.example:80/\nhttp://b",
            f"{tag('https://a.example:80/')}\n{tag('http://b')}",
        ),
        ("<https://a.example/>", f"<{tag('https://a.example/')}>"),
    ],
)
def test_each_address_is_marked_and_nothing_else_altered(
    text: str, expected: str
) -> None:
    assert marked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "no address", "https://", "http://.", "ftp://a.example/", "a.example"),
        *("xhttps://a.example/", "https:/a", tag("https://a.example/")),
        '<url id="1">https://a.example/</url>',
    ],
)
def test_what_is_no_address_or_marked_already_stays(text: str) -> None:
    assert marked(text) == text


@given(st.text(st.sampled_from("ahtps:/.()[]<> 冷*!https://")))
def test_without_the_marks_the_text_is_what_it_was(text: str) -> None:
    assert re.sub(f"{re.escape(OPEN)}(.*?)</url>", r"\1", marked(text)) == text


def test_only_the_users_own_words_are_marked() -> None:
    url = "https://a.example/"
    history = [
        Message("system", url),
        Message("user", url),
        Message("assistant", url, tool_calls=(ToolCall("1", "get", f'"{url}"'),)),
        Message("tool", url, tool_call_id="1"),
        Message("user", f"and {url}?"),
    ]
    body = question(history, switches("kimi"), search=False)
    told = body["messages"][0]["content"]
    assert told.count(tag(url)) == 2
    assert told.replace(tag(url), url) == merge(history)
    assert told.endswith(f"user: and {tag(url)}?")
