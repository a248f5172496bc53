"""The sections of Kilo, Qodo and kimi-ai.chat, whose tokens have forms of their own."""

from __future__ import annotations

import pytest

from kimi_proxy.config import KiloSettings
from tests.config.conftest import Desk

REFUSED = [
    ("type: kilo, tokens: ['https://h']", "token: must be a token, or an address and"),
    ("type: kilo, tokens: ['ftp://h:made-up']", "or an address and a token: https"),
    ("type: kilo, tokens: ['https://evil.example:made-up']", "add its origin to hosts"),
    ("type: kilo, tokens: ['http://api.kilo.ai:made-up']", "a host that is not allow"),
    ("type: kilo, tokens: [{token: t, organization: 'a b'}]", "organization: must be"),
    ("type: qodo, tokens: [made-up]", "tokens[0].token: must be an API key (sk-...)"),
    ("type: qodo, tokens: ['sk-a=b c']", "token: must be plain ASCII without spaces"),
    ("type: qodo, tokens: ['=made-up']", "written WEB_API_KEY=REFRESH_TOKEN"),
    ("type: qodo, tokens: [sk-a], hosts: {cli: h}", "hosts.cli: must be an http"),
    ("type: kimi-ai-chat, max_prompt: 0", "max_prompt: must be at least 1"),
    ("type: kimi-ai-chat, overlong: cut", "overlong: must be one of 'refuse' or"),
    ("type: kimi-ai-chat, tokens: [t]", "tokens: is not a known key"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_wrong_section_is_refused(desk: Desk, text: str, message: str) -> None:
    (problem,) = desk.problems(f"providers:\n  p: {{{text}}}\n")
    assert problem.startswith("2: providers.p")
    assert message in problem
    assert "made-up" not in problem


def test_a_kilo_token_may_name_a_host_that_is_allowed(desk: Desk) -> None:
    text = """
    providers:
      p:
        type: kilo
        tokens:
          - made-up-1
          - https://gate.example:made-up-2
          - {token: "https://gate.example/api/v1:made-up-3", organization: org-1}
          - https://api.kilo.ai:made-up-4
          - http://127.0.0.1:8080/x:made-up-5
        hosts: {allowed: ["https://gate.example", "http://127.0.0.1:8080"]}
    """
    provider = desk.load(text).providers["p"]
    assert isinstance(provider, KiloSettings)
    assert [token.parts() for token in provider.tokens] == [
        (None, "made-up-1"),
        ("https://gate.example/api/gateway", "made-up-2"),
        ("https://gate.example/api/v1", "made-up-3"),
        ("https://api.kilo.ai/api/gateway", "made-up-4"),
        ("http://127.0.0.1:8080/x", "made-up-5"),
    ]
    assert provider.base == "https://api.kilo.ai/api/gateway"


def test_a_refused_kilo_host_is_named_by_its_token_only(desk: Desk) -> None:
    entry = "{name: mine, token: 'https://evil.example:made-up'}"
    (problem,) = desk.problems(f"providers: {{p: {{type: kilo, tokens: [{entry}]}}}}")
    assert "token mine names a host that is not allowed" in problem
    assert "evil" not in problem and "made-up" not in problem
