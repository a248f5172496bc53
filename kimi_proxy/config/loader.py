"""Find the configuration, read it, check it: all that is wrong is said at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kimi_proxy.config import (
    consistency,
    document,
    environment,
    reverse_kimi,
    translation,
)
from kimi_proxy.config.consistency import Vet
from kimi_proxy.config.draft import Draft
from kimi_proxy.config.interpolation import Expansion
from kimi_proxy.config.problem import ConfigError, Finding, Problem
from kimi_proxy.config.schema import Settings

FILE_VARIABLE = "KIMI_PROXY_CONFIG"
DEFAULT_FILE = "config.yaml"
_LOOPBACK = "127.0.0.1"
_MOST_BYTES = 4 * 2**20


def load(
    path: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    vet: Vet | None = None,
) -> Settings:
    """Return the settings of a file, or of the predecessors' variables.

    The file is `path`, else the one KIMI_PROXY_CONFIG names, else ./config.yaml, else
    a ./config.json of reverse-kimi's. Without any, the variables of
    `environment.VARIABLES` are read. `environ` is the process's own environment
    unless given. `vet` reads each Kimi token to see that it is one, which only a
    provider knows. Raises ConfigError with every problem.
    """
    environ = os.environ if environ is None else environ
    file = find(path, environ)
    if file is not None:
        return _settle(_from_file(file), environ, vet)
    if environment.asks(environ):
        return _settle(environment.draft(environ), environ, vet)
    message = (
        f"no configuration: write {DEFAULT_FILE} with `kimi-proxy init`,"
        f" or name a file in {FILE_VARIABLE}"
    )
    raise ConfigError("kimi-proxy", [Problem("", None, message)])


def find(path: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read, or None if there is none to read."""
    if chosen := path or environ.get(FILE_VARIABLE):
        return Path(chosen)
    default, old = Path(DEFAULT_FILE), Path(reverse_kimi.FILE)
    if default.exists() or not old.is_file():
        return default if default.exists() else None
    # A file of this name may be anybody's.
    return old if reverse_kimi.recognises(document.read(_bytes(old)).value) else None


def child_environment(path: str | None) -> dict[str, str]:
    """Return this process's environment, with the file named for a child to load."""
    chosen = {FILE_VARIABLE: str(Path(path).absolute())} if path else {}
    return {**os.environ, **chosen}


def _from_file(file: Path) -> Draft:
    found = document.read(_bytes(file))
    draft = Draft(
        str(file),
        found.value,
        found,
        directory=file.parent,
        findings=found.findings,
    )
    return reverse_kimi.draft(draft) if reverse_kimi.recognises(found.value) else draft


def _bytes(file: Path) -> bytes:
    reason = "is too big for a configuration"
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) <= _MOST_BYTES:
            return data
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else None
        reason = f"cannot be read: {detail or 'it is not a file'}"
    raise ConfigError(str(file), [Problem("", None, reason)])


def _settle(draft: Draft, environ: Mapping[str, str], vet: Vet | None) -> Settings:
    found, tree, warnings = list(draft.findings), draft.tree, list(draft.warnings)
    if any(not finding.path for finding in found):
        # Not readable as a whole: anything more would be guessing.
        raise _error(draft, found)
    if draft.directory is not None:
        expansion = Expansion(environ, draft.directory)
        tree = expansion.value(tree)
        found += expansion.findings
        warnings += expansion.warnings
    settings, unfit = _validate(tree)
    found += _unsaid(found, unfit)
    found += _unsaid(found, consistency.findings(tree, vet))
    if found or settings is None:
        raise _error(draft, found)
    return _guarded(settings.warned(*warnings, *_notices(settings)))


def _notices(settings: Settings) -> Iterator[str]:
    """What has to be known of a provider each time it is used at all."""
    for name, provider in settings.providers.items():
        notice = getattr(provider, "notice", None)
        if notice is not None:
            yield f"providers.{name}: {notice}"


def _validate(tree: Any) -> tuple[Settings | None, list[Finding]]:
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, list(translation.findings(error))


def _unsaid(said: list[Finding], more: Iterable[Finding]) -> list[Finding]:
    """Leave out what only follows from something said of the same place or in it."""
    places = {finding.path[:end] for finding in said for end in _ends(finding)}
    return [finding for finding in more if finding.path not in places]


def _ends(finding: Finding) -> range:
    # A section of the top level is too wide a place for that.
    return range(min(2, len(finding.path)), len(finding.path) + 1)


def _error(draft: Draft, findings: Iterable[Finding]) -> ConfigError:
    problems = dict.fromkeys(draft.problem(finding) for finding in findings)
    ordered = sorted(problems, key=lambda problem: problem.line or 0)
    return ConfigError(draft.source, ordered)


def _guarded(settings: Settings) -> Settings:
    """Never open to the network without a key (docs/configuration.md)."""
    if settings.keys:
        return settings
    host = settings.server.host
    if _is_loopback(host):
        return settings.warned(
            f"no keys configured: everyone on this machine may use {host}"
        )
    server = settings.server.model_copy(update={"host": _LOOPBACK})
    return settings.model_copy(update={"server": server}).warned(
        f"no keys configured: listening on {_LOOPBACK} only, not on {host}"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
