"""What stands around the code does its part: make, the pins, the image, .ci/run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kimi_proxy import __version__
from kimi_proxy.config import load
from tests.flow.waiting import until
from tests.gateway_process import listener

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# The pins


def pins(name: str) -> dict[str, str]:
    lines = [
        line for line in text(name).splitlines() if not line.startswith(("#", "-"))
    ]
    parts = [line.partition("==") for line in lines if line.strip()]
    assert all(version for _, _, version in parts), "something is not pinned"
    return {canonicalize_name(package): version for package, _, version in parts}


def chosen() -> set[str]:
    """The first part of requirements.txt: what we chose, not what those need."""
    head = text("requirements.txt").partition("# What those need.")[0]
    found = re.findall(r"^([\w-]+)==", head, re.M)
    return {canonicalize_name(package) for package in found}


def needed_by(packages: set[str]) -> set[str]:
    """All that the packages need on this platform, themselves included."""
    found: set[str] = set()
    left = set(packages)
    while left:
        found |= left
        needs = [Requirement(line) for name in left for line in requires(name) or ()]
        kept = {
            canonicalize_name(need.name)
            for need in needs
            if need.marker is None or need.marker.evaluate({"extra": ""})
        }
        left = kept - found
    return found


def test_every_package_that_runs_is_pinned_and_no_other() -> None:
    assert set(pins("requirements.txt")) == needed_by(chosen())


def test_the_tools_pin_nothing_anew() -> None:
    assert "-r requirements.txt" in text("requirements-dev.txt")
    assert not pins("requirements.txt").keys() & pins("requirements-dev.txt").keys()


def test_every_chosen_package_has_its_reason() -> None:
    runs, _, checks = text("docs/dependencies.md").partition("## What the checks")
    assert reasons(runs) == chosen()
    assert reasons(checks) == set(pins("requirements-dev.txt")) - {"mypy-extensions"}


def reasons(part: str) -> set[str]:
    rows = re.findall(r"^\| ([\w, -]+) \|", part, re.M)
    names = {name for row in rows for name in row.split(", ")} - {"Package", "---"}
    return {canonicalize_name(name) for name in names}


def test_the_project_says_of_itself_what_the_package_says() -> None:
    assert PROJECT["project"]["version"] == __version__
    module, _, name = PROJECT["project"]["scripts"]["kimi-proxy"].partition(":")
    script = f"from {module} import {name}; {name}(['--version'])"
    assert run(sys.executable, "-c", script).endswith(f"{__version__}\n")
    (backend,) = PROJECT["build-system"]["requires"]
    assert re.fullmatch(r"setuptools==[\d.]+", backend)


def run(*command: str, cwd: Path = ROOT) -> str:
    process = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


# make and .ci/run


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout that `make setup` was run in, with this interpreter for its own."""
    place = tmp_path / "clone"
    (place / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, place)
    shutil.copy(ROOT / "pyproject.toml", place)
    tools = {"python": "", "kimi-proxy": " -m kimi_proxy"}
    for tool, arguments in tools.items():
        script = place / ".venv/bin" / tool
        script.write_text(f'#!/bin/sh\nexec {sys.executable}{arguments} "$@"\n')
        script.chmod(0o755)
    (place / ".venv/run.stamp").touch()
    return place


def make(place: Path, *targets: str, **options: Any) -> subprocess.Popen[str]:
    foreign = ("KIMI_", "MAKE", "GUNICORN_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    environ |= {"PYTHONPATH": str(ROOT), "HOME": str(place), **options.pop("env", {})}
    return subprocess.Popen(
        ["make", "--no-print-directory", *targets],
        cwd=place,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=60)


def test_make_run_prints_a_command_that_answers_when_pasted(clone: Path) -> None:
    written, _ = make(clone, "config.yaml").communicate(timeout=60)
    assert written == "Wrote config.yaml with a key of your own.\n"
    config = clone / "config.yaml"
    with listener() as sock:
        port = sock.getsockname()[1]
        config.write_text(config.read_text().replace("port: 8000", f"port: {port}"))
        process = make(
            clone,
            "run",
            env={"GUNICORN_CMD_ARGS": f"--bind fd://{sock.fileno()}"},
            pass_fds=(sock.fileno(),),
        )
        try:
            assert process.stdout is not None
            printed = iter(process.stdout.readline, "")
            line = next(line for line in printed if line.startswith("curl "))
            answer = json.loads(run("bash", "-c", line))
        finally:
            _, errors = end(process)
    assert answer["choices"][0]["message"]["content"] == "Say hello"
    assert "Traceback" not in errors
    assert load(str(config), {}).keys[0].key.get_secret_value() not in errors


def test_make_run_leaves_a_configuration_alone_and_shows_its_mistakes(
    clone: Path,
) -> None:
    (clone / "config.yaml").write_text("providers: {e: {type: ehco}}")
    process = make(clone, "run")
    shown, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "config.yaml:1: providers.e.type" in errors
    assert "curl" not in shown


@pytest.mark.parametrize("variable", ["KIMI_PROXY_CONFIG", "KIMI_TOKEN"])
def test_make_run_writes_nothing_where_something_else_is_said(
    clone: Path, variable: str
) -> None:
    process = make(clone, "run", env={variable: "made-up"})
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert variable == "KIMI_TOKEN" or "made-up: cannot be read" in errors
    assert not (clone / "config.yaml").exists()


def test_make_demo_plays_the_demo_and_check_runs_every_check() -> None:
    assert "-m emulators.demo" in run("make", "--dry-run", "demo")
    check = run("make", "--dry-run", "check")
    for tool in ("ruff check .", "ruff format --check .", "mypy", "pytest -n"):
        assert tool in check
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"] == ["error"]


def test_the_first_setup_is_not_done_twice(clone: Path) -> None:
    assert run("make", "--question", "setup", cwd=clone) == ""


def test_ci_runs_make_check() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    run("bash", "-n", str(script))
    assert "make --no-print-directory check" in text(".ci/run")
    # Where it is missing tests/llama has nothing to run.
    assert "libgomp1" in text(".ci/run")


@pytest.mark.parametrize(
    ("tests", "status", "last"),
    [
        ("echo '== 9 passed in 3.21s =='", 0, "== 9 passed in 3.21s =="),
        ("echo '== 1 failed in 3.21s =='; false", 2, "== 1 failed in 3.21s =="),
    ],
)
def test_ci_ends_with_the_tests_last_line_and_its_status(
    tmp_path: Path, tests: str, status: int, last: str
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(f"check:\n\t@{tests}\n")
    process = subprocess.run(
        [script], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == status
    assert process.stdout.splitlines()[-1] == last


# The image


def instructions(name: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile, continued lines too."""
    joined = text("Dockerfile").replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.M)


def copied() -> list[str]:
    return [word for line in instructions("COPY") for word in line.split()[:-1]]


def test_the_image_copies_what_is_there_and_let_through() -> None:
    ignored = text(".dockerignore").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert set(copied()) == let_through
    for name in copied():
        assert (ROOT / name).exists()


def test_what_the_image_copies_is_enough_to_serve(tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "data"
    app.mkdir()
    data.mkdir()
    (app / "data").symlink_to(data)
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, app / name)
    (command,) = (json.loads(line) for line in instructions("CMD"))
    (checked,) = instructions("HEALTHCHECK")
    health = json.loads(checked[checked.index("[") :])
    with listener() as sock:
        port = sock.getsockname()[1]
        (app / "config.yaml").write_text(
            f"server: {{port: {port}}}\nproviders: {{echo: {{type: echo}}}}\n"
        )
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--bind", f"fd://{sock.fileno()}"],
            cwd=app,
            env={**inherited, "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.DEVNULL,
            pass_fds=(sock.fileno(),),
        )

        def is_well() -> bool:
            assert process.poll() is None, "it has ended"
            asked = subprocess.run(
                [sys.executable, *health[1:]],
                cwd=app,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return asked.stdout == "ok\n"

        try:
            until(is_well, timeout=60)  # as the image's own check: again and again
        finally:
            process.terminate()
            process.wait(timeout=60)
    assert (data / "kimi-proxy.db").exists()


def test_the_image_runs_as_nobody_special_and_knows_where_it_listens() -> None:
    (user,) = instructions("USER")
    assert user not in {"root", "0"}
    assert instructions("EXPOSE") == [str(load_defaults().server.port)]
    (volume,) = instructions("VOLUME")
    compose = yaml.safe_load(text("docker-compose.yml"))
    service = compose["services"]["kimi-proxy"]
    assert f"state:{volume}" in service["volumes"]
    assert "./config.yaml:/app/config.yaml:ro" in service["volumes"]
    assert service["build"] == "."
    assert all(port.endswith(":8000") for port in service["ports"])


def load_defaults() -> Any:
    return load(None, {"KIMI_TOKEN": "made-up-token"})


def test_the_predecessors_variables_start_the_image_open_to_its_port_only_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = instructions("ENV")
    image = dict([line.split("=")])
    alone = load(None, {**image, "KIMI_TOKEN": "made-up-token"})
    keyed = load(None, {**image, "KIMI_TOKEN": "made-up", "API_SECRET": "made-up-key"})
    assert alone.server.host == "127.0.0.1"
    assert keyed.server.host == image["HOST"]
