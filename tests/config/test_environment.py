"""Whoever comes from a predecessor starts with the variables they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy.config import ConfigError, KimiSettings, Settings, load
from kimi_proxy.config.environment import VARIABLES, Idle, Used, asks
from tests.config.conftest import Desk

TOKEN = {"KIMI_TOKEN": "made-up-token"}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def kimi(settings: Settings) -> KimiSettings:
    provider = settings.providers["kimi"]
    assert isinstance(provider, KimiSettings)
    return provider


def tokens(settings: Settings) -> list[str]:
    return [token.token.get_secret_value() for token in kimi(settings).tokens]


def keys(settings: Settings) -> dict[str, str]:
    return {key.name: key.key.get_secret_value() for key in settings.keys}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    return str(caught.value).splitlines()


def test_one_token_is_enough() -> None:
    settings = load(None, TOKEN)
    assert tokens(settings) == ["made-up-token"]
    assert settings.warnings == (
        "KIMI_TOKEN is read as providers.kimi.tokens: prefer a config.yaml",
        "no keys configured: everyone on this machine may use 127.0.0.1",
    )


def test_tokens_are_split_at_commas_but_a_dump_is_one() -> None:
    assert tokens(load(None, {"KIMI_TOKEN": "t1, t2,,t3"})) == ["t1", "t2", "t3"]
    dump = '{"access_token": "a1", "refresh_token": "r1"}'
    assert tokens(load(None, {"KIMI_TOKEN": dump})) == [dump]


def test_a_variables_text_is_not_expanded() -> None:
    assert tokens(load(None, {"KIMI_TOKEN": "a${X}$$b"})) == ["a${X}$$b"]


def test_every_used_variable_sets_its_key() -> None:
    settings = load(
        None,
        {
            **TOKEN,
            "KIMI_API_BASE": "http://127.0.0.1:9000/",
            "KIMI_MAX_CONCURRENCY": "2",
            "RATE_LIMIT_COOKIE_LOCK_DURATION": "600",
            "PROXY_URL": "http://127.0.0.1:1080",
            "OPENAI_API_KEY": "made-up-key",
            "HOST": "192.168.0.7",
            "PORT": "7099",
            "ROUTE_PREFIX": "kimi",
            "REQUEST_RATE_LIMIT": "30",
            "TIMEOUT": "120",
            "DATA_DIR": "/var/lib/kimi",
            "DEBUG": "true",
            "MODEL": "k2d6-chat",
        },
    )
    assert kimi(settings).hosts.api == "http://127.0.0.1:9000"
    assert kimi(settings).pool.concurrency == 2
    assert kimi(settings).pool.cooldown == 600
    assert kimi(settings).proxy is not None
    assert keys(settings) == {"openai-api-key": "made-up-key"}
    assert (settings.server.host, settings.server.port) == ("192.168.0.7", 7099)
    assert settings.server.route_prefix == "/kimi"
    assert settings.limits.per_ip == "30/minute"
    assert settings.timeouts.total == 120
    assert settings.state == "sqlite:////var/lib/kimi/kimi-proxy.db"
    assert settings.log.level == "debug"
    for name in ("default", "k2d6-chat"):
        assert [step.to for step in settings.models[name].route] == ["kimi/k2d6-chat"]


@pytest.mark.parametrize(
    ("rest", "longest"), [("600", 1800), ("1800", 1800), ("3600", 3600)]
)
def test_a_long_cool_down_lengthens_the_longest(rest: str, longest: float) -> None:
    settings = load(None, TOKEN | {"RATE_LIMIT_COOKIE_LOCK_DURATION": rest})
    assert kimi(settings).pool.cooldown == float(rest)
    assert kimi(settings).pool.max_cooldown == longest


@pytest.mark.parametrize(
    "row", [row for row in VARIABLES if isinstance(row, Used)], ids=lambda row: row.name
)
def test_every_used_variable_names_todays_key(row: Used) -> None:
    words = {
        "KIMI_API_BASE": "http://127.0.0.1:9",
        "PROXY_URL": "http://127.0.0.1:9",
        "QD_COOKIE": "sk-made-up",
    }
    word = words.get(row.name, "1")
    warnings = load(None, TOKEN | {row.name: word}).warnings
    key = row.key.replace("*", "kimi")
    assert f"{row.name} is read as {key}: prefer a config.yaml" in warnings


@pytest.mark.parametrize(
    "row", [row for row in VARIABLES if isinstance(row, Idle)], ids=lambda row: row.name
)
def test_every_idle_variable_is_named_without_its_value(row: Idle) -> None:
    settings = load(None, TOKEN | {row.name: "made-up-value"})
    (warning,) = [text for text in settings.warnings if row.name in text]
    assert warning.startswith(f"{row.name} has no effect")
    assert "made-up-value" not in warning
    assert ("never built" in warning) == (row.name[:4] in ("CHIN", "CHEA"))


def secrets(settings: Settings, provider: str) -> list[str]:
    found: Any = settings.providers[provider]
    return [token.token.get_secret_value() for token in found.tokens]


def test_kilo2apis_accounts_are_kilos_and_their_sessions_are_left_out() -> None:
    settings = load(None, {"KL_COOKIE": "eyJa.b.c=session,eyJd.e.f"})
    assert list(settings.providers) == ["kilo"]
    assert secrets(settings, "kilo") == ["eyJa.b.c", "eyJd.e.f"]
    assert routes(settings)["gpt-*"] == ["kilo/openai/gpt-*"]


def test_qodo2apis_pairs_are_qodos_and_its_models_keep_their_names() -> None:
    settings = load(None, {"QD_COOKIE": "made-up-key=r1, made-up-key=r2"})
    assert list(settings.providers) == ["qodo"]
    assert secrets(settings, "qodo") == ["made-up-key=r1", "made-up-key=r2"]
    named = routes(settings)
    assert named["gpt-4o"] == ["qodo/gpt-4o"]
    assert named["deepseek-r1"] == ["qodo/deepseek-r1-full"]
    assert named["deepseek-r1-32b"] == ["qodo/deepseek-r1"]


def routes(settings: Settings) -> dict[str, list[str]]:
    return {
        name: [step.to for step in model.route]
        for name, model in settings.models.items()
    }


def test_what_is_for_all_accounts_is_for_every_provider() -> None:
    environ = {
        **TOKEN,
        "KL_COOKIE": "eyJa.b.c",
        "QD_COOKIE": "sk-made-up",
        "PROXY_URL": "http://127.0.0.1:1080",
        "RATE_LIMIT_COOKIE_LOCK_DURATION": "3600",
        "MODEL": "k2d6-chat",
    }
    settings = load(None, environ)
    found: Any = settings.providers
    assert list(found) == ["kimi", "kilo", "qodo"]
    for provider in found.values():
        assert provider.proxy is not None
        assert provider.pool.cooldown == provider.pool.max_cooldown == 3600
    assert (
        "PROXY_URL is read as providers.kimi.proxy, providers.kilo.proxy,"
        " providers.qodo.proxy: prefer a config.yaml"
    ) in settings.warnings
    assert {"default", "gpt-4o", "claude-*"} <= routes(settings).keys()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"KL_COOKIE": " , "}, "KL_COOKIE: needs at least one token"),
        ({"QD_COOKIE": "made-up"}, "QD_COOKIE: must be an API key (sk-...), or a Fire"),
    ],
)
def test_wrong_accounts_are_called_by_their_variable(
    environ: dict[str, str], problem: str
) -> None:
    (line,) = problems(environ)
    assert line.startswith(f"environment: {problem}")


def test_each_variable_has_one_row() -> None:
    names = [row.name for row in VARIABLES]
    assert len(set(names)) == len(names)


def test_client_keys_of_all_names_add_up_once_each() -> None:
    settings = load(
        None,
        {
            **TOKEN,
            "API_SECRET": "made-up-1,made-up-2,made-up-1",
            "API_MASTER_KEY": "made-up-3",
            "OPENAI_API_KEY": "made-up-2",
        },
    )
    assert keys(settings) == {
        "api-secret": "made-up-1",
        "api-secret-2": "made-up-2",
        "api-master-key": "made-up-3",
    }


@pytest.mark.parametrize("word", ["1", ""])
def test_an_open_master_key_is_open_on_loopback_only(word: str) -> None:
    settings = load(None, {**TOKEN, "API_MASTER_KEY": word, "HOST": "192.168.0.7"})
    assert settings.keys == ()
    assert settings.server.host == "127.0.0.1"
    assert settings.warnings[-1] == (
        "no keys configured: listening on 127.0.0.1 only, not on 192.168.0.7"
    )


def test_the_first_of_two_variables_for_one_key_wins_and_the_other_is_named() -> None:
    settings = load(None, {**TOKEN, "NGINX_PORT": "8088", "PORT": "9999"})
    assert settings.server.port == 8088
    assert "PORT has no effect with the others set" in settings.warnings


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"PORT": "http"}, "PORT: must be a whole number"),
        ({"PROXY_URL": "nowhere"}, "PROXY_URL: must be an http:// or https://"),
        ({"PROXY_URL": "socks5://h:1"}, "PROXY_URL: socks is not available in this"),
        ({"REQUEST_RATE_LIMIT": "x"}, "REQUEST_RATE_LIMIT: must be a rate such as"),
        ({"API_SECRET": "ok-1,your-key"}, "API_SECRET: is still a placeholder"),
        ({"KIMI_MAX_CONCURRENCY": "0"}, "KIMI_MAX_CONCURRENCY: must be at least 1"),
        ({"KIMI_TOKEN": "same,same"}, "KIMI_TOKEN: '1' and '2' are the same token"),
        ({"KIMI_TOKEN": " , "}, "KIMI_TOKEN: needs at least one token"),
    ],
)
def test_a_wrong_variable_is_called_by_its_own_name(
    environ: dict[str, str], problem: str
) -> None:
    (line,) = problems(TOKEN | environ)
    assert line.startswith(f"environment: {problem}")


def test_a_key_without_an_account_asks_for_the_account() -> None:
    assert problems({"API_SECRET": "made-up"}) == [
        "environment: KIMI_TOKEN: needs at least one token"
    ]


@pytest.mark.parametrize("name", ["API_MASTER_KEY", "API_REQUEST_TIMEOUT"])
def test_kimi_ai_2apis_words_alone_mean_its_site(name: str) -> None:
    settings = load(None, {name: "300"})
    assert list(settings.providers) == ["kimi-ai-chat"]
    assert routes(settings)["kimi"] == ["kimi-ai-chat/kimi-k2-instruct-0905"]
    assert settings.server.port == 8088
    assert any("unknown operator" in warning for warning in settings.warnings)
    assert list(load(None, {name: "300", **TOKEN}).providers) == ["kimi"]


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        (TOKEN, 8000),
        ({"KL_COOKIE": "t"}, 7099),
        ({"QD_COOKIE": "sk-made-up"}, 10022),
        ({"KL_COOKIE": "t", "PORT": "80"}, 80),
        ({"KL_COOKIE": "t", "QD_COOKIE": "sk-made-up"}, 8000),
        ({"KL_COOKIE": "t", **TOKEN}, 8000),
    ],
)
def test_each_listens_where_it_did(environ: dict[str, str], port: int) -> None:
    settings = load(None, environ)
    assert settings.server.port == port
    told = any(
        "prefer a config.yaml" in w and str(port) in w for w in settings.warnings
    )
    assert told == (port not in (80, 8000))


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("*", ["kimi/*", "kimi/k2d6-chat"]),
        ("*silent_search", ["kimi/k2d6-chat"]),
        ("*research", ["kimi/deep-researcher", "kimi/kimi-research"]),
    ],
)
def test_kimis_old_names_are_kept_where_kimi_is_alone(
    name: str, route: list[str]
) -> None:
    assert routes(load(None, TOKEN))[name] == route
    assert name not in routes(load(None, {**TOKEN, "KL_COOKIE": "t"}))


def reverse_kimi(desk: Desk, **content: object) -> Path:
    return desk.write(json.dumps(content, indent=1), "config.json")


def test_reverse_kimis_file_is_understood(desk: Desk) -> None:
    file = reverse_kimi(
        desk,
        token="made-up-key",
        auth_token="Bearer made-up-access",
        refresh_token="Bearer made-up-refresh",
        other=1,
    )
    settings = load(str(file), {})
    assert keys(settings) == {"reverse-kimi": "made-up-key"}
    assert tokens(settings) == ["made-up-refresh"]
    assert settings.server.host == "0.0.0.0"  # noqa: S104 - as it did, with a key
    assert settings.server.port == 6867
    assert routes(settings)["*"] == ["kimi/*", "kimi/k2d6-chat"]
    assert "prefer a config.yaml" in settings.warnings[0]
    assert settings.warnings[1:] == ("its other keys have no effect here",)


def test_reverse_kimis_file_is_found_where_it_was(desk: Desk) -> None:
    file = reverse_kimi(desk, token="made-up-key", auth_token="made-up")
    assert tokens(load(None, {})) == ["made-up"]
    file.write_text('{"token": "of another program"}')
    with pytest.raises(ConfigError, match="no configuration"):
        load(None, {})
    desk.write("providers: {e: {type: echo}}")
    reverse_kimi(desk, token="made-up-key", auth_token="made-up")
    assert list(load(None, {}).providers) == ["e"]


def test_reverse_kimis_access_token_will_do(desk: Desk) -> None:
    file = reverse_kimi(desk, token="k1", auth_token="made-up", refresh_token="")
    assert tokens(load(str(file), {})) == ["made-up"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"token": "", "auth_token": "a"}, "2: token: is required and must not be"),
        ({"token": "k", "auth_token": 7}, "3: auth_token: must be a mapping of keys"),
        (
            {"token": "k", "refresh_token": ""},
            "refresh_token: needs at least one token",
        ),
    ],
)
def test_reverse_kimis_problems_have_its_own_words(
    desk: Desk, content: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(reverse_kimi(desk, **content)), {})
    (line,) = str(caught.value).splitlines()
    assert problem in line


ASKING = {
    *("KIMI_TOKEN", "KIMI_API_BASE", "KIMI_MAX_CONCURRENCY", "REQUEST_RATE_LIMIT"),
    *("RATE_LIMIT_COOKIE_LOCK_DURATION", "API_SECRET", "API_MASTER_KEY"),
    *("API_REQUEST_TIMEOUT", "KL_COOKIE", "QD_COOKIE"),
}


@pytest.mark.parametrize("name", [row.name for row in VARIABLES])
def test_only_a_predecessors_own_word_starts_without_a_file(name: str) -> None:
    assert asks({name: "1"}) == (name in ASKING)
    assert not asks({name: " "})
