"""The house keeps its shape: who imports whom, how long things are, what imports do.

The import law is that of docs/architecture.md. A layer uses itself and the layers
before it; every module belongs to exactly one.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    "values": "blame errors chat events scope clock telemetry",
    "tools": "sse connect chunked content_coding refusal config wire connection"
    " upstream remote metrics logs periodic storage parallel file_type",
    "parts": "worker account_state pool_state pool vault journal sweeper resemblance"
    " conversations files desk refresh keys visitors concurrency token_check file_store"
    " response_store dialects providers shaping",
    "flow": "router ability backend attempt retry gateway relay discovery",
    "wiring": "services",
    "web": "reference routes",
    "entry": "app cli wsgi __main__",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
ORDER = list(LAYERS)

# Narrower than the layers: these see only what is named (and themselves).
SEES_ONLY = {
    "dialects": "errors chat events",
    "shaping": "errors chat events",
    "providers": "errors chat events scope clock config connect refusal sse upstream",
    "storage": "errors",
    "config": "",
    "reference": "errors dialects relay",
}
# Wider than layers alone would forbid.
NEVER_SEES = {
    "routes": "providers storage pool pool_state vault refresh conversations upstream"
    " config services metrics",
    "router": "pool storage refresh conversations upstream dialects",
    "gateway": "dialects config storage upstream",
    "retry": "dialects config storage upstream",
    "relay": "dialects config upstream",
}
# Package -> the only modules (or packages of ours) that import it.
IMPORTERS = {
    "click": "cli",
    "flask": "app routes",
    "flask_limiter": "routes.limiting routes.failure",
    "gevent": "",
    "gunicorn": "",
    "jsonschema": "shaping.schema_check",
    "limits": "storage.limits config.text",
    "prometheus_client": "metrics",
    "pydantic": "config dialects reference",
    "pydantic_core": "config",
    "re2": "shaping.schema_pattern",
    "redis": "",
    "referencing": "shaping.schema_check",
    "requests": "upstream remote",
    "sseclient": "sse",
    "sqlite3": "storage",
    "urllib3": "connection upstream remote",
    "werkzeug": "app routes",
    "yaml": "config.document",
}
# Where everything may be caught. In the first ones nobody is left above to see it: the
# ends of threads, and a stream whose headers are out. The last one says as an error of
# ours what gunicorn's body raises, which has no class short of Exception.
CATCH_ALL = {
    ("kimi_proxy.refresh", "_fly"),
    ("kimi_proxy.periodic", "_run"),
    ("kimi_proxy.wire", "_run"),
    ("kimi_proxy.routes.job", "_run"),
    ("kimi_proxy.routes.streaming", "__next__"),
    ("kimi_proxy.routes.body", "_read"),
}
BANNED_NAMES = {"utils", "helpers", "common", "manager", "constants", "types"}
MOST_LINES, MOST_IN_FUNCTION = 400, 50


def sources(*places: str) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of the file."""
    return tuple(ast.walk(tree(path)))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module the file imports, wherever in it; no relative imports here."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                ours = base.startswith("kimi_proxy") and is_module(inner)
                found.add(inner if ours else base)
    return frozenset(found)


def part(name: str) -> str:
    """`kimi_proxy.routes.job` -> `routes`; the bare package -> ``."""
    return name.removeprefix("kimi_proxy").lstrip(".").partition(".")[0]


def ours(path: Path) -> Iterator[tuple[str, str]]:
    """The pairs (importing part, imported part) of a file, without its own part."""
    here = part(module(path))
    for name in imports(path):
        there = part(name)
        if name.startswith("kimi_proxy") and there and there != here:
            yield here, there


PROJECT = list(sources("kimi_proxy", "wsgi.py"))


def violations(*lines: str) -> str:
    return "\n".join(("", *lines))


def test_every_module_has_its_layer() -> None:
    parts = {part(module(path)) for path in PROJECT} - {""}
    assert parts == set(LAYER)


def test_the_architecture_document_names_every_module_and_layer() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    names = {path.name for path in PROJECT} - {"__init__.py"}
    missing = {name for name in names if f"`{name}`" not in text}
    assert not missing - {"wsgi.py"}
    for layer, words in LAYERS.items():
        row = re.search(rf"^\| {layer} \| `([^`]*)`", text, re.M)
        assert row, layer
        assert set(row[1].split()) == set(words.split()) - {"__main__"}


def test_a_layer_imports_only_itself_and_the_layers_before_it() -> None:
    wrong = [
        f"{module(path)} ({LAYER[here]}) imports {there} ({LAYER[there]})"
        for path in PROJECT
        for here, there in ours(path)
        if ORDER.index(LAYER[there]) > ORDER.index(LAYER[here])
    ]
    assert not wrong, violations(*wrong)


def test_parts_that_must_not_know_each_other_do_not() -> None:
    wrong = [
        f"{module(path)} imports {there}"
        for path in PROJECT
        for here, there in ours(path)
        if (here in SEES_ONLY and there not in SEES_ONLY[here].split())
        or there in NEVER_SEES.get(here, "").split()
    ]
    assert not wrong, violations(*wrong)


def test_only_the_registry_of_the_providers_knows_the_configuration() -> None:
    known = {
        module(path)
        for path in sources("kimi_proxy/providers")
        if any(name.startswith("kimi_proxy.config") for name in imports(path))
    }
    assert known == {"kimi_proxy.providers.registry"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = {
        module(path): {
            name
            for name in imports(path)
            if name.startswith("kimi_proxy.") and name != module(path)
        }
        for path in PROJECT
    }
    # A package and what it holds: `kimi_proxy.config` gathers, its modules do not.
    for name, needed in waiting.items():
        needed -= {other for other in needed if name.startswith(f"{other}.")}
    while waiting:
        free = {name for name, needed in waiting.items() if not needed & waiting.keys()}
        assert free, violations(*(f"{n} <- {sorted(d)}" for n, d in waiting.items()))
        waiting = {name: d for name, d in waiting.items() if name not in free}


@pytest.mark.parametrize("package", sorted(IMPORTERS))
def test_a_package_is_imported_only_where_it_belongs(package: str) -> None:
    allowed = [f"kimi_proxy.{name}" for name in IMPORTERS[package].split()]
    wrong = [
        module(path)
        for path in PROJECT
        if any(name.partition(".")[0] == package for name in imports(path))
        and not any(f"{module(path)}.".startswith(f"{name}.") for name in allowed)
    ]
    assert not wrong, violations(*wrong)


def test_every_foreign_package_has_a_rule_or_is_plain_json() -> None:
    foreign = {name.partition(".")[0] for path in PROJECT for name in imports(path)}
    foreign -= sys.stdlib_module_names | {"kimi_proxy"}
    assert foreign <= set(IMPORTERS) | {"orjson"}


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {
        module(path)
        for path in PROJECT
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv", "getenvb"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert {name.rpartition(".")[0] for name in readers} == {"kimi_proxy.config"}


def test_the_clock_is_handed_in() -> None:
    """Two waits inside the store are about its own files, not about anyone's time."""
    readers = {
        f"{module(path)}: {ast.unparse(node)}"
        for path in PROJECT
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) in {"time.time", "time.monotonic", "datetime.now"}
    }
    assert readers == {"kimi_proxy.storage.sqlite_file: time.monotonic()"}


def test_emulators_and_gateway_share_nothing() -> None:
    for path in sources("emulators"):
        foreign = {name.partition(".")[0] for name in imports(path)}
        assert not foreign - sys.stdlib_module_names - {"emulators"}, path
    for path in PROJECT:
        foreign = {name.partition(".")[0] for name in imports(path)}
        assert not foreign & {"emulators", "tests"}, path


ALL = list(sources("kimi_proxy", "emulators", "tests", "wsgi.py", "gunicorn.conf.py"))


def test_files_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in ALL
        if (lines := path.read_text("utf-8").count("\n")) > MOST_LINES
    ]
    assert not long, violations(*long)


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}, {length} lines"
        for path in ALL
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MOST_IN_FUNCTION
    ]
    assert not long, violations(*long)


def test_modules_are_not_drawers() -> None:
    names = {word for path in ALL for word in module(path).split(".")}
    assert not names & BANNED_NAMES


@cache
def handlers(path: Path) -> list[tuple[str, ast.ExceptHandler]]:
    """Every handler of a broad class, with the functions it stands in."""
    found = []
    for function in nodes(path):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            if caught in {"", "Exception", "BaseException"}:
                found.append((function.name, node))
    return found


def test_everything_is_caught_in_few_places_only() -> None:
    """Elsewhere whoever catches everything tidies up and lets it go on."""
    wrong = [
        f"{module(path)}:{node.lineno}: {function} catches everything"
        for path in PROJECT
        for function, node in handlers(path)
        if (module(path), function) not in CATCH_ALL
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    assert not wrong, violations(*wrong)


def test_the_list_of_those_places_is_not_longer_than_the_truth() -> None:
    found = {(module(path), name) for path in PROJECT for name, _ in handlers(path)}
    assert found >= CATCH_ALL


# What an import may not cause, by how Python's audit events begin.
EFFECTS = "os.fork os.mkdir os.posix_spawn os.putenv socket. sqlite3. subprocess."
WATCHED = """
import importlib, json, sys, threading
foreign, ours, effects = json.loads(sys.argv[1])
for name in foreign:
    importlib.import_module(name)
current, seen = None, []
def watch(event, details):
    writes = event == "open" and set(details[1] or "") & set("wax+")
    if writes or event.startswith(tuple(effects)):
        seen.append(f"{current}: {event}")
def start(thread):
    seen.append(f"{current}: thread")
# Starting a thread is no audit event before Python 3.12.
sys.addaudithook(watch)
threading.Thread.start = start
for current in ours:
    importlib.import_module(current)
print(json.dumps(seen))
"""


def effects_of_importing(names: list[str], foreign: list[str], place: Path) -> object:
    told = json.dumps([foreign, names, EFFECTS.split()])
    process = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, told],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_importing_a_module_does_nothing() -> None:
    """No thread, socket, process, database or file; the libraries come in before."""
    paths = list(sources("kimi_proxy"))
    named = {name for path in paths for name in imports(path)}
    foreign = sorted(name for name in named if not name.startswith("kimi_proxy"))
    assert effects_of_importing([module(p) for p in paths], foreign, ROOT) == []


def test_the_watch_over_imports_sees_what_it_watches_for(tmp_path: Path) -> None:
    code = """
        import pathlib, socket, sqlite3, threading
        socket.socket().close()
        sqlite3.connect(":memory:").close()
        pathlib.Path("file").write_text("")
        threading.Thread().start()
    """
    (tmp_path / "bad.py").write_text(dedent(code), "utf-8")
    assert effects_of_importing(["bad"], ["sqlite3"], tmp_path) == [
        "bad: socket.__new__",
        "bad: sqlite3.connect",
        "bad: sqlite3.connect/handle",
        "bad: open",
        "bad: thread",
    ]
