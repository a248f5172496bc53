"""Texts take environment variables, secrets may come out of files."""

from __future__ import annotations

import os

import pytest

from kimi_proxy.config import KimiSettings, Settings
from tests.config.conftest import KIMI, Desk


def key_of(settings: Settings) -> str:
    return settings.keys[0].key.get_secret_value()


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("${A}", "made-up-a"),
        ("x-${A}-${B}", "x-made-up-a-made-up-b"),
        ("${C:-fall-back}", "fall-back"),
        ("${EMPTY:-fall-back}", "fall-back"),
        ("${A:-fall-back}", "made-up-a"),
        ("${C:-a:-b}", "a:-b"),
        ("a$$b", "a$b"),
        ("$${A}", "${A}"),
        ("a$b", "a$b"),
        ("$", "$"),
        ("${D}", "${A}"),
    ],
)
def test_variables_are_put_in(desk: Desk, written: str, key: str) -> None:
    environ = {"A": "made-up-a", "B": "made-up-b", "EMPTY": "", "D": "${A}"}
    text = f'keys: [{{name: a, key: "{written}"}}]\n{KIMI}'
    assert key_of(desk.load(text, environ)) == key


@pytest.mark.parametrize("written", ["${", "${A", "${}", "${a-b}", "${1}", "${A:x}"])
def test_a_mark_that_names_no_variable_is_refused(desk: Desk, written: str) -> None:
    text = f'{KIMI}\nkeys: [{{name: a, key: "{written}"}}]\n'
    assert desk.problems(text, {"A": "a"}) == [
        "2: keys[0].key: holds a ${ that is no ${NAME}: write $$ for a plain $"
    ]


def test_every_missing_variable_is_named_once(desk: Desk) -> None:
    text = (
        f'{KIMI}\nkeys: [{{name: a, key: "${{X}}${{Y}}"}}]\nserver: {{port: "${{X}}"}}'
    )
    assert desk.problems(text) == [
        "2: keys[0].key: environment variable X is not set",
        "2: keys[0].key: environment variable Y is not set",
        "3: server.port: environment variable X is not set",
    ]


def test_an_empty_variable_is_an_absent_key(desk: Desk) -> None:
    text = f'keys: [{{name: a, key: "${{X}}"}}]\nserver: {{port: "${{X}}"}}\n{KIMI}'
    assert desk.problems(text, {"X": ""}) == [
        "1: keys[0].key: is required and must not be empty (key or key_file)"
    ]


def test_a_variable_cannot_bring_yaml_of_its_own(desk: Desk) -> None:
    text = f'keys: [{{name: a, key: "${{X}}"}}]\n{KIMI}'
    assert desk.problems(text, {"X": "a\nadmin: {key: b}"})[0].startswith(
        "1: keys[0].key: must be plain ASCII"
    )


def test_secrets_come_out_of_files_beside_the_configuration(desk: Desk) -> None:
    desk.write("made-up-key\n", "secrets/key")
    desk.write("  made-up-admin  \n", "secrets/admin")
    token = desk.write("made-up-token", "token")
    settings = desk.load(
        f"""
        keys: [{{name: a, key_file: secrets/key}}]
        admin: {{key_file: "${{DIR}}/admin"}}
        providers:
          k: {{type: kimi, tokens: [{{name: t, token_file: {token}}}]}}
        """,
        {"DIR": "secrets"},
    )
    kimi = settings.providers["k"]
    assert isinstance(kimi, KimiSettings)
    assert key_of(settings) == "made-up-key"
    assert settings.admin is not None
    assert settings.admin.key.get_secret_value() == "made-up-admin"
    assert kimi.tokens[0].token.get_secret_value() == "made-up-token"
    assert settings.warnings == ()


def test_a_files_text_is_taken_as_it_is(desk: Desk) -> None:
    desk.write("a${X}$$b", "key")
    settings = desk.load(f"keys: [{{name: a, key_file: key}}]\n{KIMI}")
    assert key_of(settings) == "a${X}$$b"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_can_read_is_a_warning(desk: Desk, mode: int) -> None:
    desk.write("made-up-key", "key").chmod(mode)
    settings = desk.load(f"keys: [{{name: a, key_file: key}}]\n{KIMI}")
    assert settings.warnings == ("keys[0].key_file: other users can read this file",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not-there", "cannot be read: No such file or directory"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("empty", "is an empty file"),
        ("binary", "cannot be read: it is not UTF-8 text"),
        ("big", "is too big a file"),
        ("locked/x", "cannot be read: Not a directory"),
        ('"a\\0b"', "cannot be read: it is not a file name"),
        ("[a]", "must be the path of a file"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_a_problem(
    desk: Desk, name: str, message: str
) -> None:
    os.mkfifo(desk.directory / "pipe")
    desk.write(" \n", "empty")
    desk.write(b"\xff\xfe", "binary")
    desk.write("x" * 70_000, "big")
    desk.write("x", "locked")
    text = f"{KIMI}\nkeys: [{{name: a, key_file: {name}}}]"
    assert desk.problems(text) == [f"2: keys[0].key_file: {message}"]


def test_a_secret_is_given_once(desk: Desk) -> None:
    desk.write("made-up-key", "key")
    text = f"{KIMI}\nadmin: {{key: other-made-up, key_file: key}}"
    assert desk.problems(text) == ["2: admin.key_file: give key or key_file, not both"]
