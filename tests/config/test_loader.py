"""Which file is read, what is said of it, and that nobody is open by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kimi_proxy.config import ConfigError, Problem, Settings, child_environment, load
from tests.config.conftest import KIMI, Desk


def port(settings: Settings) -> int:
    return settings.server.port


def file_for(desk: Desk, name: str, number: int) -> str:
    return str(desk.write(f"server: {{port: {number}}}\n{KIMI}\n", name))


def test_the_path_goes_before_the_variable_and_that_before_the_default(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.directory)
    given = file_for(desk, "given.yaml", 1001)
    named = {"KIMI_PROXY_CONFIG": file_for(desk, "named.yaml", 1002)}
    file_for(desk, "config.yaml", 1003)
    predecessor = {"KIMI_TOKEN": "made-up", "PORT": "1004"}
    assert port(load(given, named | predecessor)) == 1001
    assert port(load(None, named | predecessor)) == 1002
    assert port(load(None, {"KIMI_PROXY_CONFIG": ""} | predecessor)) == 1003
    Path("config.yaml").unlink()
    assert port(load(None, predecessor)) == 1004


def test_with_nothing_to_read_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="kimi-proxy init"):
        load(None, {"HOST": "box", "PORT": "80", "DEBUG": "1", "OPENAI_API_KEY": "k"})


def test_the_processs_own_environment_is_the_default(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIMI_PROXY_CONFIG", file_for(desk, "named.yaml", 1005))
    assert port(load()) == 1005


def test_a_child_is_told_the_file_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_OTHER_VARIABLE", "stays")
    child = child_environment("my.yaml")
    assert child["KIMI_PROXY_CONFIG"] == str(tmp_path / "my.yaml")
    assert child["SOME_OTHER_VARIABLE"] == "stays"
    assert child_environment(None) == dict(os.environ)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.yaml", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("nul\0.yaml", "cannot be read: it is not a file"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / name), {})
    assert caught.value.problems == (Problem("", None, reason),)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="is too big for a configuration"):
        load("/dev/zero", {})


def test_problems_print_one_a_line_with_file_line_and_key(desk: Desk) -> None:
    error = desk.error("providers:\n  k:\n    type: kimi\n    pool: {queue: -1}\n")
    file = desk.directory / "config.yaml"
    assert error.source == str(file)
    assert str(error).splitlines() == [
        f"{file}:2: providers.k.tokens: needs at least one token",
        f"{file}:4: providers.k.pool.queue: must be at least 0",
    ]


def test_problems_of_every_kind_are_said_at_once(desk: Desk) -> None:
    text = """\
        server: {port: 0}
        keys:
          - {name: a, key: "${NOT_SET}", key: twice}
          - {name: a, key: one-made-up}
          - {name: b, key: one-made-up}
          - {name: c, key_file: not-there}
        providers:
          kimi: {type: kimi, tokens: ["${ALSO_NOT_SET}"], wire: 3, wier: 4}
        models: {m: other/x}
        pass_through: {provider: nobody}
        admin: {key: one-made-up}
    """
    assert desk.problems(text) == [
        "1: server.port: must be at least 1",
        "3: keys[0].key: is given twice, first on line 3",
        "3: keys[0].key: environment variable NOT_SET is not set",
        "4: keys[1].name: is the name of entry [0] too: names are unique",
        "5: keys[2].key: 'a' and 'b' are the same key",
        "6: keys[3].key_file: cannot be read: No such file or directory",
        "8: providers.kimi.tokens[0]: environment variable ALSO_NOT_SET is not set",
        "8: providers.kimi.wire: must be one of 'auto', 'connect' or 'legacy'",
        "8: providers.kimi.wier: is not a known key: did you mean wire?",
        "9: models.m: names a provider that is not configured",
        "10: pass_through.provider: names a provider that is not configured",
        "11: admin.key: is also the client key 'a': use another",
        "11: admin.key: is also the client key 'b': use another",
    ]


def test_a_broken_file_says_only_that(desk: Desk) -> None:
    (problem,) = desk.problems("keys: [\n")
    assert problem.startswith("2: : is not valid YAML")
    assert "\n" not in str(desk.error("keys: [\n"))


@pytest.mark.parametrize("host", ["::", "192.168.0.7", "gateway.example"])
def test_without_a_key_only_this_machine_is_served(desk: Desk, host: str) -> None:
    settings = desk.load(f"server: {{host: '{host}', port: 81}}\n{KIMI}")
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 81)
    assert settings.warnings == (
        f"no keys configured: listening on 127.0.0.1 only, not on {host}",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_a_loopback_host_is_kept_and_the_open_door_named(desk: Desk, host: str) -> None:
    settings = desk.load(f"server: {{host: '{host}'}}\n{KIMI}")
    assert settings.server.host == host
    assert settings.warnings == (
        f"no keys configured: everyone on this machine may use {host}",
    )


def test_with_a_key_the_host_is_as_written(desk: Desk) -> None:
    text = f"server: {{host: 192.168.0.7}}\nkeys: [{{name: a, key: made-up-1}}]\n{KIMI}"
    settings = desk.load(text)
    assert (settings.server.host, settings.warnings) == ("192.168.0.7", ())


def test_two_loads_of_one_file_are_equal(desk: Desk) -> None:
    assert desk.load(KIMI) == desk.load(KIMI)


def test_a_provider_with_a_notice_warns_at_every_load(desk: Desk) -> None:
    settings = desk.load("providers: {site: {type: kimi-ai-chat}}")
    (warning,) = [text for text in settings.warnings if "providers.site" in text]
    assert "unknown operator" in warning
