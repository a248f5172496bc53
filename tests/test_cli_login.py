"""`kimi-proxy login kilo`: the code is shown, the token once, and nothing is kept."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emulators.kilo import KiloEmulator
from kimi_proxy.cli import main


@pytest.fixture
def emulator() -> Iterator[KiloEmulator]:
    with KiloEmulator() as running:
        yield running


def login(emulator: KiloEmulator, decide: str | bool | None = False) -> Result:
    """Log in; a second person decides about the first code once it was asked about."""

    def other() -> None:
        log = emulator.log
        log.wait_for(lambda _: log.of("poll"))
        code = log.of("poll")[0].path.rpartition("/")[2]
        assert not isinstance(decide, bool)
        emulator.accounts.decide(code, decide)

    thread = threading.Thread(target=other)
    if decide is not False:
        thread.start()
    words = ["login", "kilo", "--host", emulator.url, "--interval", "0.02"]
    result = CliRunner().invoke(main, words)
    if decide is not False:
        thread.join()
    return result


def test_an_approved_log_in_prints_the_token_once_and_where_to_put_it(
    emulator: KiloEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = login(emulator, "alice")
    token = emulator.accounts.get("alice").token
    assert result.exit_code == 0
    assert "device-auth?code=MADE-0001 and enter the code MADE-0001" in result.stdout
    assert result.stdout.count(token) == 1
    assert "type: kilo" in result.stdout and "token_file: secrets/kilo" in result.stdout
    assert "alice@example.org" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_denied_log_in_fails(emulator: KiloEmulator) -> None:
    result = login(emulator, None)
    assert (result.exit_code, "denied" in result.output) == (1, True)


def test_a_log_in_that_nobody_approves_ends(emulator: KiloEmulator) -> None:
    emulator.knobs.code_life = 1
    result = login(emulator)
    assert result.exit_code == 1
    assert "expired" in result.output or "in time" in result.output


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (429, {}, "too many log-ins are open"),
        (500, {}, "status 500"),
        (200, {}, "names no code"),
        (200, {"code": "A", "verificationUrl": "javascript:x"}, "no page to open"),
        (200, {"code": "A\x1b[2J", "verificationUrl": "https://x"}, "names no code"),
    ],
)
def test_a_log_in_that_cannot_begin_says_why(
    emulator: KiloEmulator, status: int, body: object, message: str
) -> None:
    emulator.faults.add("status", on="open", status=status, body=body)
    result = login(emulator)
    assert result.exit_code == 1 and message in result.output


def test_an_answer_without_a_token_is_no_log_in(emulator: KiloEmulator) -> None:
    body = {"status": "approved"}
    emulator.faults.add("status", on="poll", status=200, body=body)
    assert "names no token" in login(emulator).output


def test_a_host_that_is_none_is_told(emulator: KiloEmulator) -> None:
    result = CliRunner().invoke(main, ["login", "kilo", "--host", "http://127.0.0.1:1"])
    assert result.exit_code == 1 and "cannot connect" in result.output
