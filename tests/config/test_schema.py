"""Every key takes what it should, refuses what it should not, and has its default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from kimi_proxy.config import (
    EchoSettings,
    KimiSettings,
    ModelSettings,
    OpenAISettings,
)
from kimi_proxy.config.quantity import parse_size
from tests.config.conftest import KIMI, Desk


def test_defaults_are_those_of_the_design(desk: Desk) -> None:
    settings = desk.load(KIMI)
    assert settings.state == "sqlite:///data/kimi-proxy.db"
    assert settings.server.model_dump() == {
        "host": "127.0.0.1",
        "port": 8000,
        "route_prefix": "",
        "trusted_proxies": 0,
        "cors_origins": ("*",),
        "max_body": 64 * 1024 * 1024,
        "body_memory": 256 * 1024 * 1024,
    }
    assert settings.timeouts.model_dump() == {
        "connect": 10,
        "headers": 60,
        "first_content": 120,
        "idle": 60,
        "total": 1800,
        "hold": 15,
        "keep_alive": 10,
    }
    assert settings.limits.per_ip is None
    assert settings.log.level == "info"
    assert (settings.keys, dict(settings.models)) == ((), {})
    assert (settings.pass_through, settings.admin) == (None, None)


def test_a_kimi_provider_has_its_defaults(desk: Desk) -> None:
    kimi = desk.load(KIMI).providers["kimi"]
    assert isinstance(kimi, KimiSettings)
    assert (kimi.wire, kimi.proxy) == ("auto", None)
    assert kimi.pool.model_dump() == {
        "strategy": "least-loaded",
        "concurrency": 1,
        "cooldown": 60,
        "max_cooldown": 1800,
        "wait": 30,
        "queue": 100,
        "failure_threshold": 3,
        "failure_window": 60,
    }
    assert kimi.conversations.model_dump() == {
        "mode": "stateless",
        "ttl": 3600,
        "most": 500,
    }
    assert kimi.search.model_dump() == {"default": False, "citations": "annotations"}
    assert kimi.hosts.model_dump() == {"api": None, "auth": None, "legacy": None}


def test_tokens_are_plain_texts_or_named_entries(desk: Desk) -> None:
    settings = desk.load(
        """
        providers:
          kimi:
            type: kimi
            tokens:
              - plain-made-up
              - {name: bob, token: " bobs-made-up ", region: intl}
              - {token: third-made-up}
        """
    )
    kimi = settings.providers["kimi"]
    assert isinstance(kimi, KimiSettings)
    seen = [(t.name, t.token.get_secret_value(), t.region) for t in kimi.tokens]
    assert seen == [
        ("1", "plain-made-up", None),
        ("bob", "bobs-made-up", "intl"),
        ("3", "third-made-up", None),
    ]


def test_a_token_that_yaml_took_apart_is_whole_again(desk: Desk) -> None:
    settings = desk.load(
        """
        providers:
          kimi:
            type: kimi
            tokens:
              - {name: parts, token: [head, body, sign]}
              - {name: dump, token: {access_token: a1, refresh_token: r1}}
        """
    )
    kimi = settings.providers["kimi"]
    assert isinstance(kimi, KimiSettings)
    assert [token.token.get_secret_value() for token in kimi.tokens] == [
        "head.body.sign",
        '{"access_token": "a1", "refresh_token": "r1"}',
    ]


@pytest.mark.parametrize(
    ("address", "base_url"),
    [
        ("preset: moonshot-cn", "https://api.moonshot.cn/v1"),
        ("preset: moonshot-intl", "https://api.moonshot.ai/v1"),
        ("base_url: http://127.0.0.1:9/v1/", "http://127.0.0.1:9/v1"),
    ],
)
def test_an_openai_provider_has_one_address(
    desk: Desk, address: str, base_url: str
) -> None:
    settings = desk.load(f"providers: {{m: {{type: openai, {address}, tokens: [k1]}}}}")
    provider = settings.providers["m"]
    assert isinstance(provider, OpenAISettings)
    assert provider.base_url == base_url
    assert provider.pool.concurrency is None


def test_an_echo_provider_needs_nothing(desk: Desk) -> None:
    settings = desk.load("providers: {echo: {type: echo}}")
    assert isinstance(settings.providers["echo"], EchoSettings)


def targets(model: ModelSettings) -> list[str]:
    return [step.to for step in model.route]


def test_a_route_may_be_written_in_three_ways(desk: Desk) -> None:
    models = "models: {a: kimi/x, b: [kimi/x, kimi/y/z], c: {route: kimi/x}}"
    settings = desk.load(f"{KIMI}\n{models}\n")
    assert {name: targets(model) for name, model in settings.models.items()} == {
        "a": ["kimi/x"],
        "b": ["kimi/x", "kimi/y/z"],
        "c": ["kimi/x"],
    }


def test_an_empty_key_is_an_absent_key(desk: Desk) -> None:
    settings = desk.load(
        """
        server: {port: , route_prefix: ""}
        keys:
        limits:
        timeouts: {idle: null}
        models:
        admin:
        providers:
          kimi: {type: kimi, tokens: [made-up], pool: , proxy: "", hosts: {api: ""}}
        """
    )
    assert settings.server.port == 8000
    assert settings.timeouts.idle == 60
    assert settings.admin is None


@pytest.mark.parametrize(
    ("written", "prefix"),
    [("/", ""), ("kimi", "/kimi"), ("/kimi/", "/kimi"), ("/a/b-c", "/a/b-c")],
)
def test_a_route_prefix_is_normalised(desk: Desk, written: str, prefix: str) -> None:
    settings = desk.load(f"server: {{route_prefix: {written}}}\n{KIMI}\n")
    assert settings.server.route_prefix == prefix


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4096", 4096),
        ("64MiB", 64 * 2**20),
        ("2 KiB", 2048),
        ("1GiB", 2**30),
        ("5KB", 5000),
        ("5mb", 5_000_000),
        ("2000B", 2000),
    ],
)
def test_sizes_are_bytes(desk: Desk, written: str, size: int) -> None:
    assert desk.load(f"server: {{max_body: {written}}}\n{KIMI}").server.max_body == size


@given(st.integers(0, 10**12), st.sampled_from(["", "KiB", "MiB", "GiB", "KB", "MB"]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = {"": 1, "K": 1000, "M": 10**6, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    assert parse_size(f"{number}{unit}") == number * factor[unit.removesuffix("B")]


@given(st.text())
def test_any_other_text_is_no_size_or_a_whole_number(text: str) -> None:
    try:
        size = parse_size(text)
    except PydanticCustomError:
        return
    assert isinstance(size, int)


REFUSED = [
    ("server: {port: 0}", "server.port: must be at least 1"),
    ("server: {port: 70000}", "server.port: must be at most 65535"),
    ("server: {port: eight}", "server.port: must be a whole number"),
    ("server: {port: 1.5}", "server.port: must be a whole number"),
    ("server: {port: yes}", "server.port: must be a number"),
    ("server: {host: 'a b'}", "server.host: must be a host name or an IP address"),
    ("server: {host: '1.2.3.4/8'}", "server.host: must be a host name"),
    ("server: {route_prefix: 'a/../b'}", "server.route_prefix: must be a path"),
    ("server: {route_prefix: 'a b'}", "server.route_prefix: must be a path"),
    ("server: {trusted_proxies: -1}", "server.trusted_proxies: must be at least 0"),
    ("server: {cors_origins: '*'}", "server.cors_origins: must be a list"),
    ("server: {cors_origins: [a.b]}", "server.cors_origins[0]: must be * or an origin"),
    ("server: {max_body: 64 miles}", "server.max_body: must be a size such as 64MiB"),
    ("server: {max_body: 1}", "server.max_body: must be at least 1024"),
    ("server: [1]", "server: must be a mapping of keys"),
    ("state: mysql://x", "state: must be sqlite:///PATH or memory://"),
    ("state: sqlite:///", "state: must be sqlite:///PATH or memory://"),
    ("state: redis://h", "state: redis is not available in this version"),
    ("keys: {a: 1}", "keys: must be a list"),
    ("keys: [a]", "keys[0]: must be a mapping of keys"),
    ("keys: [{key: k1}]", "keys[0].name: is required"),
    ("keys: [{name: a/b, key: k1}]", "keys[0].name: must be 1 to 64 letters"),
    ("keys: [{name: 7, key: k1}]", "keys[0].name: must be a text: put it in quotes"),
    ("keys: [{name: a}]", "keys[0].key: is required and must not be empty"),
    ("keys: [{name: a, key: 12}]", "keys[0].key: must be a text: put it in quotes"),
    ("keys: [{name: a, key: x y}]", "keys[0].key: must be plain ASCII"),
    ("keys: [{name: a, key: 'é'}]", "keys[0].key: must be plain ASCII"),
    ("keys: [{name: a, key: k, models: []}]", "keys[0].models: must not be empty"),
    ("keys: [{name: a, key: k, rate: 60}]", "keys[0].rate: must be a rate such as"),
    ("keys: [{name: a, key: k, rate: x}]", "keys[0].rate: must be a rate such as"),
    ("keys: [{name: a, key: k, rate: 0/day}]", "keys[0].rate: must be a rate"),
    ("keys: [{name: a, key: k, concurrency: 0}]", "concurrency: must be at least 1"),
    ("limits: {per_ip: often}", "limits.per_ip: must be a rate such as 60/minute"),
    ("timeouts: {connect: 0}", "timeouts.connect: must be greater than 0"),
    ("timeouts: {connect: .inf}", "timeouts.connect: must be a finite number"),
    ("timeouts: {connect: 10s}", "timeouts.connect: must be a number"),
    ("log: {level: loud}", "log.level: must be one of 'debug', 'info'"),
    ("models: {a: kimi}", "models.a.route[0]: must be written provider/model"),
    ("models: {a: []}", "models.a.route: must not be empty"),
    ("models: {a: {}}", "models.a.route: is required"),
    ("models: {a b: kimi/x}", "models.…: must be 1 to 128 characters"),
    ("admin: {}", "admin.key: is required and must not be empty (key or key_file)"),
    ("srever: {}", "srever: is not a known key: did you mean server?"),
    ("server: {prot: 1}", "server.prot: is not a known key: did you mean port?"),
    ("server: {hots: x}", "server.hots: is not a known key: did you mean host?"),
    ("prot: 1", "prot: is not a known key: did you mean port?"),
    ("port: 1", "port: is not a known key: did you mean server.port?"),
    ("tokens: []", "tokens: is not a known key here"),
    ("warnings: [x]", "warnings: is not a known key"),
    ("server: {key_file: x}", "server.key_file: is not a known key"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_wrong_value_is_refused_with_line_and_path(
    desk: Desk, text: str, message: str
) -> None:
    (problem,) = desk.problems(f"{KIMI}\n{text}\n")
    assert problem.startswith("2: ")
    assert message in problem


PROVIDERS = [
    ("type: kilo", "tokens: needs at least one token"),
    ("type: qodo", "tokens: needs at least one token"),
    ("type: other", "type: is not a known type: use one of echo, kilo,"),
    ("wire: auto", "type: is required: one of echo, kilo,"),
    ("type: kimi, tokens: [t], wire: tcp", "wire: must be one of 'auto', 'connect'"),
    ("type: kimi, tokens: t", "tokens: must be a list"),
    ("type: kimi, tokens: []", "tokens: needs at least one token"),
    ("type: kimi", "tokens: needs at least one token"),
    ("type: kimi, tokens: [7]", "tokens[0]: must be a mapping of keys"),
    ("type: kimi, tokens: [{name: a}]", "tokens[0].token: is required"),
    ("type: kimi, tokens: [{token: [a, b]}]", "tokens[0].token: must be a text, or"),
    ("type: kimi, tokens: [{token: t, region: us}]", "region: must be one of 'cn'"),
    ("type: kimi, tokens: [t], pool: {concurrency: 0}", "pool.concurrency: must be"),
    ("type: kimi, tokens: [t], pool: {strategy: x}", "pool.strategy: must be one of"),
    ("type: kimi, tokens: [t], pool: {wait: -1}", "pool.wait: must be at least 0"),
    (
        "type: kimi, tokens: [t], pool: {cooldown: 9, max_cooldown: 5}",
        "pool.max_cooldown: must not be below cooldown",
    ),
    ("type: kimi, tokens: [t], conversations: {mode: all}", "mode: must be one of"),
    ("type: kimi, tokens: [t], conversations: {most: 0}", "most: must be"),
    ("type: kimi, tokens: [t], search: {citations: end}", "citations: must be one of"),
    ("type: kimi, tokens: [t], reasoning: maybe", "reasoning: must be"),
    ("type: kimi, tokens: [t], ca_bundle: /dev/null", "ca_bundle: must be a file with"),
    ("type: kimi, tokens: [t], strict_params: 3", "strict_params: must be true or"),
    ("type: kimi, tokens: [t], search: {default: 3}", "default: must be true or false"),
    ("type: kimi, tokens: [t], proxy: ftp://h", "proxy: must be an http://"),
    ("type: kimi, tokens: [t], proxy: 'http://h:x'", "proxy: must be an http://"),
    ("type: kimi, tokens: [t], hosts: {api: kimi.com}", "hosts.api: must be an http"),
    ("type: kimi, tokens: [t], hosts: {api: 'http://h/x'}", "must not hold a path"),
    ("type: kimi, tokens: [t], hosts: {api: 'http://u:p@h'}", "user name or password"),
    ("type: kimi, tokens: [t], hosts: {api: 'http://h/?a=b'}", "query or fragment"),
    ("type: kimi, tokens: [t], hosts: {api: 'http://h\\@x'}", "must be an http"),
    ("type: openai, tokens: [t]", "p: needs base_url or preset"),
    ("type: openai, tokens: [t], preset: x", "preset: must be one of 'moonshot-cn'"),
    ("type: openai, tokens: [a b], preset: moonshot-cn", "token: must be plain ASCII"),
    ("type: openai, preset: moonshot-cn", "tokens: needs at least one token"),
    ("type: echo, tokens: [t]", "p.tokens: is not a known key"),
]


@pytest.mark.parametrize(("text", "message"), PROVIDERS)
def test_a_wrong_provider_is_refused(desk: Desk, text: str, message: str) -> None:
    (problem,) = desk.problems(f"providers:\n  p: {{{text}}}\n")
    assert problem.startswith("2: providers.p")
    assert message in problem


@pytest.mark.parametrize(
    "word",
    [
        *("change-me", "CHANGEME", "replace_me", "your-key", "your-api-key"),
        *("your_token_here", "<token>", "sk-xxxx", "xxxxx", "..."),
    ],
)
def test_a_placeholder_is_no_secret(desk: Desk, word: str) -> None:
    text = f"providers: {{p: {{type: kimi, tokens: ['{word}']}}}}\n"
    text += f"keys: [{{name: a, key: '{word}'}}]\nadmin: {{key: {word}1}}"
    assert [problem.split(": ", 1)[1] for problem in desk.problems(text)] == [
        "providers.p.tokens[0].token: is still a placeholder",
        "keys[0].key: is still a placeholder",
    ]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxys_address_is_kept_like_a_secret(desk: Desk, scheme: str) -> None:
    url = f"{scheme}://user:made-up-word@127.0.0.1:3128"
    kimi = desk.load(
        f"providers: {{k: {{type: kimi, tokens: [t], proxy: '{url}'}}}}"
    ).providers["k"]
    assert isinstance(kimi, KimiSettings)
    assert kimi.proxy == SecretStr(url)
    assert "made-up-word" not in repr(kimi)


def test_settings_cannot_be_changed(desk: Desk) -> None:
    settings = desk.load(KIMI)
    with pytest.raises(ValidationError):
        settings.state = "memory://"
    with pytest.raises(TypeError):
        settings.providers["x"] = settings.providers["kimi"]  # type: ignore[index]  # that is the point


def test_numbers_out_of_the_environment_are_numbers(desk: Desk) -> None:
    text = f'server: {{port: "${{P}}"}}\ntimeouts: {{idle: "${{T}}"}}\n{KIMI}'
    settings = desk.load(text, {"P": "8123", "T": "2.5"})
    assert (settings.server.port, settings.timeouts.idle) == (8123, 2.5)
